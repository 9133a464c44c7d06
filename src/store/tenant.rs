//! One tenant's file: who may read it, and who may write.
//!
//! Invariants: a [`Reader`] sees one snapshot; a [`Writer`] exists only inside an IMMEDIATE transaction, which is
//! committed when the work succeeds and rolled back when it fails or panics; a transaction carries its own `now`.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior};
use uuid::Uuid;

use super::connection::{self, Access, FileKind, Schema, Use};
use super::error::{self, Error};
use super::home::Home;
use super::migrate;
use super::pool::Pool;
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
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Clone)]
enum Connections {
    Pool(Arc<Pool>),
    Single(Arc<Mutex<Connection>>),
}

impl TenantStore {
    pub(super) fn new(
        tenant: Tenant,
        path: PathBuf,
        pool: Arc<Pool>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            tenant,
            path,
            connections: Connections::Pool(pool),
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
            clock,
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
        let size = |path: &Path| match std::fs::metadata(path) {
            Ok(about) => Ok(about.len()),
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(Error::File {
                action: "measure",
                path: path.to_owned(),
                source,
            }),
        };
        Ok(size(&self.path)? + size(&self.path.with_extension("db-wal"))?)
    }

    /// Reads one snapshot of the tenant's rows.
    ///
    /// # Errors
    /// [`Error::Pool`] where no connection became free within 5 s, [`Error::WrongTenant`] where the file was replaced
    /// by another tenant's, and what the work returns.
    pub fn read<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&Reader<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.with_connection(|connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Deferred)
                .map_err(error::query("begin to read"))?;
            work(&Reader {
                connection: &transaction,
                tenant: self.tenant.id,
                now: self.clock.now(),
            })
        })
    }

    /// Writes in one transaction: all of the work or none of it.
    ///
    /// # Errors
    /// [`Error::Busy`] where another process wrote for more than 5 s, those of [`TenantStore::read`], and what the
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
        self.with_connection(|connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(error::query("begin to write"))?;
            let done = {
                let reader = Reader {
                    connection: &transaction,
                    tenant: self.tenant.id,
                    now: now.unwrap_or_else(|| self.clock.now()),
                };
                work(&Writer { reader })?
            };
            commit(transaction)?;
            Ok(done)
        })
    }

    fn with_connection<T, E: From<Error>>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        match &self.connections {
            Connections::Pool(pool) => {
                let mut opened = pool.get().map_err(|source| Error::Pool { source })?;
                work(opened.ready()?)
            }
            Connections::Single(connection) => {
                work(&mut connection.lock().unwrap_or_else(PoisonError::into_inner))
            }
        }
    }
}

fn commit(transaction: Transaction<'_>) -> Result<(), Error> {
    transaction.commit().map_err(error::query("commit"))
}

/// One snapshot of a tenant's rows. The repositories are reached from it.
#[derive(Debug)]
pub struct Reader<'c> {
    connection: &'c Connection,
    tenant: TenantId,
    now: Timestamp,
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

    /// A value of the file's own notes.
    pub(super) fn meta(&self, key: &str) -> Result<Option<String>, Error> {
        meta(self.connection, key)
    }
}

/// A transaction that may write. It reads what a [`Reader`] reads.
#[derive(Debug)]
pub struct Writer<'c> {
    reader: Reader<'c>,
}

impl<'c> Deref for Writer<'c> {
    type Target = Reader<'c>;

    fn deref(&self) -> &Self::Target {
        &self.reader
    }
}

impl<'c> Writer<'c> {
    /// The writer of a transaction that its caller began as IMMEDIATE and ends.
    pub(super) fn within(
        transaction: &'c Transaction<'_>,
        tenant: TenantId,
        now: Timestamp,
    ) -> Self {
        Self {
            reader: Reader {
                connection: transaction,
                tenant,
                now,
            },
        }
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

fn meta(connection: &Connection, key: &str) -> Result<Option<String>, Error> {
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

/// The key of the tenant's id in the file's own notes.
pub(super) const TENANT_ID: &str = "tenant_id";

/// Makes a tenant's file: schema, the tenant's id, and an id of the file itself.
pub(super) fn create_file(home: &Home, directory: Uuid, id: TenantId) -> Result<(), Error> {
    let path = home.tenant_file(directory);
    let mut connection = connection::open(&path, Access::Create, Use::Ordinary)?;
    let lock = home.tenant_lock(directory, "migrate");
    migrate::up_to_date(&mut connection, &path, &lock, FileKind::Tenant)?;
    set_meta(&connection, TENANT_ID, &id.to_string())?;
    // Names this file and no copy of it: how a restored or cloned file is told from the one that synchronised.
    set_meta(&connection, "file_id", &Uuid::new_v4().to_string())
}

/// Opens a tenant's file, checks that it is this tenant's, and brings its schema up to date.
pub(super) fn open_checked(path: &Path, id: TenantId, usage: Use) -> Result<Connection, Error> {
    open_any_of(path, &[id], usage)
}

/// Opens a tenant's file that may have one of several ids: a re-keying may be under way.
pub(super) fn open_any_of(path: &Path, ids: &[TenantId], usage: Use) -> Result<Connection, Error> {
    let mut connection = connection::open(path, Access::Existing, usage)?;
    let kind = FileKind::Tenant;
    // Whose it is comes first: another tenant's file is left as it is.
    let own = match connection::check_header(&connection, path, kind, kind.latest())? {
        Schema::Empty => None,
        Schema::Older(_) | Schema::Current => meta(&connection, TENANT_ID)?,
    };
    if !own.is_some_and(|own| ids.iter().any(|id| own == id.to_string())) {
        return Err(Error::WrongTenant {
            path: path.to_owned(),
        });
    }
    let lock = path.with_file_name("migrate.lock");
    migrate::up_to_date(&mut connection, path, &lock, kind)?;
    Ok(connection)
}
