//! Connections to tenants' files, kept only while they are used.
//!
//! Invariants: one scheduler thread for all pools; no connection is opened ahead of need, and an idle one is closed
//! after 30 s; pools of the 16 tenants used last are kept, so that a thousand tenants at rest cost none.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use r2d2_sqlite::SqliteConnectionManager;
use rusqlite::Connection;
use scheduled_thread_pool::ScheduledThreadPool;

use super::connection::{self, Use};
use super::error::Error;
use super::queue::WriteQueue;
use super::tenant;
use crate::domain::ids::TenantId;

/// One tenant's connections, and its writers' queue.
#[derive(Debug)]
pub(super) struct TenantPool {
    /// The connections.
    pub(super) connections: r2d2::Pool<SqliteConnectionManager>,
    /// Whose turn it is to write.
    pub(super) writers: WriteQueue,
}

/// Bounds the file handles of a process that goes through all tenants.
const OPEN_TENANTS: usize = 16;
/// One writer and a few readers: SQLite takes one writer at a time.
const CONNECTIONS_PER_TENANT: u32 = 8;

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
    pub(super) fn open(&self, id: TenantId, path: &Path) -> Result<Arc<TenantPool>, Error> {
        if let Some(pool) = self.take_recent(id) {
            return Ok(pool);
        }
        drop(tenant::open_checked(path, id, Use::Ordinary)?);
        let manager = SqliteConnectionManager::file(path)
            .with_flags(connection::FLAGS)
            .with_init(|connection: &mut Connection| {
                connection::configure(connection, Use::Ordinary)
            });
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
            .build(manager)
            .map_err(|source| Error::Pool { source })?;
        let pool = Arc::new(TenantPool {
            connections: pool,
            writers: WriteQueue::default(),
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

    fn take_recent(&self, id: TenantId) -> Option<Arc<TenantPool>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let at = recent.iter().position(|(of, _)| *of == id)?;
        let entry = recent.remove(at)?;
        let pool = Arc::clone(&entry.1);
        recent.push_back(entry);
        Some(pool)
    }
}
