//! Choosing: which of the changes that were picked go into a batch, which take others along, which are held.

use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::{OptionalExtension as _, Row};
use uuid::Uuid;

use super::OutboxMut;
use super::seal::{SealLimits, Waiting};
use crate::domain::ids::UserId;
use crate::store::error::{self, Error};

/// What a row weighs on the wire beside its long texts: ids, times, numbers, short names.
const ROW_BYTES: usize = 320;

/// What sealing finds where a change points.
enum Sealable {
    /// A row.
    Row(Found),
    /// No row: it was removed.
    Gone,
    /// A row with an id that is none.
    Spoiled,
}

/// What sealing needs to know of a row.
struct Found {
    user: Uuid,
    session: Option<Uuid>,
    bytes: usize,
}

/// Why a row is held back.
#[derive(Clone, Copy)]
enum Held {
    UserNotEnrolled,
    Parent,
    Spoiled,
}

/// What goes into a batch so far.
#[derive(Default)]
struct Choice {
    seqs: BTreeSet<i64>,
    rows: HashSet<(&'static str, Uuid)>,
    parents: HashMap<Uuid, Parent>,
    bytes: usize,
}

impl Choice {
    /// Takes a row by one of its changes; false if the batch has the row already.
    fn take(&mut self, table: &'static str, id: Uuid, seq: i64, bytes: usize) -> bool {
        let new = self.rows.insert((table, id));
        if new {
            self.seqs.insert(seq);
            self.bytes += bytes;
        }
        new
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

impl OutboxMut<'_> {
    /// The `seq` of every change that goes into the batch.
    pub(super) fn choose(
        &self,
        waiting: Vec<Waiting>,
        limits: SealLimits,
        enrolled: &[UserId],
    ) -> Result<BTreeSet<i64>, Error> {
        let mut choice = Choice::default();
        for change in waiting {
            if choice.bytes >= limits.bytes && !choice.seqs.is_empty() {
                break;
            }
            let row = match self.sealable(&change)? {
                Sealable::Row(row) => row,
                Sealable::Gone => {
                    self.forget(change.seq)?;
                    continue;
                }
                Sealable::Spoiled => {
                    self.hold(&change, Held::Spoiled)?;
                    continue;
                }
            };
            if !enrolled.contains(&UserId::from_uuid(row.user)) {
                self.hold(&change, Held::UserNotEnrolled)?;
                continue;
            }
            if let Some(session) = row.session {
                let parent = match choice.parents.get(&session) {
                    Some(known) => *known,
                    None => self.parent(session, enrolled)?,
                };
                choice.parents.insert(session, parent);
                match parent {
                    Parent::Held => {
                        self.hold(&change, Held::Parent)?;
                        continue;
                    }
                    Parent::Waits(seq) => choice.take("metrics_sessions", session, seq, ROW_BYTES),
                    Parent::Settled => true,
                };
            }
            if change.table == "dashboard_configs" {
                // A default that moved is two rows: the one that gives it up has to go with the one that takes it.
                for (seq, other) in self.other_dashboards(row.user)? {
                    choice.take("dashboard_configs", other, seq, ROW_BYTES);
                }
            }
            let already = choice.seqs.contains(&change.seq);
            if !choice.take(table_of(&change.table), change.pk, change.seq, row.bytes) && !already {
                // A second change of a row that this batch carries anyway.
                self.forget(change.seq)?;
            }
        }
        Ok(choice.seqs)
    }

    fn sealable(&self, change: &Waiting) -> Result<Sealable, Error> {
        let sql = match change.table.as_str() {
            "tool_metrics" => {
                "SELECT user_id, session_id, coalesce(length(parameters), 0) + coalesce(length(command_line), 0)
                 FROM tool_metrics WHERE id = ?1"
            }
            "metrics_sessions" => {
                "SELECT user_id, NULL, length(tools_used) + length(tags) + coalesce(length(description), 0)
                 FROM metrics_sessions WHERE id = ?1"
            }
            _ => "SELECT user_id, NULL, length(widget_layout) FROM dashboard_configs WHERE id = ?1",
        };
        self.connection()
            .prepare_cached(sql)
            .and_then(|mut statement| {
                statement
                    .query_row([change.pk], sealable_from_row)
                    .optional()
            })
            .map(|found| found.unwrap_or(Sealable::Gone))
            .map_err(error::query("look at a waiting row"))
    }

    fn parent(&self, session: Uuid, enrolled: &[UserId]) -> Result<Parent, Error> {
        let found: Option<(Option<Vec<u8>>, bool)> = self
            .connection()
            .prepare_cached(
                "SELECT s.user_id, EXISTS (SELECT 1 FROM quarantine q
                                           WHERE q.table_name = 'metrics_sessions' AND q.pk = s.id)
                 FROM metrics_sessions s WHERE s.id = ?1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([session], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(error::query("look at a call's session"))?;
        let is_enrolled = |user: &[u8]| {
            Uuid::from_slice(user).is_ok_and(|user| enrolled.contains(&UserId::from_uuid(user)))
        };
        match found {
            Some((Some(user), false)) if is_enrolled(&user) => {}
            // No such session here: the server may have it, and says so if it has not.
            None => return Ok(Parent::Settled),
            Some(_) => return Ok(Parent::Held),
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

    /// The waiting dashboards of a user: a few.
    fn other_dashboards(&self, user: Uuid) -> Result<Vec<(i64, Uuid)>, Error> {
        self.connection()
            .prepare_cached(
                "SELECT c.seq, d.id FROM dashboard_configs d
                 JOIN change_log c ON c.pk = d.id AND c.table_name <> 'tool_metrics'
                 WHERE d.user_id = ?1 AND c.table_name = 'dashboard_configs' AND c.batch_no IS NULL
                   AND length(d.id) = 16 ORDER BY c.seq",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([user], |row| Ok((row.get(0)?, row.get(1)?)))?
                    .collect()
            })
            .map_err(error::query("look at a user's dashboards"))
    }

    fn forget(&self, seq: i64) -> Result<(), Error> {
        self.execute(
            "forget a change",
            "DELETE FROM change_log WHERE seq = ?1",
            &[&seq],
        )
        .map(drop)
    }

    fn hold(&self, change: &Waiting, why: Held) -> Result<(), Error> {
        let (reason, sqlstate, message) = match why {
            Held::UserNotEnrolled => (
                "user_not_enrolled",
                None,
                "this device is not enrolled for the row's user",
            ),
            Held::Parent => (
                "parent",
                None,
                "the session that this call belongs to is held",
            ),
            // 22P02, invalid_text_representation: what the server would say of such an id.
            Held::Spoiled => (
                "rejected",
                Some("22P02"),
                "the id of its user or session is no UUID",
            ),
        };
        let now = self.reader.now().as_micros();
        self.execute(
            "hold a row",
            "INSERT INTO quarantine (table_name, pk, rev, reason, sqlstate, message, since)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (table_name, pk) DO UPDATE SET rev = excluded.rev",
            &[
                &change.table,
                &change.pk,
                &change.rev,
                &reason,
                &sqlstate,
                &message,
                &now,
            ],
        )?;
        self.execute(
            "hold a row",
            "UPDATE change_log SET batch_no = 0 WHERE seq = ?1",
            &[&change.seq],
        )
        .map(drop)
    }
}

/// The name of a table that travels, as the program itself has it.
fn table_of(name: &str) -> &'static str {
    super::TABLES
        .into_iter()
        .find(|table| *table == name)
        .unwrap_or("dashboard_configs")
}

fn sealable_from_row(row: &Row<'_>) -> rusqlite::Result<Sealable> {
    let id = |at: usize| -> rusqlite::Result<Option<Result<Uuid, uuid::Error>>> {
        Ok(row.get_ref(at)?.as_blob_or_null()?.map(Uuid::from_slice))
    };
    let bytes = ROW_BYTES + row.get::<_, usize>(2)?;
    Ok(match (id(0)?, id(1)?) {
        (Some(Ok(user)), None) => Sealable::Row(Found {
            user,
            session: None,
            bytes,
        }),
        (Some(Ok(user)), Some(Ok(session))) => Sealable::Row(Found {
            user,
            session: Some(session),
            bytes,
        }),
        _ => Sealable::Spoiled,
    })
}
