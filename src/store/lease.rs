//! A tenant's connections, and how long work may wait for one and run on it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use r2d2::PooledConnection;
use rusqlite::Connection;

use super::error::{self, Error};
use super::pool::{Opening, TenantPool};
use super::queue::Turn;
use super::watch::{Line, Probe};

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
        self.work(timeouts, true, work)
    }

    /// Reads with a connection, counting nothing: for what looks at the counts.
    pub(super) fn look<T, E: From<Error>>(
        &self,
        timeouts: Timeouts,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        self.work(timeouts, false, work)
    }

    fn work<T, E: From<Error>>(
        &self,
        timeouts: Timeouts,
        watching: bool,
        work: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        match self {
            Self::Pool(pool) => {
                let mut opened = lease(pool, timeouts.wait)?;
                let connection = opened.ready()?;
                let probe = watching
                    .then(|| Probe::attach(connection, &pool.watched))
                    .flatten();
                let done = limited(connection, timeouts, work);
                if let Some(probe) = probe {
                    probe.done(done.is_err());
                }
                done
            }
            // A hook's: what its caller waits for is not watched.
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
            Self::Pool(pool) => Some(turn(pool, timeouts.wait)?),
            Self::Single(_) => None,
        };
        self.read(timeouts, work)
    }
}

/// A connection of the tenant's, and whether one had to be waited for.
fn lease(pool: &TenantPool, wait: Duration) -> Result<PooledConnection<Opening>, Error> {
    if let Some(idle) = pool.connections.try_get() {
        return Ok(idle);
    }
    // Opening one more is no waiting for others.
    let waits = pool.is_exhausted();
    let begun = Instant::now();
    let lease = pool.connections.get_timeout(wait);
    if waits {
        pool.watched
            .waited(Line::Connection, begun.elapsed(), lease.is_err());
    }
    lease.map_err(|source| Error::Pool { source })
}

/// A turn to write, and whether it had to be waited for.
fn turn(pool: &TenantPool, wait: Duration) -> Result<Turn<'_>, Error> {
    let begun = Instant::now();
    let turn = pool.writers.wait(wait);
    if turn.as_ref().map_or(true, Turn::waited) {
        pool.watched
            .waited(Line::Writer, begun.elapsed(), turn.is_err());
    }
    turn
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
