//! Choosing: which of the changes that were picked go into a batch, which take others along, which are held.

use std::collections::{BTreeSet, HashMap, HashSet};

use rusqlite::{OptionalExtension as _, Row, ToSql};
use uuid::Uuid;

use super::OutboxMut;
use super::seal::{SealLimits, Waiting};
use crate::domain::ids::UserId;
use crate::store::error::{self, Error};

/// What a row weighs on the wire beside its long texts: ids, times, numbers, short names.
const ROW_BYTES: usize = 320;

/// What sealing finds where a change points.
#[derive(Clone, Copy)]
pub(super) enum Sealable {
    /// A row.
    Row(Found),
    /// No row: it was removed.
    Gone,
    /// A row with an id that is none.
    Spoiled,
}

/// What sealing needs to know of a row.
#[derive(Clone, Copy)]
pub(super) struct Found {
    user: Uuid,
    session: Option<Uuid>,
    bytes: usize,
    has_digest: bool,
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
pub(super) struct Choice {
    pub(super) seqs: BTreeSet<i64>,
    /// Whether another program changed one of the rows and left it without a digest.
    pub(super) lacks_digests: bool,
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
    /// The changes that go into the batch.
    pub(super) fn choose(
        &self,
        waiting: Vec<Waiting>,
        limits: SealLimits,
        enrolled: &[UserId],
    ) -> Result<Choice, Error> {
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
                    Parent::Waits(seq) => {
                        choice.take("metrics_sessions", session, seq, ROW_BYTES);
                        choice.lacks_digests = true;
                    }
                    Parent::Settled => {}
                }
            }
            if change.table == "dashboard_configs" {
                // A default that moved is two rows: the one that gives it up has to go with the one that takes it.
                for (seq, other) in self.other_dashboards(row.user)? {
                    choice.take("dashboard_configs", other, seq, ROW_BYTES);
                    choice.lacks_digests = true;
                }
            }
            choice.lacks_digests |= !row.has_digest;
            let already = choice.seqs.contains(&change.seq);
            if !choice.take(table_of(&change.table), change.pk, change.seq, row.bytes) && !already {
                // A second change of a row that this batch carries anyway.
                self.forget(change.seq)?;
            }
        }
        Ok(choice)
    }

    /// Finds the row of a change: where the change says that it lies, else by its id.
    fn sealable(&self, change: &Waiting) -> Result<Sealable, Error> {
        if let Some(call) = change.call {
            return Ok(call);
        }
        let sql = sealable_sql(&change.table);
        let find = |sql: &str, params: &[&dyn ToSql]| {
            self.connection()
                .prepare_cached(sql)
                .and_then(|mut statement| {
                    statement
                        .query_row(params, |row| Ok((sealable_from_row(row, 0)?, row.get(4)?)))
                        .optional()
                })
                .map_err(error::query("look at a waiting row"))
        };
        if let Some(place) = change.row_id
            && let Some((found, _)) = find(sql.by_place, &[&change.pk, &place])?
        {
            return Ok(found);
        }
        match find(sql.by_id, &[&change.pk])? {
            Some((found, place)) => {
                self.place(change.seq, change.row_id, place)?;
                Ok(found)
            }
            None => Ok(Sealable::Gone),
        }
    }

    /// Notes where the row of a change lies, where that was not known.
    fn place(&self, seq: i64, known: Option<i64>, place: i64) -> Result<(), Error> {
        if known == Some(place) {
            return Ok(());
        }
        self.execute(
            "note where a row lies",
            "UPDATE change_log SET row_id = ?2 WHERE seq = ?1",
            &[&seq, &place],
        )
        .map(drop)
    }

    fn parent(&self, session: Uuid, enrolled: &[UserId]) -> Result<Parent, Error> {
        let found: Option<(Option<Vec<u8>>, bool, i64)> = self
            .connection()
            .prepare_cached(
                "SELECT s.user_id, EXISTS (SELECT 1 FROM quarantine q
                                           WHERE q.table_name = 'metrics_sessions' AND q.pk = s.id), s.rowid
                 FROM metrics_sessions s WHERE s.id = ?1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([session], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
                    })
                    .optional()
            })
            .map_err(error::query("look at a call's session"))?;
        let is_enrolled = |user: &[u8]| {
            Uuid::from_slice(user).is_ok_and(|user| enrolled.contains(&UserId::from_uuid(user)))
        };
        let place = match found {
            Some((Some(user), false, place)) if is_enrolled(&user) => place,
            // No such session here: the server may have it, and says so if it has not.
            None => return Ok(Parent::Settled),
            Some(_) => return Ok(Parent::Held),
        };
        let waits: Option<(i64, Option<i64>)> = self
            .connection()
            .prepare_cached(
                "SELECT seq, row_id FROM change_log
                 WHERE pk = ?1 AND table_name = 'metrics_sessions' AND table_name <> 'tool_metrics'
                   AND batch_no IS NULL
                 ORDER BY seq DESC LIMIT 1",
            )
            .and_then(|mut statement| {
                statement
                    .query_row([session], |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()
            })
            .map_err(error::query("look at a call's session"))?;
        let Some((seq, known)) = waits else {
            return Ok(Parent::Settled);
        };
        self.place(seq, known, place)?;
        Ok(Parent::Waits(seq))
    }

    /// The waiting dashboards of a user: a few.
    fn other_dashboards(&self, user: Uuid) -> Result<Vec<(i64, Uuid)>, Error> {
        let found: Vec<(i64, Uuid, Option<i64>, i64)> = self
            .connection()
            .prepare_cached(
                "SELECT c.seq, d.id, c.row_id, d.rowid FROM dashboard_configs d
                 JOIN change_log c ON c.pk = d.id AND c.table_name <> 'tool_metrics'
                 WHERE d.user_id = ?1 AND c.table_name = 'dashboard_configs' AND c.batch_no IS NULL
                   AND length(d.id) = 16 ORDER BY c.seq",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([user], |row| {
                        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
                    })?
                    .collect()
            })
            .map_err(error::query("look at a user's dashboards"))?;
        found
            .into_iter()
            .map(|(seq, id, known, place)| self.place(seq, known, place).map(|()| (seq, id)))
            .collect()
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

/// How a table's row is looked at before it is sealed.
struct SealableSql {
    by_place: &'static str,
    by_id: &'static str,
}

/// Both read what [`sealable_from_row`] takes, and last where the row lies.
fn sealable_sql(table: &str) -> SealableSql {
    macro_rules! sql {
        ($table:literal, $session:literal, $long_texts:literal) => {{
            macro_rules! where_ {
                ($condition:literal) => {
                    concat!(
                        "SELECT user_id, ",
                        $session,
                        ", digest IS NOT NULL, ",
                        $long_texts,
                        ", rowid FROM ",
                        $table,
                        " WHERE ",
                        $condition
                    )
                };
            }
            SealableSql {
                by_place: where_!("id = ?1 AND rowid = ?2"),
                by_id: where_!("id = ?1"),
            }
        }};
    }
    match table {
        "tool_metrics" => sql!(
            "tool_metrics",
            "session_id",
            "coalesce(length(parameters), 0) + coalesce(length(command_line), 0)"
        ),
        "metrics_sessions" => sql!(
            "metrics_sessions",
            "NULL",
            "length(tools_used) + length(tags) + coalesce(length(description), 0)"
        ),
        _ => sql!("dashboard_configs", "NULL", "length(widget_layout)"),
    }
}

/// Reads user, session, whether there is a digest, and the size of the long texts, from the column `first` on.
pub(super) fn sealable_from_row(row: &Row<'_>, first: usize) -> rusqlite::Result<Sealable> {
    let id = |at: usize| -> rusqlite::Result<Option<Result<Uuid, uuid::Error>>> {
        Ok(row.get_ref(at)?.as_blob_or_null()?.map(Uuid::from_slice))
    };
    let has_digest = row.get(first + 2)?;
    let bytes = ROW_BYTES + row.get::<_, usize>(first + 3)?;
    Ok(match (id(first)?, id(first + 1)?) {
        (Some(Ok(user)), None) => Sealable::Row(Found {
            user,
            session: None,
            bytes,
            has_digest,
        }),
        (Some(Ok(user)), Some(Ok(session))) => Sealable::Row(Found {
            user,
            session: Some(session),
            bytes,
            has_digest,
        }),
        _ => Sealable::Spoiled,
    })
}
