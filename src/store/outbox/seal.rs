//! Sealing: taking waiting changes into a batch.
//!
//! A quarter of a batch is the newest changes, so that what someone did just now arrives soon however long the
//! backlog is; the rest is the oldest, so that the backlog drains. A call takes its waiting session along.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::choose::{self, Sealable};
use super::{OutboxMut, STREAM_ID, SealedBatch};
use crate::domain::ids::UserId;
use crate::store::digest::{self, Digest};
use crate::store::error::{self, Error};
use crate::store::{dashboards, sessions, tool_metrics};

/// How large a batch may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealLimits {
    /// Rows.
    pub rows: usize,
    /// Bytes of payload, by estimate.
    pub bytes: usize,
}

/// A change that waits.
pub(super) struct Waiting {
    pub(super) seq: i64,
    pub(super) table: String,
    pub(super) pk: Uuid,
    pub(super) rev: i64,
    /// Where the row lay when it was changed: a hint.
    pub(super) row_id: Option<i64>,
    /// The row itself, of a call that lies there still: most changes are of calls, so they are looked at in one go.
    pub(super) call: Option<Sealable>,
}

/// What [`choose::sealable_from_row`] reads of a call `t`.
const CALL: &str = "t.user_id, t.session_id, t.digest IS NOT NULL,
    coalesce(length(t.parameters), 0) + coalesce(length(t.command_line), 0)";

impl OutboxMut<'_> {
    /// Lets go of what no longer has a reason to be held: rows of users who are enrolled now, rows whose parent is
    /// free, dashboards that collided with another (the other may have given way), rows that are gone. To be called
    /// when synchronisation begins.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn release(&self, enrolled: &[UserId]) -> Result<(), Error> {
        let action = "release rows from quarantine";
        let enrolled: Vec<String> = enrolled
            .iter()
            .map(|user| user.as_uuid().simple().to_string().to_uppercase())
            .collect();
        let enrolled = serde_json::Value::from(enrolled).to_string();
        for table in super::TABLES {
            self.execute(
                action,
                &format!(
                    "DELETE FROM quarantine WHERE table_name = '{table}'
                       AND NOT EXISTS (SELECT 1 FROM {table} t WHERE t.id = quarantine.pk)"
                ),
                &[],
            )?;
            self.execute(
                action,
                &format!(
                    "DELETE FROM quarantine WHERE table_name = '{table}' AND reason = 'user_not_enrolled'
                       AND (SELECT hex(t.user_id) FROM {table} t WHERE t.id = quarantine.pk)
                           IN (SELECT value FROM json_each(?1))"
                ),
                &[&enrolled],
            )?;
        }
        self.execute(
            action,
            "DELETE FROM quarantine
             WHERE table_name = 'dashboard_configs' AND reason = 'rejected' AND sqlstate = '23505'",
            &[],
        )?;
        self.execute(
            action,
            "DELETE FROM quarantine WHERE table_name = 'tool_metrics' AND reason = 'parent'
               AND NOT EXISTS (
                SELECT 1 FROM tool_metrics t JOIN quarantine s
                    ON s.table_name = 'metrics_sessions' AND s.pk = t.session_id
                WHERE t.id = quarantine.pk)",
            &[],
        )?;
        self.execute(
            action,
            "UPDATE change_log SET batch_no = NULL WHERE batch_no = 0 AND NOT EXISTS (
                SELECT 1 FROM quarantine q
                WHERE q.table_name = change_log.table_name AND q.pk = change_log.pk)",
            &[],
        )?;
        self.hold_unnamed()
    }

    /// Holds rows whose own id is none: another program's, and nothing that could travel.
    fn hold_unnamed(&self) -> Result<(), Error> {
        let now = self.reader.now().as_micros();
        self.execute(
            "hold a row",
            "INSERT INTO quarantine (table_name, pk, rev, reason, sqlstate, message, since)
             SELECT table_name, pk, max(rev), 'rejected', '22P02', 'its id is no UUID', ?1
             FROM change_log WHERE batch_no IS NULL AND length(pk) <> 16 GROUP BY table_name, pk
             ON CONFLICT (table_name, pk) DO NOTHING",
            &[&now],
        )?;
        self.execute(
            "hold a row",
            "UPDATE change_log SET batch_no = 0 WHERE batch_no IS NULL AND length(pk) <> 16",
            &[],
        )
        .map(drop)
    }

    /// Seals the next batch onto the stream's last, acknowledged or not; `None` when nothing waits.
    ///
    /// Rows of users who are not enrolled go to quarantine, and so does what hangs on a quarantined session.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn seal(
        &self,
        limits: SealLimits,
        enrolled: &[UserId],
    ) -> Result<Option<SealedBatch>, Error> {
        loop {
            let waiting = self.pick(limits.rows)?;
            if waiting.is_empty() {
                return Ok(None);
            }
            let chosen = self.choose(waiting, limits, enrolled)?;
            if !chosen.seqs.is_empty() {
                let batch = self.stamp(&chosen.seqs)?;
                if chosen.lacks_digests {
                    self.complete_digests(&batch)?;
                }
                return Ok(Some(batch));
            }
            // All that was picked turned out to be superseded or held: it no longer waits, so this ends.
        }
    }

    /// The newest quarter and the oldest rest of what waits, in order of `seq`.
    fn pick(&self, rows: usize) -> Result<Vec<Waiting>, Error> {
        let rows = rows.max(1);
        let newest = rows / 4;
        let mut picked = BTreeMap::new();
        for (order, limit) in [("DESC", newest), ("ASC", rows - newest)] {
            let sql = format!(
                "SELECT c.seq, c.table_name, c.pk, c.rev, c.row_id, {CALL} FROM change_log c
                 LEFT JOIN tool_metrics t
                    ON c.table_name = 'tool_metrics' AND t.rowid = c.row_id AND t.id = c.pk
                 WHERE c.batch_no IS NULL AND length(c.pk) = 16 ORDER BY c.seq {order} LIMIT ?1"
            );
            let mut statement = self
                .connection()
                .prepare_cached(&sql)
                .map_err(error::query("pick changes"))?;
            let mut found = statement
                .query([i64::try_from(limit).unwrap_or(i64::MAX)])
                .map_err(error::query("pick changes"))?;
            while let Some(row) = found.next().map_err(error::query("pick changes"))? {
                let waiting = waiting(row).map_err(error::query("pick changes"))?;
                picked.insert(waiting.seq, waiting);
            }
        }
        Ok(picked.into_values().collect())
    }

    /// Completes the digests of a batch's rows that another program changed.
    fn complete_digests(&self, batch: &SealedBatch) -> Result<(), Error> {
        for (table, payload, columns) in [
            ("metrics_sessions", sessions::PAYLOAD, 17),
            ("tool_metrics", tool_metrics::PAYLOAD, 24),
            ("dashboard_configs", dashboards::PAYLOAD, 11),
        ] {
            let missing: Vec<(Uuid, Digest)> = self
                .connection()
                .prepare_cached(&format!(
                    "SELECT {payload} FROM {table} WHERE digest IS NULL AND rowid IN (
                        SELECT row_id FROM change_log WHERE batch_no = ?1 AND table_name = '{table}')"
                ))
                .and_then(|mut statement| {
                    let digest = |row: &Row<'_>| Ok((row.get(0)?, digest::of_row(row, columns)?));
                    statement.query_map([batch.no], digest)?.collect()
                })
                .map_err(error::query("digest rows"))?;
            for (id, digest) in missing {
                self.execute(
                    "digest a row",
                    &format!("UPDATE {table} SET digest = ?2 WHERE id = ?1"),
                    &[&id, &digest],
                )?;
            }
        }
        Ok(())
    }

    fn stamp(&self, chosen: &BTreeSet<i64>) -> Result<SealedBatch, Error> {
        let stream_id = match self.stream_id()? {
            Some(known) => known,
            None => self.begin_stream()?,
        };
        let prev_batch_id: Option<Uuid> = self
            .connection()
            .prepare_cached(
                "SELECT batch_id FROM sync_batches WHERE stream_id = ?1
                 ORDER BY batch_no DESC LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([stream_id], |row| row.get(0))
                    .optional()
            })
            .map_err(error::query("find the stream's end"))?;
        let batch_id = Uuid::now_v7();
        let rows = u64::try_from(chosen.len()).unwrap_or(u64::MAX);
        self.execute(
            "seal a batch",
            "INSERT INTO sync_batches (batch_id, prev_batch_id, stream_id, row_count, sealed_at)
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                batch_id,
                prev_batch_id,
                stream_id,
                rows,
                self.reader.now().as_micros()
            ],
        )?;
        let no = self.connection().last_insert_rowid();
        for (first, last) in runs(chosen) {
            self.execute(
                "seal a batch",
                "UPDATE change_log SET batch_no = ?3 WHERE seq BETWEEN ?1 AND ?2",
                &[&first, &last, &no],
            )?;
        }
        Ok(SealedBatch {
            no,
            batch_id,
            prev_batch_id,
            stream_id,
            rows,
        })
    }

    pub(super) fn begin_stream(&self) -> Result<Uuid, Error> {
        let stream_id = Uuid::new_v4();
        self.writer.set_meta(STREAM_ID, &stream_id.to_string())?;
        Ok(stream_id)
    }
}

/// The numbers as runs without a gap, each by its first and last.
fn runs(numbers: &BTreeSet<i64>) -> Vec<(i64, i64)> {
    let mut runs: Vec<(i64, i64)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    runs
}

fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting {
        seq: row.get(0)?,
        table: row.get(1)?,
        pk: row.get(2)?,
        rev: row.get(3)?,
        row_id: row.get(4)?,
        call: match row.get_ref(5)? {
            ValueRef::Null => None,
            _ => Some(choose::sealable_from_row(row, 5)?),
        },
    })
}
