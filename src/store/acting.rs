//! Work done as a user: the same repositories, held to the table of [`crate::domain::permission`].
//!
//! Invariants: nothing that the table does not speak of can be reached from here, the outbox above all; the user is
//! read in the transaction that the work is done in, so that a role that was taken away is gone at once. A list shows
//! what its user may read; a row that the user may not read is not found; a write that is not allowed is denied.

use super::dashboards::{Dashboards, DashboardsMut};
use super::error::Error;
use super::metrics::{MetricsFilter, MetricsKey, MetricsRow};
use super::sessions::{Sessions, SessionsMut};
use super::tenant::{Reader, TenantStore, Writer};
use super::tool_metrics::{ToolMetrics, ToolMetricsMut};
use super::users::{Users, UsersMut};
use crate::domain::ids::UserId;
use crate::domain::permission::Actor;

/// A snapshot as one user may see it.
#[derive(Debug)]
pub struct ReaderAs<'c> {
    reader: Reader<'c>,
}

/// A transaction in which one user writes.
#[derive(Debug)]
pub struct WriterAs<'c> {
    writer: Writer<'c>,
}

impl TenantStore {
    /// Reads as a user.
    ///
    /// ```
    /// # use millpond::store::{Error, TenantStore};
    /// # use millpond::domain::ids::UserId;
    /// # fn f(tenant: &TenantStore, bob: UserId) -> Result<(), Error> {
    /// // Bob is a developer: these are his own sessions.
    /// let own = tenant.read_as(bob, |r| r.sessions().count())?;
    /// # Ok(())
    /// # }
    /// ```
    /// What is nobody's own cannot be reached:
    /// ```compile_fail
    /// # fn f(tenant: &millpond::store::TenantStore, bob: millpond::domain::ids::UserId) {
    /// tenant.read_as(bob, |r| r.outbox().status()).unwrap();
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such user; [`Error::Denied`] where the user is inactive; those of
    /// [`TenantStore::read`].
    pub fn read_as<T, E: From<Error>>(
        &self,
        user: UserId,
        work: impl FnOnce(&ReaderAs<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.read(|r| {
            let reader = r.seen_by(actor(r, user)?);
            work(&ReaderAs { reader })
        })
    }

    /// Writes as a user.
    ///
    /// # Errors
    /// Those of [`TenantStore::read_as`] and [`TenantStore::write`].
    pub fn write_as<T, E: From<Error>>(
        &self,
        user: UserId,
        work: impl FnOnce(&WriterAs<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write(|w| {
            let writer = w.worked_by(actor(w, user)?);
            work(&WriterAs { writer })
        })
    }
}

fn actor(reader: &Reader<'_>, id: UserId) -> Result<Actor, Error> {
    let user = reader.users().get(id)?;
    if user.is_active {
        Ok(Actor {
            id,
            role: user.role,
        })
    } else {
        Err(Error::Denied {
            who: "an inactive user",
            action: "work",
        })
    }
}

impl<'c> ReaderAs<'c> {
    /// The users that this one may read.
    #[must_use]
    pub fn users(&'c self) -> Users<'c> {
        self.reader.users()
    }

    /// The sessions that this user may read.
    #[must_use]
    pub fn sessions(&'c self) -> Sessions<'c> {
        self.reader.sessions()
    }

    /// The calls that this user may read.
    #[must_use]
    pub fn tool_metrics(&'c self) -> ToolMetrics<'c> {
        self.reader.tool_metrics()
    }

    /// The dashboards that this user may read.
    #[must_use]
    pub fn dashboards(&'c self) -> Dashboards<'c> {
        self.reader.dashboards()
    }

    /// Figures over the calls that this user may read.
    ///
    /// # Errors
    /// [`Error::Denied`] where the user may read none; what SQLite says.
    pub fn metrics(
        &self,
        key: MetricsKey,
        filter: MetricsFilter,
    ) -> Result<Vec<MetricsRow>, Error> {
        self.reader.metrics(key, filter)
    }
}

impl<'c> WriterAs<'c> {
    /// Users, to write.
    #[must_use]
    pub fn users(&'c self) -> UsersMut<'c> {
        self.writer.users()
    }

    /// Sessions, to write.
    #[must_use]
    pub fn sessions(&'c self) -> SessionsMut<'c> {
        self.writer.sessions()
    }

    /// Calls, to write.
    #[must_use]
    pub fn tool_metrics(&'c self) -> ToolMetricsMut<'c> {
        self.writer.tool_metrics()
    }

    /// Dashboards, to write.
    #[must_use]
    pub fn dashboards(&'c self) -> DashboardsMut<'c> {
        self.writer.dashboards()
    }
}
