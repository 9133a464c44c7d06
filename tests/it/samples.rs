//! Real inputs, where they lie beside the project: their calls, errors and calls per tool, locally and in PostgreSQL.

use std::path::PathBuf;

use serde_json::Value;

use crate::workstation::{Central, Workstation, assert_equal};

fn samples() -> Option<PathBuf> {
    let folder = match std::env::var_os("MILLPOND_SAMPLES") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/samples"),
    };
    if folder.join("EXPECTED.json").is_file() {
        return Some(folder);
    }
    eprintln!("skipped: there are no samples beside the project");
    None
}

/// The Claude transcripts of EXPECTED.json: the files of each entry, in the order they are to be imported.
fn entries(folder: &std::path::Path) -> Vec<(Vec<PathBuf>, Value)> {
    let raw = std::fs::read_to_string(folder.join("EXPECTED.json")).unwrap();
    let expected: Value = serde_json::from_str(&raw).unwrap();
    let mut entries = Vec::new();
    for (name, entry) in expected.as_object().unwrap() {
        if entry.get("session_ids").is_none() {
            continue;
        }
        let files = match name.split_once(": turn-1 then turn-2") {
            Some((turns, _)) => vec![
                folder.join(turns).join("turn-1.jsonl"),
                folder.join(turns).join("turn-2.jsonl"),
            ],
            None => vec![folder.join(name.split(" (").next().unwrap())],
        };
        entries.push((files, entry.clone()));
    }
    assert_eq!(
        entries.len(),
        4,
        "EXPECTED.json has other entries than this test was written for"
    );
    entries
}

/// Tool name → (calls, errors), as a text to compare.
fn per_tool(tallies: &Value) -> String {
    let mut tools: Vec<String> = tallies
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, tally)| format!("{name} {} {}", tally["calls"], tally["errors"]))
        .collect();
    tools.sort();
    tools.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_sample_transcript_counts_as_expected_on_both_sides() {
    let Some(folder) = samples() else { return };
    for (files, expected) in entries(&folder) {
        let workstation = Workstation::of_ada();
        for file in &files {
            workstation.import(file);
        }
        let paths: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
        let mut arguments = vec!["import", "claude", "--tenant", "acme"];
        arguments.extend(&paths);
        let again = workstation.run(&arguments).json();
        assert_eq!(again["calls"], expected["tool_calls"], "{files:?}");
        assert_eq!(again["errors"], expected["errors"], "{files:?}");
        assert_eq!(again["duplicates"], expected["tool_calls"], "{files:?}");
        assert_eq!(
            per_tool(&again["per_tool"]),
            per_tool(&expected["per_tool"]),
            "{files:?}"
        );

        let by_tool = workstation
            .run(&["metrics", "--tenant", "acme", "--by", "tool"])
            .json();
        let mut local: Vec<String> = by_tool["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| {
                format!(
                    "{} {} {}",
                    row["key"].as_str().unwrap(),
                    row["calls"],
                    row["errors"]
                )
            })
            .collect();
        local.sort();
        assert_eq!(
            local.join("\n"),
            per_tool(&expected["per_tool"]),
            "{files:?}"
        );

        let central = Central::for_workstation(&workstation).await;
        central.enroll(&workstation, &["ada@acme.dev"]);
        workstation.sync();
        let (_, calls) = assert_equal(&workstation, &central).await;
        assert_eq!(Value::from(calls), expected["tool_calls"]);
        let mut there: Vec<String> = Vec::new();
        let rows = central.rows("tool_metrics", "tool_name, error_count").await;
        for tool in expected["per_tool"].as_object().unwrap().keys() {
            let of_tool = rows
                .iter()
                .filter(|row| row.split('|').next() == Some(tool));
            let errors = of_tool.clone().filter(|row| row.ends_with("|1")).count();
            there.push(format!("{tool} {} {errors}", of_tool.count()));
        }
        there.sort();
        assert_eq!(
            there.join("\n"),
            per_tool(&expected["per_tool"]),
            "{files:?}"
        );
    }
}

#[test]
fn importing_every_sample_twice_changes_no_row() {
    let Some(folder) = samples() else { return };
    let workstation = Workstation::of_ada();
    let dump = || -> Vec<String> {
        let file = workstation.file();
        let mut rows = Vec::new();
        for sql in [
            "SELECT hex(id) || rev || hex(digest) FROM metrics_sessions ORDER BY id",
            "SELECT hex(id) || rev || hex(digest) FROM tool_metrics ORDER BY id",
            "SELECT seq || hex(pk) FROM change_log ORDER BY seq",
        ] {
            let mut statement = file.prepare(sql).unwrap();
            rows.extend(
                statement
                    .query_map([], |row| row.get::<_, String>(0))
                    .unwrap()
                    .map(Result::unwrap),
            );
        }
        rows
    };
    let first = workstation.import(&folder);
    let before = dump();
    let second = workstation.import(&folder);
    assert!(before == dump(), "the second import changed a row");
    assert!(first["calls"].as_u64().unwrap() > 100);
    assert_eq!(first["calls"], second["duplicates"]);
}

#[test]
fn the_captured_hook_payloads_give_the_calls_they_describe() {
    let Some(folder) = samples() else { return };
    let workstation = Workstation::of_ada();
    let payloads = folder.join("agent-verdict-hooks-2.1.278");
    let mut count = 0;
    for entry in std::fs::read_dir(payloads).unwrap() {
        let input = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let ran =
            workstation.run_with_input(&["hook", "claude", "--tenant", "acme", "--strict"], &input);
        assert_eq!((ran.code, ran.stdout.as_str()), (0, ""), "{}", ran.stderr);
        count += 1;
    }
    assert_eq!(count, 10);
    let file = workstation.file();
    let mut statement = file
        .prepare(
            "SELECT concat_ws(' ', source_id, tool_name, outcome, error_count, duration_source,
                              coalesce(total_duration_ms, '-'))
             FROM tool_metrics ORDER BY source_id",
        )
        .unwrap();
    let calls: Vec<String> = statement
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(
        calls,
        [
            "toolu_0123j6wgsDxTvNRbm4Eo8NEe Bash error 1 reported 410",
            // Opened and never ended: the orphan.
            "toolu_013o22E8CxU2DsECXTvzaGbF Bash unknown 0 none -",
            // A background agent: its launch took 6 ms, its work is not known.
            "toolu_016NHx2YDWhYhTM5ghMsCYKf Agent success 0 none -",
            "toolu_01G4c8Ku4BpQJyNapaRu2EaE Edit success 0 reported 2",
            "toolu_01GzUYFtnL9iBH2yd7XZVraZ Bash success 0 reported 497",
        ]
    );
    // The sessions that the payloads name.
    let sessions: i64 = file
        .query_row("SELECT count(*) FROM metrics_sessions", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(sessions, 4);
}
