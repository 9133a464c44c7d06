//! Figures over a tenant's calls.
//!
//! Those by tool, category, day and user are summed over `tool_hours`, which the triggers of the file keep by hour;
//! only the hour that the asked time begins in is read call by call. So a month of a million calls costs some ten
//! thousand rows. Invariant: both ways give the same figures, to the last digit.

use rusqlite::params_from_iter;
use rusqlite::types::Value;
use serde::Serialize;
use uuid::Uuid;

use super::error::{self, Error};
use super::filter::{self, Conditions};
use super::tenant::Reader;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::permission::Subject;
use crate::domain::units::Timestamp;

/// What figures are grouped by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MetricsKey {
    /// The tool's name.
    #[default]
    Tool,
    /// The tool's category.
    Category,
    /// The UTC day of the start, as "2026-01-08".
    Day,
    /// The user's email.
    User,
    /// The session's project; "(none)" where it has none.
    Project,
}

impl MetricsKey {
    const fn order(self) -> &'static str {
        match self {
            Self::Day => "key",
            _ => "calls DESC, key",
        }
    }
}

/// Which calls are counted; deleted ones never are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MetricsFilter {
    /// Of one session only.
    pub session: Option<SessionId>,
    /// That began at this time or later.
    pub since: Option<Timestamp>,
}

/// The figures of one group of calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricsRow {
    /// What the group has in common.
    pub key: String,
    /// Calls.
    pub calls: i64,
    /// Calls whose result says that they failed, refusals included.
    pub errors: i64,
    /// Calls whose result was never seen.
    pub unknown: i64,
    /// Calls that a clock timed.
    pub timed: i64,
    /// What the timed calls took in all.
    pub total_duration_ms: i64,
    /// What a timed call took on average; `None` where none was timed.
    pub average_duration_ms: Option<f64>,
    /// The first start.
    pub first: Timestamp,
    /// The last start.
    pub last: Timestamp,
}

impl Reader<'_> {
    /// Figures by group: most calls first, days in order.
    ///
    /// # Errors
    /// What SQLite says; [`Error::Denied`].
    pub fn metrics(
        &self,
        key: MetricsKey,
        filter: MetricsFilter,
    ) -> Result<Vec<MetricsRow>, Error> {
        let own = self.readable(Subject::ToolMetrics, "read figures")?;
        let (sql, params) = match (key, filter.session) {
            // An hour's figures know neither the session nor its project.
            (_, Some(_)) | (MetricsKey::Project, None) => of_calls(key, filter, own),
            _ => of_hours(key, filter.since, own),
        };
        self.connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map(params_from_iter(params), |row| {
                        Ok(MetricsRow {
                            key: row.get(0)?,
                            calls: row.get(1)?,
                            errors: row.get(2)?,
                            unknown: row.get(3)?,
                            timed: row.get(4)?,
                            total_duration_ms: row.get(5)?,
                            average_duration_ms: row.get(6)?,
                            first: super::columns::some_time(row, 7)?,
                            last: super::columns::some_time(row, 8)?,
                        })
                    })?
                    .collect()
            })
            .map_err(error::query("compute figures"))
    }
}

/// An hour in microseconds: what `tool_hours` counts by.
const HOUR: i64 = 3_600_000_000;

/// The statement over hours, and what is bound in it. Hours and the calls of the hour that is only begun are each
/// grouped first: what is left to add up is as many rows as there are groups.
fn of_hours(
    key: MetricsKey,
    since: Option<Timestamp>,
    own: Option<UserId>,
) -> (String, Vec<Value>) {
    let group = |hour: &str| match key {
        MetricsKey::Category => "tool_category".to_owned(),
        MetricsKey::Day => format!("{hour} / 24"),
        MetricsKey::User => "user_id".to_owned(),
        MetricsKey::Tool | MetricsKey::Project => "tool_name".to_owned(),
    };
    // As the key of `tool_hours` has them, so that nothing is sorted but a day's figures.
    let in_order = match key {
        MetricsKey::Category => "tool_name, tool_category",
        MetricsKey::User => "tool_name, tool_category, user_id",
        _ => "1",
    };
    let (name, join) = match key {
        MetricsKey::Day => ("date(p.k * 86400, 'unixepoch')", ""),
        MetricsKey::User => ("u.email", "JOIN users u ON u.id = p.k"),
        _ => ("p.k", ""),
    };
    let mut hours = Conditions::fixed("1");
    let mut calls = String::new();
    hours.and("user_id = {}", own.map(|own| filter::id(own.as_uuid())));
    let mut values = hours.values().to_vec();
    let mut conditions = hours.sql().to_owned();
    if let Some(since) = since.map(Timestamp::as_micros) {
        // The hours from the next full one on; what lies before that is read call by call.
        let full = since.div_euclid(HOUR) + i64::from(since.rem_euclid(HOUR) > 0);
        let at = values.len() + 1;
        values.extend([full, since, full * HOUR].map(Value::Integer));
        calls = format!(
            "UNION ALL
             SELECT {}, sum(execution_count), sum(error_count), sum(outcome = 'unknown'),
                    count(total_duration_ms), coalesce(sum(total_duration_ms), 0), min(started_at),
                    max(started_at)
             FROM tool_metrics
             WHERE {conditions} AND started_at >= ?{} AND started_at < ?{} AND deleted_at IS NULL
             GROUP BY 1",
            group(&format!("started_at / {HOUR}")),
            at + 1,
            at + 2
        );
        conditions = format!("{conditions} AND hour >= ?{at}");
    }
    let sql = format!(
        "SELECT {name} AS key, sum(p.calls) AS calls, sum(p.errors), sum(p.unknown), sum(p.timed),
                sum(p.total), CAST(sum(p.total) AS REAL) / nullif(sum(p.timed), 0),
                min(p.first), max(p.last)
         FROM (SELECT {} AS k, sum(calls) AS calls, sum(errors) AS errors, sum(unknown) AS unknown,
                      sum(timed) AS timed, sum(total_duration_ms) AS total, min(first_start) AS first,
                      max(last_start) AS last
               FROM tool_hours WHERE {conditions} GROUP BY {in_order}
               {calls}) p {join}
         GROUP BY 1 ORDER BY {}",
        group("hour"),
        key.order()
    );
    (sql, values)
}

/// The statement over calls, and what is bound in it.
fn of_calls(key: MetricsKey, filter: MetricsFilter, own: Option<UserId>) -> (String, Vec<Value>) {
    let (group, join) = match key {
        MetricsKey::Tool => ("t.tool_name", ""),
        MetricsKey::Category => ("t.tool_category", ""),
        MetricsKey::Day => ("date(t.started_at / 1000000, 'unixepoch')", ""),
        MetricsKey::User => ("u.email", "JOIN users u ON u.id = t.user_id"),
        MetricsKey::Project => (
            "coalesce(s.project_id, '(none)')",
            "JOIN metrics_sessions s ON s.id = t.session_id",
        ),
    };
    // A filter that is not asked for stays out of the statement, so that the planner may use the other's index.
    let mut conditions = Conditions::fixed("t.deleted_at IS NULL");
    let id = |id: Option<Uuid>| id.map(filter::id);
    conditions.and("t.user_id = {}", id(own.map(UserId::as_uuid)));
    conditions.and(
        "t.session_id = {}",
        id(filter.session.map(SessionId::as_uuid)),
    );
    conditions.and("t.started_at >= {}", filter.since.map(Timestamp::as_micros));
    let sql = format!(
        "SELECT {group} AS key, sum(t.execution_count) AS calls, sum(t.error_count),
                sum(t.outcome = 'unknown'), count(t.total_duration_ms),
                coalesce(sum(t.total_duration_ms), 0), avg(t.total_duration_ms),
                min(t.started_at), max(t.started_at)
         FROM tool_metrics t {join} WHERE {} GROUP BY 1 ORDER BY {}",
        conditions.sql(),
        key.order()
    );
    (sql, conditions.values().to_vec())
}
