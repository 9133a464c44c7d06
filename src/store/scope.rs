//! A tenant for the length of one piece of work: the third way beside a handle and a tenant's id.
//!
//! Invariant: a scope cannot be kept. It has no `clone`, and its lifetime is the work's own, so that no later request
//! can run in the tenant of an earlier one.

use super::error::Error;
use super::tenant::{Reader, TenantStore, Writer};
use super::{Store, Timeouts};
use crate::domain::tenant::{Domain, Tenant};

/// The tenant that a piece of work runs in.
#[derive(Debug)]
pub struct TenantScope<'s> {
    tenant: &'s TenantStore,
}

impl Store {
    /// Does work in a tenant.
    ///
    /// ```
    /// # use millpond::store::{Error, Store};
    /// # use millpond::domain::tenant::Domain;
    /// # fn f(store: &Store, domain: &Domain) -> Result<(), Error> {
    /// let sessions = store.with_tenant(domain, |tenant| tenant.read(|r| r.sessions().count()))?;
    /// # Ok(())
    /// # }
    /// ```
    /// The scope cannot leave the work:
    /// ```compile_fail
    /// # use millpond::store::{Error, Store};
    /// # use millpond::domain::tenant::Domain;
    /// # fn f(store: &Store, domain: &Domain) {
    /// let kept = store.with_tenant(domain, |tenant| Ok::<_, Error>(tenant)).unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// Those of [`Store::tenant`], and what the work returns.
    pub fn with_tenant<T, E: From<Error>>(
        &self,
        domain: &Domain,
        work: impl FnOnce(&TenantScope<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let tenant = self.tenant(domain)?;
        work(&TenantScope { tenant: &tenant })
    }

    /// The same store, whose handles wait and run so long.
    #[must_use]
    pub fn with_timeouts(mut self, timeouts: Timeouts) -> Self {
        self.timeouts = timeouts;
        self
    }
}

impl TenantScope<'_> {
    /// The tenant.
    #[must_use]
    pub const fn tenant(&self) -> &Tenant {
        self.tenant.tenant()
    }

    /// Reads as [`TenantStore::read`] does.
    ///
    /// # Errors
    /// Those of [`TenantStore::read`].
    pub fn read<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Reader<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.tenant.read(work)
    }

    /// Writes as [`TenantStore::write`] does.
    ///
    /// # Errors
    /// Those of [`TenantStore::write`].
    pub fn write<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Writer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.tenant.write(work)
    }
}
