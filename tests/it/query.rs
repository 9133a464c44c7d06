//! Statements that are not the program's own: what they may ask, and what they may not do.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use millpond::store::{Error, QueryError, QueryLimits, QueryValue, TenantStore};

use crate::fixture::{Fixture, call, session, user};
use crate::workstation::{Workstation, transcript};

fn acme(calls: i64) -> (Fixture, TenantStore) {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let whole = session(ada, "s", 0);
    tenant
        .write(|w| {
            w.sessions().insert(&whole)?;
            for n in 0..calls {
                w.tool_metrics()
                    .insert(&call(&whole, &format!("c{n}"), n))?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    (fixture, tenant)
}

#[track_caller]
fn kind(tenant: &TenantStore, sql: &str) -> &'static str {
    match tenant.query(sql, QueryLimits::default()) {
        Ok(answer) => panic!("{sql} was answered: {} rows", answer.rows.len()),
        Err(error) => error.kind(),
    }
}

/// Every file below a folder, and what is in it.
fn content(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(content(&path));
        } else if !path.to_string_lossy().ends_with("-shm") {
            // Readers take their places in there.
            let bytes = std::fs::read(&path).unwrap();
            all.insert(path.display().to_string(), bytes);
        }
    }
    all
}

#[test]
fn a_question_is_answered_with_columns_and_rows() {
    let (_fixture, tenant) = acme(3);
    let sql = "WITH t AS (SELECT * FROM tool_metrics) SELECT tool_name, count(*) AS calls, avg(total_duration_ms) AS mean,
               NULL AS missing, x'0a0b' AS bytes, (SELECT id FROM users) AS who FROM t GROUP BY 1;";
    let answer = tenant.query(sql, QueryLimits::default()).unwrap();
    assert_eq!(
        answer.columns,
        ["tool_name", "calls", "mean", "missing", "bytes", "who"]
    );
    let ada = tenant.read(|r| r.users().list()).unwrap()[0].id;
    assert_eq!(
        serde_json::to_value(&answer.rows).unwrap(),
        serde_json::json!([["Bash", 3, 40.0, null, "0a0b", ada.to_string()]])
    );
    assert!(!answer.truncated);
    let columns = tenant
        .query("PRAGMA table_info(users)", QueryLimits::default())
        .unwrap();
    assert_eq!(columns.rows[0][1], QueryValue::Text("id".into()));
}

#[test]
fn an_answer_is_cut_at_its_rows_and_says_so() {
    let (_fixture, tenant) = acme(12);
    let limits = QueryLimits::default().with_rows(10).unwrap();
    let asked = |sql: &str| tenant.query(sql, limits).unwrap();
    let cut = asked("SELECT id FROM tool_metrics");
    assert_eq!((cut.rows.len(), cut.truncated), (10, true));
    let whole = asked("SELECT id FROM tool_metrics LIMIT 10");
    assert_eq!((whole.rows.len(), whole.truncated), (10, false));
    // A thousand rows of half a megabyte are more than an answer may hold, whatever its rows.
    let large = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
                 SELECT zeroblob(500000) FROM n";
    let answer = tenant.query(large, QueryLimits::default()).unwrap();
    assert!(answer.truncated && answer.rows.len() < 40);
    assert!(QueryLimits::default().with_rows(0).is_err());
    assert!(QueryLimits::default().with_rows(100_001).is_err());
}

#[test]
fn a_statement_that_does_more_than_read_is_refused_and_leaves_no_trace() {
    let (fixture, tenant) = acme(3);
    let copy = fixture.store.home().root().join("copy.db");
    let copied = copy.display();
    let before = content(fixture.store.home().root());
    for sql in [
        "INSERT INTO meta VALUES ('a', 'b')",
        "UPDATE users SET role = 'admin'",
        "DELETE FROM users RETURNING id",
        "DROP TABLE users",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t (a)",
        "CREATE TEMP VIEW v AS SELECT 1",
        "CREATE TEMP TRIGGER t AFTER INSERT ON users BEGIN SELECT 1; END",
        "CREATE VIRTUAL TABLE v USING fts5(a)",
        "CREATE INDEX i ON users (role)",
        "ALTER TABLE users ADD COLUMN a",
        "REINDEX",
        "ANALYZE",
        "VACUUM",
        &format!("VACUUM INTO '{copied}'"),
        &format!("ATTACH '{copied}' AS other"),
        "ATTACH ':memory:' AS other",
        "DETACH main",
        "BEGIN",
        "BEGIN IMMEDIATE",
        "COMMIT",
        "SAVEPOINT s",
        "PRAGMA user_version = 9",
        "PRAGMA query_only = 0",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA journal_mode",
        "PRAGMA writable_schema = 1",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "PRAGMA optimize",
        "PRAGMA hard_heap_limit = 1",
        "PRAGMA temp_store_directory = '/tmp'",
        "SELECT * FROM pragma_database_list",
        "SELECT 1; DROP TABLE users",
        "EXPLAIN DELETE FROM users",
    ] {
        assert_eq!(kind(&tenant, sql), "not_read_only", "{sql}");
    }
    // SQLite has no code of its own for a function that may not be called.
    let gathered = "SELECT json_group_array(email) FROM users";
    assert_eq!(kind(&tenant, gathered), "statement");
    assert_eq!(
        kind(&tenant, "SELECT load_extension('/tmp/x.so')"),
        "statement"
    );
    assert!(!copy.exists());
    assert_eq!(content(fixture.store.home().root()), before);
}

#[test]
fn a_statement_that_would_fill_the_memory_or_never_end_is_stopped() {
    let (_fixture, tenant) = acme(1);
    for sql in [
        "SELECT zeroblob(900000000)",
        "SELECT length(zeroblob(900000000))",
        "SELECT hex(randomblob(900000000))",
        "SELECT printf('%900000000d', 1)",
        "SELECT replace(printf('%.1000c', 'a'), 'a', printf('%.100000c', 'b'))",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50)
         SELECT group_concat(hex(randomblob(100000))) FROM n",
    ] {
        assert_eq!(kind(&tenant, sql), "too_large", "{sql}");
    }
    let limits = QueryLimits::default().with_time(Duration::from_millis(20));
    for sql in [
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
        "WITH RECURSIVE n(i) AS (SELECT randomblob(1000) UNION ALL SELECT randomblob(1000) FROM n)
         SELECT count(DISTINCT i) FROM n",
        "WITH n(i) AS (VALUES (1), (2), (3), (4), (5), (6), (7), (8))
         SELECT count(*) FROM n a, n b, n c, n d, n e, n f, n g, n h, n i, n j, n k, n l",
    ] {
        let stopped = tenant.query(sql, limits).unwrap_err();
        assert!(
            matches!(stopped, Error::Statement(QueryError::TimedOut)),
            "{sql}: {stopped}"
        );
    }
    let pattern = format!("SELECT 'a' LIKE '{}'", "%a".repeat(200));
    assert_eq!(kind(&tenant, &pattern), "statement");
    // The next question is answered as if nothing had been.
    let answer = tenant
        .query("SELECT count(*) FROM tool_metrics", limits)
        .unwrap();
    assert_eq!(answer.rows, [[QueryValue::Integer(1)]]);
}

#[test]
fn what_is_not_one_statement_is_no_question() {
    let (_fixture, tenant) = acme(1);
    for sql in [
        "",
        "   -- nothing",
        "SELEKT 1",
        "SELECT 1; SELECT 2",
        "SELECT nowhere FROM users",
        "SELECT ?1",
        "SELECT 'a\0b' FROM",
    ] {
        assert_eq!(kind(&tenant, sql), "statement", "{sql}");
    }
}

#[test]
fn a_question_reaches_no_other_tenant() {
    let fixture = Fixture::new();
    let (acme, umbra) = (fixture.tenant("acme"), fixture.tenant("umbra"));
    user(&umbra, "eve@umbra.dev");
    let sql = "SELECT count(*) FROM users";
    let answer = acme.query(sql, QueryLimits::default()).unwrap();
    assert_eq!(answer.rows, [[QueryValue::Integer(0)]]);
    // Another tenant's file in its place is refused here too.
    std::fs::copy(umbra.path(), acme.path()).unwrap();
    assert_eq!(kind(&acme, sql), "wrong_tenant");
}

#[test]
fn the_command_prints_columns_rows_and_whether_it_was_cut() {
    let workstation = Workstation::of_ada();
    workstation.import(&transcript(workstation.folder.path(), "s", 12));
    let query = |arguments: &[&str]| {
        let mut all = vec!["query", "--tenant", "acme"];
        all.extend(arguments);
        workstation.run(&all)
    };
    let sql = "SELECT tool_name, count(*) AS n FROM tool_metrics GROUP BY 1 ORDER BY 1";
    let answer = query(&[sql]).json();
    assert_eq!(
        answer,
        serde_json::json!({"v": 1, "columns": ["tool_name", "n"],
            "rows": [["Bash", 4], ["Edit", 4], ["Read", 4]], "truncated": false})
    );
    let cut = query(&["SELECT id FROM tool_metrics", "--limit", "5"]).json();
    assert_eq!(cut["rows"].as_array().unwrap().len(), 5);
    assert_eq!(cut["truncated"], true);
    assert_eq!(query(&["DELETE FROM users"]).refused(4), "not_read_only");
    assert_eq!(
        query(&["SELECT zeroblob(900000000)"]).refused(1),
        "too_large"
    );
    assert_eq!(query(&["SELEKT"]).refused(2), "statement");
    assert_eq!(query(&["SELECT 1", "--limit", "0"]).refused(2), "invalid");
    let endless =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    assert_eq!(query(&[endless]).refused(1), "timed_out");
}

#[test]
fn what_a_statement_gathers_does_not_stay_in_memory() {
    let workstation = Workstation::of_ada();
    let program = env!("CARGO_BIN_EXE_millpond");
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    let questions = [
        "SELECT json_group_array(printf('%.100000c', 'a')) FROM n",
        "SELECT jsonb_group_object(i, printf('%.100000c', 'a')) FROM n",
        "SELECT count(DISTINCT randomblob(100000)) FROM n",
        "SELECT randomblob(100000) FROM n ORDER BY 1",
        "SELECT max(length(group_concat(randomblob(100000)))) OVER (ORDER BY i) FROM n GROUP BY i",
        "SELECT group_concat(hex(randomblob(100000))) FROM n",
        "SELECT randomblob(500000) FROM n",
    ];
    for question in questions {
        let sql = format!("{endless} {question}");
        let mut measured = workstation.command(&["run"]);
        measured.args(["--", program, "--home"]);
        measured.arg(workstation.home()).args(["query", &sql]);
        measured.output().unwrap();
    }
    let sql = "SELECT memory_usage_mb FROM tool_metrics ORDER BY rowid";
    let peaks: Vec<f64> = workstation.run(&["query", sql]).json()["rows"]
        .as_array()
        .unwrap()
        .iter()
        // Nothing is known of one that stayed as small as the program that started it.
        .map(|row| row[0].as_f64().unwrap_or_default())
        .collect();
    assert_eq!(peaks.len(), questions.len());
    for (question, peak) in questions.iter().zip(peaks) {
        assert!(peak < 200.0, "{peak} MiB: {question}");
    }
}
