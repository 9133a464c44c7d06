//! What a transaction gives to the work done in it: a [`Reader`], or a [`Writer`], which reads too.
//!
//! Invariants: a transaction carries its own `now`; nothing outlives it; nested work is undone alone.

use std::ops::Deref;

use rusqlite::{Connection, OptionalExtension as _};

use super::error::{self, Error};
use crate::domain::ids::{TenantId, UserId};
use crate::domain::permission::{self, Action, Actor, Scope, Subject};
use crate::domain::units::Timestamp;

/// One snapshot of a tenant's rows. The repositories are reached from it.
#[derive(Debug)]
pub struct Reader<'c> {
    connection: &'c Connection,
    tenant: TenantId,
    now: Timestamp,
    actor: Option<Actor>,
}

impl<'c> Reader<'c> {
    pub(super) const fn new(connection: &'c Connection, tenant: TenantId, now: Timestamp) -> Self {
        Self {
            connection,
            tenant,
            now,
            actor: None,
        }
    }
}

impl Reader<'_> {
    /// The tenant whose rows these are.
    #[must_use]
    pub const fn tenant_id(&self) -> TenantId {
        self.tenant
    }

    /// The time of this transaction.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) const fn connection(&self) -> &Connection {
        self.connection
    }

    /// The same snapshot, seen by `actor`.
    pub(super) const fn seen_by(&self, actor: Actor) -> Self {
        Self {
            connection: self.connection,
            tenant: self.tenant,
            now: self.now,
            actor: Some(actor),
        }
    }

    /// Whom work is done as; `None` for work that needs no user.
    pub(super) const fn actor(&self) -> Option<Actor> {
        self.actor
    }

    /// Whose rows may be read: `None` for everyone's.
    pub(super) fn readable(
        &self,
        subject: Subject,
        doing: &'static str,
    ) -> Result<Option<UserId>, Error> {
        let Some(actor) = self.actor else {
            return Ok(None);
        };
        match permission::scope(actor.role, Action::Read, subject) {
            Scope::All => Ok(None),
            Scope::Own => Ok(Some(actor.id)),
            Scope::None => Err(denied(actor, doing)),
        }
    }

    /// Whether a row of `owner` may be touched.
    pub(super) fn may(
        &self,
        action: Action,
        subject: Subject,
        owner: UserId,
        doing: &'static str,
    ) -> Result<(), Error> {
        match self.actor {
            Some(actor) if !actor.may(action, subject, owner) => Err(denied(actor, doing)),
            _ => Ok(()),
        }
    }

    /// A value of the file's own notes.
    pub(super) fn meta(&self, key: &str) -> Result<Option<String>, Error> {
        meta(self.connection, key)
    }
}

/// A transaction that may write. It reads what a [`Reader`] reads.
#[derive(Debug)]
pub struct Writer<'c> {
    reader: Reader<'c>,
    active: bool,
}

fn denied(actor: Actor, doing: &'static str) -> Error {
    Error::Denied {
        who: actor.role.in_words(),
        action: doing,
    }
}

impl<'c> Deref for Writer<'c> {
    type Target = Reader<'c>;

    fn deref(&self) -> &Self::Target {
        &self.reader
    }
}

impl<'c> Writer<'c> {
    /// `active`: whether the tenant takes rows.
    pub(super) const fn new(reader: Reader<'c>, active: bool) -> Self {
        Self { reader, active }
    }
}

impl<'c> Writer<'c> {
    /// The writer of a transaction that its caller began as IMMEDIATE and ends.
    pub(super) fn within(
        transaction: &'c rusqlite::Transaction<'_>,
        tenant: TenantId,
        now: Timestamp,
    ) -> Self {
        Self::new(Reader::new(transaction, tenant, now), true)
    }
}

impl Writer<'_> {
    /// The same transaction, worked in by `actor`.
    pub(super) const fn worked_by(&self, actor: Actor) -> Self {
        Self {
            reader: self.reader.seen_by(actor),
            active: self.active,
        }
    }

    /// The connection, to change the tenant's rows with: not where the tenant is inactive. Bookkeeping goes on there,
    /// so that what was recorded before still reaches the central database.
    pub(super) const fn rows(&self, doing: &'static str) -> Result<&Connection, Error> {
        if self.active {
            Ok(self.reader.connection)
        } else {
            Err(Error::Denied {
                who: "an inactive tenant",
                action: doing,
            })
        }
    }

    /// Does work that is undone alone where it fails or panics; what was done before it in this transaction stays.
    ///
    /// ```
    /// # use millpond::store::{Error, TenantStore};
    /// # use millpond::domain::session::Session;
    /// # fn f(tenant: &TenantStore, sessions: &[Session]) -> Result<(), Error> {
    /// tenant.write(|w| {
    ///     for session in sessions {
    ///         // One that is refused leaves the others.
    ///         let _ = w.nested(|w| w.sessions().insert(session));
    ///     }
    ///     Ok(())
    /// })
    /// # }
    /// ```
    ///
    /// # Errors
    /// What the work returns.
    pub fn nested<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut savepoint = Savepoint::begin(self.connection())?;
        let done = work(self)?;
        savepoint.release()?;
        Ok(done)
    }

    pub(super) fn set_meta(&self, key: &str, value: &str) -> Result<(), Error> {
        set_meta(self.connection(), key, value)
    }

    pub(super) fn remove_meta(&self, key: &str) -> Result<(), Error> {
        self.connection()
            .execute("DELETE FROM meta WHERE key = ?1", [key])
            .map(drop)
            .map_err(error::query("remove a note"))
    }
}

/// A savepoint that is rolled back unless it is released. SQLite means the innermost one of a name.
struct Savepoint<'c> {
    connection: &'c Connection,
    open: bool,
}

impl<'c> Savepoint<'c> {
    fn begin(connection: &'c Connection) -> Result<Self, Error> {
        connection
            .execute_batch("SAVEPOINT nested")
            .map_err(error::query("begin nested work"))?;
        Ok(Self {
            connection,
            open: true,
        })
    }

    fn release(&mut self) -> Result<(), Error> {
        self.connection
            .execute_batch("RELEASE nested")
            .map_err(error::query("end nested work"))?;
        self.open = false;
        Ok(())
    }
}

impl Drop for Savepoint<'_> {
    fn drop(&mut self) {
        if self.open
            && let Err(source) = self
                .connection
                .execute_batch("ROLLBACK TO nested; RELEASE nested")
        {
            // SQLite has rolled the whole transaction back already, as after a full disk: its commit will fail.
            tracing::warn!(error = %source, "nested work could not be rolled back alone");
        }
    }
}

pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<String>, Error> {
    connection
        .prepare_cached("SELECT value FROM meta WHERE key = ?1")
        .and_then(|mut statement| statement.query_row([key], |row| row.get(0)).optional())
        .map_err(error::query("read a note"))
}

pub(super) fn set_meta(connection: &Connection, key: &str, value: &str) -> Result<(), Error> {
    connection
        .execute(
            "INSERT INTO meta (key, value) VALUES (?1, ?2)
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [key, value],
        )
        .map(drop)
        .map_err(error::query("write a note"))
}
