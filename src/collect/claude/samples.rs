//! The reader against real transcripts, where they are at hand. What they hold is counted in their `EXPECTED.json`
//! by another program.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::tests::{Rows, read_into};
use super::*;
use crate::collect::desk::samples;
use crate::domain::tool_metric::Outcome;
use crate::domain::units::Timestamp;

/// The files of an entry: its name is a path, a path and a remark, or the name of a series of turns.
fn files_of(folder: &Path, entry: &str) -> Vec<PathBuf> {
    let name = entry.split([' ', ':']).next().unwrap();
    let path = folder.join(name);
    if path.is_file() {
        return vec![path];
    }
    if !path.is_dir() {
        return Vec::new();
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

#[test]
fn every_sample_gives_the_calls_that_were_counted_independently() {
    let Some(folder) = samples() else {
        return;
    };
    let expected = std::fs::read_to_string(folder.join("EXPECTED.json")).unwrap();
    let expected: Value = serde_json::from_str(&expected).unwrap();
    let mut seen = 0;
    for (entry, expected) in expected.as_object().unwrap() {
        let number = |key: &str| usize::try_from(expected[key].as_u64().unwrap()).unwrap();
        if expected.get("session_ids").is_none() {
            continue;
        }
        let mut rows = Rows::default();
        let mut tally = Tally::default();
        for path in files_of(&folder, entry) {
            let read = read_into(
                &mut rows,
                path.to_str().unwrap(),
                &std::fs::read(&path).unwrap(),
            );
            tally.lines += read.lines;
            tally.malformed += read.malformed;
        }
        // A series of turns names the lines of all its files, or of its last alone: its totals are the last's.
        let is_series = entry.contains("turn-1");
        assert!(
            is_series || tally.lines == expected["lines"],
            "{entry}: {tally:?}"
        );
        assert_eq!(expected["malformed_lines"], tally.malformed, "{entry}");
        let errors = rows
            .calls
            .values()
            .filter(|call| call.error_count > 0)
            .count();
        let denied = rows
            .calls
            .values()
            .filter(|call| call.outcome == Outcome::Denied)
            .count();
        let open = rows
            .calls
            .values()
            .filter(|call| call.outcome == Outcome::Unknown)
            .count();
        assert_eq!(rows.calls.len(), number("tool_calls"), "{entry}");
        assert_eq!(errors, number("errors"), "{entry}");
        assert_eq!(denied, number("denied_or_rejected"), "{entry}");
        assert_eq!(open, number("calls_without_result"), "{entry}");
        assert_eq!(rows.late.len(), number("results_without_call"), "{entry}");
        let interruptions: i64 = rows.sessions.values().map(|s| s.interruptions_count).sum();
        assert_eq!(
            interruptions,
            expected["interruptions"].as_i64().unwrap(),
            "{entry}"
        );
        let mut ids: Vec<&str> = rows
            .sessions
            .values()
            .map(|s| s.source_id.as_ref().unwrap().as_str())
            .collect();
        ids.sort_unstable();
        assert_eq!(Value::from(ids), expected["session_ids"], "{entry}");
        let time = |key: &str| Timestamp::parse(expected[key].as_str().unwrap()).unwrap();
        let first = rows.sessions.values().map(|s| s.session_start).min();
        let last = rows.sessions.values().filter_map(|s| s.session_end).max();
        assert_eq!(
            (first, last),
            (Some(time("first")), Some(time("last"))),
            "{entry}"
        );
        for (tool, counts) in expected["per_tool"].as_object().unwrap() {
            let calls: Vec<_> = rows
                .calls
                .values()
                .filter(|call| call.tool_name.as_str() == tool)
                .collect();
            let sum = |key: &str| counts[key].as_i64().unwrap();
            let count = |key: &str| usize::try_from(sum(key)).unwrap();
            assert_eq!(calls.len(), count("calls"), "{entry} {tool}");
            assert_eq!(
                calls.iter().map(|c| c.error_count).sum::<i64>(),
                sum("errors"),
                "{entry} {tool}"
            );
            let timed: Vec<i64> = calls.iter().filter_map(|c| c.total_duration_ms).collect();
            assert_eq!(timed.len(), count("timed"), "{entry} {tool}");
            // Counted from line to line: what tools report themselves is less.
            assert!(
                timed.iter().sum::<i64>() <= sum("total_ms"),
                "{entry} {tool}"
            );
        }
        seen += 1;
    }
    assert!(seen >= 4, "{seen} entries");
}

#[test]
fn no_sample_ends_the_reading_and_a_second_reading_adds_nothing() {
    let Some(folder) = samples() else {
        return;
    };
    let found = crate::collect::walk::find(&[folder]).unwrap();
    assert!(found.files.len() > 20);
    for file in found.files {
        let bytes = std::fs::read(&file.path).unwrap();
        let path = file.path.to_str().unwrap();
        let (mut once, mut twice) = (Rows::default(), Rows::default());
        let tally = read_into(&mut once, path, &bytes);
        read_into(&mut twice, path, &bytes);
        assert_eq!(read_into(&mut twice, path, &bytes), tally);
        assert_eq!(
            (&once.calls, &once.sessions),
            (&twice.calls, &twice.sessions),
            "{path}"
        );
    }
}
