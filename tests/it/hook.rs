//! `hook claude` as Claude Code calls it: a process an event, one JSON value on standard input.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::workstation::{Ran, Workstation};

fn event(name: &str, id: &str, more: &Value) -> String {
    let mut event = json!({
        "hook_event_name": name, "session_id": "s1", "cwd": "/home/ada/work/pond",
        "tool_name": "Bash", "tool_use_id": id, "tool_input": {"command": "cargo test --all"},
    });
    event
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    event.to_string()
}

fn hook(workstation: &Workstation, input: &str) -> Ran {
    let ran = workstation.run_with_input(&["hook", "claude", "--tenant", "acme"], input);
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "", ""),
        "a hook must keep quiet"
    );
    ran
}

fn calls(workstation: &Workstation) -> Vec<Value> {
    let sessions = workstation
        .run(&["session", "list", "--tenant", "acme"])
        .json();
    let id = sessions["sessions"][0]["id"].as_str().unwrap().to_owned();
    let shown = workstation
        .run(&["session", "show", &id, "--tenant", "acme"])
        .json();
    shown["calls"].as_array().unwrap().clone()
}

#[test]
fn a_pair_of_events_makes_one_call_with_the_tool_s_own_clock() {
    let workstation = Workstation::of_ada();
    hook(&workstation, &event("PreToolUse", "t1", &json!({})));
    hook(
        &workstation,
        &event(
            "PostToolUse",
            "t1",
            &json!({"duration_ms": 497, "tool_response": {"stdout": "ok"}}),
        ),
    );
    hook(
        &workstation,
        &event(
            "PostToolUseFailure",
            "t2",
            &json!({"duration_ms": 3, "error": "Exit code 3"}),
        ),
    );
    hook(&workstation, &event("PreToolUse", "t3", &json!({})));
    let mut calls = calls(&workstation);
    calls.sort_by_key(|call| call["source_id"].to_string());
    let told: Vec<_> = calls
        .iter()
        .map(|call| {
            json!([
                call["source_id"],
                call["outcome"],
                call["total_duration_ms"],
                call["duration_source"]
            ])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["t1", "success", 497, "reported"]),
            json!(["t2", "error", 3, "reported"]),
            json!(["t3", "unknown", null, "none"]),
        ]
    );
    assert_eq!(calls[0]["program"], "cargo");
    assert_eq!(
        calls[0]["command_line"],
        json!(null),
        "a command line is kept only where it was asked for"
    );
}

#[test]
fn a_hook_reads_one_value_and_does_not_wait_for_the_end_of_its_input() {
    let workstation = Workstation::of_ada();
    let mut child = workstation
        .command(&["hook", "claude", "--tenant", "acme"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    // The pipe stays open: a hook that reads to its end would never return.
    let mut stdin = child.stdin.take().unwrap();
    stdin
        .write_all(event("PreToolUse", "t1", &json!({})).as_bytes())
        .unwrap();
    stdin.flush().unwrap();
    let limit = Instant::now() + Duration::from_secs(30);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(
            Instant::now() < limit,
            "the hook waits for the end of its input"
        );
        std::thread::yield_now();
    };
    assert!(status.success());
    assert_eq!(calls(&workstation).len(), 1);
}

#[test]
fn whatever_is_put_into_a_hook_it_exits_0_and_only_strict_tells() {
    let workstation = Workstation::of_ada();
    for bad in [
        "",
        "{",
        "[]",
        "42",
        "\u{0}",
        r#"{"hook_event_name":"PreToolUse"}"#,
    ] {
        hook(&workstation, bad);
        let told = workstation.run_with_input(&["hook", "claude", "--strict"], bad);
        assert_eq!(told.refused(1), "invalid", "{bad:?}");
    }
    // An event that is not known is none of our business.
    let unknown = event("NewFangledEvent", "t", &json!({}));
    assert_eq!(
        workstation
            .run_with_input(&["hook", "claude", "--strict"], &unknown)
            .code,
        0
    );
    // Without a home there is nothing to write to, and nothing is made.
    let bare = Workstation::new();
    hook(&bare, &event("PreToolUse", "t1", &json!({})));
    assert!(!bare.home().exists());
}

#[test]
fn what_a_hook_cannot_write_waits_in_the_spool_and_the_next_command_brings_it_in() {
    let workstation = Workstation::of_ada();
    let file = workstation.file();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    hook(
        &workstation,
        &event("PostToolUse", "t1", &json!({"duration_ms": 5})),
    );
    let spool = workstation.home().join("spool");
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 1);
    file.execute_batch("ROLLBACK").unwrap();
    assert_eq!(workstation.tenant()["tool_metrics"], 1);
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 0);
}

#[test]
fn the_path_decides_the_tenant_where_no_flag_and_no_variable_does() {
    let workstation = Workstation::of_ada();
    workstation
        .run(&["tenant", "create", "umbra", "--name", "Umbra"])
        .json();
    workstation
        .run(&["user", "add", "ada@umbra.dev", "--tenant", "umbra"])
        .json();
    std::fs::write(
        workstation.home().join("config.toml"),
        "[tenants]\n\"/home/ada/work/umbra\" = \"umbra\"\n",
    )
    .unwrap();
    for (folder, id) in [
        ("/home/ada/work/umbra/src", "t1"),
        ("/home/ada/work/pond", "t2"),
    ] {
        let input = event("PreToolUse", id, &json!({"cwd": folder}));
        assert_eq!(
            workstation.run_with_input(&["hook", "claude"], &input).code,
            0
        );
    }
    for domain in ["acme", "umbra"] {
        assert_eq!(
            workstation.run(&["tenant", "show", domain]).json()["tool_metrics"],
            1,
            "{domain}"
        );
    }
}

#[test]
fn hook_and_transcript_of_one_call_make_one_row_in_either_order() {
    let transcript = |workstation: &Workstation| {
        let lines = [
            json!({"type": "assistant", "sessionId": "s1", "uuid": "u1", "timestamp": "2026-01-05T09:00:00Z",
                   "cwd": "/home/ada/work/pond",
                   "message": {"role": "assistant", "content": [
                       {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "cargo test --all"}}]}}),
            json!({"type": "user", "sessionId": "s1", "uuid": "u2", "timestamp": "2026-01-05T09:00:02Z",
                   "message": {"role": "user", "content": [
                       {"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]}}),
        ];
        let path = workstation.folder.path().join("s1.jsonl");
        std::fs::write(&path, lines.map(|line| line.to_string()).join("\n")).unwrap();
        workstation.import(&path)
    };
    let post = event("PostToolUse", "t1", &json!({"duration_ms": 497}));
    let hook_first = Workstation::of_ada();
    hook(&hook_first, &post);
    assert_eq!(transcript(&hook_first)["duplicates"], 1);
    let transcript_first = Workstation::of_ada();
    transcript(&transcript_first);
    hook(&transcript_first, &post);
    for workstation in [hook_first, transcript_first] {
        let calls = calls(&workstation);
        assert_eq!(calls.len(), 1);
        let told = json!([
            calls[0]["total_duration_ms"],
            calls[0]["duration_source"],
            calls[0]["outcome"]
        ]);
        assert_eq!(told, json!([497, "reported", "success"]));
        assert_eq!(workstation.tenant()["sessions"], 1);
    }
}

/// How many calls each of two tenants has, counted from inside their files: no command drains the spool for it.
fn in_files(acme: &rusqlite::Connection, umbra: &rusqlite::Connection) -> (i64, i64) {
    let count = |file: &rusqlite::Connection| {
        file.query_row("SELECT count(*) FROM tool_metrics", [], |row| row.get(0))
            .unwrap()
    };
    (count(acme), count(umbra))
}

#[test]
fn a_spooled_event_belongs_to_the_tenant_that_its_hook_meant_whoever_drains_the_spool() {
    let workstation = Workstation::of_ada();
    workstation.add_umbra();
    let (acme, umbra) = (workstation.file(), workstation.file_of("umbra"));
    let table = workstation.home().join("config.toml");
    let spool = workstation.home().join("spool");
    let waiting = || std::fs::read_dir(&spool).map_or(0, Iterator::count);

    // The variable said umbra; the drainer's says acme.
    umbra.execute_batch("BEGIN IMMEDIATE").unwrap();
    workstation.run_as(
        "umbra",
        &["hook", "claude"],
        &event("PreToolUse", "t1", &json!({})),
    );
    assert_eq!(waiting(), 1);
    umbra.execute_batch("ROLLBACK").unwrap();
    workstation.run_as("acme", &["tenant", "list"], "").json();
    assert_eq!(in_files(&acme, &umbra), (0, 1));

    // Nothing named one, so it was the default tenant; the drainer's variable and table say umbra.
    acme.execute_batch("BEGIN IMMEDIATE").unwrap();
    let input = event("PreToolUse", "t2", &json!({}));
    workstation.run_with_input(&["hook", "claude"], &input);
    assert_eq!(waiting(), 1);
    acme.execute_batch("ROLLBACK").unwrap();
    std::fs::write(&table, "[tenants]\n\"/home/ada/work\" = \"umbra\"\n").unwrap();
    workstation.run_as("umbra", &["tenant", "list"], "").json();
    assert_eq!(in_files(&acme, &umbra), (1, 1));

    // The table of paths said umbra; it is gone when the spool is drained.
    umbra.execute_batch("BEGIN IMMEDIATE").unwrap();
    let input = event("PreToolUse", "t3", &json!({}));
    workstation.run_with_input(&["hook", "claude"], &input);
    assert_eq!(waiting(), 1);
    umbra.execute_batch("ROLLBACK").unwrap();
    std::fs::remove_file(&table).unwrap();
    workstation.run(&["tenant", "list"]).json();
    assert_eq!((in_files(&acme, &umbra), waiting()), ((1, 2), 0));
}

#[test]
fn a_hook_that_is_called_wrongly_keeps_quiet_unless_it_is_strict() {
    let workstation = Workstation::of_ada();
    for wrong in [
        &["hook", "cursor"][..],
        &["hook"],
        &["hook", "claude", "--no-such-flag"],
        &["--quiet", "--home", "/nowhere", "hook", "cursor"],
        &["--home=/nowhere", "hook", "claude", "more"],
    ] {
        let ran = workstation.run(wrong);
        assert_eq!(
            (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
            (0, "", ""),
            "{wrong:?}"
        );
        let strict = [wrong, &["--strict"]].concat();
        assert_eq!(workstation.run(&strict).refused(2), "usage", "{strict:?}");
    }
    // Whoever asks is told, and another command's argument is no hook.
    assert!(!workstation.run(&["hook", "--help"]).stdout.is_empty());
    assert_eq!(workstation.run(&["tenant", "hook"]).refused(2), "usage");
}

#[test]
fn an_empty_millpond_home_is_none() {
    let workstation = Workstation::new();
    let command = |arguments: &[&str]| {
        let mut command = workstation.command(arguments);
        command
            .env("MILLPOND_HOME", "")
            .env("HOME", workstation.folder.path())
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_CONFIG_HOME");
        command
    };
    let ran = Ran::of_command(command(&["tenant", "list"]), "");
    assert_eq!(ran.refused(78), "no_home");
    let ran = Ran::of_command(
        command(&["hook", "claude"]),
        &event("PreToolUse", "t1", &json!({})),
    );
    assert_eq!(
        (ran.code, ran.stdout.as_str(), ran.stderr.as_str()),
        (0, "", "")
    );
    let made = Ran::of_command(command(&["init"]), "").json();
    let home = made["home"].as_str().unwrap();
    assert!(home.starts_with(workstation.folder.path().to_str().unwrap()));
}

#[test]
fn one_spooled_file_that_cannot_be_read_keeps_no_other_back_and_whoever_works_is_told() {
    let workstation = Workstation::of_ada();
    let file = workstation.file();
    file.execute_batch("BEGIN IMMEDIATE").unwrap();
    hook(&workstation, &event("PreToolUse", "t1", &json!({})));
    file.execute_batch("ROLLBACK").unwrap();
    let spool = workstation.home().join("spool");
    std::fs::create_dir(spool.join("0.json")).unwrap();
    let ran = workstation.run(&["tenant", "show", "acme"]);
    assert_eq!(ran.json()["tool_metrics"], 1);
    assert!(
        ran.stderr.contains("1 event waits in the spool: "),
        "{}",
        ran.stderr
    );
    assert_eq!(ran.stderr.lines().count(), 1);
    let quiet = workstation.run(&["tenant", "show", "acme", "--quiet"]);
    assert_eq!(quiet.stderr, "");
    hook(&workstation, &event("PreToolUse", "t2", &json!({})));

    // An event of a tenant that is not here waits, and the reason is told.
    let ghost = &["hook", "claude", "--tenant", "ghost"];
    workstation.run_with_input(ghost, &event("PreToolUse", "t3", &json!({})));
    std::fs::remove_dir(spool.join("0.json")).unwrap();
    let ran = workstation.run(&["tenant", "list"]);
    assert!(
        ran.stderr.contains("there is no tenant ghost"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_registry_that_is_locked_costs_a_hook_a_moment_and_no_event() {
    let workstation = Workstation::of_ada();
    #[allow(clippy::disallowed_methods)]
    let registry = rusqlite::Connection::open(workstation.home().join("registry.db")).unwrap();
    registry
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT;")
        .unwrap();
    let begun = Instant::now();
    hook(&workstation, &event("PreToolUse", "t1", &json!({})));
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
    let spool = workstation.home().join("spool");
    assert_eq!(std::fs::read_dir(&spool).unwrap().count(), 1);
    drop(registry);
    assert_eq!(workstation.tenant()["tool_metrics"], 1);
}

/// Makes the registry one that was last changed an hour ago: one that was changed just now is not remembered.
fn age_registry(workstation: &Workstation) {
    let hour_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for name in ["registry.db", "registry.db-wal"] {
        if let Ok(file) = std::fs::File::options()
            .write(true)
            .open(workstation.home().join(name))
        {
            file.set_modified(hour_ago).unwrap();
        }
    }
}

fn spooled(workstation: &Workstation) -> usize {
    std::fs::read_dir(workstation.home().join("spool")).map_or(0, Iterator::count)
}

#[test]
fn a_hook_does_without_the_registry_once_another_has_read_it() {
    let workstation = Workstation::of_ada();
    let file = workstation.file();
    age_registry(&workstation);
    let call = |id: &str| event("PreToolUse", id, &json!({}));
    workstation.run_with_input(&["hook", "claude"], &call("t1"));
    #[allow(clippy::disallowed_methods)]
    let registry = rusqlite::Connection::open(workstation.home().join("registry.db")).unwrap();
    registry
        .execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE; COMMIT;")
        .unwrap();
    // By name and as the default tenant.
    hook(&workstation, &call("t2"));
    workstation.run_with_input(&["hook", "claude"], &call("t3"));
    let count: i64 = file
        .query_row("SELECT count(*) FROM tool_metrics", [], |row| row.get(0))
        .unwrap();
    assert_eq!((count, spooled(&workstation)), (3, 0));
    // A shortcut that is torn is none: the registry is locked, and so the event waits.
    std::fs::write(workstation.home().join("registry.seen"), "{").unwrap();
    hook(&workstation, &call("t4"));
    assert_eq!(spooled(&workstation), 1);
}

#[test]
fn a_hook_sees_every_change_of_the_registry_at_once() {
    let workstation = Workstation::of_ada();
    age_registry(&workstation);
    let call = |id: &str| event("PreToolUse", id, &json!({}));
    let strict = |id: &str| {
        workstation.run_with_input(
            &["hook", "claude", "--tenant", "acme", "--strict"],
            &call(id),
        )
    };
    assert_eq!(strict("t1").code, 0);
    assert!(workstation.home().join("registry.seen").is_file());
    workstation.run(&["tenant", "deactivate", "acme"]).json();
    assert_eq!(strict("t2").refused(4), "denied");
    workstation.run(&["tenant", "activate", "acme"]).json();
    assert_eq!(strict("t3").code, 0);
    // A registry that was changed just now is read, but not remembered: the next change might not show.
    let kept = || std::fs::read(workstation.home().join("registry.seen")).unwrap();
    let before = kept();
    assert_eq!(strict("t4").code, 0);
    assert_eq!(kept(), before);
    age_registry(&workstation);
    assert_eq!(strict("t5").code, 0);
    assert_ne!(kept(), before);
    // Another tenant's file in the place of the remembered one is refused by its own id.
    workstation.add_umbra();
    age_registry(&workstation);
    assert_eq!(strict("t6").code, 0);
    let path = |domain: &str| {
        let shown = workstation.run(&["tenant", "show", domain]).json();
        std::path::PathBuf::from(shown["path"].as_str().unwrap())
    };
    std::fs::copy(path("umbra"), path("acme")).unwrap();
    assert_eq!(strict("t7").refused(1), "wrong_tenant");
}

#[test]
fn calls_that_follow_each_other_leave_their_session_and_a_stop_or_another_tool_raises_it() {
    let workstation = Workstation::of_ada();
    let file = workstation.file();
    let session = || -> (i64, i64) {
        let sql = "SELECT rev, session_end FROM metrics_sessions";
        file.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    };
    hook(&workstation, &event("PreToolUse", "t1", &json!({})));
    let begun = session();
    for (name, id) in [
        ("PostToolUse", "t1"),
        ("PreToolUse", "t2"),
        ("PostToolUse", "t2"),
    ] {
        hook(&workstation, &event(name, id, &json!({})));
    }
    assert_eq!(session(), begun);
    hook(
        &workstation,
        &event("PreToolUse", "t3", &json!({"tool_name": "Read"})),
    );
    let raised = session();
    assert!(raised.0 == begun.0 + 1 && raised.1 > begun.1, "{raised:?}");
    hook(&workstation, &event("Stop", "", &json!({})));
    let stopped = session();
    assert!(
        stopped.0 == raised.0 + 1 && stopped.1 > raised.1,
        "{stopped:?}"
    );
    // More than a minute after the end that is known, a call moves it.
    file.execute_batch(
        "UPDATE metrics_sessions SET session_end = session_end - 60000000, session_start = 0",
    )
    .unwrap();
    let aged = session();
    hook(
        &workstation,
        &event("PostToolUse", "t3", &json!({"tool_name": "Read"})),
    );
    assert!(session().0 == aged.0 + 1 && session().1 > stopped.1);
}
