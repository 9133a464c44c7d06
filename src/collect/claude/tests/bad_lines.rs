//! Lines that are malformed, refused, too long or too many.

use super::*;

#[test]
fn what_is_malformed_and_what_is_skipped() {
    let long = "x".repeat(10_000);
    for (line, malformed, skipped) in [
        ("\"massive error\"", 1, 0),
        ("42", 1, 0),
        ("[1]", 1, 0),
        ("{\"type\":\"user\"", 1, 0),
        ("{\"type\":\"user\"} x", 1, 0),
        ("\0\0\0", 1, 0),
        ("", 0, 0),
        (r#"{"silly":"this"}"#, 0, 1),
        (
            r#"{"type":"none of ours","sessionId":"s1","timestamp":"2026-01-05T08:00:00Z"}"#,
            0,
            1,
        ),
        (r#"{"type":"summary","summary":"…"}"#, 0, 0),
        (
            r#"{"type":"system","timestamp":"12000-01-01T00:00:00Z","sessionId":"s1"}"#,
            0,
            0,
        ),
        (
            r#"{"type":"user","timestamp":"2026-01-05T08:00:00Z","sessionId":"s1","message":"error"}"#,
            0,
            1,
        ),
        (
            r#"{"type":"user","timestamp":"2026-01-05T08:00:00Z","sessionId":"s1","message":{"contenst":[]}}"#,
            0,
            1,
        ),
        (
            r#"{"type":"user","timestamp":"12000-01-01T00:00:00Z","sessionId":"s1","message":{"content":"x"}}"#,
            0,
            1,
        ),
        (
            r#"{"type":"user","sessionId":"s1","message":{"content":"x"}}"#,
            0,
            1,
        ),
        (r#"{"type":"user","type":"user"}"#, 0, 1),
        (&asks(1, &long, "Bash", "{}"), 0, 1),
        (&asks(1, "t1", &long, "{}"), 0, 1),
        (&asks(1, "t1", r"B\u0000sh", "{}"), 0, 1),
        (
            &asks(1, "t1", "Bash", "{}").replace("\"s1\"", &format!("\"{long}\"")),
            0,
            1,
        ),
        (&asks(1, "t1", "Bash", "{}").replace("\"Bash\"", "7"), 0, 1),
        (&answers(1, &long, "", "{}"), 0, 1),
    ] {
        let (rows, tally) = read_text(line);
        assert_eq!(
            (tally.malformed, tally.skipped),
            (malformed, skipped),
            "{line}"
        );
        assert_eq!(rows.calls.len(), 0, "{line}");
    }
}

#[test]
fn a_refused_call_does_not_cost_its_neighbour() {
    let text = asks(1, "t1", "Bash", "{}").replace(
        r#""input":{}}"#,
        r#""input":{}},{"type":"tool_use","id":"t2","name":"a\u0000b","input":{}}"#,
    );
    let (rows, tally) = read_text(&text);
    assert_eq!((rows.calls.len(), tally.skipped), (1, 1));
}

#[test]
fn a_line_that_is_no_utf_8_and_a_truncated_last_line_are_malformed() {
    let mut text = asks(1, "t1", "Bash", "{}").into_bytes();
    text.extend(b"{\"type\":\"user\",\"x\":\"\xff\xfe\"}\r\n");
    text.extend(&asks(2, "t2", "Bash", "{}").into_bytes()[..150]);
    let mut rows = Rows::default();
    let tally = read_into(&mut rows, "s1.jsonl", &text);
    assert_eq!(
        tally,
        Tally {
            lines: 3,
            malformed: 2,
            skipped: 0
        }
    );
    assert_eq!(rows.calls.len(), 1);
}

#[test]
fn a_line_of_100_mb_is_skipped_and_the_rest_is_read() {
    use std::io::Read as _;
    let (first, last) = (asks(1, "t1", "Bash", "{}"), asks(2, "t2", "Bash", "{}"));
    let text = first
        .as_bytes()
        .chain(std::io::repeat(b'a').take(100_000_000))
        .chain(&b"\n"[..])
        .chain(last.as_bytes());
    let now = Timestamp::parse("2026-01-05T09:00:00Z").unwrap();
    let origin = Origin::new(user(), now, "s1.jsonl").unwrap();
    let mut rows = Rows::default();
    let tally = read(io::BufReader::new(text), &origin, &mut rows, |_| {}).unwrap();
    assert_eq!(
        tally,
        Tally {
            lines: 3,
            malformed: 0,
            skipped: 1
        }
    );
    assert_eq!(rows.calls.len(), 2);
}

#[test]
fn more_open_calls_than_the_bound_are_handed_on_and_settled_by_late_results() {
    let count = u32::try_from(MAX_OPEN_CALLS).unwrap() + 10;
    let mut text: String = (0..count)
        .map(|n| asks(1, &format!("t{n}"), "Bash", "{}"))
        .collect();
    text.extend((0..count).map(|n| answers(2, &format!("t{n}"), r#","is_error":true"#, "{}")));
    let (rows, _) = read_text(&text);
    assert_eq!(rows.calls.len(), MAX_OPEN_CALLS + 10);
    assert!(
        rows.calls
            .values()
            .all(|call| call.outcome == Outcome::Error)
    );
    assert!(
        rows.calls
            .values()
            .all(|call| call.total_duration_ms == Some(1_500))
    );
    assert_eq!(rows.late.len(), 0);
    assert!(
        rows.settled_late >= MAX_OPEN_CALLS,
        "no more than the bound waited"
    );
}

#[test]
fn more_results_without_a_call_than_the_bound_are_handed_on() {
    let count = u32::try_from(MAX_OPEN_CALLS).unwrap() + 10;
    let mut text: String = (0..count)
        .map(|n| answers(2, &format!("t{n}"), "", "{}"))
        .collect();
    text += &asks(1, "t0", "Bash", "{}");
    let (rows, _) = read_text(&text);
    assert_eq!(rows.late.len(), MAX_OPEN_CALLS + 10);
    assert_eq!(rows.call("t0").outcome, Outcome::Unknown);
}

#[test]
fn more_sessions_than_the_bound_keep_their_calls() {
    let text: String = (0..MAX_OPEN_SESSIONS + 5)
        .map(|n| asks(1, &format!("t{n}"), "Bash", "{}").replace("\"s1\"", &format!("\"s{n}\"")))
        .collect();
    let (rows, _) = read_text(&(text.clone() + &text));
    assert_eq!(rows.sessions.len(), MAX_OPEN_SESSIONS + 5);
    assert_eq!(rows.calls.len(), MAX_OPEN_SESSIONS + 5);
}

#[test]
fn more_blocks_than_the_bound_are_counted_as_skipped() {
    let blocks: Vec<String> = (0..=line::MAX_BLOCKS)
        .map(|n| format!(r#"{{"type":"tool_use","id":"t{n}","name":"X"}}"#))
        .collect();
    let text =
        asks(1, "t", "Bash", "{}").replace(r#"{"type":"text","text":"…"}"#, &blocks.join(","));
    let (rows, tally) = read_text(&text);
    assert_eq!((rows.calls.len(), tally.skipped), (line::MAX_BLOCKS, 1));
}

#[test]
fn a_long_path_is_remembered_by_its_end() {
    let path = format!("/{}/sé.jsonl", "ä".repeat(5_000));
    let mut rows = Rows::default();
    read_into(&mut rows, &path, asks(1, "t1", "Bash", "{}").as_bytes());
    let provenance = rows.call("t1").provenance.clone().unwrap();
    assert!(provenance.chars().count() < MAX_FILE_CHARS + 60 && provenance.contains("/sé.jsonl"));
    assert!(serde_json::from_str::<serde_json::Value>(&provenance).is_ok());
}

#[test]
fn no_mutation_of_a_transcript_ends_the_reading() {
    let text = asks(1, "t1", "Bash", r#"{"command":"ls"}"#)
        + &answers(
            2,
            "t1",
            r#","content":[{"type":"text","text":"é"}]"#,
            r#"{"durationMs":4}"#,
        )
        + &answers(3, "t2", r#","is_error":true"#, "\"Error\"");
    let tokens: [&[u8]; 12] = [
        b"\"", b"\\", b"{", b"}", b"[", b"]", b":", b",", b"\n", b"\0", b"\xff", b"1e999",
    ];
    // An xorshift with a fixed seed: the same mutations every time.
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
    };
    for _ in 0..20_000 {
        let mut bytes = text.clone().into_bytes();
        for _ in 0..=random(4) {
            let (at, token) = (random(bytes.len()), tokens[random(tokens.len())]);
            match random(4) {
                0 => drop(bytes.splice(at..at, token.iter().copied())),
                1 => bytes[at] = token[0],
                2 => bytes.truncate(at.max(1)),
                _ => drop(bytes.drain(at..(at + random(20)).min(bytes.len()))),
            }
            if bytes.is_empty() {
                bytes.push(b' ');
            }
        }
        let mut rows = Rows::default();
        let tally = read_into(&mut rows, "s1.jsonl", &bytes);
        assert!(tally.malformed + tally.skipped <= tally.lines);
    }
}
