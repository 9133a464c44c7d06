//! Exports: every column, in both formats, of one moment, and nothing that a spreadsheet would run.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;

use millpond::domain::json::JsonObject;
use millpond::domain::session::{Description, Session, Tag};
use millpond::domain::user::Role;
use millpond::store::{Error, ExportFormat, ExportTable, QueryLimits, TenantStore};
use serde_json::Value;

use crate::fixture::{Fixture, call, session, user};
use crate::workstation::{Workstation, transcript};

const CSV: ExportFormat = ExportFormat::Csv { raw: false };

fn exported(tenant: &TenantStore, table: ExportTable, format: ExportFormat) -> String {
    let mut out = Vec::new();
    tenant.export(table, format, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// A tenant with a session of this description.
fn described(description: &str) -> (Fixture, TenantStore, Session) {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let mut whole = session(ada, "s", 0);
    whole.description = Some(Description::parse("description", description).unwrap());
    whole.tags = vec![Tag::parse("tag", "a,b").unwrap()];
    tenant.write(|w| w.sessions().insert(&whole)).unwrap();
    (fixture, tenant, whole)
}

#[test]
fn an_export_holds_every_column_but_this_machine_s_bookkeeping() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    for table in ExportTable::ALL {
        let text = exported(&tenant, table, CSV);
        let names: BTreeSet<String> = text.trim_end().split(',').map(str::to_owned).collect();
        let sql = format!("SELECT name FROM pragma_table_info('{}')", table.as_str());
        let held = tenant.query(&sql, QueryLimits::default()).unwrap();
        let expected: BTreeSet<String> = held
            .rows
            .iter()
            .map(|row| row[0].to_string())
            .filter(|name| !["rev", "digest", "deleted_at", "provenance"].contains(&name.as_str()))
            .collect();
        assert_eq!(names, expected, "{}", table.as_str());
    }
}

#[test]
fn json_lines_hold_times_ids_flags_and_json_as_what_they_are() {
    let (_fixture, tenant, whole) = described("two\nlines, and \"quotes\"");
    let text = exported(&tenant, ExportTable::Sessions, ExportFormat::JsonLines);
    assert_eq!(text.lines().count(), 1);
    let row: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(row["id"], whole.id.to_string());
    assert_eq!(row["session_start"], "2026-01-05T09:00:00Z");
    assert_eq!(row["end_inferred"], false);
    assert_eq!(row["tags"], serde_json::json!(["a,b"]));
    assert_eq!(row["description"], "two\nlines, and \"quotes\"");
    assert_eq!(row["focus_time_ms"], Value::Null);
    assert!(text.starts_with("{\"id\":"), "the columns keep their order");
}

#[test]
fn csv_is_read_back_as_it_was() {
    let (_fixture, tenant, whole) = described("two\nlines, and \"quotes\"");
    let text = exported(&tenant, ExportTable::Sessions, CSV);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let names = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 1);
    let cell = |name: &str| &rows[0][names.iter().position(|n| n == name).unwrap()];
    assert_eq!(cell("id"), whole.id.to_string());
    assert_eq!(cell("session_start"), "2026-01-05T09:00:00Z");
    assert_eq!(cell("tags"), r#"["a,b"]"#);
    assert_eq!(cell("description"), "two\nlines, and \"quotes\"");
    assert_eq!(cell("focus_time_ms"), "");
}

#[test]
fn a_text_that_a_spreadsheet_would_run_is_guarded_unless_it_was_asked_for_as_it_is() {
    for bad in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
        let (_fixture, tenant, _) = described(bad);
        let cells = |format| {
            let text = exported(&tenant, ExportTable::Sessions, format);
            let mut reader = csv::Reader::from_reader(text.as_bytes());
            let row = reader.records().next().unwrap().unwrap();
            row.iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(cells(CSV).contains(&format!("'{bad}")), "{bad:?}");
        assert!(
            cells(ExportFormat::Csv { raw: true }).contains(&bad.to_owned()),
            "{bad:?}"
        );
        let lines = exported(&tenant, ExportTable::Sessions, ExportFormat::JsonLines);
        let row: Value = serde_json::from_str(&lines).unwrap();
        assert_eq!(row["description"], bad);
    }
    let (_fixture, tenant, _) = described("a=1");
    assert!(exported(&tenant, ExportTable::Sessions, CSV).contains(",a=1,"));
}

/// Takes what is written, and writes into the tenant meanwhile.
struct Meanwhile<'t> {
    tenant: &'t TenantStore,
    whole: Session,
    taken: Vec<u8>,
    largest: usize,
    added: i64,
}

impl Write for Meanwhile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.added += 1;
        let late = call(&self.whole, &format!("late {}", self.added), 10_000);
        self.tenant
            .write(|w| w.tool_metrics().insert(&late))
            .unwrap();
        self.largest = self.largest.max(bytes.len());
        self.taken.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_export_is_of_one_moment_and_goes_out_bit_by_bit() {
    let (_fixture, tenant, whole) = described("x");
    let gone = call(&whole, "gone", 3).id;
    tenant
        .write(|w| {
            w.tool_metrics().insert(&call(&whole, "gone", 3))?;
            w.tool_metrics().delete(gone)?;
            for n in 0..2_000 {
                w.tool_metrics()
                    .insert(&call(&whole, &format!("c{n}"), n))?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    for format in [CSV, ExportFormat::JsonLines] {
        let before = tenant.read(|r| r.tool_metrics().count()).unwrap();
        let mut out = Meanwhile {
            tenant: &tenant,
            whole: whole.clone(),
            taken: Vec::new(),
            largest: 0,
            added: i64::try_from(before).unwrap(),
        };
        let rows = tenant
            .export(ExportTable::ToolMetrics, format, &mut out)
            .unwrap();
        assert_eq!(rows, before);
        let lines = String::from_utf8_lossy(&out.taken).lines().count() as u64;
        assert_eq!(lines, before + u64::from(format == CSV));
        assert!(
            out.largest < 64 * 1024 && out.taken.len() > 400_000,
            "{}",
            out.largest
        );
        assert!(tenant.read(|r| r.tool_metrics().count()).unwrap() > before);
        assert!(!String::from_utf8_lossy(&out.taken).contains(&gone.to_string()));
    }
}

#[test]
fn a_sink_that_fails_ends_the_export_with_its_error() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (_fixture, tenant, _) = described("x");
    for format in [CSV, ExportFormat::JsonLines] {
        let error = tenant
            .export(ExportTable::Users, format, &mut Full)
            .unwrap_err();
        let Error::Write { source, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(source.kind(), io::ErrorKind::StorageFull);
    }
}

#[test]
fn users_and_dashboards_are_exported_with_their_documents() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev");
    assert_eq!(ada.role, Role::Developer);
    assert_eq!(ada.preferences, JsonObject::default());
    let text = exported(&tenant, ExportTable::Users, ExportFormat::JsonLines);
    let row: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&row["email"], &row["is_active"], &row["preferences"]),
        (&"ada@acme.dev".into(), &true.into(), &serde_json::json!({}))
    );
    assert_eq!(
        exported(&tenant, ExportTable::Dashboards, CSV)
            .lines()
            .count(),
        1
    );
}

#[test]
fn the_command_writes_a_file_whole_for_its_owner_alone_or_to_standard_output() {
    let workstation = Workstation::of_ada();
    workstation.import(&transcript(workstation.folder.path(), "s", 12));
    let folder = workstation.folder.path().join("out");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("calls.csv");
    let export = |arguments: &[&str]| {
        let mut all = vec!["export", "--tenant", "acme", "--table", "tool_metrics"];
        all.extend(arguments);
        workstation.run(&all)
    };
    let to =
        |path: &std::path::Path| export(&["--format", "csv", "--output", path.to_str().unwrap()]);
    std::fs::write(&file, "old").unwrap();
    assert_eq!(to(&file).json()["rows"], 12);
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 13);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // What cannot be put into place leaves nothing behind.
    let taken = folder.join("taken");
    std::fs::create_dir(&taken).unwrap();
    assert_eq!(to(&taken).refused(1), "io");
    assert_eq!(to(&folder.join("no/such/file")).refused(1), "io");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
    assert_eq!(export(&["--format", "jsonl"]).refused(2), "usage");
    let raw = export(&["--format", "jsonl", "--raw", "--output", "x"]);
    assert_eq!(raw.refused(2), "usage");
    let printed = std::process::Command::new(env!("CARGO_BIN_EXE_millpond"))
        .args([
            "export", "--tenant", "acme", "--table", "calls", "--format", "jsonl",
        ])
        .env("MILLPOND_HOME", workstation.home())
        .output()
        .unwrap();
    let text = String::from_utf8(printed.stdout).unwrap();
    assert_eq!(text.lines().count(), 12);
    assert!(
        text.lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
}
