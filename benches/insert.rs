//! Batched insert through the store against raw rusqlite: the same rows, the same tables, constraints and indexes,
//! 1,000 rows a transaction, WAL and synchronous=FULL on both sides. The raw side has no triggers and so no change
//! log and no figures by hour, writes no digest, and knows no tenant.
//!
//! `MILLPOND_BENCH_ROWS` (20000) and `MILLPOND_BENCH_ROUNDS` (9) set the size.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout
)]

mod rounds;
mod rows;

use std::time::{Duration, Instant};

use millpond::domain::ids::CallId;
use millpond::domain::session::Session;
use millpond::domain::tool_metric::ToolMetric;
use millpond::domain::units::{Text, Timestamp};
use rounds::{Contestant, compare, size};
use rows::Rows;
use rusqlite::{Connection, Transaction, params};

/// The tenant's own migrations, each up to where its triggers begin.
const SCHEMA: [(&str, &str); 2] = [
    (
        include_str!("../migrations/tenant/V1__tenant.sql"),
        "-- Capture.",
    ),
    (
        include_str!("../migrations/tenant/V4__hours.sql"),
        "-- Counting.",
    ),
];

/// The index of calls by start, which both sides keep.
const INDEX: &str = include_str!("../migrations/tenant/V3__calls_by_start.sql");

fn main() {
    let count = size("MILLPOND_BENCH_ROWS", 20_000);
    let rows = Rows::new(count / 26, 25);
    let mut contestants = [
        Contestant::new("raw rusqlite", || raw(&rows)),
        Contestant::new("millpond", || ours(&rows)),
    ];
    let rounds = size("MILLPOND_BENCH_ROUNDS", 9);
    compare("insert", rounds, ("rows", rows.len()), &mut contestants);
}

fn ours(rows: &Rows) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let (_store, tenant) = rows.tenant(folder.path());
    let begun = Instant::now();
    rows.record(&tenant);
    let time = begun.elapsed();
    let held = tenant.read(|r| r.tool_metrics().count()).unwrap();
    assert_eq!(held, rows.calls.len() as u64);
    time
}

fn raw(rows: &Rows) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    #[allow(
        clippy::disallowed_methods,
        reason = "the peer is SQLite without the store"
    )]
    let mut file = Connection::open(folder.path().join("raw.db")).unwrap();
    file.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -8192;",
    )
    .unwrap();
    for (migration, triggers_begin) in SCHEMA {
        let (tables, triggers) = migration.split_once(triggers_begin).unwrap();
        assert!(!tables.contains("CREATE TRIGGER") && triggers.contains("CREATE TRIGGER"));
        file.execute_batch(tables).unwrap();
    }
    file.execute_batch(INDEX).unwrap();
    file.execute(
        "INSERT INTO users (id, email, role, created_at, updated_at) VALUES (?1, ?2, 'developer', 0, 0)",
        params![rows.user.id.as_uuid(), rows.user.email.as_str()],
    )
    .unwrap();
    let begun = Instant::now();
    for batch in rows.sessions.chunks(rows::BATCH) {
        let transaction = file.transaction().unwrap();
        raw_sessions(&transaction, batch);
        transaction.commit().unwrap();
    }
    for batch in rows.calls.chunks(rows::BATCH) {
        let transaction = file.transaction().unwrap();
        raw_calls(&transaction, batch);
        transaction.commit().unwrap();
    }
    let time = begun.elapsed();
    let held: usize = file
        .query_row("SELECT count(*) FROM tool_metrics", [], |row| row.get(0))
        .unwrap();
    assert_eq!(held, rows.calls.len());
    time
}

fn raw_sessions(transaction: &Transaction<'_>, batch: &[Session]) {
    let mut insert = transaction
        .prepare_cached(
                "INSERT INTO metrics_sessions (id, user_id, session_start, session_end, end_inferred,
                    total_duration_ms, tools_used, productivity_score, session_type, project_id, tags,
                    interruptions_count, focus_time_ms, description, source, source_id, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )
        .unwrap();
    for session in batch {
        insert
            .execute(params![
                session.id.as_uuid(),
                session.user_id.as_uuid(),
                session.session_start.as_micros(),
                session.session_end.map(Timestamp::as_micros),
                session.end_inferred,
                session.total_duration_ms(),
                "[]",
                session
                    .productivity_score
                    .map(millpond::domain::session::Score::as_f64),
                session.session_type.as_str(),
                text(session.project_id.as_ref()),
                "[]",
                session.interruptions_count,
                session.focus_time_ms,
                text(session.description.as_ref()),
                session.source.as_str(),
                text(session.source_id.as_ref()),
                session.created_at.as_micros(),
            ])
            .unwrap();
    }
}

fn raw_calls(transaction: &Transaction<'_>, batch: &[ToolMetric]) {
    let mut insert = transaction
        .prepare_cached(
                "INSERT INTO tool_metrics (id, session_id, user_id, parent_id, tool_name, tool_category,
                    started_at, execution_count, total_duration_ms, average_duration_ms, success_rate,
                    error_count, outcome, memory_usage_mb, cpu_time_ms, parameters, output_size_bytes,
                    program, command_line, working_directory, source, source_id, duration_source,
                    provenance, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18,
                         ?19, ?20, ?21, ?22, ?23, ?24, ?25)",
        )
        .unwrap();
    for call in batch {
        insert
            .execute(params![
                call.id.as_uuid(),
                call.session_id.as_uuid(),
                call.user_id.as_uuid(),
                call.parent_id.map(CallId::as_uuid),
                call.tool_name.as_str(),
                call.tool_category.as_str(),
                call.started_at.as_micros(),
                call.execution_count,
                call.total_duration_ms,
                call.average_duration_ms(),
                call.success_rate(),
                call.error_count,
                call.outcome.as_str(),
                call.memory_usage_mb,
                call.cpu_time_ms,
                call.parameters,
                call.output_size_bytes,
                text(call.program.as_ref()),
                text(call.command_line.as_ref()),
                text(call.working_directory.as_ref()),
                call.source.as_str(),
                text(call.source_id.as_ref()),
                call.duration_source.as_str(),
                call.provenance,
                call.created_at.as_micros(),
            ])
            .unwrap();
    }
}

fn text<const MAX: usize>(text: Option<&Text<MAX>>) -> Option<&str> {
    text.map(Text::as_str)
}
