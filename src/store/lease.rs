//! A tenant's connections, and how long work may wait for one and run on it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::error::{self, Error};
use super::pool::TenantPool;

/// How long work may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// How long work waits for a connection, for its turn to write, and for another process to finish writing: each
    /// at most so long.
    pub wait: Duration,
    /// How long work may run once it has begun: a statement that is still running then is interrupted, and the
    /// transaction is rolled back. `None`: as long as it takes. Time between statements counts, but ends nothing.
    pub run: Option<Duration>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            wait: Duration::from_secs(5),
            run: None,
        }
    }
}

/// How often a running statement is looked at: some 10 µs of work.
const STEPS: i32 = 1_000;

/// Where a handle's connections come from.
#[derive(Debug, Clone)]
pub(super) enum Connections {
    /// Shared with all handles of the tenant in this process.
    Pool(Arc<TenantPool>),
    /// This handle's own.
    Single(Arc<Mutex<Connection>>),
}

impl Connections {
    /// Reads with a connection.
    pub(super) fn read<T, E: From<Error>>(
        &self,
        timeouts: Timeouts,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Self::Pool(pool) => {
                let lease = pool.connections.get_timeout(timeouts.wait);
                let mut opened = lease.map_err(|source| Error::Pool { source })?;
                limited(opened.ready()?, timeouts, work)
            }
            Self::Single(connection) => limited(
                &connection.lock().unwrap_or_else(PoisonError::into_inner),
                timeouts,
                work,
            ),
        }
    }

    /// Writes with a connection, when it is this writer's turn.
    pub(super) fn write<T, E: From<Error>>(
        &self,
        timeouts: Timeouts,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let _turn = match self {
            Self::Pool(pool) => Some(pool.writers.wait(timeouts.wait)?),
            Self::Single(_) => None,
        };
        self.read(timeouts, work)
    }
}

/// Does work on a connection within its time.
fn limited<T, E: From<Error>>(
    connection: &Connection,
    timeouts: Timeouts,
    work: impl FnOnce(&Connection) -> Result<T, E>,
) -> Result<T, E> {
    const ACTION: &str = "limit the time";
    connection
        .busy_timeout(timeouts.wait)
        .map_err(error::query(ACTION))?;
    let Some(run) = timeouts.run else {
        return work(connection);
    };
    let begun = Instant::now();
    connection
        .progress_handler(STEPS, Some(move || begun.elapsed() > run))
        .map_err(error::query(ACTION))?;
    let _unlimited = Unlimited(connection);
    work(connection)
}

/// Takes the limit off again: the connection goes back to others.
struct Unlimited<'c>(&'c Connection);

impl Drop for Unlimited<'_> {
    fn drop(&mut self) {
        if let Err(source) = self.0.progress_handler(0, None::<fn() -> bool>) {
            tracing::warn!(error = %source, "a connection keeps a limit of time");
        }
    }
}
