//! Imports into a real tenant's file.

use std::fs;

use super::*;
use crate::collect::desk::{Desk, samples};
use crate::collect::walk;
use crate::domain::tool_metric::Outcome;

impl Desk {
    fn import(&self, dry_run: bool) -> ImportReport {
        let found = walk::find(&[self.folder.path().join("projects")]).unwrap();
        claude(&self.tenant, self.user, found, dry_run, |_| {}).unwrap()
    }
}

fn asks(session: &str, second: u32, id: &str, tool: &str) -> String {
    format!(
        r#"{{"type":"assistant","sessionId":"{session}","timestamp":"2026-01-05T08:00:{second:02}Z","message":{{"content":[{{"type":"tool_use","id":"{id}","name":"{tool}","input":{{}}}}]}}}}"#
    )
}

fn answers(session: &str, second: u32, id: &str, more: &str) -> String {
    format!(
        r#"{{"type":"user","sessionId":"{session}","timestamp":"2026-01-05T08:00:{second:02}Z","message":{{"content":[{{"type":"tool_result","tool_use_id":"{id}"{more}}}]}}}}"#
    )
}

fn says(session: &str, second: u32) -> String {
    format!(
        r#"{{"type":"user","sessionId":"{session}","timestamp":"2026-01-05T08:00:{second:02}Z","message":{{"content":"hello"}}}}"#
    )
}

#[test]
fn importing_twice_changes_no_row_and_counts_every_call_as_a_duplicate() {
    let desk = Desk::new();
    let mut lines: Vec<String> = (0..2_500)
        .map(|n| asks("s1", 1, &format!("t{n}"), "Bash"))
        .collect();
    lines.extend((0..2_500).map(|n| answers("s1", 3, &format!("t{n}"), r#","is_error":true"#)));
    desk.transcript("s1.jsonl", 1, &lines);
    let first = desk.import(false);
    assert_eq!((first.files, first.lines, first.sessions), (1, 5_000, 1));
    assert_eq!(
        (first.calls, first.errors, first.duplicates),
        (2_500, 2_500, 0)
    );
    let rows = desk.rows();
    assert_eq!((rows.0.len(), rows.1.len()), (1, 2_500));
    let second = desk.import(false);
    assert_eq!(
        (second.calls, second.errors, second.duplicates),
        (2_500, 2_500, 2_500)
    );
    assert_eq!(second.per_tool, first.per_tool);
    assert_eq!(desk.rows(), rows);
}

#[test]
fn a_dry_run_counts_the_same_and_writes_nothing() {
    let desk = Desk::new();
    desk.transcript("s1.jsonl", 1, &[asks("s1", 1, "t1", "Bash"), says("s2", 2)]);
    desk.transcript(
        "s3.jsonl",
        2,
        &[asks("s3", 1, "t1", "Bash"), answers("s3", 2, "t9", "")],
    );
    let dry = desk.import(true);
    assert_eq!(desk.rows(), (Vec::new(), Vec::new()));
    let wet = desk.import(false);
    let json = |report: &ImportReport| serde_json::to_value(report).unwrap();
    assert_eq!(json(&dry), json(&wet));
    assert_eq!(
        (wet.calls, wet.sessions, wet.results_without_call),
        (1, 2, 1)
    );
}

#[test]
fn a_fork_adds_only_what_is_new_in_it() {
    let desk = Desk::new();
    let call = |session: &str| {
        vec![
            asks(session, 1, "t1", "Bash"),
            answers(session, 2, "t1", ""),
        ]
    };
    desk.transcript("original.jsonl", 1, &call("original"));
    desk.transcript("copy.jsonl", 2, &call("copy"));
    let mut further = call("further");
    further.push(asks("further", 5, "t2", "Read"));
    desk.transcript("further.jsonl", 3, &further);
    let report = desk.import(false);
    assert_eq!((report.calls, report.sessions), (2, 2));
    let (sessions, calls) = desk.rows();
    let tools: Vec<Vec<&str>> = sessions
        .iter()
        .map(|session| session.tools_used.iter().map(String::as_str).collect())
        .collect();
    assert_eq!(calls.len(), 2);
    assert_eq!(sessions.len(), 2, "the copy adds no row");
    assert!(
        tools.contains(&vec!["Bash"]) && tools.contains(&vec!["Read"]),
        "{tools:?}"
    );
    assert_eq!(
        desk.call("t1").session_id,
        sessions
            .iter()
            .find(|s| s.source_id.as_ref().unwrap().as_str() == "original")
            .unwrap()
            .id
    );
    desk.import(false);
    assert_eq!(desk.rows(), (sessions, calls));
}

#[test]
fn a_fork_of_a_session_that_an_earlier_import_brought_adds_no_row() {
    let desk = Desk::new();
    let original = desk.transcript("original.jsonl", 1, &[asks("original", 1, "t1", "Bash")]);
    desk.import(false);
    let rows = desk.rows();
    fs::remove_file(original).unwrap();
    desk.transcript("copy.jsonl", 2, &[asks("copy", 1, "t1", "Bash")]);
    let report = desk.import(false);
    assert_eq!(
        (report.calls, report.duplicates, report.sessions),
        (1, 1, 0)
    );
    assert_eq!(desk.rows(), rows);
}

#[test]
fn an_error_that_two_files_tell_counts_once() {
    let desk = Desk::new();
    let failed = r#","is_error":true"#;
    for (name, second) in [("a.jsonl", 1), ("b.jsonl", 2)] {
        let lines = [asks("s1", 1, "t1", "Bash"), answers("s1", 2, "t1", failed)];
        desk.transcript(name, second, &lines);
    }
    let report = desk.import(false);
    assert_eq!((report.lines, report.calls, report.errors), (4, 1, 1));
    let bash = ToolTally {
        calls: 1,
        errors: 1,
    };
    assert_eq!(report.per_tool, BTreeMap::from([("Bash".to_owned(), bash)]));
}

#[test]
fn results_far_before_their_calls_settle_them() {
    let desk = Desk::new();
    let failed = r#","is_error":true"#;
    let mut lines: Vec<String> = (0..5_000)
        .map(|n| answers("s1", 9, &format!("t{n}"), failed))
        .collect();
    lines.extend((0..5_000).map(|n| asks("s1", 1, &format!("t{n}"), "Bash")));
    desk.transcript("s1.jsonl", 1, &lines);
    let report = desk.import(false);
    assert_eq!((report.calls, report.errors), (5_000, 5_000));
    assert_eq!(report.results_without_call, 0);
    let (_, calls) = desk.rows();
    assert!(
        calls
            .iter()
            .all(|call| (call.outcome, call.total_duration_ms) == (Outcome::Error, Some(8_000)))
    );
}

#[test]
fn a_subagents_calls_that_were_written_before_their_parent_was_known_name_it_afterwards() {
    let desk = Desk::new();
    let agent = |line: String| line.replace(r#""sessionId""#, r#""agentId":"a1","sessionId""#);
    let started = answers("s1", 9, "t1", "").replace(
        r#""message""#,
        r#""toolUseResult":{"agentId":"a1"},"message""#,
    );
    let mut lines: Vec<String> = (0..1_500)
        .map(|n| agent(asks("s1", 2, &format!("c{n}"), "Grep")))
        .collect();
    lines.extend((0..1_500).map(|n| agent(answers("s1", 3, &format!("c{n}"), ""))));
    lines.extend([asks("s1", 1, "t1", "Task"), started]);
    desk.transcript("s1.jsonl", 1, &lines);
    desk.import(false);
    let parent = desk.call("t1").id;
    let (_, calls) = desk.rows();
    let children = calls.iter().filter(|call| call.parent_id == Some(parent));
    assert_eq!(children.count(), 1_500);
}

#[test]
fn chat_without_calls_gets_a_row() {
    let desk = Desk::new();
    desk.transcript("s1.jsonl", 1, &[says("s1", 1), says("s1", 9)]);
    assert_eq!(desk.import(false).sessions, 1);
    assert_eq!(desk.rows().0[0].total_duration_ms(), Some(8_000));
}

#[test]
fn a_result_in_another_file_settles_its_call_whichever_comes_first() {
    for (call_file, result_file) in [("a.jsonl", "b.jsonl"), ("b.jsonl", "a.jsonl")] {
        let desk = Desk::new();
        desk.transcript(call_file, 1, &[asks("s1", 1, "t1", "Bash")]);
        desk.transcript(
            result_file,
            1,
            &[answers("s1", 4, "t1", r#","is_error":true"#)],
        );
        let report = desk.import(false);
        assert_eq!(
            (report.calls, report.errors, report.results_without_call),
            (1, 1, 0)
        );
        let call = desk.call("t1");
        assert_eq!(
            (call.outcome, call.total_duration_ms),
            (Outcome::Error, Some(3_000))
        );
        let rows = desk.rows();
        desk.import(false);
        assert_eq!(desk.rows(), rows);
    }
}

#[test]
fn a_result_that_a_later_import_brings_settles_the_call_of_an_earlier_one() {
    let desk = Desk::new();
    desk.transcript("s1.jsonl", 1, &[asks("s1", 1, "t1", "Bash")]);
    desk.import(false);
    desk.transcript("s1.jsonl", 1, &[answers("s1", 4, "t1", "")]);
    let report = desk.import(false);
    assert_eq!((report.calls, report.results_without_call), (0, 0));
    assert_eq!(desk.call("t1").outcome, Outcome::Success);
}

#[test]
fn a_subagents_calls_belong_to_their_parents_session_and_name_the_call_that_started_it() {
    let agent = |line: String| {
        line.replace(
            r#""sessionId""#,
            r#""isSidechain":true,"agentId":"a1","sessionId""#,
        )
    };
    let started = answers("s1", 9, "t1", "").replace(
        r#""message""#,
        r#""toolUseResult":{"agentId":"a1","totalDurationMs":7000},"message""#,
    );
    let nested = |line: String| line.replace("\"a1\"", "\"a2\"");
    let starts_nested = agent(answers("s1", 6, "t3", "")).replace(
        r#""message""#,
        r#""toolUseResult":{"agentId":"a2"},"message""#,
    );
    let desk = Desk::new();
    desk.transcript("s1.jsonl", 9, &[asks("s1", 1, "t1", "Task"), started]);
    let own = [
        agent(asks("s1", 3, "t2", "Grep")),
        agent(asks("s1", 4, "t3", "Task")),
        starts_nested,
    ];
    desk.transcript("s1/subagents/agent-a1.jsonl", 8, &own);
    // Read before the file that tells who started it.
    desk.transcript(
        "s1/subagents/agent-a2.jsonl",
        5,
        &[nested(agent(asks("s1", 5, "t4", "Read")))],
    );
    let report = desk.import(false);
    assert_eq!((report.calls, report.sessions), (4, 1));
    assert_eq!(desk.call("t1").total_duration_ms, Some(7_000));
    assert_eq!(desk.call("t1").parent_id, None);
    assert_eq!(desk.call("t2").parent_id, Some(desk.call("t1").id));
    assert_eq!(desk.call("t3").parent_id, Some(desk.call("t1").id));
    assert_eq!(desk.call("t4").parent_id, Some(desk.call("t3").id));
    let rows = desk.rows();
    desk.import(false);
    assert_eq!(desk.rows(), rows);
}

#[test]
fn a_later_snapshot_of_a_session_widens_it() {
    let desk = Desk::new();
    let first = vec![asks("s1", 1, "t1", "Bash")];
    let mut second = first.clone();
    second.extend([answers("s1", 4, "t1", ""), asks("s1", 20, "t2", "Read")]);
    desk.transcript("turn-1.jsonl", 1, &first);
    desk.transcript("turn-2.jsonl", 2, &second);
    let report = desk.import(false);
    assert_eq!((report.calls, report.sessions, report.files), (2, 1, 2));
    assert_eq!(desk.rows().0[0].total_duration_ms(), Some(19_000));
    assert_eq!(desk.call("t1").total_duration_ms, Some(3_000));
}

#[test]
fn a_file_that_went_away_is_reported_and_the_others_are_read() {
    let desk = Desk::new();
    let gone = desk.transcript("a.jsonl", 1, &[says("s1", 1)]);
    desk.transcript("b.jsonl", 2, &[says("s2", 1)]);
    let found = walk::find(&[desk.folder.path().join("projects")]).unwrap();
    fs::remove_file(gone).unwrap();
    let mut last = None;
    let report = claude(&desk.tenant, desk.user, found, false, |seen| {
        last = Some(seen);
    })
    .unwrap();
    assert_eq!(
        (report.files, report.sessions, report.unreadable.len()),
        (1, 1, 1)
    );
    let last = last.unwrap();
    assert_eq!(last.bytes, last.total);
}

#[test]
fn importing_all_samples_twice_changes_no_row() {
    let Some(folder) = samples() else {
        return;
    };
    let desk = Desk::new();
    let import = || {
        let found = walk::find(&[&folder]).unwrap();
        claude(&desk.tenant, desk.user, found, false, |_| {}).unwrap()
    };
    let first = import();
    let rows = desk.rows();
    assert!(first.calls >= 100 && first.duplicates == 0);
    assert_eq!(u64::try_from(rows.1.len()).unwrap(), first.calls);
    assert_eq!(u64::try_from(rows.0.len()).unwrap(), first.sessions);
    let second = import();
    assert_eq!(desk.rows(), rows);
    assert_eq!(
        (second.calls, second.errors, second.duplicates),
        (first.calls, first.errors, first.calls)
    );
}
