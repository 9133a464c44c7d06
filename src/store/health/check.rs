//! Does each file answer?

use std::time::{Duration, Instant};

use super::HealthStatus;
use crate::domain::tenant::{Domain, Tenant};
use crate::domain::units::Timestamp;
use crate::store::error::{self, Error};
use crate::store::{Store, TenantStore};

/// Whether each file answered, and how soon.
#[derive(Debug)]
pub struct HealthCheck {
    /// When it was made.
    pub at: Timestamp,
    /// The slowest answer, the registry's included. Opening a file is not part of it.
    pub response: Duration,
    /// Each tenant's answer, by domain.
    pub answers: Vec<Answer>,
}

/// A tenant's answer.
#[derive(Debug)]
pub struct Answer {
    /// The tenant.
    pub domain: Domain,
    /// How long it took, or why there was none.
    pub answered: Result<Duration, Error>,
}

impl HealthCheck {
    /// Unhealthy where a file does not answer.
    #[must_use]
    pub fn status(&self) -> HealthStatus {
        if self.answers.iter().all(|answer| answer.answered.is_ok()) {
            HealthStatus::Healthy
        } else {
            HealthStatus::Unhealthy
        }
    }
}

impl Store {
    /// Opens each tenant's file, or the one that is named, and asks it for an answer. Takes some milliseconds for a
    /// tenant that is not open yet.
    ///
    /// ```
    /// # use millpond::store::{Error, Store};
    /// # use millpond::store::health::HealthStatus;
    /// # fn f(store: &Store) -> Result<(), Error> {
    /// let check = store.health_check(None)?;
    /// if check.status() == HealthStatus::Unhealthy {
    ///     for answer in check.answers.iter().filter(|answer| answer.answered.is_err()) {
    ///         println!("{} does not answer", answer.domain);
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What SQLite says of the registry; [`Error::NotFound`] where the tenant that is named is not there.
    pub fn health_check(&self, of: Option<&Domain>) -> Result<HealthCheck, Error> {
        let (registry, tenants) = self.meant(of)?;
        let mut check = HealthCheck {
            at: self.clock.now(),
            response: registry,
            answers: Vec::new(),
        };
        for tenant in tenants {
            let answered = self.tenant(&tenant.domain).and_then(|tenant| ask(&tenant));
            if let Ok(took) = &answered {
                check.response = check.response.max(*took);
            }
            check.answers.push(Answer {
                domain: tenant.domain,
                answered,
            });
        }
        Ok(check)
    }

    /// The tenants that are meant, and how soon the registry named them.
    fn meant(&self, of: Option<&Domain>) -> Result<(Duration, Vec<Tenant>), Error> {
        let begun = Instant::now();
        let tenants = match of {
            Some(domain) => vec![self.find_tenant(domain)?],
            None => self.tenants()?,
        };
        Ok((begun.elapsed(), tenants))
    }
}

fn ask(tenant: &TenantStore) -> Result<Duration, Error> {
    // The first connection is opened before the clock runs.
    tenant.look(|r| one(r.connection()))?;
    let begun = Instant::now();
    tenant.look(|r| one(r.connection()))?;
    Ok(begun.elapsed())
}

fn one(file: &rusqlite::Connection) -> Result<(), Error> {
    // Of a table: SQLite answers a bare SELECT 1 without looking at the file.
    file.query_row("SELECT 1 FROM meta LIMIT 1", [], |_| Ok(()))
        .map_err(error::query("ask for an answer"))
}
