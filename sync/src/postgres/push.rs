//! The push: a batch in one transaction, as the device's login.
//!
//! Purpose: [`Remote`] for PostgreSQL. Depends on [`super::connect`], `encode`, `statements`, `bisect` and `tally`.
//! Invariants: the stream's row is moved first and by compare-and-set, so that a batch is applied at most once; every row of
//! the batch ends as applied, same, newer, conflict or reject, told by its own key and never by a count; more than a
//! fifth refused of 50 rows or more is nobody's row's fault, and nothing is kept (a call that is refused with its
//! session counts on neither side); statements are unnamed and
//! settings `LOCAL`, so that a transaction-pooling PgBouncer may stand between; a connection that failed or timed
//! out is dropped, and the next offer makes another.

use std::time::Duration;

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::bisect::{Applier, Attempt};
use super::connect::{Connection, connect, value};
use super::endpoint::Endpoint;
use super::statements::Statements;
use super::tally::Tally;
use crate::change::Batch;
use crate::fault::{Fault, RemoteError};
use crate::port::{Offer, Remote};

const OFFER: &str = "offer batch";

/// Bounds of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PushLimits {
    /// How long the server works on one statement.
    pub statement: Duration,
    /// How long it waits for another transaction's lock, as that of a connection that died unnoticed.
    pub lock: Duration,
    /// How long an offer may wait for its commit before the server gives it up.
    pub idle: Duration,
    /// How long this side waits for one answer; longer than `statement`, so that the server's word comes first.
    pub call: Duration,
}

impl Default for PushLimits {
    fn default() -> Self {
        Self {
            statement: Duration::from_secs(30),
            lock: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            call: Duration::from_secs(40),
        }
    }
}

/// A tenant's schema on a PostgreSQL server, reached as a device.
#[derive(Debug)]
pub struct PostgresRemote {
    endpoint: Endpoint,
    schema_name: String,
    statements: Statements,
    limits: PushLimits,
    first_attempt: Attempt,
    connection: Option<Connection>,
    /// Whether `connection` has a transaction with an applied batch open.
    open: bool,
}

impl PostgresRemote {
    /// A remote that connects at its first offer.
    #[must_use]
    pub fn new(endpoint: Endpoint, schema_name: &str) -> Self {
        Self::with_limits(endpoint, schema_name, PushLimits::default())
    }

    /// A remote with bounds of the caller's.
    #[must_use]
    pub fn with_limits(endpoint: Endpoint, schema_name: &str, limits: PushLimits) -> Self {
        let statements = Statements::of_schema(schema_name);
        Self {
            endpoint,
            schema_name: schema_name.to_owned(),
            statements,
            limits,
            first_attempt: Attempt::Insert,
            connection: None,
            open: false,
        }
    }

    /// The tenant's schema.
    pub(super) fn schema_name(&self) -> &str {
        &self.schema_name
    }

    /// Keeps a connection for the next call.
    pub(super) fn keep(&mut self, connection: Connection) {
        self.connection = Some(connection);
    }

    /// The connection, made anew where it is gone, without an open transaction.
    pub(super) async fn ready(&mut self) -> Result<Connection, RemoteError> {
        let abandoned = std::mem::take(&mut self.open);
        // Taken out: a caller that gives up half-way leaves no connection in an unknown state.
        let known = self.connection.take().filter(|known| !known.is_closed());
        if let Some(connection) = known
            && (!abandoned || connection.batch(OFFER, "ROLLBACK").await.is_ok())
        {
            return Ok(connection);
        }
        connect(&self.endpoint, self.limits.call).await
    }

    async fn begin(&self, connection: &Connection) -> Result<(), RemoteError> {
        let sql = format!(
            "BEGIN; SET LOCAL statement_timeout = {}; SET LOCAL lock_timeout = {}; \
             SET LOCAL idle_in_transaction_session_timeout = {}",
            self.limits.statement.as_millis(),
            self.limits.lock.as_millis(),
            self.limits.idle.as_millis()
        );
        connection.batch(OFFER, &sql).await
    }

    /// Applies a batch in a transaction, which stays open when the answer is [`Offer::Applied`].
    async fn apply(
        &mut self,
        connection: &Connection,
        batch: &Batch,
    ) -> Result<Offer, RemoteError> {
        let mut attempt = self.first_attempt;
        loop {
            self.begin(connection).await?;
            if let Some(elsewhere) = self.move_stream(connection, batch).await? {
                connection.batch(OFFER, "ROLLBACK").await?;
                return Ok(elsewhere);
            }
            let applier = Applier {
                connection,
                statements: &self.statements,
            };
            let mut tally = Tally::new(batch);
            match applier.apply(&mut tally, attempt).await {
                Ok(()) => {
                    applier.record_rejects(batch.batch_id, &tally).await?;
                    return Ok(Offer::Applied(tally.into_receipt()?));
                }
                Err(error) => {
                    attempt = attempt.after(&error).ok_or(error)?;
                    connection.batch(OFFER, "ROLLBACK").await?;
                }
            }
            if attempt == Attempt::Upsert {
                // Another machine of the same person was first: it is likely to have the next rows too.
                self.first_attempt = attempt;
            }
        }
    }

    /// Moves the stream to this batch; where it does not stand before it, says where it stands.
    async fn move_stream(
        &self,
        connection: &Connection,
        batch: &Batch,
    ) -> Result<Option<Offer>, RemoteError> {
        let rows = i64::try_from(batch.changes.len()).unwrap_or(i64::MAX);
        let stream: (&(dyn ToSql + Sync), Type) = (&batch.stream_id, Type::UUID);
        let to = [
            stream.clone(),
            (&batch.batch_id, Type::UUID),
            (&rows, Type::INT8),
        ];
        let moved = match &batch.prev_batch_id {
            None => {
                connection
                    .query(OFFER, &self.statements.open_stream, &to)
                    .await
            }
            Some(prev) => {
                let [stream, batch_id, rows] = to;
                let params = [stream, batch_id, rows, (prev, Type::UUID)];
                connection
                    .query(OFFER, &self.statements.move_stream, &params)
                    .await
            }
        };
        if !moved.map_err(not_a_rows_fault)?.is_empty() {
            return Ok(None);
        }
        let found = connection
            .query(OFFER, &self.statements.read_stream, &[stream])
            .await;
        let found = found.map_err(not_a_rows_fault)?;
        let Some(row) = found.first() else {
            return Ok(Some(Offer::NoStream));
        };
        let at: Uuid = value(OFFER, row, 0)?;
        Ok(Some(if at == batch.batch_id {
            Offer::AlreadyApplied
        } else {
            Offer::At(at)
        }))
    }
}

/// A statement that carries no row cannot fail by one.
fn not_a_rows_fault(error: RemoteError) -> RemoteError {
    match error.fault {
        Fault::Row | Fault::Unclear => RemoteError {
            fault: Fault::Systemic,
            ..error
        },
        _ => error,
    }
}

impl Remote for PostgresRemote {
    async fn position(&mut self, stream_id: Uuid) -> Result<Option<Uuid>, RemoteError> {
        let connection = self.ready().await?;
        let sql = &self.statements.lock_stream;
        let rows = connection
            .query(
                "ask where the stream stands",
                sql,
                &[(&stream_id, Type::UUID)],
            )
            .await?;
        let position = rows.first().map(|row| value(OFFER, row, 0)).transpose();
        self.keep(connection);
        position
    }

    async fn offer(&mut self, batch: &Batch) -> Result<Offer, RemoteError> {
        let connection = self.ready().await?;
        match self.apply(&connection, batch).await {
            Ok(offer) => {
                self.open = matches!(offer, Offer::Applied(_));
                self.keep(connection);
                Ok(offer)
            }
            Err(error) => {
                // After a timeout an answer may still come: only a server that has answered keeps its connection.
                if error.sqlstate.is_some()
                    && error.fault != Fault::Transient
                    && connection.batch(OFFER, "ROLLBACK").await.is_ok()
                {
                    self.connection = Some(connection);
                }
                Err(not_a_rows_fault(error))
            }
        }
    }

    async fn commit(&mut self) -> Result<(), RemoteError> {
        const ACTION: &str = "commit batch";
        let open = std::mem::take(&mut self.open);
        let Some(connection) = self.connection.take().filter(|_| open) else {
            return Err(RemoteError::new(
                ACTION,
                Fault::Systemic,
                "no batch is open",
            ));
        };
        connection
            .batch(ACTION, "COMMIT")
            .await
            .map_err(not_a_rows_fault)?;
        self.connection = Some(connection);
        Ok(())
    }
}
