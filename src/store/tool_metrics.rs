//! A tenant's tool calls: one row each.

use std::ops::Deref;

use rusqlite::{OptionalExtension as _, Row, params_from_iter};

use super::columns::{Life, named, some_text, some_time, text};
use super::error::{self, Error};
use super::export::{Column, Kind};
use super::filter::{self, Conditions, Deleted};
use super::page::{self, Cursor, Direction, NumberedPage, Page, PageRequest};
use super::tenant::{Reader, Writer};
use crate::domain::ids::{CallId, SessionId, UserId};
use crate::domain::permission::Subject;
use crate::domain::tool_metric::{DurationSource, Outcome, ToolCategory, ToolMetric, ToolName};
use crate::domain::units::Timestamp;

mod write;

pub(super) use write::{delete_of_session, restore_of_session};

const TABLE: &str = "tool_metrics";

/// What a call's digest is made of, in this order.
pub(super) const PAYLOAD: &str = "id, session_id, user_id, parent_id, tool_name, tool_category, started_at, \
    execution_count, total_duration_ms, average_duration_ms, success_rate, error_count, outcome, \
    memory_usage_mb, cpu_time_ms, parameters, output_size_bytes, program, command_line, working_directory, \
    source, source_id, duration_source, deleted_at";

const COLUMNS: &str = "id, session_id, user_id, parent_id, tool_name, tool_category, started_at, \
    execution_count, total_duration_ms, error_count, outcome, memory_usage_mb, cpu_time_ms, parameters, \
    output_size_bytes, program, command_line, working_directory, source, source_id, duration_source, \
    provenance, created_at";

/// What a keyset page is made of.
const KEYSET: (&str, &str, &str) = (TABLE, COLUMNS, "started_at");

/// What an export of the table holds: see [`super::export`].
pub(super) const EXPORTED: &[Column] = &[
    ("id", Kind::Id),
    ("session_id", Kind::Id),
    ("user_id", Kind::Id),
    ("parent_id", Kind::Id),
    ("tool_name", Kind::Plain),
    ("tool_category", Kind::Plain),
    ("started_at", Kind::Time),
    ("execution_count", Kind::Plain),
    ("total_duration_ms", Kind::Plain),
    ("average_duration_ms", Kind::Plain),
    ("success_rate", Kind::Plain),
    ("error_count", Kind::Plain),
    ("outcome", Kind::Plain),
    ("memory_usage_mb", Kind::Plain),
    ("cpu_time_ms", Kind::Plain),
    ("parameters", Kind::Json),
    ("output_size_bytes", Kind::Plain),
    ("program", Kind::Plain),
    ("command_line", Kind::Plain),
    ("working_directory", Kind::Plain),
    ("source", Kind::Plain),
    ("source_id", Kind::Plain),
    ("duration_source", Kind::Plain),
    ("created_at", Kind::Time),
];

/// Which calls are meant: those for which all of it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolMetricFilter {
    /// Of one user only.
    pub user: Option<UserId>,
    /// Of one session only.
    pub session: Option<SessionId>,
    /// Of one tool only.
    pub tool: Option<ToolName>,
    /// Of one category only.
    pub category: Option<ToolCategory>,
    /// That ended so.
    pub outcome: Option<Outcome>,
    /// That began at this time or later.
    pub since: Option<Timestamp>,
    /// That began before this time.
    pub until: Option<Timestamp>,
    /// Whether deleted ones are among them.
    pub deleted: Deleted,
}

/// What numbered pages of calls are ordered by; the id breaks ties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ToolMetricOrder {
    /// The start.
    #[default]
    Start,
    /// The duration.
    Duration,
    /// The tool's name.
    Tool,
    /// The size of the result.
    OutputSize,
}

impl ToolMetricOrder {
    const fn column(self) -> &'static str {
        match self {
            Self::Start => "started_at",
            Self::Duration => "total_duration_ms",
            Self::Tool => "tool_name",
            Self::OutputSize => "output_size_bytes",
        }
    }
}

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
        let readable = self.reader.readable(Subject::ToolMetrics, "read calls")?;
        let found = self.lookup(id)?;
        Ok(found.and_then(|(call, _, life)| {
            let seen = readable.is_none_or(|own| own == call.user_id);
            (life == Life::Present && seen).then_some(call)
        }))
    }

    /// The calls of a session, by start.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn of_session(&self, session: SessionId) -> Result<Vec<ToolMetric>, Error> {
        let conditions = self.conditions(&ToolMetricFilter {
            session: Some(session),
            ..ToolMetricFilter::default()
        })?;
        let sql = format!(
            "SELECT {COLUMNS} FROM tool_metrics WHERE {} ORDER BY started_at, id",
            conditions.sql()
        );
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map(params_from_iter(conditions.values()), from_row)?
                    .collect()
            })
            .map_err(error::query("list a session's calls"))
    }

    /// A page of at most `limit` calls (1 to 1,000) that match, by start and id, after a cursor. A page costs the same
    /// at any place; one whose filter few calls match reads those between them too.
    ///
    /// ```
    /// # use millpond::store::{Direction, Error, TenantStore, ToolMetricFilter};
    /// # fn f(tenant: &TenantStore) -> Result<(), Error> {
    /// let (all, newest) = (ToolMetricFilter::default(), Direction::Descending);
    /// let mut after = None;
    /// loop {
    ///     let page = tenant.read(|r| r.tool_metrics().list(&all, newest, 100, after))?;
    ///     println!("{} calls", page.rows.len());
    ///     after = page.next;
    ///     if after.is_none() {
    ///         break Ok(());
    ///     }
    /// }
    /// # }
    /// ```
    ///
    /// # Errors
    /// What SQLite says; [`Error::Denied`].
    pub fn list(
        &self,
        filter: &ToolMetricFilter,
        direction: Direction,
        limit: usize,
        after: Option<Cursor>,
    ) -> Result<Page<ToolMetric>, Error> {
        page::keyset(
            self.reader.connection(),
            KEYSET,
            &self.conditions(filter)?,
            (direction, limit, after),
            "list calls",
            from_row,
            |last| Cursor::new(last.started_at, last.id.as_uuid()),
        )
    }

    /// A numbered page of the calls that match.
    ///
    /// # Errors
    /// What SQLite says; [`Error::Denied`].
    pub fn page(
        &self,
        filter: &ToolMetricFilter,
        (order, direction): (ToolMetricOrder, Direction),
        request: PageRequest,
    ) -> Result<NumberedPage<ToolMetric>, Error> {
        let (column, way) = (order.column(), direction.sql());
        page::numbered(
            self.reader.connection(),
            (TABLE, COLUMNS, &format!("{column} {way}, id {way}")),
            &self.conditions(filter)?,
            request,
            "list calls",
            from_row,
        )
    }

    /// How many calls there are.
    ///
    /// # Errors
    /// What SQLite says; [`Error::Denied`].
    pub fn count(&self) -> Result<u64, Error> {
        self.count_matching(&ToolMetricFilter::default())
    }

    /// How many calls match.
    ///
    /// # Errors
    /// What SQLite says; [`Error::Denied`].
    pub fn count_matching(&self, filter: &ToolMetricFilter) -> Result<u64, Error> {
        let conditions = self.conditions(filter)?;
        page::count(self.reader.connection(), TABLE, &conditions, "count calls")
    }

    fn conditions(&self, filter: &ToolMetricFilter) -> Result<Conditions, Error> {
        let own = self.reader.readable(Subject::ToolMetrics, "list calls")?;
        let mut all = Conditions::new(filter.deleted);
        for user in [own, filter.user] {
            all.and("user_id = {}", user.map(|user| filter::id(user.as_uuid())));
        }
        let session = filter.session.map(|session| filter::id(session.as_uuid()));
        all.and("session_id = {}", session);
        all.and(
            "tool_name = {}",
            filter.tool.as_ref().map(ToString::to_string),
        );
        all.and(
            "tool_category = {}",
            filter.category.as_ref().map(ToString::to_string),
        );
        all.and(
            "outcome = {}",
            filter.outcome.map(|outcome| outcome.as_str().to_owned()),
        );
        all.and("started_at >= {}", filter.since.map(Timestamp::as_micros));
        all.and("started_at < {}", filter.until.map(Timestamp::as_micros));
        Ok(all)
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

#[cfg(test)]
mod tests;
