//! Writing sessions.

use rusqlite::ToSql;

use super::{SessionsMut, TABLE};
use crate::domain::ids::SessionId;
use crate::domain::permission::{Action, Subject};
use crate::domain::session::{Description, ProjectId, Score, Session, SourceId};
use crate::domain::units::{InvalidValue, Timestamp};
use crate::store::Sighting;
use crate::store::columns::{Life, json};
use crate::store::digest::{self, Digest};
use crate::store::error::{self, Error};
use crate::store::rows::{self, Bulk, OnDuplicate};
use crate::store::tool_metrics;

const INSERT: &str =
    "INSERT INTO metrics_sessions (id, user_id, session_start, session_end, end_inferred,
        total_duration_ms, tools_used, productivity_score, session_type, project_id, tags,
        interruptions_count, focus_time_ms, description, source, source_id, deleted_at,
        digest, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)";

const UPDATE: &str = "UPDATE metrics_sessions
    SET user_id = ?2, session_start = ?3, session_end = ?4, end_inferred = ?5,
        total_duration_ms = ?6, tools_used = ?7, productivity_score = ?8, session_type = ?9,
        project_id = ?10, tags = ?11, interruptions_count = ?12, focus_time_ms = ?13,
        description = ?14, source = ?15, source_id = ?16, deleted_at = ?17, digest = ?18,
        rev = rev + 1
    WHERE id = ?1";

impl SessionsMut<'_> {
    /// Adds a session.
    ///
    /// # Errors
    /// [`Error::UniqueViolation`] where the id is taken; [`Error::ForeignKey`] where there is no such user;
    /// [`Error::Check`] where an end lies before its start; [`Error::Denied`].
    pub fn insert(&self, session: &Session) -> Result<(), Error> {
        const ACTION: &str = "add a session";
        self.may(Action::Write, session, ACTION)?;
        let created_at = Some(session.created_at.as_micros());
        self.execute(session, INSERT, created_at, ACTION).map(drop)
    }

    /// Makes the session of this id as given, except for `created_at`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it is another user's;
    /// [`Error::NotFound`] where there is no such session or it is deleted; those of [`SessionsMut::insert`].
    pub fn update(&self, session: &Session) -> Result<(), Error> {
        const ACTION: &str = "change a session";
        self.may(Action::Write, session, ACTION)?;
        self.owned(Action::Write, session.id, Life::Present, ACTION)?;
        self.replace(session, ACTION).map(drop)
    }

    /// Adds the session, or makes the one of this id as given, bringing it back where it was deleted.
    ///
    /// # Errors
    /// Those of [`SessionsMut::insert`] but for a taken id.
    pub fn upsert(&self, session: &Session) -> Result<Sighting, Error> {
        const ACTION: &str = "add or change a session";
        let Some(held) = rows::held(self.reader, TABLE, session.id.as_uuid(), ACTION)? else {
            self.insert(session)?;
            return Ok(Sighting::Inserted);
        };
        self.may(Action::Write, session, ACTION)?;
        self.reader
            .may(Action::Write, Subject::Sessions, held.owner, ACTION)?;
        self.replace(session, ACTION)
    }

    /// Adds many sessions; the first error ends it, and the transaction's failure undoes all.
    ///
    /// # Errors
    /// Those of [`SessionsMut::upsert`].
    pub fn insert_all<'s>(
        &self,
        sessions: impl IntoIterator<Item = &'s Session>,
        on_duplicate: OnDuplicate,
    ) -> Result<Bulk, Error> {
        let mut bulk = Bulk::default();
        for session in sessions {
            bulk.count(match on_duplicate {
                OnDuplicate::Update => self.upsert(session)?,
                OnDuplicate::Skip if self.is_held(session.id)? => Sighting::Unchanged,
                OnDuplicate::Skip => {
                    self.insert(session)?;
                    Sighting::Inserted
                }
            });
        }
        Ok(bulk)
    }

    /// Deletes a session and its calls: readers no longer see them, and the deletion travels.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such session or it is deleted; [`Error::Denied`].
    pub fn delete(&self, id: SessionId) -> Result<(), Error> {
        const ACTION: &str = "delete a session";
        self.owned(Action::Delete, id, Life::Present, ACTION)?;
        rows::delete(self.writer, TABLE, id.as_uuid(), ACTION)?;
        tool_metrics::delete_of_session(self.writer, id)
    }

    /// Brings a deleted session back, with the calls that were deleted with it.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such deleted session; [`Error::Denied`].
    pub fn restore(&self, id: SessionId) -> Result<(), Error> {
        const ACTION: &str = "restore a session";
        let deleted_at = self.owned(Action::Delete, id, Life::Deleted, ACTION)?;
        rows::restore(self.writer, TABLE, id.as_uuid(), ACTION)?;
        tool_metrics::restore_of_session(self.writer, id, deleted_at)
    }

    fn may(&self, action: Action, session: &Session, doing: &'static str) -> Result<(), Error> {
        self.reader
            .may(action, Subject::Sessions, session.user_id, doing)
    }

    /// Makes the row as given where that changes anything. It is told by the values: the digest of a row that was
    /// deleted or restored is not known until it is sealed.
    fn replace(&self, session: &Session, doing: &'static str) -> Result<Sighting, Error> {
        let Some((known, life)) = self.lookup(session.id)? else {
            return Ok(Sighting::Unchanged);
        };
        // A session's calls are its user's, here and centrally: it cannot be given to another.
        if known.user_id != session.user_id {
            return Err(InvalidValue::new("session", "belongs to another user").into());
        }
        let next = Session {
            created_at: known.created_at,
            ..session.clone()
        };
        if life == Life::Present && next == known {
            return Ok(Sighting::Unchanged);
        }
        self.execute(&next, UPDATE, None, doing)?;
        Ok(Sighting::Raised)
    }

    fn is_held(&self, id: SessionId) -> Result<bool, Error> {
        Ok(rows::held(self.reader, TABLE, id.as_uuid(), "look for a session")?.is_some())
    }

    /// Checks that the row is there, in that life, and may be touched; when it was deleted.
    fn owned(
        &self,
        action: Action,
        id: SessionId,
        life: Life,
        doing: &'static str,
    ) -> Result<Option<i64>, Error> {
        let held = rows::held(self.reader, TABLE, id.as_uuid(), doing)?
            .filter(|held| held.life == life)
            .ok_or_else(|| Error::not_found("session", &id))?;
        self.reader
            .may(action, Subject::Sessions, held.owner, doing)?;
        Ok(held.deleted_at)
    }

    /// Records a sighting of a session: adds the row, or widens the one that is there ([`Session::absorb`]).
    ///
    /// # Errors
    /// [`Error::ForeignKey`] where there is no such user; [`Error::Check`] where an end lies before its start.
    pub fn record(&self, session: &Session) -> Result<Sighting, Error> {
        self.may(Action::Write, session, "record a session")?;
        match self.lookup(session.id)? {
            None => {
                self.insert(session)?;
                Ok(Sighting::Inserted)
            }
            Some((mut known, Life::Present)) => {
                if !known.absorb(session) {
                    return Ok(Sighting::Unchanged);
                }
                self.execute(&known, UPDATE, None, "raise a session")?;
                Ok(Sighting::Raised)
            }
            // What was deleted stays deleted, whatever is seen of it again.
            Some(_) => Ok(Sighting::Unchanged),
        }
    }

    /// Records a sighting, but leaves the row that is there where the sighting would only move an inferred end by less
    /// than `slack_ms`: for sightings that follow each other closely, of which the last one tells.
    ///
    /// # Errors
    /// Those of [`SessionsMut::record`].
    pub fn record_with_slack(&self, session: &Session, slack_ms: i64) -> Result<Sighting, Error> {
        if let Some((known, Life::Present)) = self.lookup(session.id)?
            && known.differs_by_less_than(session, slack_ms)
        {
            self.may(Action::Write, session, "record a session")?;
            return Ok(Sighting::Unchanged);
        }
        self.record(session)
    }

    fn execute(
        &self,
        session: &Session,
        sql: &str,
        created_at: Option<i64>,
        action: &'static str,
    ) -> Result<usize, Error> {
        let tools_used = json(&session.tools_used).map_err(error::query(action))?;
        let tags = json(&session.tags).map_err(error::query(action))?;
        let (id, user_id) = (session.id.as_uuid(), session.user_id.as_uuid());
        let session_start = session.session_start.as_micros();
        let session_end = session.session_end.map(Timestamp::as_micros);
        let total_duration_ms = session.total_duration_ms();
        let project_id = session.project_id.as_ref().map(ProjectId::as_str);
        let description = session.description.as_ref().map(Description::as_str);
        let source_id = session.source_id.as_ref().map(SourceId::as_str);
        let score = session.productivity_score.map(Score::as_f64);
        let payload: [&dyn ToSql; 17] = [
            &id,
            &user_id,
            &session_start,
            &session_end,
            &session.end_inferred,
            &total_duration_ms,
            &tools_used,
            &score,
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
            .rows(action)?
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(all.as_slice()))
            .map_err(error::query(action))
    }
}
