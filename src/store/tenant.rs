//! One tenant's file: who may read it, and who may write.
//!
//! Invariants: a [`Reader`] sees one snapshot; a [`Writer`] exists only inside an IMMEDIATE transaction, which is
//! committed when the work succeeds and rolled back when it fails or panics.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::connection::{self, Access, FileKind, Schema, Use};
use super::error::{self, Error};
use super::home::Home;
use super::lease::{Connections, Timeouts};
use super::migrate;
use super::migrations::Migrations;
use super::pool::TenantPool;
pub use super::transaction::{Reader, Writer};
use super::transaction::{meta, set_meta};
use crate::clock::Clock;
use crate::domain::ids::TenantId;
use crate::domain::tenant::Tenant;
use crate::domain::units::Timestamp;

/// The handle of one tenant: every read and write goes through one, and no other tenant's rows can be reached by it.
///
/// Writing needs a [`Writer`], and a Reader is none:
/// ```compile_fail,E0599
/// # fn f(tenant: &millpond::store::TenantStore, session: &millpond::domain::session::Session) {
/// tenant.read(|r| r.sessions().record(session)).unwrap();
/// # }
/// ```
/// and there is no query without a tenant:
/// ```compile_fail,E0599
/// # fn f(store: &millpond::store::Store) {
/// store.read(|r| r.sessions().count()).unwrap();
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct TenantStore {
    tenant: Tenant,
    path: PathBuf,
    connections: Connections,
    timeouts: Timeouts,
    clock: Arc<dyn Clock>,
}

/// The tool that called a hook waits too: an event that cannot be written at once goes to the spool.
const HOOK: Timeouts = Timeouts {
    wait: Duration::from_millis(250),
    run: None,
};

impl TenantStore {
    pub(super) fn new(
        tenant: Tenant,
        path: PathBuf,
        pool: Arc<TenantPool>,
        timeouts: Timeouts,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            tenant,
            path,
            connections: Connections::Pool(pool),
            timeouts,
            clock,
        }
    }

    /// A handle with one connection and no pool: for a process that writes once and ends.
    pub(super) fn single(
        tenant: Tenant,
        path: PathBuf,
        connection: Connection,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let connections = Connections::Single(Arc::new(Mutex::new(connection)));
        Self {
            tenant,
            path,
            connections,
            timeouts: HOOK,
            clock,
        }
    }

    /// The same handle, whose work waits and runs so long.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millpond::store::{Error, TenantStore, Timeouts};
    /// # fn f(tenant: &TenantStore) -> Result<(), Error> {
    /// let hasty = Timeouts { wait: Duration::from_millis(100), run: Some(Duration::from_secs(1)) };
    /// let count = tenant.with_timeouts(hasty).read(|r| r.sessions().count())?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn with_timeouts(&self, timeouts: Timeouts) -> Self {
        Self {
            timeouts,
            ..self.clone()
        }
    }

    /// The tenant whose rows these are.
    #[must_use]
    pub const fn tenant(&self) -> &Tenant {
        &self.tenant
    }

    /// The tenant's SQLite file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The size of the tenant's file and its log, in bytes.
    ///
    /// # Errors
    /// What the file system says.
    pub fn size_bytes(&self) -> Result<u64, Error> {
        Ok(size(&self.path)? + self.log_bytes()?)
    }

    /// The size of the write-ahead log alone, in bytes.
    pub(super) fn log_bytes(&self) -> Result<u64, Error> {
        size(&self.path.with_extension("db-wal"))
    }

    /// Reads one snapshot of the tenant's rows.
    ///
    /// # Errors
    /// [`Error::Pool`] where no connection became free in time, [`Error::WrongTenant`] where the file was replaced by
    /// another tenant's, [`Error::TimedOut`], and what the work returns.
    pub fn read<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Reader<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.connections
            .read(self.timeouts, |connection| self.snapshot(connection, work))
    }

    /// Reads as [`TenantStore::read`] does, unwatched.
    pub(super) fn look<T>(
        &self,
        work: impl FnOnce(&Reader<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.connections
            .look(self.timeouts, |connection| self.snapshot(connection, work))
    }

    fn snapshot<T, E: From<Error>>(
        &self,
        connection: &Connection,
        work: impl FnOnce(&Reader<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)
            .map_err(error::query("begin to read"))?;
        work(&Reader::new(&transaction, self.tenant.id, self.clock.now()))
    }

    /// Writes in one transaction: all of the work or none of it. Writers of this process take turns, in order of
    /// arrival; one that waits for its own work to write, by this handle or another, waits for itself.
    ///
    /// # Errors
    /// [`Error::Busy`] where others wrote for longer than this work waits, those of [`TenantStore::read`], and what the
    /// work returns.
    pub fn write<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Writer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.write_as_of(None, work)
    }

    /// Writes as [`TenantStore::write`] does, in a transaction whose `now` is given: for data that has to come out
    /// the same whenever it is made.
    pub(crate) fn write_as_of<T, E: From<Error>>(
        &self,
        now: Option<Timestamp>,
        work: impl FnOnce(&Writer<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.connections.write(self.timeouts, |connection| {
            let transaction =
                Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
                    .map_err(error::query("begin to write"))?;
            let done = {
                let now = now.unwrap_or_else(|| self.clock.now());
                let reader = Reader::new(&transaction, self.tenant.id, now);
                work(&Writer::new(reader, self.tenant.is_active))?
            };
            commit(transaction)?;
            Ok(done)
        })
    }
}

/// The size of a file; 0 where there is none.
fn size(path: &Path) -> Result<u64, Error> {
    match std::fs::metadata(path) {
        Ok(about) => Ok(about.len()),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(Error::File {
            action: "measure",
            path: path.to_owned(),
            source,
        }),
    }
}

fn commit(transaction: Transaction<'_>) -> Result<(), Error> {
    transaction.commit().map_err(error::query("commit"))
}

/// The key of the tenant's id in the file's own notes.
pub(super) const TENANT_ID: &str = "tenant_id";

/// Makes a tenant's file: schema, the tenant's id, and an id of the file itself.
pub(super) fn create_file(
    home: &Home,
    directory: Uuid,
    id: TenantId,
    migrations: &Migrations,
) -> Result<(), Error> {
    let path = home.tenant_file(directory);
    let mut connection = connection::open(&path, Access::Create, Use::Ordinary)?;
    let lock = home.tenant_lock(directory, "migrate");
    migrate::up_to_date(&mut connection, &path, &lock, FileKind::Tenant, migrations)?;
    name_file(&connection, id)
}

/// Writes into a fresh file whose it is, and which one it is.
pub(super) fn name_file(connection: &Connection, id: TenantId) -> Result<(), Error> {
    set_meta(connection, TENANT_ID, &id.to_string())?;
    // Names this file and no copy of it: how a restored or cloned file is told from the one that synchronised.
    set_meta(connection, "file_id", &Uuid::new_v4().to_string())
}

/// Opens a tenant's file, checks that it is this tenant's, and brings its schema up to date.
pub(super) fn open_checked(
    path: &Path,
    id: TenantId,
    usage: Use,
    migrations: &Migrations,
) -> Result<Connection, Error> {
    open_any_of(path, &[id], usage, migrations)
}

/// Opens a tenant's file for a hook. One of an older schema is refused as busy: whoever called waits, and bringing it
/// up copies the whole file.
pub(super) fn open_for_hook(
    path: &Path,
    id: TenantId,
    migrations: &Migrations,
) -> Result<Connection, Error> {
    let kind = FileKind::Tenant;
    let connection = connection::open(path, Access::Existing, Use::Hook)?;
    match connection::check_header(&connection, path, kind, migrations.latest(kind))? {
        Schema::Empty => Err(wrong_tenant(path)),
        Schema::Older(_) => Err(Error::Busy {
            action: "write before the schema is brought up to date",
        }),
        // Its log was switched off by hand: who else opens it switches it on again.
        Schema::Current if !connection::has_wal(&connection, path)? => Err(Error::Busy {
            action: "write before the file has its log again",
        }),
        Schema::Current => {
            check_owner(&connection, path, &[id])?;
            Ok(connection)
        }
    }
}

/// Opens a tenant's file that may have one of several ids: a re-keying may be under way.
pub(super) fn open_any_of(
    path: &Path,
    ids: &[TenantId],
    usage: Use,
    migrations: &Migrations,
) -> Result<Connection, Error> {
    let connection = connection::open(path, Access::Existing, usage)?;
    checked(connection, path, ids, migrations)
}

/// Checks that an open file is one of these tenants', and brings its schema up to date.
pub(super) fn checked(
    mut connection: Connection,
    path: &Path,
    ids: &[TenantId],
    migrations: &Migrations,
) -> Result<Connection, Error> {
    let kind = FileKind::Tenant;
    // Whose it is comes first: another tenant's file is left as it is.
    if connection::check_header(&connection, path, kind, migrations.latest(kind))? == Schema::Empty
    {
        return Err(wrong_tenant(path));
    }
    check_owner(&connection, path, ids)?;
    migrate::up_to_date(&mut connection, path, &migrate_lock(path), kind, migrations)?;
    Ok(connection)
}

/// Checks that a file says that it is one of these tenants'.
pub(super) fn check_owner(
    connection: &Connection,
    path: &Path,
    ids: &[TenantId],
) -> Result<(), Error> {
    match meta(connection, TENANT_ID)? {
        Some(own) if ids.iter().any(|id| own == id.to_string()) => Ok(()),
        _ => Err(wrong_tenant(path)),
    }
}

fn wrong_tenant(path: &Path) -> Error {
    Error::WrongTenant {
        path: path.to_owned(),
    }
}

/// The lock that a migration of a tenant's file is made under.
pub(super) fn migrate_lock(path: &Path) -> PathBuf {
    path.with_file_name("migrate.lock")
}
