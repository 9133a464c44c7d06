//! A program's own statements, each in a transaction of its own and as a role that reaches one tenant.
//!
//! Purpose: carries statements that somebody else wrote and checked (`millpond::legacy`). Depends on [`super::pool`].
//! Invariants: a statement is one unnamed statement of the extended protocol, which takes no second one; role,
//! `search_path` and time limit are set for the transaction alone (`SET LOCAL`), so that nothing of one tenant stays
//! on a connection; whoever asks for no tenant gets a role that reads the list of tenants and nothing else; at most
//! [`ROWS_MAX`] rows are returned.
//!
//! What locks and what guards: the role is the server's own lock, and holds whatever the statement says, as far as the
//! login cannot become another role inside one statement. A login that is a member of one tenant's program role and of
//! nothing else cannot. An administrator's can (by `set_config`), so that there the caller's check of the statement is
//! what stands before it.

use std::pin::pin;

use futures_util::TryStreamExt as _;
use tokio_postgres::Row;
use uuid::Uuid;

use super::answer::{self, Answer};
use super::connect::{Connection, Params};
use super::endpoint::Endpoint;
use super::names::{REGISTRY, program_role, quote_ident};
use super::pool::{ConnectionPool, PoolLimits};
use crate::fault::{Fault, RemoteError};

/// Rows that one statement may return: an answer is held in memory.
pub const ROWS_MAX: usize = 100_000;

/// The action of an error that came before the statement: the role is not there, or not the login's to become.
pub const BEGIN: &str = "work in a tenant";

/// What a statement may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read: the server refuses a write.
    Read,
    /// Read and write.
    Write,
}

/// The central database, as a program works in it. Cloning costs a counter.
#[derive(Debug, Clone)]
pub struct Programs {
    pool: ConnectionPool,
}

/// A statement, and what follows it in the same transaction without parameters.
#[derive(Debug, Clone, Copy)]
pub struct Work<'a> {
    /// The statement, its names qualified with their schema.
    pub sql: &'a str,
    /// Its parameters, from `$1`.
    pub params: &'a [answer::Value],
    /// Run after it where it touched a row.
    pub then: Option<&'a str>,
}

impl Programs {
    /// Makes the pool; connects to nothing yet.
    ///
    /// # Errors
    /// [`Fault::Systemic`] where it cannot be made.
    pub fn new(endpoint: &Endpoint, limits: PoolLimits) -> Result<Self, RemoteError> {
        let pool = ConnectionPool::new(endpoint, limits)?;
        Ok(Self { pool })
    }

    /// Opens the connections that are to be there ahead of need.
    ///
    /// # Errors
    /// Those of connecting.
    pub async fn warm(&self) -> Result<(), RemoteError> {
        self.pool.warm().await
    }

    /// Runs one statement: in a tenant, or with `None` over the list of tenants.
    ///
    /// # Errors
    /// 42501 or 22023 (a role that is not there) in `sqlstate` where the login may not become the role; 57014 where the
    /// statement ran for longer than it may; what else the server says.
    pub async fn run(
        &self,
        tenant: Option<Uuid>,
        access: Access,
        work: Work<'_>,
    ) -> Result<Answer, RemoteError> {
        let lease = self.pool.get().await?;
        let done = self.transaction(lease.connection()?, tenant, access, work);
        match done.await {
            Ok(answer) => {
                drop(lease.into_pool());
                Ok(answer)
            }
            Err(error) => {
                // Back in the pool only where the server has said that nothing is open any more.
                let ended = lease.connection()?.batch("roll back", "ROLLBACK").await;
                if ended.is_ok() {
                    drop(lease.into_pool());
                }
                Err(error)
            }
        }
    }

    async fn transaction(
        &self,
        connection: &Connection,
        tenant: Option<Uuid>,
        access: Access,
        work: Work<'_>,
    ) -> Result<Answer, RemoteError> {
        let role = tenant.map_or_else(|| REGISTRY.to_owned(), program_role);
        let begin = format!(
            "BEGIN {}; SET LOCAL ROLE {}; SET LOCAL search_path = pg_catalog, pg_temp; \
             SET LOCAL statement_timeout = {}",
            match access {
                Access::Read => "READ ONLY",
                Access::Write => "READ WRITE",
            },
            quote_ident(&role),
            self.pool
                .limits()
                .query_timeout
                .as_millis()
                .clamp(1, 86_400_000)
        );
        connection.batch(BEGIN, &begin).await?;
        let params: Vec<_> = work.params.iter().map(answer::parameter).collect();
        let answer = bounded(connection, work.sql, &params).await?;
        if let Some(then) = work.then.filter(|_| answer.affected > 0) {
            connection.execute("run a statement", then, &[]).await?;
        }
        connection.batch("commit", "COMMIT").await?;
        Ok(answer)
    }
}

/// Runs a statement and reads its rows, as many as may be.
async fn bounded(
    connection: &Connection,
    sql: &str,
    params: &Params<'_>,
) -> Result<Answer, RemoteError> {
    const ACTION: &str = "run a statement";
    connection
        .limited(ACTION, async {
            let rows = connection.raw(sql, params).await?;
            let mut rows = pin!(rows);
            let mut kept: Vec<Row> = Vec::new();
            while let Some(row) = rows.try_next().await? {
                if kept.len() == ROWS_MAX {
                    return Ok(Err(RemoteError::new(
                        ACTION,
                        Fault::Unclear,
                        format!("it returns more than {ROWS_MAX} rows: add a LIMIT"),
                    )));
                }
                kept.push(row);
            }
            Ok(Ok((kept, rows.rows_affected().unwrap_or(0))))
        })
        .await?
        .and_then(|(rows, affected)| answer::read(&rows, affected))
}
