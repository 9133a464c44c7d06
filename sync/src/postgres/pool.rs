//! Connections to one server as one login, kept for the next caller.
//!
//! Purpose: what a program that works centrally takes its connections from. Depends on [`super::connect`].
//! Invariants: at most `max` connections; whoever waits longer than `timeout` for one is told so; a connection whose
//! transaction did not end is closed and never handed on; nothing about it is remembered but that it is open, so that
//! a transaction-pooling `PgBouncer` may stand between.

use std::time::Duration;

use deadpool::managed::{Manager, Metrics, Object, Pool, PoolError, RecycleError, RecycleResult};
use deadpool::{Runtime, managed};

use super::connect::{Connection, connect};
use super::endpoint::Endpoint;
use crate::fault::{Fault, RemoteError};

/// How many connections, and how long to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Connections that are opened ahead of need. They are not replaced when the server closes them.
    pub min: usize,
    /// Connections at most: at least 1.
    pub max: usize,
    /// Longest wait for a free connection.
    pub timeout: Duration,
    /// Longest run of one statement: the server cancels it then. This side gives up 2 s later, in case the server does
    /// not answer.
    pub query_timeout: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            min: 0,
            max: 10,
            timeout: Duration::from_secs(10),
            query_timeout: Duration::from_secs(30),
        }
    }
}

/// How much longer this side waits than the server may take.
const GRACE: Duration = Duration::from_secs(2);

/// Connections of one login. Cloning costs a counter.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionPool {
    pool: Pool<Opening>,
    limits: PoolLimits,
}

#[derive(Debug)]
struct Opening {
    endpoint: Endpoint,
    limit: Duration,
}

impl Manager for Opening {
    type Type = Connection;
    type Error = RemoteError;

    async fn create(&self) -> Result<Connection, RemoteError> {
        connect(&self.endpoint, self.limit).await
    }

    async fn recycle(
        &self,
        connection: &mut Connection,
        _: &Metrics,
    ) -> RecycleResult<RemoteError> {
        if connection.is_closed() {
            return Err(RecycleError::message("the connection has ended"));
        }
        Ok(())
    }
}

impl ConnectionPool {
    /// Makes a pool; connects to nothing yet.
    pub(crate) fn new(endpoint: &Endpoint, limits: PoolLimits) -> Result<Self, RemoteError> {
        let opening = Opening {
            endpoint: endpoint.clone(),
            limit: limits.query_timeout.saturating_add(GRACE),
        };
        let timeouts = managed::Timeouts {
            wait: Some(limits.timeout),
            // Connecting and checking have limits of their own.
            create: None,
            recycle: None,
        };
        let pool = Pool::builder(opening)
            .max_size(limits.max.max(1))
            .timeouts(timeouts)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|source| RemoteError {
                source: Some(Box::new(source)),
                ..RemoteError::new(ACTION, Fault::Systemic, "the pool cannot be made")
            })?;
        Ok(Self { pool, limits })
    }

    pub(crate) const fn limits(&self) -> PoolLimits {
        self.limits
    }

    /// Opens the connections that are to be there ahead of need; the first failure is told.
    pub(crate) async fn warm(&self) -> Result<(), RemoteError> {
        let wanted = self.limits.min.min(self.limits.max);
        let mut held = Vec::with_capacity(wanted);
        while held.len() < wanted {
            held.push(self.get().await?.into_pool());
        }
        Ok(())
    }

    /// A connection, for one transaction.
    pub(crate) async fn get(&self) -> Result<Lease, RemoteError> {
        match self.pool.get().await {
            Ok(object) => Ok(Lease(Some(object))),
            Err(PoolError::Backend(error)) => Err(error),
            Err(PoolError::Timeout(_)) => Err(RemoteError::new(
                ACTION,
                Fault::Transient,
                "no connection became free in time (DATABASE_POOL_MAX, DATABASE_POOL_TIMEOUT_MS)",
            )),
            Err(other) => Err(RemoteError {
                source: Some(Box::new(other)),
                ..RemoteError::new(ACTION, Fault::Systemic, "the pool gave no connection")
            }),
        }
    }
}

const ACTION: &str = "take a connection";

/// A connection that goes back to the pool only by [`Lease::into_pool`]: where the work is dropped in between, its
/// transaction is in an unknown state, and the connection is closed.
#[derive(Debug)]
pub(crate) struct Lease(Option<Object<Opening>>);

impl Lease {
    /// The connection.
    pub(crate) fn connection(&self) -> Result<&Connection, RemoteError> {
        self.0.as_deref().ok_or_else(|| {
            RemoteError::new(ACTION, Fault::Systemic, "the connection was given back")
        })
    }

    /// Takes it out of the lease: dropped, it is back in the pool.
    pub(crate) fn into_pool(mut self) -> Option<impl Drop> {
        self.0.take()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}
