//! The outbox: which rows wait to travel, in which batch they went, and what became of them.
//!
//! Purpose: the bookkeeping of synchronisation inside the tenant's own file, each step one transaction. Knows nothing
//! of networks or servers. Invariants: a change waits (`batch_no` NULL), is carried by a batch, which has one change of a row at most, or is
//! held in quarantine (`batch_no` 0); a batch is sealed onto the stream's last, and
//! the chain never forks; what a server refused or
//! disagreed with is journalled before its COMMIT and counts once the batch is acknowledged; nothing is dropped.

mod choose;
mod seal;
mod settle;

use std::ops::Deref;

use rusqlite::{Connection, Row, ToSql};
use serde::Serialize;
use uuid::Uuid;

pub use seal::SealLimits;
pub use settle::{FoundConflict, FoundReject};

use super::digest::Digest;
use super::error::{self, Error};
use super::tenant::{Reader, Writer};
use crate::domain::units::Timestamp;

/// The tables whose rows travel, parents first.
pub(crate) const TABLES: [&str; 3] = ["metrics_sessions", "tool_metrics", "dashboard_configs"];

const STREAM_ID: &str = "stream_id";
const LAST_ERROR: &str = "sync_error";

/// A sealed batch: its place in the journal and in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedBatch {
    /// Its number in this file's journal.
    pub no: i64,
    /// Its id.
    pub batch_id: Uuid,
    /// The batch before it; `None` for its stream's first.
    pub prev_batch_id: Option<Uuid>,
    /// The stream that it extends.
    pub stream_id: Uuid,
    /// How many rows it was sealed with.
    pub rows: u64,
}

/// A row as the file holds it, for whoever carries it on.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// The row's id.
    pub id: Uuid,
    /// Its version.
    pub rev: i64,
    /// Its digest.
    pub digest: Digest,
    /// Whether it was inserted, and never offered before as far as this file knows.
    pub is_new: bool,
    /// The columns that were asked for, in that order.
    pub values: Vec<rusqlite::types::Value>,
}

/// Why synchronisation stopped last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// The server could not be reached.
    Offline,
    /// Schema, rights or programs disagree.
    OpenBreaker,
    /// The login was refused: revoked, or the tenant is gone.
    Gone,
}

impl Stopped {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::OpenBreaker => "open_breaker",
            Self::Gone => "gone",
        }
    }

    /// Reads what [`OutboxMut::note_stop`] wrote.
    fn parse(raw: &str) -> Option<Self> {
        [Self::Offline, Self::OpenBreaker, Self::Gone]
            .into_iter()
            .find(|stop| stop.as_str() == raw)
    }
}

/// How far a tenant's synchronisation has come. Read from the file alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxStatus {
    /// Rows that wait, those of an unacknowledged batch included.
    pub pending: u64,
    /// When the change that has waited longest was made.
    pub oldest_pending: Option<Timestamp>,
    /// When the server last took a batch.
    pub last_ack_at: Option<Timestamp>,
    /// Rows in quarantine.
    pub quarantined: u64,
    /// Conflicts met so far.
    pub conflicts: u64,
    /// The stream, once there is one.
    pub stream_id: Option<Uuid>,
    /// Why synchronisation stopped, if it did not end well.
    pub stopped: Option<Stopped>,
}

/// A row that does not travel, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Quarantined {
    /// The row's table.
    pub table: String,
    /// The row's id; hexadecimal digits where another program gave it one that is no UUID.
    pub id: String,
    /// The version that was refused.
    pub rev: i64,
    /// `rejected`, `user_not_enrolled` or `parent`.
    pub reason: String,
    /// The server's code, where a server refused it.
    pub sqlstate: Option<String>,
    /// Why, in words.
    pub message: String,
    /// Since when.
    pub since: Timestamp,
}

/// Reads the outbox.
#[derive(Debug)]
pub struct Outbox<'r> {
    reader: &'r Reader<'r>,
}

/// Writes the outbox.
#[derive(Debug)]
pub struct OutboxMut<'w> {
    outbox: Outbox<'w>,
    writer: &'w Writer<'w>,
}

impl<'c> Reader<'c> {
    /// What waits to travel.
    #[must_use]
    pub fn outbox(&'c self) -> Outbox<'c> {
        Outbox { reader: self }
    }
}

impl<'c> Writer<'c> {
    /// What waits to travel, to move it on.
    #[must_use]
    pub fn outbox(&'c self) -> OutboxMut<'c> {
        OutboxMut {
            outbox: Outbox { reader: self },
            writer: self,
        }
    }
}

impl<'w> Deref for OutboxMut<'w> {
    type Target = Outbox<'w>;

    fn deref(&self) -> &Self::Target {
        &self.outbox
    }
}

const BATCH_COLUMNS: &str = "batch_no, batch_id, prev_batch_id, stream_id, row_count";

fn batch_from_row(row: &Row<'_>) -> rusqlite::Result<SealedBatch> {
    Ok(SealedBatch {
        no: row.get(0)?,
        batch_id: row.get(1)?,
        prev_batch_id: row.get(2)?,
        stream_id: row.get(3)?,
        rows: row.get(4)?,
    })
}

impl Outbox<'_> {
    fn connection(&self) -> &Connection {
        self.reader.connection()
    }

    /// Whether a server may hold a batch of this file: one was offered, even if the answer never came.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn has_synced(&self) -> Result<bool, Error> {
        self.connection()
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM sync_batches WHERE state <> 'sealed')",
                [],
                |row| row.get(0),
            )
            .map_err(error::query("read the journal"))
    }

    /// The batches that were sealed and not yet acknowledged, the first one first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn unacknowledged(&self) -> Result<Vec<SealedBatch>, Error> {
        let sql = format!(
            "SELECT {BATCH_COLUMNS} FROM sync_batches WHERE state <> 'acknowledged' ORDER BY batch_no"
        );
        self.connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map([], batch_from_row)?.collect())
            .map_err(error::query("find the open batches"))
    }

    /// The rows of a batch that lie in `table`, as they are now, with the columns named.
    ///
    /// `columns` are names from the program itself: they become part of the statement.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn rows(
        &self,
        batch: &SealedBatch,
        table: &'static str,
        columns: &[&'static str],
    ) -> Result<Vec<OutboxRow>, Error> {
        let mut selected = vec!["id", "rev", "digest"];
        selected.extend(columns);
        let selected = format!("t.{}", selected.join(", t."));
        // CROSS: in the order of the changes, which is that of the file, and not the other way round.
        let sql = format!(
            "SELECT c.op = 'insert', {selected}
             FROM change_log c CROSS JOIN {table} t ON t.rowid = c.row_id AND t.id = c.pk
             WHERE c.batch_no = ?1 AND c.table_name = ?2 ORDER BY c.seq"
        );
        let params: [&dyn ToSql; 2] = [&batch.no, &table];
        self.connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                let mut rows = Vec::new();
                let mut found = statement.query(params)?;
                while let Some(row) = found.next()? {
                    let mut values = Vec::with_capacity(columns.len());
                    for index in 0..columns.len() {
                        values.push(row.get(index + 4)?);
                    }
                    rows.push(OutboxRow {
                        is_new: row.get(0)?,
                        id: row.get(1)?,
                        rev: row.get(2)?,
                        digest: row.get(3)?,
                        values,
                    });
                }
                Ok(rows)
            })
            .map_err(error::query("read a batch's rows"))
    }

    /// The rows in quarantine, the oldest first.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn quarantined(&self) -> Result<Vec<Quarantined>, Error> {
        self.connection()
            .prepare_cached(
                "SELECT table_name, pk, rev, reason, sqlstate, message, since FROM quarantine
                 ORDER BY since, table_name, pk",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([], |row| {
                        Ok(Quarantined {
                            table: row.get(0)?,
                            id: readable_id(row.get_ref(1)?.as_blob()?),
                            rev: row.get(2)?,
                            reason: row.get(3)?,
                            sqlstate: row.get(4)?,
                            message: row.get(5)?,
                            since: super::columns::some_time(row, 6)?,
                        })
                    })?
                    .collect()
            })
            .map_err(error::query("list the quarantine"))
    }

    /// How far synchronisation has come.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn status(&self) -> Result<OutboxStatus, Error> {
        let one = |sql: &str| -> Result<Option<i64>, Error> {
            self.connection()
                .prepare_cached(sql)
                .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
                .map_err(error::query("read the outbox"))
        };
        let count =
            |sql: &str| one(sql).map(|found| u64::try_from(found.unwrap_or(0)).unwrap_or(0));
        let time = |sql: &str| -> Result<Option<Timestamp>, Error> {
            Ok(one(sql)?.map(Timestamp::from_micros).transpose()?)
        };
        Ok(OutboxStatus {
            pending: count(
                "SELECT count(*) FROM (
                    SELECT DISTINCT table_name, pk FROM change_log
                    WHERE batch_no IS NULL
                       OR batch_no IN (SELECT batch_no FROM sync_batches WHERE state <> 'acknowledged'))",
            )?,
            oldest_pending: time(
                "SELECT changed_at FROM change_log
                 WHERE batch_no IS NULL
                    OR batch_no IN (SELECT batch_no FROM sync_batches WHERE state <> 'acknowledged')
                 ORDER BY changed_at LIMIT 1",
            )
            .or_else(|missing| match missing {
                Error::Query {
                    source: rusqlite::Error::QueryReturnedNoRows,
                    ..
                } => Ok(None),
                other => Err(other),
            })?,
            last_ack_at: time("SELECT max(acknowledged_at) FROM sync_batches")?,
            quarantined: count("SELECT count(*) FROM quarantine")?,
            conflicts: count(
                "SELECT count(*) FROM conflicts
                 WHERE batch_no NOT IN (SELECT batch_no FROM sync_batches WHERE state <> 'acknowledged')",
            )?,
            stream_id: self.stream_id()?,
            stopped: self
                .reader
                .meta(LAST_ERROR)?
                .as_deref()
                .and_then(Stopped::parse),
        })
    }

    fn stream_id(&self) -> Result<Option<Uuid>, Error> {
        Ok(self
            .reader
            .meta(STREAM_ID)?
            .and_then(|raw| Uuid::try_parse(&raw).ok()))
    }
}

impl OutboxMut<'_> {
    fn execute(
        &self,
        action: &'static str,
        sql: &str,
        params: &[&dyn ToSql],
    ) -> Result<usize, Error> {
        self.connection()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(params))
            .map_err(error::query(action))
    }

    /// Notes why synchronisation stopped, or that it did not.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn note_stop(&self, stopped: Option<Stopped>) -> Result<(), Error> {
        match stopped {
            Some(stopped) => self.writer.set_meta(LAST_ERROR, stopped.as_str()),
            None => self.writer.remove_meta(LAST_ERROR),
        }
    }
}

fn readable_id(raw: &[u8]) -> String {
    match Uuid::from_slice(raw) {
        Ok(id) => id.to_string(),
        Err(_) => raw
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<Vec<_>>()
            .concat(),
    }
}

/// Lets every row of the file wait again, as if none had ever travelled. The caller's transaction.
pub(super) fn offer_everything(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "DELETE FROM conflicts WHERE batch_no IN (SELECT batch_no FROM sync_batches WHERE state <> 'acknowledged');
         DELETE FROM sync_batches WHERE state <> 'acknowledged';
         DELETE FROM quarantine WHERE reason <> 'user_not_enrolled';
         DELETE FROM change_log WHERE NOT (batch_no = 0 AND EXISTS (
            SELECT 1 FROM quarantine q WHERE q.table_name = change_log.table_name AND q.pk = change_log.pk));",
    )?;
    for table in TABLES {
        connection.execute(
            &format!(
                "INSERT INTO change_log (table_name, pk, rev, op, row_id)
                 SELECT '{table}', id, rev, CASE WHEN deleted_at IS NULL THEN 'update' ELSE 'delete' END, rowid
                 FROM {table} t
                 WHERE NOT EXISTS (SELECT 1 FROM quarantine q WHERE q.table_name = '{table}' AND q.pk = t.id)
                 ORDER BY rowid"
            ),
            [],
        )?;
    }
    Ok(())
}
