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

/// The statement over hours, and what is bound in it.
fn of_hours(
    key: MetricsKey,
    since: Option<Timestamp>,
    own: Option<UserId>,
) -> (String, Vec<Value>) {
    let (group, join) = match key {
        MetricsKey::Category => ("p.tool_category", ""),
        MetricsKey::Day => ("date(p.hour * 3600, 'unixepoch')", ""),
        MetricsKey::User => ("u.email", "JOIN users u ON u.id = p.user_id"),
        MetricsKey::Tool | MetricsKey::Project => ("p.tool_name", ""),
    };
    let mut params = Vec::new();
    let mut of_user = String::new();
    if let Some(own) = own {
        params.push(filter::id(own.as_uuid()));
        of_user = " AND user_id = ?1".to_owned();
    }
    let mut parts = String::from("tool_hours WHERE 1");
    if let Some(since) = since.map(Timestamp::as_micros) {
        // The hours from the next full one on; what lies before that is read call by call.
        let full = since.div_euclid(HOUR) + i64::from(since.rem_euclid(HOUR) > 0);
        let at = params.len() + 1;
        params.extend([full, since, full * HOUR].map(Value::Integer));
        parts = format!(
            "(SELECT hour, tool_name, tool_category, user_id, calls, errors, unknown, timed,
                     total_duration_ms, first_start, last_start
              FROM tool_hours WHERE hour >= ?{at}
              UNION ALL
              SELECT started_at / {HOUR}, tool_name, tool_category, user_id, execution_count, error_count,
                     outcome = 'unknown', total_duration_ms IS NOT NULL, coalesce(total_duration_ms, 0),
                     started_at, started_at
              FROM tool_metrics
              WHERE started_at >= ?{} AND started_at < ?{} AND deleted_at IS NULL)
             WHERE 1",
            at + 1,
            at + 2
        );
    }
    let sql = format!(
        "SELECT {group} AS key, sum(p.calls) AS calls, sum(p.errors), sum(p.unknown), sum(p.timed),
                sum(p.total_duration_ms), CAST(sum(p.total_duration_ms) AS REAL) / nullif(sum(p.timed), 0),
                min(p.first_start), max(p.last_start)
         FROM (SELECT * FROM {parts}{of_user}) p {join} GROUP BY 1 ORDER BY {}",
        key.order()
    );
    (sql, params)
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
