//! Figures over a tenant's calls.

use rusqlite::ToSql;
use serde::Serialize;

use super::error::{self, Error};
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
        let (group, join, order) = match key {
            MetricsKey::Tool => ("t.tool_name", "", "calls DESC, key"),
            MetricsKey::Category => ("t.tool_category", "", "calls DESC, key"),
            MetricsKey::Day => ("date(t.started_at / 1000000, 'unixepoch')", "", "key"),
            MetricsKey::User => (
                "u.email",
                "JOIN users u ON u.id = t.user_id",
                "calls DESC, key",
            ),
            MetricsKey::Project => (
                "coalesce(s.project_id, '(none)')",
                "JOIN metrics_sessions s ON s.id = t.session_id",
                "calls DESC, key",
            ),
        };
        // A filter that is not asked for stays out of the statement, so that the planner may use the other's index.
        let mut conditions = String::from("t.deleted_at IS NULL");
        let session = filter.session.map(SessionId::as_uuid);
        let since = filter.since.map(Timestamp::as_micros);
        let mut params: Vec<&dyn ToSql> = Vec::new();
        let own = self.readable(Subject::ToolMetrics, "read figures")?;
        let own = own.map(UserId::as_uuid);
        if let Some(own) = &own {
            params.push(own);
            conditions.push_str(" AND t.user_id = ?");
        }
        if let Some(session) = &session {
            params.push(session);
            conditions.push_str(" AND t.session_id = ?");
        }
        if let Some(since) = &since {
            params.push(since);
            conditions.push_str(" AND t.started_at >= ?");
        }
        let sql = format!(
            "SELECT {group} AS key, sum(t.execution_count) AS calls, sum(t.error_count),
                    sum(t.outcome = 'unknown'), count(t.total_duration_ms),
                    coalesce(sum(t.total_duration_ms), 0), avg(t.total_duration_ms),
                    min(t.started_at), max(t.started_at)
             FROM tool_metrics t {join} WHERE {conditions} GROUP BY 1 ORDER BY {order}"
        );
        self.connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map(params.as_slice(), |row| {
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
