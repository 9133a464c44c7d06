//! Rows and batches for tests.

use millpond_sync::change::{Batch, Change, Table, Value};
use uuid::Uuid;

/// 2026-01-01T00:00:00Z.
const START: i64 = 1_767_225_600_000_000;

fn row(table: Table, id: Uuid, rev: i64, values: &[(&str, Value)]) -> Change {
    let values = table
        .columns()
        .iter()
        .map(|column| {
            values
                .iter()
                .find(|(name, _)| *name == column.name)
                .map_or(Value::Null, |(_, value)| value.clone())
        })
        .collect();
    Change {
        table,
        id,
        rev,
        digest: [u8::try_from(rev).unwrap(); 16],
        is_new: true,
        values,
    }
}

fn text(value: &str) -> Value {
    Value::Text(value.into())
}

pub(crate) fn session(user: Uuid) -> Change {
    row(
        Table::MetricsSessions,
        Uuid::new_v4(),
        1,
        &[
            ("user_id", Value::Uuid(user)),
            ("session_start", Value::Timestamp(START)),
            ("end_inferred", Value::Boolean(false)),
            ("tools_used", Value::Json("[\"Bash\"]".into())),
            ("productivity_score", Value::Double(81.5)),
            ("session_type", text("coding")),
            ("tags", Value::Json("[]".into())),
            ("interruptions_count", Value::BigInt(0)),
            ("source", text("claude")),
            ("created_at", Value::Timestamp(START)),
        ],
    )
}

pub(crate) fn call(session: &Change) -> Change {
    row(
        Table::ToolMetrics,
        Uuid::new_v4(),
        1,
        &[
            ("session_id", Value::Uuid(session.id)),
            ("user_id", session.values[0].clone()),
            ("tool_name", text("Bash")),
            ("tool_category", text("shell")),
            ("started_at", Value::Timestamp(START + 1)),
            ("execution_count", Value::BigInt(1)),
            ("total_duration_ms", Value::BigInt(12)),
            ("error_count", Value::BigInt(0)),
            ("outcome", text("success")),
            ("parameters", Value::Json("{\"a\": [1, \"ä\"]}".into())),
            ("source", text("claude")),
            ("duration_source", text("transcript")),
            ("created_at", Value::Timestamp(START + 2)),
        ],
    )
}

pub(crate) fn dashboard(user: Uuid, is_default: bool) -> Change {
    row(
        Table::DashboardConfigs,
        Uuid::new_v4(),
        1,
        &[
            ("user_id", Value::Uuid(user)),
            ("dashboard_name", text("Mine")),
            ("widget_layout", Value::Json("{}".into())),
            ("is_default", Value::Boolean(is_default)),
            ("is_public", Value::Boolean(false)),
            ("refresh_interval_seconds", Value::BigInt(60)),
            ("shared_with_roles", Value::Json("[]".into())),
            ("version", Value::BigInt(1)),
            ("created_at", Value::Timestamp(START)),
            ("updated_at", Value::Timestamp(START)),
        ],
    )
}

/// The row with another value, without a new rev.
pub(crate) fn with(change: &Change, column: &str, value: Value) -> Change {
    let place = change
        .table
        .columns()
        .iter()
        .position(|c| c.name == column)
        .unwrap();
    let mut changed = change.clone();
    changed.values[place] = value;
    changed
}

/// The row's next version.
pub(crate) fn raised(change: &Change, rev: i64) -> Change {
    Change {
        rev,
        digest: [u8::try_from(rev).unwrap(); 16],
        is_new: false,
        ..change.clone()
    }
}

/// The first batch of a stream of its own.
pub(crate) fn first(changes: Vec<Change>) -> Batch {
    Batch {
        stream_id: Uuid::new_v4(),
        batch_id: Uuid::new_v4(),
        prev_batch_id: None,
        changes,
    }
}

/// The batch after another.
pub(crate) fn next(batch: &Batch, changes: Vec<Change>) -> Batch {
    Batch {
        stream_id: batch.stream_id,
        batch_id: Uuid::new_v4(),
        prev_batch_id: Some(batch.batch_id),
        changes,
    }
}
