//! Sealing: taking waiting changes into a batch.
//!
//! A quarter of a batch is the newest changes, so that what someone did just now arrives soon however long the
//! backlog is; the rest is the oldest, so that the backlog drains. A call takes its waiting session along.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use rusqlite::{OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::{OutboxMut, STREAM_ID, SealedBatch};
use crate::domain::ids::UserId;
use crate::store::digest;
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

/// What a row weighs on the wire beside its long texts: ids, times, numbers, short names.
const ROW_BYTES: usize = 320;

/// A change that waits.
struct Waiting {
    seq: i64,
    table: String,
    pk: Uuid,
    rev: i64,
}

/// What sealing needs to know of a row.
struct Sealable {
    rev: i64,
    user: Uuid,
    session: Option<Uuid>,
    bytes: usize,
    digested: bool,
}

/// Why a row is held back.
enum Held {
    UserNotEnrolled,
    Parent,
}

impl OutboxMut<'_> {
    /// Lets go of what no longer has a reason to be held: rows of users that are enrolled now, and rows whose parent
    /// is free. To be called when synchronisation begins.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn release(&self, enrolled: &[UserId]) -> Result<(), Error> {
        // A row that was edited was released by its trigger and waits with a newer change.
        self.execute(
            "clean the quarantine",
            "DELETE FROM change_log WHERE batch_no = 0 AND NOT EXISTS (
                SELECT 1 FROM quarantine q
                WHERE q.table_name = change_log.table_name AND q.pk = change_log.pk)",
            &[],
        )?;
        for table in super::TABLES {
            let sql = format!(
                "SELECT q.pk, t.user_id FROM quarantine q JOIN {table} t ON t.id = q.pk
                 WHERE q.table_name = '{table}' AND q.reason = 'user_not_enrolled'"
            );
            let held: Vec<(Uuid, Uuid)> = self
                .connection()
                .prepare(&sql)
                .and_then(|mut statement| {
                    statement
                        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                        .collect()
                })
                .map_err(error::query("read the quarantine"))?;
            for (pk, user) in held {
                if enrolled.contains(&UserId::from_uuid(user)) {
                    self.let_go(table, pk)?;
                }
            }
        }
        let orphans: Vec<Uuid> = self
            .connection()
            .prepare(
                "SELECT q.pk FROM quarantine q JOIN tool_metrics t ON t.id = q.pk
                 WHERE q.table_name = 'tool_metrics' AND q.reason = 'parent' AND NOT EXISTS (
                    SELECT 1 FROM quarantine s
                    WHERE s.table_name = 'metrics_sessions' AND s.pk = t.session_id)",
            )
            .and_then(|mut statement| statement.query_map([], |row| row.get(0))?.collect())
            .map_err(error::query("read the quarantine"))?;
        orphans
            .into_iter()
            .try_for_each(|pk| self.let_go("tool_metrics", pk))
    }

    fn let_go(&self, table: &str, pk: Uuid) -> Result<(), Error> {
        self.execute(
            "release a row",
            "UPDATE change_log SET batch_no = NULL WHERE batch_no = 0 AND table_name = ?1 AND pk = ?2",
            &[&table, &pk],
        )?;
        self.execute(
            "release a row",
            "DELETE FROM quarantine WHERE table_name = ?1 AND pk = ?2",
            &[&table, &pk],
        )
        .map(drop)
    }

    /// Seals the next batch, or returns the one that is still unacknowledged; `None` when nothing waits.
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
        if let Some(open) = self.unacknowledged()? {
            return Ok(Some(open));
        }
        loop {
            let waiting = self.pick(limits.rows)?;
            if waiting.is_empty() {
                return Ok(None);
            }
            let chosen = self.choose(waiting, limits, enrolled)?;
            if !chosen.is_empty() {
                return self.stamp(&chosen).map(Some);
            }
            // All that was picked turned out to be superseded or held: it no longer waits, so this ends.
        }
    }

    /// The newest quarter and the oldest rest of what waits, in order of `seq`.
    fn pick(&self, rows: usize) -> Result<Vec<Waiting>, Error> {
        let newest = rows / 4;
        let mut picked = BTreeMap::new();
        for (order, limit) in [("DESC", newest), ("ASC", rows - newest)] {
            let sql = format!(
                "SELECT seq, table_name, pk, rev FROM change_log
                 WHERE batch_no IS NULL ORDER BY seq {order} LIMIT ?1"
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

    /// The `seq` of every change that goes into the batch.
    fn choose(
        &self,
        waiting: Vec<Waiting>,
        limits: SealLimits,
        enrolled: &[UserId],
    ) -> Result<BTreeSet<i64>, Error> {
        let mut chosen = BTreeSet::new();
        let mut rows: HashSet<Uuid> = HashSet::with_capacity(waiting.len());
        let mut parents: HashMap<Uuid, Parent> = HashMap::new();
        let mut bytes = 0;
        for change in waiting {
            if bytes >= limits.bytes {
                break;
            }
            let Some(row) = self.sealable(&change)? else {
                // The row is gone, or a later change of it waits or has gone: this one has nothing to carry.
                self.forget(change.seq)?;
                continue;
            };
            if !enrolled.contains(&UserId::from_uuid(row.user)) {
                self.hold(&change, &Held::UserNotEnrolled)?;
                continue;
            }
            if let Some(session) = row.session {
                let parent = match parents.get(&session) {
                    Some(known) => *known,
                    None => self.parent(session)?,
                };
                parents.insert(session, parent);
                match parent {
                    Parent::Held => {
                        self.hold(&change, &Held::Parent)?;
                        continue;
                    }
                    Parent::Waits(seq) if rows.insert(session) => {
                        self.digest_where_missing("metrics_sessions", session)?;
                        chosen.insert(seq);
                        bytes += ROW_BYTES;
                    }
                    Parent::Waits(_) | Parent::Settled => {}
                }
            }
            if rows.insert(change.pk) {
                if !row.digested {
                    self.digest_where_missing(&change.table, change.pk)?;
                }
                chosen.insert(change.seq);
                bytes += row.bytes;
            } else if !chosen.contains(&change.seq) {
                // A second change of a row that this batch carries anyway.
                self.forget(change.seq)?;
            }
        }
        Ok(chosen)
    }

    fn sealable(&self, change: &Waiting) -> Result<Option<Sealable>, Error> {
        let sql = match change.table.as_str() {
            "tool_metrics" => {
                "SELECT rev, user_id, session_id, digest IS NOT NULL,
                        coalesce(length(parameters), 0) + coalesce(length(command_line), 0)
                 FROM tool_metrics WHERE id = ?1"
            }
            "metrics_sessions" => {
                "SELECT rev, user_id, NULL, digest IS NOT NULL,
                        length(tools_used) + length(tags) + coalesce(length(description), 0)
                 FROM metrics_sessions WHERE id = ?1"
            }
            _ => {
                "SELECT rev, user_id, NULL, digest IS NOT NULL, length(widget_layout)
                 FROM dashboard_configs WHERE id = ?1"
            }
        };
        let found = self
            .connection()
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement
                    .query_row([change.pk], |row| {
                        Ok(Sealable {
                            rev: row.get(0)?,
                            user: row.get(1)?,
                            session: row.get(2)?,
                            digested: row.get(3)?,
                            bytes: ROW_BYTES + row.get::<_, usize>(4)?,
                        })
                    })
                    .optional()
            })
            .map_err(error::query("look at a waiting row"))?;
        Ok(found.filter(|row| row.rev <= change.rev))
    }

    fn parent(&self, session: Uuid) -> Result<Parent, Error> {
        let held: bool = self
            .connection()
            .prepare_cached(
                "SELECT EXISTS (SELECT 1 FROM quarantine
                                WHERE table_name = 'metrics_sessions' AND pk = ?1)",
            )
            .and_then(|mut statement| statement.query_row([session], |row| row.get(0)))
            .map_err(error::query("look at a call's session"))?;
        if held {
            return Ok(Parent::Held);
        }
        let waits: Option<i64> = self
            .connection()
            .prepare_cached(
                "SELECT seq FROM change_log
                 WHERE pk = ?1 AND table_name = 'metrics_sessions' AND table_name <> 'tool_metrics'
                   AND batch_no IS NULL
                 ORDER BY seq DESC LIMIT 1",
            )
            .and_then(|mut statement| statement.query_row([session], |row| row.get(0)).optional())
            .map_err(error::query("look at a call's session"))?;
        Ok(waits.map_or(Parent::Settled, Parent::Waits))
    }

    fn forget(&self, seq: i64) -> Result<(), Error> {
        self.execute(
            "forget a change",
            "DELETE FROM change_log WHERE seq = ?1",
            &[&seq],
        )
        .map(drop)
    }

    fn hold(&self, change: &Waiting, why: &Held) -> Result<(), Error> {
        let (reason, message) = match why {
            Held::UserNotEnrolled => (
                "user_not_enrolled",
                "this device is not enrolled for the row's user",
            ),
            Held::Parent => (
                "parent",
                "the session that this call belongs to is in quarantine",
            ),
        };
        self.execute(
            "hold a row",
            "INSERT INTO quarantine (table_name, pk, rev, reason, message, since)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (table_name, pk) DO UPDATE SET rev = excluded.rev",
            &[
                &change.table,
                &change.pk,
                &change.rev,
                &reason,
                &message,
                &self.reader.now().as_micros(),
            ],
        )?;
        self.execute(
            "hold a row",
            "UPDATE change_log SET batch_no = 0 WHERE seq = ?1",
            &[&change.seq],
        )
        .map(drop)
    }

    /// Completes the digest of a row that another program changed.
    fn digest_where_missing(&self, table: &str, id: Uuid) -> Result<(), Error> {
        let (payload, columns) = match table {
            "metrics_sessions" => (sessions::PAYLOAD, 17),
            "tool_metrics" => (tool_metrics::PAYLOAD, 24),
            _ => (dashboards::PAYLOAD, 11),
        };
        let digest = self
            .connection()
            .prepare_cached(&format!(
                "SELECT {payload} FROM {table} WHERE id = ?1 AND digest IS NULL"
            ))
            .and_then(|mut statement| {
                statement
                    .query_row([id], |row| digest::of_row(row, columns))
                    .optional()
            })
            .map_err(error::query("digest a row"))?;
        match digest {
            None => Ok(()),
            Some(digest) => self
                .execute(
                    "digest a row",
                    &format!("UPDATE {table} SET digest = ?2 WHERE id = ?1"),
                    &[&id, &digest],
                )
                .map(drop),
        }
    }

    fn stamp(&self, chosen: &BTreeSet<i64>) -> Result<SealedBatch, Error> {
        let stream_id = match self.stream_id()? {
            Some(known) => known,
            None => self.begin_stream()?,
        };
        let prev_batch_id: Option<Uuid> = self
            .connection()
            .prepare_cached(
                "SELECT batch_id FROM sync_batches WHERE stream_id = ?1 AND state = 'acknowledged'
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
        for seq in chosen {
            self.execute(
                "seal a batch",
                "UPDATE change_log SET batch_no = ?2 WHERE seq = ?1",
                &[seq, &no],
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

/// Where a call's session stands.
#[derive(Debug, Clone, Copy)]
enum Parent {
    /// It has gone, in this stream, before.
    Settled,
    /// It waits, with this change.
    Waits(i64),
    /// It is in quarantine.
    Held,
}

fn waiting(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    Ok(Waiting {
        seq: row.get(0)?,
        table: row.get(1)?,
        pk: row.get(2)?,
        rev: row.get(3)?,
    })
}
