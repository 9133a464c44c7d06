//! Connections to tenants' files, kept only while they are used.
//!
//! Invariants: every connection is checked when it is opened, header and tenant, so that a file that was replaced under
//! a running process is refused and not read; one scheduler thread for all pools; no connection is opened ahead of
//! need, and an idle one is closed after 30 s; pools of the 16 tenants used last are kept, so that a thousand tenants at
//! rest cost none.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use r2d2::ManageConnection;
use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;
use scheduled_thread_pool::ScheduledThreadPool;

use super::connection::{self, Use};
use super::error::Error;
use super::migrations::Migrations;
use super::queue::WriteQueue;
use super::tenant;
use super::watch::{PoolState, Watch, Watched};
use crate::domain::ids::TenantId;

/// One tenant's connections, and its writers' queue.
#[derive(Debug)]
pub(super) struct TenantPool {
    /// The connections.
    pub(super) connections: r2d2::Pool<Opening>,
    /// Whose turn it is to write.
    pub(super) writers: WriteQueue,
    /// Counts what is done with them.
    pub(super) watched: Watched,
}

impl TenantPool {
    /// Whether every connection that there may be is at work.
    pub(super) fn is_exhausted(&self) -> bool {
        let state = self.connections.state();
        state.idle_connections == 0 && state.connections >= CONNECTIONS_PER_TENANT
    }
}

/// Bounds the file handles of a process that goes through all tenants.
const OPEN_TENANTS: usize = 16;
/// One writer and a few readers: SQLite takes one writer at a time.
const CONNECTIONS_PER_TENANT: u32 = 8;

/// Opens one tenant's connections.
#[derive(Debug)]
pub(crate) struct Opening {
    id: TenantId,
    path: PathBuf,
    manager: SqliteConnectionManager,
    migrations: Migrations,
}

/// What opening came to. r2d2 repeats an opening that failed until its time is up, and then tells no cause: a failure
/// is handed out in a connection's place instead, so that whoever asked learns it at once.
#[derive(Debug)]
pub(crate) enum Opened {
    /// A connection to the tenant's own file.
    Ready(Connection),
    /// Why there is none; taken by whoever asked.
    Failed(Option<Error>),
}

impl Opened {
    /// The connection.
    pub(crate) fn ready(&mut self) -> Result<&mut Connection, Error> {
        match self {
            Self::Ready(connection) => Ok(connection),
            // Told already: the pool drops what failed when it is given back.
            Self::Failed(error) => Err(error.take().unwrap_or(Error::Busy {
                action: "open the tenant's file",
            })),
        }
    }
}

impl Opening {
    fn new(id: TenantId, path: &Path, migrations: Migrations) -> Self {
        let manager = SqliteConnectionManager::file(path)
            .with_flags(connection::FLAGS)
            .with_init(|opened: &mut Connection| connection::configure(opened, Use::Ordinary));
        Self {
            id,
            path: path.to_owned(),
            manager,
            migrations,
        }
    }

    fn open(&self) -> Result<Connection, Error> {
        let connection = self
            .manager
            .connect()
            .map_err(|source| connection::unopened(&self.path, source))?;
        tenant::checked(connection, &self.path, &[self.id], &self.migrations)
    }
}

impl ManageConnection for Opening {
    type Connection = Opened;
    type Error = Error;

    fn connect(&self) -> Result<Opened, Error> {
        Ok(match self.open() {
            Ok(connection) => Opened::Ready(connection),
            Err(error) => Opened::Failed(Some(error)),
        })
    }

    fn is_valid(&self, opened: &mut Opened) -> Result<(), Error> {
        opened.ready().map(drop)
    }

    fn has_broken(&self, opened: &mut Opened) -> bool {
        matches!(opened, Opened::Failed(_))
    }
}

/// The pools of the tenants that were used last, the latest at the back.
#[derive(Default)]
pub(crate) struct Pools {
    recent: Mutex<VecDeque<(TenantId, Arc<TenantPool>)>>,
    scheduler: OnceLock<Arc<ScheduledThreadPool>>,
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Pools").finish_non_exhaustive()
    }
}

impl Pools {
    /// The tenant's pool; the first time, the file is opened once to check it and bring its schema up to date.
    pub(super) fn open(
        &self,
        id: TenantId,
        path: &Path,
        migrations: &Migrations,
        watch: &Arc<Watch>,
    ) -> Result<Arc<TenantPool>, Error> {
        if let Some(pool) = self.take_recent(id) {
            return Ok(pool);
        }
        drop(tenant::open_checked(path, id, Use::Ordinary, migrations)?);
        let scheduler = self
            .scheduler
            .get_or_init(|| Arc::new(ScheduledThreadPool::new(1)));
        let pool = r2d2::Pool::builder()
            .max_size(CONNECTIONS_PER_TENANT)
            .min_idle(Some(0))
            .idle_timeout(Some(Duration::from_secs(30)))
            .connection_timeout(Duration::from_secs(5))
            .test_on_check_out(false)
            .thread_pool(Arc::clone(scheduler))
            .build(Opening::new(id, path, migrations.clone()))
            .map_err(|source| Error::Pool { source })?;
        let pool = Arc::new(TenantPool {
            connections: pool,
            writers: WriteQueue::default(),
            watched: Watched::new(Arc::clone(watch), id),
        });
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have opened it meanwhile: its writers and ours have to stand in one queue.
        if let Some((_, first)) = recent.iter().find(|(of, _)| *of == id) {
            return Ok(Arc::clone(first));
        }
        recent.push_back((id, Arc::clone(&pool)));
        if recent.len() > OPEN_TENANTS {
            recent.pop_front();
        }
        Ok(pool)
    }

    /// Forgets a tenant's pool: its file is about to be replaced or its id to change.
    pub(crate) fn forget(&self, id: TenantId) {
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(of, _)| *of != id);
    }

    /// The connections of each tenant whose pool is kept.
    pub(super) fn states(&self) -> Vec<(TenantId, PoolState)> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent
            .iter()
            .map(|(id, pool)| {
                let state = pool.connections.state();
                let counted = PoolState {
                    open: state.connections,
                    idle: state.idle_connections,
                };
                (*id, counted)
            })
            .collect()
    }

    fn take_recent(&self, id: TenantId) -> Option<Arc<TenantPool>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = recent.iter().position(|(of, _)| *of == id)?;
        let entry = recent.remove(at)?;
        let pool = Arc::clone(&entry.1);
        recent.push_back(entry);
        Some(pool)
    }
}
