//! Calls, results, sessions and what they make of each other.

use super::*;

#[test]
fn a_call_and_its_result_make_one_row() {
    let text = asks(1, "t1", "Bash", r#"{"command":"KEY=s3cret cargo test"}"#)
        + &answers(4, "t1", r#","content":"12345"#, "null").replace("12345", "12345\"");
    let (rows, tally) = read_text(&text);
    assert_eq!(
        tally,
        Tally {
            lines: 2,
            malformed: 0,
            skipped: 0
        }
    );
    let call = rows.call("t1");
    assert_eq!(call.outcome, Outcome::Success);
    assert_eq!(
        (call.total_duration_ms, call.duration_source),
        (Some(3_500), DurationSource::Transcript)
    );
    assert_eq!(call.output_size_bytes, Some(5));
    assert_eq!(call.program.as_ref().unwrap().as_str(), "cargo");
    assert_eq!(
        (
            &call.command_line,
            &call.parameters,
            &call.working_directory
        ),
        (&None, &None, &None)
    );
    assert_eq!(
        call.provenance.as_deref(),
        Some(r#"{"file":"/t/s1.jsonl","line":1,"channel":"transcript"}"#)
    );
    let session = rows.session("s1");
    assert_eq!(session.project_id.as_ref().unwrap().as_str(), "mill");
    assert_eq!(session.total_duration_ms(), Some(3_500));
    assert!(session.end_inferred);
    assert!(!format!("{rows:?}").contains("s3cret"));
}

#[test]
fn a_result_before_its_call_and_a_repeated_one_settle_it_once() {
    let call = asks(1, "t1", "Read", "{}");
    let answer = answers(4, "t1", "", "{}");
    let (forward, _) = read_text(&(call.clone() + &answer + &answer));
    let (backward, _) = read_text(&(answer.clone() + &call + &call));
    let told = |rows: &Rows| {
        let call = rows.call("t1");
        (
            rows.calls.len(),
            call.outcome,
            call.total_duration_ms,
            call.started_at,
        )
    };
    assert_eq!(told(&forward), told(&backward));
    assert_eq!(told(&forward).1, Outcome::Success);
    assert_eq!((forward.late.len(), backward.late.len()), (0, 0));
}

#[test]
fn a_result_earlier_than_its_call_gives_no_duration() {
    let (rows, _) = read_text(&(asks(9, "t1", "Read", "{}") + &answers(4, "t1", "", "{}")));
    let call = rows.call("t1");
    assert_eq!(
        (call.total_duration_ms, call.duration_source),
        (None, DurationSource::None)
    );
}

#[test]
fn outcomes_are_told_apart() {
    let refusal =
        r#","is_error":true,"content":"The user doesn't want to proceed with this tool use. The""#;
    let broken = r#","is_error":true,"content":[{"type":"text","text":"[Request interrupted by user for tool use]"}]"#;
    for (more, record, outcome, errors) in [
        ("", "{}", Outcome::Success, 0),
        (r#","is_error":false"#, "{}", Outcome::Success, 0),
        (
            r#","is_error":true,"content":"Exit code 1""#,
            "\"Error: Exit code 1\"",
            Outcome::Error,
            1,
        ),
        (refusal, "{}", Outcome::Denied, 1),
        (
            r#","is_error":true"#,
            "\"User rejected tool use\"",
            Outcome::Denied,
            1,
        ),
        (
            "",
            r#"{},"toolDenialKind":"user-rejected""#,
            Outcome::Denied,
            1,
        ),
        (broken, "{}", Outcome::Interrupted, 1),
        ("", r#"{"interrupted":true}"#, Outcome::Interrupted, 0),
        // A file that quotes the sentence is no refusal.
        (
            &refusal.replace(r#""is_error":true"#, r#""is_error":false"#),
            "{}",
            Outcome::Success,
            0,
        ),
    ] {
        let (rows, _) = read_text(&(asks(1, "t1", "Edit", "{}") + &answers(2, "t1", more, record)));
        let call = rows.call("t1");
        assert_eq!(
            (call.outcome, call.error_count),
            (outcome, errors),
            "{more} {record}"
        );
    }
}

#[test]
fn the_tools_own_clock_is_better_and_a_launch_is_no_end() {
    for (record, millis, clock) in [
        (r#"{"durationMs":41}"#, Some(41), DurationSource::Reported),
        (
            r#"{"totalDurationMs":88131,"status":"completed"}"#,
            Some(88_131),
            DurationSource::Reported,
        ),
        (
            r#"{"durationSeconds":1.25}"#,
            Some(1_250),
            DurationSource::Reported,
        ),
        (
            r#"{"durationMs":-5}"#,
            Some(3_500),
            DurationSource::Transcript,
        ),
        (
            r#"{"durationMs":1e300}"#,
            Some(3_500),
            DurationSource::Transcript,
        ),
        (
            r#"{"durationMs":"41"}"#,
            Some(3_500),
            DurationSource::Transcript,
        ),
        (
            r#"{"isAsync":true,"status":"async_launched","durationMs":6}"#,
            None,
            DurationSource::None,
        ),
        (r#"{"backgroundTaskId":"b1"}"#, None, DurationSource::None),
    ] {
        let (rows, _) = read_text(&(asks(1, "t1", "Agent", "{}") + &answers(4, "t1", "", record)));
        let call = rows.call("t1");
        assert_eq!(
            (call.total_duration_ms, call.duration_source),
            (millis, clock),
            "{record}"
        );
        assert_eq!(call.outcome, Outcome::Success);
    }
}

#[test]
fn one_record_does_not_time_two_results() {
    let two = answers(
        4,
        "t1",
        r#"},{"type":"tool_result","tool_use_id":"t2""#,
        r#"{"durationMs":7}"#,
    );
    let text = asks(1, "t1", "Glob", "{}") + &asks(2, "t2", "Glob", "{}") + &two;
    let (rows, _) = read_text(&text);
    assert_eq!(rows.call("t1").total_duration_ms, Some(3_500));
    assert_eq!(rows.call("t2").total_duration_ms, Some(2_500));
}

#[test]
fn a_call_without_an_id_has_that_of_its_line_and_place() {
    let text = asks(1, "t1", "Bash", "{}").replace(r#""id":"t1","#, "");
    let (rows, tally) = read_text(&(text.clone() + &text));
    assert_eq!((rows.calls.len(), tally.skipped), (1, 0));
    assert_eq!(rows.call("u1#1").outcome, Outcome::Unknown);
    assert_eq!(rows.call("u1#1").success_rate(), None);
}

#[test]
fn a_subagents_calls_in_progress_lines_count_and_name_their_parent() {
    let inner = asks(3, "t9", "Grep", "{}").replace(r#""sessionId":"s1","#, "");
    let progress = |inner: &str| {
        format!(
            r#"{{"type":"progress","sessionId":"s1","uuid":"p1","timestamp":"2026-01-05T08:00:03Z","parentToolUseID":"t1","data":{{"type":"agent_progress","agentId":"a1","message":{}}}}}
"#,
            inner.trim_end()
        )
    };
    let answer = progress(&answers(5, "t9", "", r#"{"durationMs":4}"#));
    let text = asks(1, "t1", "Task", "{}")
        + &progress(&inner)
        + &answer
        + &answers(9, "t1", "", r#"{"agentId":"a1"}"#);
    let (rows, tally) = read_text(&text);
    assert_eq!((rows.calls.len(), tally.skipped), (2, 0));
    assert_eq!(rows.call("t9").parent_id, Some(rows.call("t1").id));
    assert_eq!(rows.call("t9").total_duration_ms, Some(4));
    assert_eq!(rows.call("t9").session_id, rows.session("s1").id);
    let agent = AgentId::parse("agent", "a1").unwrap();
    assert_eq!(rows.agents.get(&agent), Some(&rows.call("t1").id));
}

#[test]
fn a_copied_line_belongs_to_the_session_that_it_was_copied_from() {
    let copy = asks(1, "t1", "Bash", "{}").replace(
        r#""sessionId":"s1""#,
        r#""sessionId":"s2","forkedFrom":{"sessionId":"s1","messageUuid":"u1"}"#,
    );
    let (rows, _) = read_text(&copy);
    assert_eq!(rows.call("t1").session_id, rows.session("s1").id);
    assert_eq!(rows.sessions.len(), 1);
}

#[test]
fn lines_without_a_session_belong_to_the_one_that_the_file_is_named_after() {
    let text = asks(1, "t1", "Bash", "{}").replace(r#""sessionId":"s1","#, "");
    let (rows, _) = read_text(&text);
    assert_eq!(rows.call("t1").session_id, rows.session("s1").id);
}

#[test]
fn chat_makes_a_session_and_mere_events_do_not() {
    let event = r#"{"type":"system","sessionId":"s1","timestamp":"2026-01-05T07:59:00Z"}"#;
    assert_eq!(read_text(event).0.sessions.len(), 0);
    let chat = r#"{"type":"user","sessionId":"s1","timestamp":"2026-01-05T08:00:00Z","message":{"content":"hello"}}"#;
    let (rows, _) = read_text(&format!("{chat}\n{event}"));
    assert_eq!(rows.session("s1").total_duration_ms(), Some(60_000));
}

#[test]
fn interruptions_are_counted_where_the_user_broke_in() {
    let line = |content: &str, more: &str| {
        format!(
            r#"{{"type":"user","sessionId":"s1"{more},"timestamp":"2026-01-05T08:00:00Z","message":{{"content":{content}}}}}
"#
        )
    };
    let text = line("\"[Request interrupted by user]\"", "")
        + &line(
            r#"[{"type":"text","text":"[Request interrupted by user for tool use]"}]"#,
            "",
        )
        + &line("\"why does it say [Request interrupted by user]?\"", "")
        + &line(
            "\"[Request interrupted by user]\"",
            r#","isSidechain":true"#,
        );
    assert_eq!(read_text(&text).0.session("s1").interruptions_count, 2);
}

#[test]
fn projects_are_the_last_part_of_a_path_of_any_system() {
    let project = |cwd: &str| project_of(cwd).map(|project| project.as_str().to_owned());
    assert_eq!(project("/home/ada/mill").as_deref(), Some("mill"));
    assert_eq!(project("/home/ada/mill/").as_deref(), Some("mill"));
    assert_eq!(project(r"C:\work\mill").as_deref(), Some("mill"));
    assert_eq!(
        (project("/"), project(r"C:\"), project("")),
        (None, None, None)
    );
}
