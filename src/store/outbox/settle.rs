//! Settling: what became of a batch, and where the stream goes on.

use rusqlite::{OptionalExtension as _, params};
use uuid::Uuid;

use super::{OutboxMut, SealedBatch, offer_everything};
use crate::store::error::{self, Error};

/// A row that the server refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundReject {
    /// The row's table.
    pub table: &'static str,
    /// The row's id.
    pub id: Uuid,
    /// The version that was refused.
    pub rev: i64,
    /// The server's code.
    pub sqlstate: String,
    /// Why, in words.
    pub message: String,
}

/// A row that the server holds at the same rev with other content.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundConflict {
    /// The row's table.
    pub table: &'static str,
    /// The row's id.
    pub id: Uuid,
    /// The rev that both sides have.
    pub rev: i64,
    /// The digest of this side's row.
    pub local_digest: [u8; 16],
    /// The digest of the server's row.
    pub remote_digest: [u8; 16],
    /// This side's row as JSON.
    pub local_row: String,
    /// The server's row as JSON.
    pub remote_row: String,
}

impl OutboxMut<'_> {
    /// Writes down what an offer found, before its COMMIT: from here on a server may hold the batch. What was found
    /// counts once the batch is acknowledged; a further offer of the same batch replaces it.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn journal(
        &self,
        batch: &SealedBatch,
        rejects: &[FoundReject],
        conflicts: &[FoundConflict],
    ) -> Result<(), Error> {
        let action = "journal a batch's outcome";
        self.execute(
            action,
            "UPDATE sync_batches SET state = 'offered' WHERE batch_no = ?1 AND state = 'sealed'",
            &[&batch.no],
        )?;
        self.execute(
            action,
            "DELETE FROM batch_rejects WHERE batch_no = ?1",
            &[&batch.no],
        )?;
        self.execute(
            action,
            "DELETE FROM conflicts WHERE batch_no = ?1",
            &[&batch.no],
        )?;
        for found in rejects {
            self.execute(
                action,
                "INSERT INTO batch_rejects (batch_no, table_name, pk, rev, sqlstate, message)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    batch.no,
                    found.table,
                    found.id,
                    found.rev,
                    found.sqlstate,
                    found.message
                ],
            )?;
        }
        for found in conflicts {
            self.execute(
                action,
                "INSERT INTO conflicts (batch_no, table_name, pk, rev, local_digest, remote_digest,
                                        local_row, remote_row, detected_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                params![
                    batch.no,
                    found.table,
                    found.id,
                    found.rev,
                    found.local_digest,
                    found.remote_digest,
                    found.local_row,
                    found.remote_row,
                    self.reader.now().as_micros(),
                ],
            )?;
        }
        Ok(())
    }

    /// Marks a batch as taken by the server, and returns how many of its rows were refused. Those go to quarantine,
    /// unless they were edited since; a row in conflict waits again above both revs; what was held and went is free.
    ///
    /// # Errors
    /// [`Error::NotFound`] where the batch is not open, as after a re-keying; what SQLite says.
    pub fn acknowledge(&self, batch: &SealedBatch) -> Result<u64, Error> {
        let now = self.reader.now().as_micros();
        let marked = self.execute(
            "acknowledge a batch",
            "UPDATE sync_batches SET state = 'acknowledged', acknowledged_at = ?2
             WHERE batch_no = ?1 AND state <> 'acknowledged'",
            &[&batch.no, &now],
        )?;
        if marked == 0 {
            return Err(Error::not_found("open batch", &batch.batch_id));
        }
        self.free_what_went(batch)?;
        if !self.has_findings(batch)? {
            return Ok(0);
        }
        let mut rejected = 0;
        for table in super::TABLES {
            rejected += self.quarantine_rejects(batch, table, now)?;
            self.raise_conflicts(batch, table)?;
        }
        self.execute(
            "acknowledge a batch",
            "DELETE FROM batch_rejects WHERE batch_no = ?1",
            &[&batch.no],
        )?;
        Ok(rejected)
    }

    /// Whether an offer of the batch found anything. Nearly all find nothing, and are spared the look at every row.
    fn has_findings(&self, batch: &SealedBatch) -> Result<bool, Error> {
        self.connection()
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM batch_rejects WHERE batch_no = ?1)
                     OR EXISTS (SELECT 1 FROM conflicts WHERE batch_no = ?1)",
            )
            .and_then(|mut statement| statement.query_row([batch.no], |row| row.get(0)))
            .map_err(error::query("look at what an offer found"))
    }

    /// A row that was held, removed, and made again goes with a new change: what held it is over.
    fn free_what_went(&self, batch: &SealedBatch) -> Result<(), Error> {
        self.execute(
            "free rows that went",
            "DELETE FROM quarantine WHERE EXISTS (
                SELECT 1 FROM change_log c
                WHERE c.batch_no = ?1 AND c.table_name = quarantine.table_name AND c.pk = quarantine.pk)",
            &[&batch.no],
        )
        .map(drop)
    }

    fn quarantine_rejects(&self, batch: &SealedBatch, table: &str, now: i64) -> Result<u64, Error> {
        // 23503: a call whose session was refused fails by its foreign key. It waits for the session, not for itself;
        // where the session was edited since, and so waits again, the call just waits with it.
        let (held, waits) = if table == "tool_metrics" {
            (
                "EXISTS (SELECT 1 FROM quarantine s
                         WHERE s.table_name = 'metrics_sessions' AND s.pk = t.session_id)",
                "EXISTS (SELECT 1 FROM change_log s
                         WHERE s.table_name = 'metrics_sessions' AND s.table_name <> 'tool_metrics'
                           AND s.pk = t.session_id AND s.batch_no IS NULL)",
            )
        } else {
            ("0", "0")
        };
        self.execute(
            "let calls wait for their session",
            &format!(
                "UPDATE change_log SET batch_no = NULL
                 WHERE batch_no = ?1 AND table_name = ?2 AND pk IN (
                    SELECT r.pk FROM batch_rejects r JOIN {table} t ON t.id = r.pk
                    WHERE r.batch_no = ?1 AND r.table_name = ?2 AND r.sqlstate = '23503'
                      AND NOT {held} AND {waits})"
            ),
            &[&batch.no, &table],
        )?;
        let held_back = self.execute(
            "quarantine rows",
            &format!(
                "INSERT INTO quarantine (table_name, pk, rev, reason, sqlstate, message, since)
                 SELECT r.table_name, r.pk, r.rev,
                        CASE WHEN r.sqlstate = '23503' AND {held} THEN 'parent' ELSE 'rejected' END,
                        r.sqlstate, r.message, ?3
                 FROM batch_rejects r JOIN {table} t ON t.id = r.pk AND t.rev = r.rev
                 WHERE r.batch_no = ?1 AND r.table_name = ?2
                   AND (r.sqlstate <> '23503' OR {held} OR NOT {waits})
                 ON CONFLICT (table_name, pk) DO UPDATE
                 SET rev = excluded.rev, reason = excluded.reason, sqlstate = excluded.sqlstate,
                     message = excluded.message"
            ),
            &[&batch.no, &table, &now],
        )?;
        if held_back > 0 {
            self.execute(
                "quarantine rows",
                "UPDATE change_log SET batch_no = 0
                 WHERE batch_no = ?1 AND table_name = ?2
                   AND pk IN (SELECT pk FROM quarantine WHERE table_name = ?2)",
                &[&batch.no, &table],
            )?;
        }
        self.connection()
            .prepare_cached(
                "SELECT count(*) FROM batch_rejects WHERE batch_no = ?1 AND table_name = ?2",
            )
            .and_then(|mut count| count.query_row(params![batch.no, table], |row| row.get(0)))
            .map_err(error::query("count what was refused"))
    }

    fn raise_conflicts(&self, batch: &SealedBatch, table: &str) -> Result<(), Error> {
        let of_batch = format!(
            "SELECT k.pk FROM conflicts k JOIN {table} c ON c.id = k.pk AND c.rev = k.rev
             WHERE k.batch_no = ?1 AND k.table_name = ?2"
        );
        // Raising `rev` alone is no change of payload: the trigger stays silent, so the change is logged here.
        self.execute(
            "raise a row in conflict",
            &format!(
                "INSERT INTO change_log (table_name, pk, rev, op)
                 SELECT ?2, t.id, t.rev + 1, 'update' FROM {table} t WHERE t.id IN ({of_batch})"
            ),
            &[&batch.no, &table],
        )?;
        self.execute(
            "raise a row in conflict",
            &format!("UPDATE {table} AS t SET rev = rev + 1 WHERE t.id IN ({of_batch})"),
            &[&batch.no, &table],
        )
        .map(drop)
    }

    /// Lets the rows of an open batch, and of those after it, wait again: the server does not have them. What an
    /// offer of them found is void.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn unseal(&self, batch: &SealedBatch) -> Result<(), Error> {
        let action = "unseal a batch";
        self.execute(
            action,
            "UPDATE change_log SET batch_no = NULL WHERE batch_no >= ?1",
            &[&batch.no],
        )?;
        self.execute(
            action,
            "DELETE FROM conflicts WHERE batch_no >= ?1",
            &[&batch.no],
        )?;
        // Its rejects go with it, by their foreign key.
        self.execute(
            action,
            "DELETE FROM sync_batches WHERE batch_no >= ?1",
            &[&batch.no],
        )
        .map(drop)
    }

    /// Goes back to an older batch of the stream, since the server stands there: what came after waits again.
    /// False where this file's journal does not know the batch.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn rewind(&self, stream_id: Uuid, to: Uuid) -> Result<bool, Error> {
        let no: Option<i64> = self
            .connection()
            .query_row(
                "SELECT batch_no FROM sync_batches
                 WHERE stream_id = ?1 AND batch_id = ?2 AND state = 'acknowledged'",
                params![stream_id, to],
                |row| row.get(0),
            )
            .optional()
            .map_err(error::query("look into the journal"))?;
        let Some(no) = no else {
            return Ok(false);
        };
        let action = "go back in the journal";
        self.execute(
            action,
            "UPDATE change_log SET batch_no = NULL WHERE batch_no > ?1",
            &[&no],
        )?;
        self.execute(
            action,
            "DELETE FROM conflicts
             WHERE batch_no IN (SELECT batch_no FROM sync_batches WHERE state <> 'acknowledged')",
            &[],
        )?;
        self.execute(
            action,
            "DELETE FROM sync_batches WHERE batch_no > ?1",
            &[&no],
        )?;
        Ok(true)
    }

    /// Begins a new stream and lets every row of the file wait again, but those of users who are not enrolled: the
    /// server does not know the old one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn begin_anew(&self) -> Result<Uuid, Error> {
        offer_everything(self.connection()).map_err(error::query("offer everything again"))?;
        self.begin_stream()
    }
}
