//! Writing calls.

use rusqlite::ToSql;

use super::{TABLE, ToolMetricsMut};
use crate::domain::ids::{CallId, SessionId};
use crate::domain::permission::{Action, Subject};
use crate::domain::session::SourceId;
use crate::domain::tool_metric::{CommandLine, Program, ToolMetric, WorkingDirectory};
use crate::store::Sighting;
use crate::store::columns::Life;
use crate::store::digest;
use crate::store::error::{self, Error};
use crate::store::rows::{self, Bulk, OnDuplicate};
use crate::store::tenant::Writer;

const INSERT: &str =
    "INSERT INTO tool_metrics (id, session_id, user_id, parent_id, tool_name, tool_category,
    started_at, execution_count, total_duration_ms, average_duration_ms, success_rate,
    error_count, outcome, memory_usage_mb, cpu_time_ms, parameters, output_size_bytes,
    program, command_line, working_directory, source, source_id, duration_source,
    deleted_at, digest, rev, provenance, created_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
         ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)
    ON CONFLICT (id) DO NOTHING";

const UPDATE: &str = "UPDATE tool_metrics
         SET session_id = ?2, user_id = ?3, parent_id = ?4, tool_name = ?5,
             tool_category = ?6, started_at = ?7, execution_count = ?8,
             total_duration_ms = ?9, average_duration_ms = ?10, success_rate = ?11,
             error_count = ?12, outcome = ?13, memory_usage_mb = ?14, cpu_time_ms = ?15,
             parameters = ?16, output_size_bytes = ?17, program = ?18, command_line = ?19,
             working_directory = ?20, source = ?21, source_id = ?22, duration_source = ?23,
             deleted_at = ?24, digest = ?25, rev = ?26, provenance = ?27, created_at = ?28
         WHERE id = ?1";

/// Deletes the calls of a session that is being deleted.
pub(in crate::store) fn delete_of_session(w: &Writer<'_>, session: SessionId) -> Result<(), Error> {
    const ACTION: &str = "delete a session's calls";
    let (id, now) = (session.as_uuid(), w.now().as_micros());
    let params: [&dyn ToSql; 2] = [&id, &now];
    w.rows(ACTION)?
        .prepare_cached(
            "UPDATE tool_metrics SET deleted_at = ?2, rev = rev + 1, digest = NULL
             WHERE session_id = ?1 AND deleted_at IS NULL",
        )
        .and_then(|mut update| update.execute(params))
        .map(drop)
        .map_err(error::query(ACTION))
}

/// Brings back the calls that were deleted with their session, at that moment.
pub(in crate::store) fn restore_of_session(
    w: &Writer<'_>,
    session: SessionId,
    deleted_at: Option<i64>,
) -> Result<(), Error> {
    const ACTION: &str = "restore a session's calls";
    let id = session.as_uuid();
    let params: [&dyn ToSql; 2] = [&id, &deleted_at];
    w.rows(ACTION)?
        .prepare_cached(
            "UPDATE tool_metrics SET deleted_at = NULL, rev = rev + 1, digest = NULL
             WHERE session_id = ?1 AND deleted_at = ?2",
        )
        .and_then(|mut update| update.execute(params))
        .map(drop)
        .map_err(error::query(ACTION))
}

impl ToolMetricsMut<'_> {
    /// Records a sighting of a call: adds the row, or raises the one that is there ([`ToolMetric::absorb`]).
    ///
    /// # Errors
    /// [`Error::ForeignKey`] where there is no such session or user; [`Error::Check`] where a count or duration is
    /// negative or the parameters are no JSON.
    pub fn record(&self, call: &ToolMetric) -> Result<Sighting, Error> {
        self.may(Action::Write, call, "record a call")?;
        // Most sightings are new: try that first, and look only where the id is taken.
        let first_rev = call.duration_source.first_rev();
        let inserted = self.execute(call, first_rev, INSERT, "add a call")?;
        if inserted == 1 {
            return Ok(Sighting::Inserted);
        }
        match self.lookup(call.id)? {
            Some((mut known, rev, Life::Present)) => {
                if !known.absorb(call) {
                    return Ok(Sighting::Unchanged);
                }
                let rev = known.duration_source.first_rev().max(rev + 1);
                self.execute(&known, rev, UPDATE, "raise a call")?;
                Ok(Sighting::Raised)
            }
            // What was deleted stays deleted, whatever is seen of it again.
            _ => Ok(Sighting::Unchanged),
        }
    }

    /// Adds a call.
    ///
    /// # Errors
    /// [`Error::UniqueViolation`] where the id is taken; those of [`ToolMetricsMut::record`].
    pub fn insert(&self, call: &ToolMetric) -> Result<(), Error> {
        const ACTION: &str = "add a call";
        self.may(Action::Write, call, ACTION)?;
        match self.execute(call, call.duration_source.first_rev(), INSERT, ACTION)? {
            1 => Ok(()),
            _ => Err(Error::UniqueViolation {
                table: TABLE.to_owned(),
                columns: vec!["id".to_owned()],
            }),
        }
    }

    /// Makes the call of this id as given.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such call or it is deleted; those of [`ToolMetricsMut::record`].
    pub fn update(&self, call: &ToolMetric) -> Result<(), Error> {
        const ACTION: &str = "change a call";
        self.owned(Action::Write, call.id, Life::Present, ACTION)?;
        self.replace(call, ACTION).map(drop)
    }

    /// Adds the call, or makes the one of this id as given, bringing it back where it was deleted.
    ///
    /// # Errors
    /// Those of [`ToolMetricsMut::record`].
    pub fn upsert(&self, call: &ToolMetric) -> Result<Sighting, Error> {
        const ACTION: &str = "add or change a call";
        let Some(held) = rows::held(self.reader, TABLE, call.id.as_uuid(), ACTION)? else {
            self.insert(call)?;
            return Ok(Sighting::Inserted);
        };
        self.reader
            .may(Action::Write, Subject::ToolMetrics, held.owner, ACTION)?;
        self.replace(call, ACTION)
    }

    /// Adds many calls; the first error ends it, and the transaction's failure undoes all.
    ///
    /// # Errors
    /// Those of [`ToolMetricsMut::record`].
    pub fn insert_all<'m>(
        &self,
        calls: impl IntoIterator<Item = &'m ToolMetric>,
        on_duplicate: OnDuplicate,
    ) -> Result<Bulk, Error> {
        const ACTION: &str = "add calls";
        let mut bulk = Bulk::default();
        for call in calls {
            bulk.count(match on_duplicate {
                OnDuplicate::Update => self.upsert(call)?,
                OnDuplicate::Skip => {
                    self.may(Action::Write, call, ACTION)?;
                    let first_rev = call.duration_source.first_rev();
                    match self.execute(call, first_rev, INSERT, ACTION)? {
                        0 => Sighting::Unchanged,
                        _ => Sighting::Inserted,
                    }
                }
            });
        }
        Ok(bulk)
    }

    /// Deletes a call: readers no longer see it, and the deletion travels.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such call or it is deleted; [`Error::Denied`].
    pub fn delete(&self, id: CallId) -> Result<(), Error> {
        const ACTION: &str = "delete a call";
        self.owned(Action::Delete, id, Life::Present, ACTION)?;
        rows::delete(self.writer, TABLE, id.as_uuid(), ACTION).map(drop)
    }

    /// Brings a deleted call back.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such deleted call; [`Error::Denied`].
    pub fn restore(&self, id: CallId) -> Result<(), Error> {
        const ACTION: &str = "restore a call";
        self.owned(Action::Delete, id, Life::Deleted, ACTION)?;
        rows::restore(self.writer, TABLE, id.as_uuid(), ACTION).map(drop)
    }

    fn may(&self, action: Action, call: &ToolMetric, doing: &'static str) -> Result<(), Error> {
        self.reader
            .may(action, Subject::ToolMetrics, call.user_id, doing)
    }

    fn owned(
        &self,
        action: Action,
        id: CallId,
        life: Life,
        doing: &'static str,
    ) -> Result<(), Error> {
        let held = rows::held(self.reader, TABLE, id.as_uuid(), doing)?
            .filter(|held| held.life == life)
            .ok_or_else(|| Error::not_found("call", &id))?;
        self.reader
            .may(action, Subject::ToolMetrics, held.owner, doing)
    }

    /// Makes the row as given where that changes anything, above the rev that it has.
    fn replace(&self, call: &ToolMetric, doing: &'static str) -> Result<Sighting, Error> {
        self.may(Action::Write, call, doing)?;
        let Some((known, rev, life)) = self.lookup(call.id)? else {
            return Ok(Sighting::Unchanged);
        };
        if life == Life::Present && known == *call {
            return Ok(Sighting::Unchanged);
        }
        self.execute(call, rev + 1, UPDATE, doing)?;
        Ok(Sighting::Raised)
    }

    fn execute(
        &self,
        call: &ToolMetric,
        rev: i64,
        sql: &str,
        action: &'static str,
    ) -> Result<usize, Error> {
        let (id, session_id, user_id) = (
            call.id.as_uuid(),
            call.session_id.as_uuid(),
            call.user_id.as_uuid(),
        );
        let parent_id = call.parent_id.map(CallId::as_uuid);
        let started_at = call.started_at.as_micros();
        let (average, success_rate) = (call.average_duration_ms(), call.success_rate());
        let program = call.program.as_ref().map(Program::as_str);
        let command_line = call.command_line.as_ref().map(CommandLine::as_str);
        let working_directory = call
            .working_directory
            .as_ref()
            .map(WorkingDirectory::as_str);
        let source_id = call.source_id.as_ref().map(SourceId::as_str);
        let payload: [&dyn ToSql; 24] = [
            &id,
            &session_id,
            &user_id,
            &parent_id,
            &call.tool_name.as_str(),
            &call.tool_category.as_str(),
            &started_at,
            &call.execution_count,
            &call.total_duration_ms,
            &average,
            &success_rate,
            &call.error_count,
            &call.outcome.as_str(),
            &call.memory_usage_mb,
            &call.cpu_time_ms,
            &call.parameters,
            &call.output_size_bytes,
            &program,
            &command_line,
            &working_directory,
            &call.source.as_str(),
            &source_id,
            &call.duration_source.as_str(),
            &None::<i64>,
        ];
        let digest = digest::of_params(&payload).map_err(error::query(action))?;
        let created_at = call.created_at.as_micros();
        let rest: [&dyn ToSql; 4] = [&digest, &rev, &call.provenance, &created_at];
        let mut all: Vec<&dyn ToSql> = Vec::with_capacity(28);
        all.extend(payload);
        all.extend(rest);
        self.writer
            .rows(action)?
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(all.as_slice()))
            .map_err(error::query(action))
    }
}
