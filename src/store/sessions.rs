//! A tenant's work sessions.

use std::ops::Deref;

use rusqlite::{OptionalExtension as _, Row, ToSql};
use uuid::Uuid;

use super::Sighting;
use super::columns::{Life, json, some_text, some_time, text, time, unreadable};
use super::digest::{self, Digest};
use super::error::{self, Error};
use super::page::{Cursor, Page};
use super::tenant::{Reader, Writer};
use crate::domain::ids::{SessionId, UserId};
use crate::domain::session::{Description, ProjectId, Session, SourceId};
use crate::domain::units::{InvalidValue, Timestamp};

/// What a session's digest is made of, in this order. The rest of [`COLUMNS`] is `created_at`.
pub(super) const PAYLOAD: &str = "id, user_id, session_start, session_end, end_inferred, total_duration_ms, \
    tools_used, productivity_score, session_type, project_id, tags, interruptions_count, focus_time_ms, \
    description, source, source_id, deleted_at";

const COLUMNS: &str = "id, user_id, session_start, session_end, end_inferred, \
    tools_used, productivity_score, session_type, project_id, tags, interruptions_count, focus_time_ms, \
    description, source, source_id, created_at";

/// Which sessions to list; deleted ones never are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Of one user only.
    pub user: Option<UserId>,
    /// That began at this time or later.
    pub since: Option<Timestamp>,
    /// That began before this time.
    pub until: Option<Timestamp>,
}

/// The order of a list of sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SessionSort {
    /// By start, the latest first.
    #[default]
    Newest,
    /// By start, the earliest first.
    Oldest,
}

/// Reads sessions.
#[derive(Debug)]
pub struct Sessions<'r> {
    reader: &'r Reader<'r>,
}

/// Writes sessions.
#[derive(Debug)]
pub struct SessionsMut<'w> {
    sessions: Sessions<'w>,
    writer: &'w Writer<'w>,
}

impl<'c> Reader<'c> {
    /// The tenant's sessions.
    #[must_use]
    pub fn sessions(&'c self) -> Sessions<'c> {
        Sessions { reader: self }
    }
}

impl<'c> Writer<'c> {
    /// The tenant's sessions, to write.
    #[must_use]
    pub fn sessions(&'c self) -> SessionsMut<'c> {
        SessionsMut {
            sessions: Sessions { reader: self },
            writer: self,
        }
    }
}

impl<'w> Deref for SessionsMut<'w> {
    type Target = Sessions<'w>;

    fn deref(&self) -> &Self::Target {
        &self.sessions
    }
}

impl Sessions<'_> {
    /// The session of that id, if there is one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn find(&self, id: SessionId) -> Result<Option<Session>, Error> {
        let found = self.lookup(id)?;
        Ok(found.and_then(|(session, life)| (life == Life::Present).then_some(session)))
    }

    fn lookup(&self, id: SessionId) -> Result<Option<(Session, Life)>, Error> {
        let sql = format!("SELECT {COLUMNS}, deleted_at FROM metrics_sessions WHERE id = ?1");
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_row([id.as_uuid()], |row| {
                        Ok((from_row(row)?, Life::of(row.get(16)?)))
                    })
                    .optional()
            })
            .map_err(error::query("find a session"))
    }

    /// How many sessions there are.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count(&self) -> Result<u64, Error> {
        self.count_matching(&SessionFilter::default())
    }

    /// A page of at most `limit` sessions (1 to 1,000) that match, after `cursor`.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn list(
        &self,
        filter: &SessionFilter,
        sort: SessionSort,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page<Session>, Error> {
        let (comparison, order) = match sort {
            SessionSort::Newest => ("<", "DESC"),
            SessionSort::Oldest => (">", "ASC"),
        };
        let limit = limit.clamp(1, 1_000);
        let sql = format!(
            "SELECT {COLUMNS} FROM metrics_sessions
             WHERE deleted_at IS NULL AND (?1 IS NULL OR user_id = ?1)
               AND session_start >= ?2 AND session_start < ?3
               AND (?4 IS NULL OR (session_start, id) {comparison} (?4, ?5))
             ORDER BY session_start {order}, id {order} LIMIT ?6"
        );
        let (user, since, until) = bounds(filter);
        let one_more = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        let (at, id) = (after.map(|cursor| cursor.at), after.map(|cursor| cursor.id));
        let params: [&dyn ToSql; 6] = [&user, &since, &until, &at, &id, &one_more];
        let mut rows: Vec<Session> = self
            .reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map(params, from_row)?.collect())
            .map_err(error::query("list sessions"))?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows
            .last()
            .filter(|_| more)
            .map(|last| Cursor::new(last.session_start, last.id.as_uuid()));
        Ok(Page {
            rows,
            next,
            total: self.count_matching(filter)?,
        })
    }

    fn count_matching(&self, filter: &SessionFilter) -> Result<u64, Error> {
        let (user, since, until) = bounds(filter);
        let params: [&dyn ToSql; 3] = [&user, &since, &until];
        self.reader
            .connection()
            .prepare_cached(
                "SELECT count(*) FROM metrics_sessions
                 WHERE deleted_at IS NULL AND (?1 IS NULL OR user_id = ?1)
                   AND session_start >= ?2 AND session_start < ?3",
            )
            .and_then(|mut statement| statement.query_row(params, |row| row.get(0)))
            .map_err(error::query("count sessions"))
    }
}

fn bounds(filter: &SessionFilter) -> (Option<Uuid>, i64, i64) {
    (
        filter.user.map(UserId::as_uuid),
        filter.since.map_or(0, Timestamp::as_micros),
        filter.until.map_or(i64::MAX, Timestamp::as_micros),
    )
}

impl SessionsMut<'_> {
    /// Records a sighting of a session: adds the row, or widens the one that is there ([`Session::absorb`]).
    ///
    /// # Errors
    /// [`Error::ForeignKey`] where there is no such user; [`Error::Check`] where an end lies before its start.
    pub fn record(&self, session: &Session) -> Result<Sighting, Error> {
        match self.lookup(session.id)? {
            None => {
                self.insert(session)?;
                Ok(Sighting::Inserted)
            }
            Some((mut known, Life::Present)) => {
                if !known.absorb(session) {
                    return Ok(Sighting::Unchanged);
                }
                self.update(&known)?;
                Ok(Sighting::Raised)
            }
            // What was deleted stays deleted, whatever is seen of it again.
            Some(_) => Ok(Sighting::Unchanged),
        }
    }

    fn insert(&self, session: &Session) -> Result<(), Error> {
        self.execute(
            session,
            "INSERT INTO metrics_sessions (id, user_id, session_start, session_end, end_inferred,
                total_duration_ms, tools_used, productivity_score, session_type, project_id, tags,
                interruptions_count, focus_time_ms, description, source, source_id, deleted_at,
                digest, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
            Some(session.created_at.as_micros()),
            "add a session",
        )
    }

    fn update(&self, session: &Session) -> Result<(), Error> {
        self.execute(
            session,
            "UPDATE metrics_sessions
             SET user_id = ?2, session_start = ?3, session_end = ?4, end_inferred = ?5,
                 total_duration_ms = ?6, tools_used = ?7, productivity_score = ?8, session_type = ?9,
                 project_id = ?10, tags = ?11, interruptions_count = ?12, focus_time_ms = ?13,
                 description = ?14, source = ?15, source_id = ?16, deleted_at = ?17, digest = ?18,
                 rev = rev + 1
             WHERE id = ?1",
            None,
            "raise a session",
        )
    }

    fn execute(
        &self,
        session: &Session,
        sql: &str,
        created_at: Option<i64>,
        action: &'static str,
    ) -> Result<(), Error> {
        let tools_used = json(&session.tools_used).map_err(error::query(action))?;
        let tags = json(&session.tags).map_err(error::query(action))?;
        let (id, user_id) = (session.id.as_uuid(), session.user_id.as_uuid());
        let session_start = session.session_start.as_micros();
        let session_end = session.session_end.map(Timestamp::as_micros);
        let total_duration_ms = session.total_duration_ms();
        let project_id = session.project_id.as_ref().map(ProjectId::as_str);
        let description = session.description.as_ref().map(Description::as_str);
        let source_id = session.source_id.as_ref().map(SourceId::as_str);
        let payload: [&dyn ToSql; 17] = [
            &id,
            &user_id,
            &session_start,
            &session_end,
            &session.end_inferred,
            &total_duration_ms,
            &tools_used,
            &session.productivity_score,
            &session.session_type.as_str(),
            &project_id,
            &tags,
            &session.interruptions_count,
            &session.focus_time_ms,
            &description,
            &session.source.as_str(),
            &source_id,
            &None::<i64>,
        ];
        let digest: Digest = digest::of_params(&payload).map_err(error::query(action))?;
        let mut all = Vec::with_capacity(19);
        all.extend(payload);
        all.push(&digest);
        if let Some(created_at) = &created_at {
            all.push(created_at);
        }
        self.writer
            .connection()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(all.as_slice()))
            .map(drop)
            .map_err(error::query(action))
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Session> {
    let list = |at: usize| -> rusqlite::Result<Vec<String>> {
        serde_json::from_str(row.get_ref(at)?.as_str()?)
            .map_err(|_| unreadable(at)(InvalidValue::new("list", "is no list of texts")))
    };
    Ok(Session {
        id: SessionId::from_uuid(row.get(0)?),
        user_id: UserId::from_uuid(row.get(1)?),
        session_start: some_time(row, 2)?,
        session_end: time(row, 3)?,
        end_inferred: row.get(4)?,
        tools_used: list(5)?.into_iter().collect(),
        productivity_score: row.get(6)?,
        session_type: some_text(row, 7)?,
        project_id: text(row, 8)?,
        tags: list(9)?,
        interruptions_count: row.get(10)?,
        focus_time_ms: row.get(11)?,
        description: text(row, 12)?,
        source: some_text(row, 13)?,
        source_id: text(row, 14)?,
        created_at: some_time(row, 15)?,
    })
}
