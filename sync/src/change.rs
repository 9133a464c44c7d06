//! The wire types: what travels from an outbox to a remote, and the columns it is made of.
//!
//! Purpose: one place that names every column of the tables that travel, with its type, so that both sides and the
//! statements between them are made from the same list. Depends on nothing but ids. Invariants: a [`Change`] holds
//! exactly one [`Value`] per [`Table::columns`] entry, in that order; `rev` is at least 1; `digest` is opaque here.

use uuid::Uuid;

/// A table whose rows travel. Ordered so that a row's parents come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Work sessions.
    MetricsSessions,
    /// Tool calls, each of which belongs to a session.
    ToolMetrics,
    /// Dashboards.
    DashboardConfigs,
}

/// The type of a column, as both databases hold it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `uuid`.
    Uuid,
    /// `text`.
    Text,
    /// `bigint`.
    BigInt,
    /// `double precision`.
    Double,
    /// `boolean`; 0 or 1 in SQLite.
    Boolean,
    /// `timestamptz`; microseconds since 1970-01-01T00:00:00Z in SQLite.
    Timestamp,
    /// `jsonb`; checked text in SQLite.
    Json,
}

/// A column that travels beside `id`, `rev` and `digest`, which every table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name, the same on both sides.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Whether a higher rev may change it. `user_id` and `created_at` are settled by the first version.
    pub mutable: bool,
}

/// One value of a row. `Null` fits every kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// An id.
    Uuid(Uuid),
    /// Text: may hold what the server refuses (NUL), since another program may have put it there.
    Text(String),
    /// An integer.
    BigInt(i64),
    /// A number.
    Double(f64),
    /// A truth value.
    Boolean(bool),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// A JSON document as text.
    Json(String),
}

/// The current version of one row, as it is offered to the server.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The row's table.
    pub table: Table,
    /// The row's primary key.
    pub id: Uuid,
    /// The row's version, from 1.
    pub rev: i64,
    /// A hash of the payload: equal digests mean equal rows.
    pub digest: [u8; 16],
    /// Whether this is the row's first version, never offered before as far as its file knows: a server is unlikely
    /// to have it.
    pub is_new: bool,
    /// One value per entry of [`Table::columns`], in that order.
    pub values: Vec<Value>,
}

/// A sealed group of changes, applied whole or not at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// The stream that the batch extends.
    pub stream_id: Uuid,
    /// The batch's own id.
    pub batch_id: Uuid,
    /// The batch before it in the stream; `None` for the stream's first.
    pub prev_batch_id: Option<Uuid>,
    /// The rows, each id at most once, parents before what hangs on them.
    pub changes: Vec<Change>,
}

/// A batch's place in its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    /// The stream.
    pub stream_id: Uuid,
    /// The batch.
    pub batch_id: Uuid,
    /// The batch before it; `None` for the stream's first.
    pub prev_batch_id: Option<Uuid>,
}

impl Batch {
    /// The batch's place in its stream.
    #[must_use]
    pub const fn link(&self) -> Link {
        Link {
            stream_id: self.stream_id,
            batch_id: self.batch_id,
            prev_batch_id: self.prev_batch_id,
        }
    }
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        mutable: true,
    }
}

const fn settled(name: &'static str, kind: Kind) -> Column {
    Column {
        name,
        kind,
        mutable: false,
    }
}

const METRICS_SESSIONS: &[Column] = &[
    settled("user_id", Kind::Uuid),
    column("session_start", Kind::Timestamp),
    column("session_end", Kind::Timestamp),
    column("end_inferred", Kind::Boolean),
    column("total_duration_ms", Kind::BigInt),
    column("tools_used", Kind::Json),
    column("productivity_score", Kind::Double),
    column("session_type", Kind::Text),
    column("project_id", Kind::Text),
    column("tags", Kind::Json),
    column("interruptions_count", Kind::BigInt),
    column("focus_time_ms", Kind::BigInt),
    column("description", Kind::Text),
    column("source", Kind::Text),
    column("source_id", Kind::Text),
    settled("created_at", Kind::Timestamp),
    column("deleted_at", Kind::Timestamp),
];

const TOOL_METRICS: &[Column] = &[
    column("session_id", Kind::Uuid),
    settled("user_id", Kind::Uuid),
    column("parent_id", Kind::Uuid),
    column("tool_name", Kind::Text),
    column("tool_category", Kind::Text),
    column("started_at", Kind::Timestamp),
    column("execution_count", Kind::BigInt),
    column("total_duration_ms", Kind::BigInt),
    column("average_duration_ms", Kind::Double),
    column("success_rate", Kind::Double),
    column("error_count", Kind::BigInt),
    column("outcome", Kind::Text),
    column("memory_usage_mb", Kind::Double),
    column("cpu_time_ms", Kind::BigInt),
    column("parameters", Kind::Json),
    column("output_size_bytes", Kind::BigInt),
    column("program", Kind::Text),
    column("command_line", Kind::Text),
    column("working_directory", Kind::Text),
    column("source", Kind::Text),
    column("source_id", Kind::Text),
    column("duration_source", Kind::Text),
    settled("created_at", Kind::Timestamp),
    column("deleted_at", Kind::Timestamp),
];

const DASHBOARD_CONFIGS: &[Column] = &[
    settled("user_id", Kind::Uuid),
    column("dashboard_name", Kind::Text),
    column("description", Kind::Text),
    column("widget_layout", Kind::Json),
    column("is_default", Kind::Boolean),
    column("is_public", Kind::Boolean),
    column("refresh_interval_seconds", Kind::BigInt),
    column("shared_with_roles", Kind::Json),
    column("version", Kind::BigInt),
    settled("created_at", Kind::Timestamp),
    column("updated_at", Kind::Timestamp),
    column("deleted_at", Kind::Timestamp),
];

impl Table {
    /// Every table that travels, parents first.
    pub const ALL: [Self; 3] = [
        Self::MetricsSessions,
        Self::ToolMetrics,
        Self::DashboardConfigs,
    ];

    /// The table's name, the same on both sides.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MetricsSessions => "metrics_sessions",
            Self::ToolMetrics => "tool_metrics",
            Self::DashboardConfigs => "dashboard_configs",
        }
    }

    /// The table of that name, if its rows travel.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The columns that travel beside `id`, `rev` and `digest`.
    #[must_use]
    pub const fn columns(self) -> &'static [Column] {
        match self {
            Self::MetricsSessions => METRICS_SESSIONS,
            Self::ToolMetrics => TOOL_METRICS,
            Self::DashboardConfigs => DASHBOARD_CONFIGS,
        }
    }
}
