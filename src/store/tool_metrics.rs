//! A tenant's tool calls: one row each.

use std::ops::Deref;

use rusqlite::{OptionalExtension as _, Row, ToSql};

use super::Sighting;
use super::columns::{Life, named, some_text, some_time, text};
use super::digest;
use super::error::{self, Error};
use super::tenant::{Reader, Writer};
use crate::domain::ids::{CallId, SessionId, UserId};
use crate::domain::session::SourceId;
use crate::domain::tool_metric::{
    CommandLine, DurationSource, Outcome, Program, ToolMetric, WorkingDirectory,
};

/// What a call's digest is made of, in this order.
pub(super) const PAYLOAD: &str = "id, session_id, user_id, parent_id, tool_name, tool_category, started_at, \
    execution_count, total_duration_ms, average_duration_ms, success_rate, error_count, outcome, \
    memory_usage_mb, cpu_time_ms, parameters, output_size_bytes, program, command_line, working_directory, \
    source, source_id, duration_source, deleted_at";

const COLUMNS: &str = "id, session_id, user_id, parent_id, tool_name, tool_category, started_at, \
    execution_count, total_duration_ms, error_count, outcome, memory_usage_mb, cpu_time_ms, parameters, \
    output_size_bytes, program, command_line, working_directory, source, source_id, duration_source, \
    provenance, created_at";

/// Reads calls.
#[derive(Debug)]
pub struct ToolMetrics<'r> {
    reader: &'r Reader<'r>,
}

/// Writes calls.
#[derive(Debug)]
pub struct ToolMetricsMut<'w> {
    calls: ToolMetrics<'w>,
    writer: &'w Writer<'w>,
}

impl<'c> Reader<'c> {
    /// The tenant's tool calls.
    #[must_use]
    pub fn tool_metrics(&'c self) -> ToolMetrics<'c> {
        ToolMetrics { reader: self }
    }
}

impl<'c> Writer<'c> {
    /// The tenant's tool calls, to write.
    #[must_use]
    pub fn tool_metrics(&'c self) -> ToolMetricsMut<'c> {
        ToolMetricsMut {
            calls: ToolMetrics { reader: self },
            writer: self,
        }
    }
}

impl<'w> Deref for ToolMetricsMut<'w> {
    type Target = ToolMetrics<'w>;

    fn deref(&self) -> &Self::Target {
        &self.calls
    }
}

impl ToolMetrics<'_> {
    /// The call of that id, if there is one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn find(&self, id: CallId) -> Result<Option<ToolMetric>, Error> {
        let found = self.lookup(id)?;
        Ok(found.and_then(|(call, _, life)| (life == Life::Present).then_some(call)))
    }

    /// The calls of a session, by start.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn of_session(&self, session: SessionId) -> Result<Vec<ToolMetric>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM tool_metrics
             WHERE session_id = ?1 AND deleted_at IS NULL ORDER BY started_at, id"
        );
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map([session.as_uuid()], from_row)?
                    .collect()
            })
            .map_err(error::query("list a session's calls"))
    }

    /// How many calls there are.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count(&self) -> Result<u64, Error> {
        self.reader
            .connection()
            .query_row(
                "SELECT count(*) FROM tool_metrics WHERE deleted_at IS NULL",
                [],
                |row| row.get(0),
            )
            .map_err(error::query("count calls"))
    }

    fn lookup(&self, id: CallId) -> Result<Option<(ToolMetric, i64, Life)>, Error> {
        let sql = format!("SELECT {COLUMNS}, rev, deleted_at FROM tool_metrics WHERE id = ?1");
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_row([id.as_uuid()], |row| {
                        Ok((from_row(row)?, row.get(23)?, Life::of(row.get(24)?)))
                    })
                    .optional()
            })
            .map_err(error::query("find a call"))
    }
}

impl ToolMetricsMut<'_> {
    /// Records a sighting of a call: adds the row, or raises the one that is there ([`ToolMetric::absorb`]).
    ///
    /// # Errors
    /// [`Error::ForeignKey`] where there is no such session or user; [`Error::Check`] where a count or duration is
    /// negative or the parameters are no JSON.
    pub fn record(&self, call: &ToolMetric) -> Result<Sighting, Error> {
        // Most sightings are new: try that first, and look only where the id is taken.
        let first_rev = call.duration_source.first_rev();
        let inserted = self.execute(
            call,
            first_rev,
            "INSERT INTO tool_metrics (id, session_id, user_id, parent_id, tool_name, tool_category,
                started_at, execution_count, total_duration_ms, average_duration_ms, success_rate,
                error_count, outcome, memory_usage_mb, cpu_time_ms, parameters, output_size_bytes,
                program, command_line, working_directory, source, source_id, duration_source,
                deleted_at, digest, rev, provenance, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                     ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)
             ON CONFLICT (id) DO NOTHING",
            "add a call",
        )?;
        if inserted == 1 {
            return Ok(Sighting::Inserted);
        }
        match self.lookup(call.id)? {
            Some((mut known, rev, Life::Present)) => {
                if !known.absorb(call) {
                    return Ok(Sighting::Unchanged);
                }
                let rev = known.duration_source.first_rev().max(rev + 1);
                self.execute(
                    &known,
                    rev,
                    "UPDATE tool_metrics
                     SET session_id = ?2, user_id = ?3, parent_id = ?4, tool_name = ?5,
                         tool_category = ?6, started_at = ?7, execution_count = ?8,
                         total_duration_ms = ?9, average_duration_ms = ?10, success_rate = ?11,
                         error_count = ?12, outcome = ?13, memory_usage_mb = ?14, cpu_time_ms = ?15,
                         parameters = ?16, output_size_bytes = ?17, program = ?18, command_line = ?19,
                         working_directory = ?20, source = ?21, source_id = ?22, duration_source = ?23,
                         deleted_at = ?24, digest = ?25, rev = ?26, provenance = ?27, created_at = ?28
                     WHERE id = ?1",
                    "raise a call",
                )?;
                Ok(Sighting::Raised)
            }
            // What was deleted stays deleted, whatever is seen of it again.
            _ => Ok(Sighting::Unchanged),
        }
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
            .connection()
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(all.as_slice()))
            .map_err(error::query(action))
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<ToolMetric> {
    Ok(ToolMetric {
        id: CallId::from_uuid(row.get(0)?),
        session_id: SessionId::from_uuid(row.get(1)?),
        user_id: UserId::from_uuid(row.get(2)?),
        parent_id: row.get::<_, Option<_>>(3)?.map(CallId::from_uuid),
        tool_name: some_text(row, 4)?,
        tool_category: some_text(row, 5)?,
        started_at: some_time(row, 6)?,
        execution_count: row.get(7)?,
        total_duration_ms: row.get(8)?,
        error_count: row.get(9)?,
        outcome: named(row, 10, Outcome::parse)?,
        memory_usage_mb: row.get(11)?,
        cpu_time_ms: row.get(12)?,
        parameters: row.get(13)?,
        output_size_bytes: row.get(14)?,
        program: text(row, 15)?,
        command_line: text(row, 16)?,
        working_directory: text(row, 17)?,
        source: some_text(row, 18)?,
        source_id: text(row, 19)?,
        duration_source: named(row, 20, DurationSource::parse)?,
        provenance: row.get(21)?,
        created_at: some_time(row, 22)?,
    })
}
