//! Every constraint of the two schemas, provoked: each gives its own name.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;

use super::*;
use crate::store::connection::{self, Access, FileKind, Use};
use crate::store::migrate;
use crate::store::migrations::Migrations;

fn file(kind: FileKind, folder: &Path) -> Connection {
    let path = folder.join("x.db");
    let mut connection = connection::open(&path, Access::Create, Use::Ordinary).unwrap();
    migrate::up_to_date(
        &mut connection,
        &path,
        &folder.join("lock"),
        kind,
        &Migrations::embedded(),
    )
    .unwrap();
    connection
}

/// A row that every constraint takes: a table, its columns and their values.
type Row = (&'static str, &'static [(&'static str, &'static str)]);

const ID: &str = "zeroblob(16)";
const OTHER: &str = "randomblob(16)";

const TENANT_ROWS: &[Row] = &[
    (
        "users",
        &[
            ("id", ID),
            ("email", "'a@b'"),
            ("sso_provider", "'okta'"),
            ("sso_user_id", "'7'"),
            ("created_at", "0"),
            ("updated_at", "0"),
        ],
    ),
    (
        "metrics_sessions",
        &[
            ("id", ID),
            ("user_id", ID),
            ("session_start", "5"),
            ("session_type", "'agent'"),
            ("source", "'claude'"),
            ("created_at", "0"),
        ],
    ),
    (
        "tool_metrics",
        &[
            ("id", ID),
            ("session_id", ID),
            ("user_id", ID),
            ("tool_name", "'Bash'"),
            ("tool_category", "'shell'"),
            ("started_at", "5"),
            ("source", "'claude'"),
            ("created_at", "0"),
        ],
    ),
    (
        "dashboard_configs",
        &[
            ("id", ID),
            ("user_id", ID),
            ("dashboard_name", "'week'"),
            ("is_default", "1"),
            ("created_at", "0"),
            ("updated_at", "0"),
        ],
    ),
    (
        "change_log",
        &[
            ("table_name", "'users'"),
            ("pk", ID),
            ("rev", "1"),
            ("op", "'insert'"),
        ],
    ),
    (
        "sync_batches",
        &[
            ("batch_id", ID),
            ("stream_id", ID),
            ("row_count", "1"),
            ("sealed_at", "0"),
        ],
    ),
    (
        "quarantine",
        &[
            ("table_name", "'users'"),
            ("pk", ID),
            ("rev", "1"),
            ("reason", "'parent'"),
            ("message", "''"),
            ("since", "0"),
        ],
    ),
    (
        "conflicts",
        &[
            ("batch_no", "1"),
            ("table_name", "'users'"),
            ("pk", ID),
            ("rev", "1"),
            ("local_row", "'{}'"),
            ("remote_row", "'{}'"),
            ("detected_at", "0"),
        ],
    ),
];

/// What each check refuses: table, column, value, the check's name.
const TENANT_CHECKS: &[(&str, &str, &str, &str)] = &[
    ("users", "id", "x'00'", "users_id_length"),
    ("users", "role", "'king'", "users_role"),
    ("users", "login_count", "-1", "users_login_count"),
    ("users", "is_active", "2", "users_is_active"),
    ("users", "preferences", "'[]'", "users_preferences"),
    ("users", "rev", "0", "users_rev"),
    (
        "metrics_sessions",
        "id",
        "x'00'",
        "metrics_sessions_id_length",
    ),
    (
        "metrics_sessions",
        "session_start",
        "-1",
        "metrics_sessions_start",
    ),
    (
        "metrics_sessions",
        "session_end",
        "4",
        "metrics_sessions_end",
    ),
    (
        "metrics_sessions",
        "end_inferred",
        "2",
        "metrics_sessions_end_inferred",
    ),
    (
        "metrics_sessions",
        "total_duration_ms",
        "-1",
        "metrics_sessions_duration",
    ),
    (
        "metrics_sessions",
        "tools_used",
        "'{}'",
        "metrics_sessions_tools_used",
    ),
    (
        "metrics_sessions",
        "productivity_score",
        "101",
        "metrics_sessions_score",
    ),
    (
        "metrics_sessions",
        "tags",
        "'no json'",
        "metrics_sessions_tags",
    ),
    (
        "metrics_sessions",
        "interruptions_count",
        "-1",
        "metrics_sessions_interruptions",
    ),
    (
        "metrics_sessions",
        "focus_time_ms",
        "-1",
        "metrics_sessions_focus",
    ),
    ("metrics_sessions", "rev", "0", "metrics_sessions_rev"),
    ("tool_metrics", "id", "x'00'", "tool_metrics_id_length"),
    (
        "tool_metrics",
        "started_at",
        "253402300800000000",
        "tool_metrics_started",
    ),
    (
        "tool_metrics",
        "execution_count",
        "0",
        "tool_metrics_execution_count",
    ),
    (
        "tool_metrics",
        "total_duration_ms",
        "-1",
        "tool_metrics_duration",
    ),
    (
        "tool_metrics",
        "success_rate",
        "1.5",
        "tool_metrics_success_rate",
    ),
    (
        "tool_metrics",
        "error_count",
        "2",
        "tool_metrics_error_count",
    ),
    ("tool_metrics", "outcome", "'fine'", "tool_metrics_outcome"),
    (
        "tool_metrics",
        "memory_usage_mb",
        "-1",
        "tool_metrics_memory",
    ),
    ("tool_metrics", "cpu_time_ms", "-1", "tool_metrics_cpu"),
    (
        "tool_metrics",
        "parameters",
        "'{'",
        "tool_metrics_parameters",
    ),
    (
        "tool_metrics",
        "output_size_bytes",
        "-1",
        "tool_metrics_output_size",
    ),
    (
        "tool_metrics",
        "duration_source",
        "'sundial'",
        "tool_metrics_duration_source",
    ),
    (
        "tool_metrics",
        "provenance",
        "'{'",
        "tool_metrics_provenance",
    ),
    ("tool_metrics", "rev", "0", "tool_metrics_rev"),
    (
        "dashboard_configs",
        "id",
        "x'00'",
        "dashboard_configs_id_length",
    ),
    (
        "dashboard_configs",
        "widget_layout",
        "'[]'",
        "dashboard_configs_layout",
    ),
    (
        "dashboard_configs",
        "is_default",
        "2",
        "dashboard_configs_is_default",
    ),
    (
        "dashboard_configs",
        "is_public",
        "2",
        "dashboard_configs_is_public",
    ),
    (
        "dashboard_configs",
        "refresh_interval_seconds",
        "4",
        "dashboard_configs_refresh",
    ),
    (
        "dashboard_configs",
        "shared_with_roles",
        "'{}'",
        "dashboard_configs_shared",
    ),
    (
        "dashboard_configs",
        "version",
        "0",
        "dashboard_configs_version",
    ),
    ("dashboard_configs", "rev", "0", "dashboard_configs_rev"),
    ("change_log", "op", "'think'", "change_log_op"),
    ("sync_batches", "state", "'lost'", "sync_batches_state"),
    ("quarantine", "reason", "'mood'", "quarantine_reason"),
    ("conflicts", "local_row", "'{'", "conflicts_local_row"),
    ("conflicts", "remote_row", "'{'", "conflicts_remote_row"),
];

const REGISTRY_ROWS: &[Row] = &[
    (
        "tenants",
        &[
            ("id", ID),
            ("name", "'Acme'"),
            ("domain", "'acme'"),
            ("schema_name", "'t_1'"),
            ("directory", ID),
            ("created_at", "0"),
            ("updated_at", "0"),
        ],
    ),
    (
        "rekeyings",
        &[
            ("tenant_id", ID),
            ("new_id", ID),
            ("new_schema", "'t_2'"),
            ("users", "'[]'"),
            ("started_at", "0"),
        ],
    ),
    (
        "enrolments",
        &[
            ("tenant_id", ID),
            ("device_id", ID),
            ("schema_name", "'t_1'"),
            ("url", "'x'"),
            ("users", "'[]'"),
            ("enrolled_at", "0"),
        ],
    ),
];

const REGISTRY_CHECKS: &[(&str, &str, &str, &str)] = &[
    ("tenants", "id", "x'00'", "tenants_id_length"),
    ("tenants", "directory", "x'00'", "tenants_directory_length"),
    (
        "tenants",
        "subscription_plan",
        "'gold'",
        "tenants_subscription_plan",
    ),
    ("tenants", "is_active", "2", "tenants_is_active"),
    ("tenants", "metadata", "'[]'", "tenants_metadata"),
    (
        "tenants",
        "compliance_settings",
        "'7'",
        "tenants_compliance",
    ),
    ("rekeyings", "new_id", "x'00'", "rekeyings_new_id_length"),
    ("rekeyings", "users", "'{}'", "rekeyings_users"),
    (
        "enrolments",
        "device_id",
        "x'00'",
        "enrolments_device_id_length",
    ),
    ("enrolments", "users", "'{}'", "enrolments_users"),
];

/// Inserts the good row of `table` with some of its values replaced.
fn insert(
    connection: &Connection,
    (table, columns): &Row,
    replaced: &[(&str, &str)],
) -> Result<(), Error> {
    let mut row: Vec<(&str, &str)> = columns.to_vec();
    for (column, value) in replaced {
        row.retain(|(name, _)| name != column);
        row.push((column, value));
    }
    let (names, values): (Vec<_>, Vec<_>) = row.into_iter().unzip();
    let (names, values) = (names.join(", "), values.join(", "));
    connection
        .execute(
            &format!("INSERT INTO {table} ({names}) VALUES ({values})"),
            [],
        )
        .map(drop)
        .map_err(query("add a row"))
}

/// Names that follow `CONSTRAINT` in the file's own schema, with what kind they are.
fn named(connection: &Connection, kind: &str) -> BTreeSet<String> {
    let mut statement = connection
        .prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
        .unwrap();
    let tables: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let mut names = BTreeSet::new();
    for (_, rest) in tables.iter().flat_map(|sql| {
        sql.match_indices("CONSTRAINT ")
            .map(move |(at, word)| (at, &sql[at + word.len()..]))
    }) {
        let mut words = rest.split_whitespace();
        let (name, of) = (words.next().unwrap(), words.next().unwrap());
        if of.starts_with(kind) {
            names.insert(name.to_owned());
        }
    }
    names
}

fn provoke(kind: FileKind, rows: &[Row], checks: &[(&str, &str, &str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let connection = file(kind, folder.path());
    let provoked: BTreeSet<String> = checks.iter().map(|check| check.3.to_owned()).collect();
    assert_eq!(
        provoked,
        named(&connection, "CHECK"),
        "a check is not provoked"
    );
    for row in rows {
        insert(&connection, row, &[]).unwrap();
    }
    for (table, column, value, expected) in checks {
        let row = rows.iter().find(|row| row.0 == *table).unwrap();
        let refused = insert(&connection, row, &[(column, value)]).unwrap_err();
        assert!(
            matches!(&refused, Error::Check { constraint, .. } if constraint == expected),
            "{expected}: {refused}"
        );
        assert_eq!(refused.code(), "P2004");
    }
}

#[test]
fn every_check_of_a_tenant_s_file_gives_its_own_name() {
    provoke(FileKind::Tenant, TENANT_ROWS, TENANT_CHECKS);
}

#[test]
fn every_check_of_the_registry_gives_its_own_name() {
    provoke(FileKind::Registry, REGISTRY_ROWS, REGISTRY_CHECKS);
}

#[test]
fn every_unique_constraint_gives_its_table_and_columns() {
    let taken = |kind, rows: &[Row], of: &str, replaced: &[(&str, &str)], expected: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let connection = file(kind, folder.path());
        for row in rows {
            insert(&connection, row, &[]).unwrap();
        }
        let row = rows.iter().find(|row| row.0 == of).unwrap();
        let refused = insert(&connection, row, replaced).unwrap_err();
        assert!(
            matches!(&refused, Error::UniqueViolation { table, columns } if table == of && columns == expected),
            "{of} {expected:?}: {refused}"
        );
        assert_eq!(refused.code(), "P2002");
    };
    let tenant = |of, replaced: &[_], expected: &[_]| {
        taken(FileKind::Tenant, TENANT_ROWS, of, replaced, expected);
    };
    tenant(
        "users",
        &[("id", OTHER), ("sso_user_id", "'8'")],
        &["email"],
    );
    tenant(
        "users",
        &[("id", OTHER), ("email", "'c@d'")],
        &["sso_provider", "sso_user_id"],
    );
    tenant(
        "users",
        &[("email", "'c@d'"), ("sso_user_id", "'8'")],
        &["id"],
    );
    tenant("metrics_sessions", &[], &["id"]);
    tenant("tool_metrics", &[], &["id"]);
    tenant("dashboard_configs", &[("id", OTHER)], &["user_id"]);
    tenant("sync_batches", &[("stream_id", OTHER)], &["batch_id"]);
    tenant("sync_batches", &[("batch_id", OTHER)], &["stream_id"]);
    tenant("quarantine", &[], &["table_name", "pk"]);
    let registry = |replaced: &[_], expected: &[_]| {
        taken(
            FileKind::Registry,
            REGISTRY_ROWS,
            "tenants",
            replaced,
            expected,
        );
    };
    registry(
        &[
            ("id", OTHER),
            ("schema_name", "'t_2'"),
            ("directory", OTHER),
        ],
        &["domain"],
    );
    registry(
        &[("id", OTHER), ("domain", "'b'"), ("directory", OTHER)],
        &["schema_name"],
    );
    registry(
        &[("id", OTHER), ("domain", "'b'"), ("schema_name", "'t_2'")],
        &["directory"],
    );
}

#[test]
fn a_row_that_names_a_missing_one_is_a_foreign_key_error() {
    let folder = tempfile::tempdir().unwrap();
    let connection = file(FileKind::Tenant, folder.path());
    for row in TENANT_ROWS.get(1..4).unwrap() {
        let refused = insert(&connection, row, &[]).unwrap_err();
        assert_eq!(
            (refused.kind(), refused.code()),
            ("foreign_key", "P2003"),
            "{}",
            row.0
        );
    }
}

#[test]
fn an_interrupted_query_timed_out() {
    let folder = tempfile::tempdir().unwrap();
    let connection = file(FileKind::Tenant, folder.path());
    connection.progress_handler(100, Some(|| true)).unwrap();
    let endless =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let stopped = connection
        .query_row(endless, [], |row| row.get::<_, i64>(0))
        .map_err(query("count for ever"))
        .unwrap_err();
    assert_eq!((stopped.kind(), stopped.code()), ("timed_out", "P1008"));
}

#[test]
fn a_disk_that_is_surely_full_is_told_apart_from_one_that_fails() {
    let kind = |code| {
        let failure = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        query("write")(failure).kind()
    };
    assert_eq!(kind(ffi::SQLITE_FULL), "disk_full");
    for code in [
        ffi::SQLITE_IOERR_SHMSIZE,
        ffi::SQLITE_IOERR_WRITE,
        ffi::SQLITE_IOERR,
    ] {
        assert_eq!(kind(code), "io", "{code}");
    }
}
