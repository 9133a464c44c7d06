//! Events of every kind, in every order, and what they make of the rows.

use std::io::Read as _;

use super::*;
use crate::collect::claude::{Origin, read as read_transcript};
use crate::collect::desk::{Desk, samples};
use crate::collect::sighting::{AgentId, LateResult, Sink};

fn user() -> UserId {
    UserId::from_uuid(uuid::Uuid::from_u128(1))
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_micros(1_767_603_600_000_000 + millis * 1_000).unwrap()
}

fn event(kind: &str, more: &str) -> HookEvent {
    let text = format!(
        r#"{{"hook_event_name":"{kind}","session_id":"s1","cwd":"/home/ada/mill"{more}}} trailing"#
    );
    read(text.as_bytes()).unwrap().unwrap()
}

const BASH: &str =
    r#","tool_name":"Bash","tool_use_id":"t1","tool_input":{"command":"K=s3cret make all"}"#;

/// The rows of one session, as a store keeps them.
#[derive(Default)]
struct Rows {
    session: Option<Session>,
    call: Option<ToolMetric>,
}

impl Rows {
    fn see(&mut self, event: &HookEvent, now: Timestamp) -> &mut Self {
        let seen = observe(event, user(), now).unwrap();
        self.session
            .get_or_insert_with(|| seen.session.clone())
            .absorb(&seen.session);
        let call = match seen.call {
            None => return self,
            Some(SeenCall::Opened(call)) => *call,
            Some(SeenCall::Ended(ended)) => settle(self.call.as_ref(), &ended),
        };
        self.call.get_or_insert_with(|| call.clone()).absorb(&call);
        self
    }

    fn duration(&self) -> (Option<i64>, DurationSource) {
        let call = self.call.as_ref().unwrap();
        (call.total_duration_ms, call.duration_source)
    }
}

impl Sink for Rows {
    type Error = std::convert::Infallible;

    fn session(&mut self, session: &Session) -> Result<(), Self::Error> {
        self.session
            .get_or_insert_with(|| session.clone())
            .absorb(session);
        Ok(())
    }
    fn call(&mut self, call: ToolMetric, _: Option<AgentId>) -> Result<(), Self::Error> {
        let row = self.call.get_or_insert_with(|| call.clone());
        assert_eq!(row.id, call.id, "one row");
        row.absorb(&call);
        Ok(())
    }
    fn result(&mut self, _: LateResult) -> Result<(), Self::Error> {
        Ok(())
    }
    fn agent(&mut self, _: SessionId, _: AgentId, _: CallId) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[test]
fn a_call_that_is_only_begun_is_a_call() {
    let mut rows = Rows::default();
    rows.see(&event("PreToolUse", BASH), at(5));
    let call = rows.call.as_ref().unwrap();
    assert_eq!(
        (call.outcome, call.success_rate(), call.started_at),
        (Outcome::Unknown, None, at(5))
    );
    assert_eq!(rows.duration(), (None, DurationSource::None));
    assert_eq!(call.program.as_ref().unwrap().as_str(), "make");
    assert!(!format!("{call:?}").contains("s3cret"));
    let session = rows.session.unwrap();
    assert_eq!(session.project_id.unwrap().as_str(), "mill");
    assert!(session.tools_used.contains("Bash"));
}

#[test]
fn the_tools_own_duration_is_taken_and_tells_when_a_call_began_that_nothing_opened() {
    let mut rows = Rows::default();
    rows.see(
        &event("PostToolUse", &format!("{BASH},\"duration_ms\":497")),
        at(1_000),
    );
    assert_eq!(rows.duration(), (Some(497), DurationSource::Reported));
    assert_eq!(rows.call.as_ref().unwrap().started_at, at(503));
    assert_eq!(rows.session.unwrap().session_start, at(503));
}

#[test]
fn without_it_the_time_between_the_two_hooks_is_taken() {
    let mut rows = Rows::default();
    rows.see(&event("PreToolUse", BASH), at(100))
        .see(&event("PostToolUse", BASH), at(350));
    assert_eq!(rows.duration(), (Some(250), DurationSource::HookPair));
    let mut orphan = Rows::default();
    orphan.see(&event("PostToolUse", BASH), at(350));
    assert_eq!(orphan.duration(), (None, DurationSource::None));
    let mut backwards = Rows::default();
    backwards
        .see(&event("PreToolUse", BASH), at(400))
        .see(&event("PostToolUse", BASH), at(350));
    assert_eq!(backwards.duration(), (None, DurationSource::None));
}

#[test]
fn a_launch_does_not_time_the_work() {
    for response in [
        r#"{"isAsync":true,"agentId":"a1"}"#,
        r#"{"status":"async_launched"}"#,
        r#"{"backgroundTaskId":"b1","stdout":""}"#,
    ] {
        let mut rows = Rows::default();
        let more = format!("{BASH},\"duration_ms\":6,\"tool_response\":{response}");
        rows.see(&event("PreToolUse", BASH), at(1))
            .see(&event("PostToolUse", &more), at(9));
        assert_eq!(rows.duration(), (None, DurationSource::None), "{response}");
        assert_eq!(rows.call.unwrap().outcome, Outcome::Success);
    }
}

#[test]
fn failures_are_told_apart() {
    for (kind, more, outcome, errors) in [
        ("PostToolUse", "", Outcome::Success, 0),
        (
            "PostToolUse",
            r#","tool_response":{"interrupted":true}"#,
            Outcome::Interrupted,
            0,
        ),
        (
            "PostToolUseFailure",
            r#","error":"Exit code 3","is_interrupt":false"#,
            Outcome::Error,
            1,
        ),
        (
            "PostToolUseFailure",
            r#","error":"","is_interrupt":true"#,
            Outcome::Interrupted,
            1,
        ),
        (
            "PostToolUseFailure",
            r#","error":"The user doesn't want to proceed with this tool use. The tool""#,
            Outcome::Denied,
            1,
        ),
    ] {
        let mut rows = Rows::default();
        rows.see(&event(kind, &format!("{BASH}{more}")), at(1));
        let call = rows.call.unwrap();
        assert_eq!(
            (call.outcome, call.error_count),
            (outcome, errors),
            "{kind} {more}"
        );
    }
}

#[test]
fn a_session_begins_goes_on_and_ends() {
    let mut rows = Rows::default();
    rows.see(&event("SessionStart", ""), at(0));
    assert_eq!(rows.session.as_ref().unwrap().session_end, None);
    let end = |rows: &Rows| {
        let session = rows.session.as_ref().unwrap();
        (
            session.session_start,
            session.session_end,
            session.end_inferred,
        )
    };
    for (kind, millis) in [
        ("UserPromptSubmit", 10),
        ("SubagentStart", 15),
        ("SubagentStop", 18),
        ("Stop", 20),
    ] {
        rows.see(&event(kind, ""), at(millis));
        assert_eq!(end(&rows), (at(0), Some(at(millis)), true), "{kind}");
    }
    rows.see(&event("SessionEnd", ""), at(30));
    assert_eq!(end(&rows), (at(0), Some(at(30)), false));
    rows.see(&event("SessionStart", ""), at(40))
        .see(&event("Stop", ""), at(50));
    assert_eq!(
        end(&rows),
        (at(0), Some(at(50)), true),
        "a resumed session goes on"
    );
}

#[test]
fn a_hook_and_the_transcript_of_the_same_call_make_one_row_in_either_order() {
    let transcript = br#"{"type":"assistant","sessionId":"s1","timestamp":"2026-01-05T09:00:00.090Z","cwd":"/home/ada/mill","message":{"content":[{"type":"tool_use","id":"t1","name":"Bash","input":{}}]}}
{"type":"user","sessionId":"s1","timestamp":"2026-01-05T09:00:00.400Z","message":{"content":[{"type":"tool_result","tool_use_id":"t1","content":"ok"}]}}"#;
    let origin = Origin::new(user(), at(0), "s1.jsonl").unwrap();
    let ended = event("PostToolUse", &format!("{BASH},\"duration_ms\":240"));
    let mut hook_first = Rows::default();
    hook_first
        .see(&event("PreToolUse", BASH), at(100))
        .see(&ended, at(350));
    read_transcript(&transcript[..], &origin, &mut hook_first, |_| {}).unwrap();
    let mut transcript_first = Rows::default();
    read_transcript(&transcript[..], &origin, &mut transcript_first, |_| {}).unwrap();
    transcript_first
        .see(&event("PreToolUse", BASH), at(100))
        .see(&ended, at(350));
    for rows in [&hook_first, &transcript_first] {
        assert_eq!(rows.duration(), (Some(240), DurationSource::Reported));
        let (call, session) = (rows.call.as_ref().unwrap(), rows.session.as_ref().unwrap());
        assert_eq!(call.session_id, session.id);
        assert_eq!(
            (call.outcome, call.output_size_bytes),
            (Outcome::Success, Some(2))
        );
        assert_eq!(
            (session.session_start, session.session_end),
            (at(90), Some(at(400)))
        );
    }
    // What a transcript opened is not timed by two hooks.
    let mut mixed = Rows::default();
    let first_line = transcript.split(|byte| *byte == b'\n').next().unwrap();
    read_transcript(first_line, &origin, &mut mixed, |_| {}).unwrap();
    mixed.see(&event("PostToolUse", BASH), at(350));
    assert_eq!(mixed.duration(), (Some(260), DurationSource::Transcript));
}

#[test]
fn recorded_events_make_one_session_and_one_call() {
    let desk = Desk::new();
    let keep = |event: &HookEvent, now: Timestamp| {
        let seen = observe(event, desk.user, now).unwrap();
        desk.tenant.write(|writer| record(writer, &seen)).unwrap();
    };
    keep(&event("PreToolUse", BASH), at(100));
    assert_eq!(desk.call("t1").outcome, Outcome::Unknown);
    keep(&event("PostToolUse", BASH), at(350));
    let call = desk.call("t1");
    assert_eq!(
        (call.total_duration_ms, call.duration_source),
        (Some(250), DurationSource::HookPair)
    );
    let rows = desk.rows();
    assert_eq!((rows.0.len(), rows.1.len()), (1, 1));
    keep(&event("PostToolUse", BASH), at(350));
    assert_eq!(desk.rows(), rows);
    keep(&event("SessionEnd", ""), at(900));
    assert_eq!(desk.rows().0[0].total_duration_ms(), Some(800));
}

#[test]
fn one_value_is_read_and_no_more() {
    struct Endless;
    impl std::io::Read for Endless {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("read beyond the value")
        }
    }
    let text = br#"{"hook_event_name":"Stop","session_id":"s1"}"#;
    let input = std::io::BufReader::new(text[..].chain(Endless));
    assert_eq!(read(input).unwrap().unwrap().kind, EventKind::Stop);
}

#[test]
fn unknown_events_are_ignored_and_bad_ones_refused() {
    assert_eq!(
        read(&br#"{"hook_event_name":"PreCompact","session_id":"s1"}"#[..]).unwrap(),
        None
    );
    assert_eq!(read(&b"{}"[..]).unwrap(), None);
    for text in ["", "{", "[1]", "\"x\"", "\u{0}", r#"{"hook_event_name":"#] {
        assert!(
            matches!(read(text.as_bytes()), Err(HookError::Read(_))),
            "{text}"
        );
    }
    for text in [
        r#"{"hook_event_name":"Stop"}"#.to_owned(),
        format!(r#"{{"hook_event_name":"Stop","session_id":"{}"}}"#, "x".repeat(10_000)),
        r#"{"hook_event_name":"PreToolUse","session_id":"s","tool_use_id":"t","tool_name":"a\u0000"}"#
            .to_owned(),
        r#"{"hook_event_name":"PreToolUse","session_id":"s","tool_use_id":"t"}"#.to_owned(),
    ] {
        assert!(matches!(read(text.as_bytes()), Err(HookError::Value(_))), "{text}");
    }
}

#[test]
fn an_event_beyond_the_limit_is_refused() {
    let head = &br#"{"hook_event_name":"Stop","session_id":"s1","x":""#[..];
    let endless = std::io::BufReader::new(head.chain(std::io::repeat(b'x')));
    assert!(matches!(read(endless), Err(HookError::Read(_))));
}

#[test]
fn a_tool_event_without_the_calls_id_leaves_the_call_to_the_transcript() {
    let seen = event("PostToolUse", r#","tool_name":"Bash""#);
    assert_eq!(seen.call, None);
}

#[test]
fn responses_are_measured_and_not_kept() {
    for (response, size) in [
        (r#""12345""#, Some(5)),
        (r#"{"stdout":"123","stderr":"45","other":"…"}"#, Some(5)),
        (r#"[{"type":"text","text":"12345"}]"#, Some(5)),
        (r#"{"content":[{"type":"text","text":"12345"}]}"#, Some(5)),
        (r#"{"filePath":"/x","originalFile":"…"}"#, None),
        ("null", None),
    ] {
        let seen = event(
            "PostToolUse",
            &format!("{BASH},\"tool_response\":{response}"),
        );
        assert_eq!(seen.call.unwrap().output_size_bytes, size, "{response}");
    }
}

#[test]
fn the_sample_payloads_give_the_calls_that_they_describe() {
    let Some(folder) = samples() else {
        return;
    };
    let folder = folder.join("agent-verdict-hooks-2.1.278");
    let seen = |name: &str| {
        let bytes = std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        let event = read(&bytes[..]).unwrap().unwrap();
        let mut rows = Rows::default();
        rows.see(&event, at(10_000));
        let call = rows.call.map(|call| {
            (
                call.tool_name.as_str().to_owned(),
                call.outcome,
                call.total_duration_ms,
            )
        });
        (event.kind, call)
    };
    let call = |tool: &str, outcome, millis| Some((tool.to_owned(), outcome, millis));
    for (name, kind, expected) in [
        (
            "pre_tool_use_bash",
            EventKind::PreToolUse,
            call("Bash", Outcome::Unknown, None),
        ),
        (
            "post_tool_use_bash",
            EventKind::PostToolUse,
            call("Bash", Outcome::Success, Some(497)),
        ),
        (
            "post_tool_use_edit",
            EventKind::PostToolUse,
            call("Edit", Outcome::Success, Some(2)),
        ),
        (
            "post_tool_use_agent",
            EventKind::PostToolUse,
            call("Agent", Outcome::Success, None),
        ),
        (
            "post_tool_use_failure_bash",
            EventKind::PostToolUseFailure,
            call("Bash", Outcome::Error, Some(410)),
        ),
        ("session_start", EventKind::SessionStart, None),
        ("session_end", EventKind::SessionEnd, None),
        ("stop", EventKind::Stop, None),
        ("subagent_stop", EventKind::SubagentStop, None),
        ("user_prompt_submit", EventKind::UserPromptSubmit, None),
    ] {
        assert_eq!(seen(name), (kind, expected), "{name}");
    }
}
