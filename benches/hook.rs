//! The hook's whole process against a minimal program that inserts one row: `millpond hook claude` with a
//! `PostToolUse` event of a new call on standard input, and a program that reads its input, opens a SQLite file (WAL,
//! synchronous=FULL), inserts one row and leaves without a checkpoint. From before the start to after the end.
//!
//! The minimal program is this one, started again with `--minimal`: it links SQLite and nothing of Millpond.
//! `MILLPOND_BENCH_ROUNDS` (300) sets the number of runs; `MILLPOND_BENCH_OTHER` names another build of `millpond` to
//! run in turn with this one, in a home of its own, to see what a change gives. Peak memory is read from /proc while the process runs, and
//! so where there is a /proc.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::print_stdout
)]

mod minimal_hook;
mod rounds;

use std::cell::Cell;
use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rounds::{Contestant, compare, size};

const MILLPOND: &str = env!("CARGO_BIN_EXE_millpond");

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, file] = arguments.as_slice()
        && flag == "--minimal"
    {
        minimal_hook::run(Path::new(file));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    set_up(MILLPOND, &home);
    let file = folder.path().join("minimal.db");
    minimal_hook::prepare(&file);

    let calls = Cell::new(0);
    let minimal = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("--minimal").arg(&file);
        (command, event(&calls))
    };
    let hook = || {
        let mut command = Command::new(MILLPOND);
        command
            .args(["hook", "claude", "--strict"])
            .env("MILLPOND_HOME", &home);
        (command, event(&calls))
    };
    let timed = |(command, event): (Command, String)| {
        let begun = Instant::now();
        finish(start(command, &event));
        begun.elapsed()
    };
    let rounds = size("MILLPOND_BENCH_ROUNDS", 300);
    let other = std::env::var("MILLPOND_BENCH_OTHER").ok();
    let other_home = folder.path().join("other");
    let mut contestants = vec![
        Contestant::new("minimal program", || timed(minimal())),
        Contestant::new("millpond hook claude", || timed(hook())),
    ];
    if let Some(other) = &other {
        set_up(other, &other_home);
        contestants.push(Contestant::new("the other build", || {
            let mut command = Command::new(other.as_str());
            command
                .args(["hook", "claude", "--strict"])
                .env("MILLPOND_HOME", &other_home);
            timed((command, event(&calls)))
        }));
    }
    compare(
        "hook, whole process",
        rounds,
        ("process", 1),
        &mut contestants,
    );
    drop(contestants);
    let peak = |run: &dyn Fn() -> (Command, String)| (0..40).filter_map(|_| peak_rss(run())).max();
    for (name, peak) in [
        ("minimal program", peak(&minimal)),
        ("millpond hook claude", peak(&hook)),
    ] {
        match peak {
            Some(kib) => println!("  {name:<34} peak RSS {:.1} MiB", kib as f64 / 1_024.0),
            None => println!("  {name:<34} peak RSS not measured: there is no /proc"),
        }
    }
    let counted = Command::new(MILLPOND)
        .args(["tenant", "show", "acme", "--json"])
        .env("MILLPOND_HOME", &home)
        .output()
        .unwrap();
    let shown = String::from_utf8(counted.stdout).unwrap();
    // A hook that wrote nothing would be the fastest.
    let expected = format!("\"tool_metrics\":{}", rounds + 1 + 40);
    assert!(shown.replace(' ', "").contains(&expected), "{shown}");
}

/// Makes a home with a tenant and a user, by a build of `millpond`.
fn set_up(millpond: &str, home: &Path) {
    let made = Command::new(millpond)
        .args([
            "init",
            "--tenant",
            "acme",
            "--name",
            "Acme",
            "--user",
            "ada@acme.dev",
        ])
        .env("MILLPOND_HOME", home)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    // A home is seldom made within the second before: a registry that was changed just now is read at every event.
    let registry = std::fs::File::options()
        .write(true)
        .open(home.join("registry.db"));
    let then = std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    registry.unwrap().set_modified(then).unwrap();
}

/// What Claude Code 2.1 writes to a hook's input after a call.
fn event(calls: &Cell<u64>) -> String {
    let n = calls.get();
    calls.set(n + 1);
    format!(
        r#"{{"session_id":"5c1f7a52-8a52-4d4e-9f3b-0c6c1f3b7a11","transcript_path":"/home/ada/.claude/projects/pond/5c1f7a52.jsonl","cwd":"/home/ada/work/pond","permission_mode":"default","hook_event_name":"PostToolUse","tool_name":"Bash","tool_input":{{"command":"cargo test --workspace","description":"Run the tests"}},"tool_response":{{"stdout":"test result: ok. 74 passed; 0 failed","stderr":"","interrupted":false,"isImage":false}},"tool_use_id":"toolu_01{n:022}","duration_ms":{}}}"#,
        400 + n % 100
    )
}

fn start(mut command: Command, event: &str) -> Child {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(event.as_bytes())
        .unwrap();
    child
}

fn finish(mut child: Child) {
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
}

/// The high-water mark of a run's resident memory, in KiB: the last that was to be read before it ended.
fn peak_rss((command, event): (Command, String)) -> Option<u64> {
    let child = start(command, &event);
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    // A process that has ended and was not waited for keeps the file, without this line.
    while let Ok(text) = std::fs::read_to_string(&status) {
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let Some(kib) = line.and_then(|rest| rest.trim().strip_suffix(" kB")) else {
            break;
        };
        // Until it has replaced this program by its own, its memory is this program's.
        if text.starts_with("Name:\tmillpond") || text.starts_with("Name:\thook") {
            peak = peak.max(kib.parse().ok());
        }
    }
    finish(child);
    peak
}
