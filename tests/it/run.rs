//! A command that is run and recorded: its streams and its exit code are its own, whatever becomes of the record.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command};

use crate::workstation::{Ran, Workstation};

/// `millpond run -- …`, not yet started.
fn command(workstation: &Workstation, arguments: &[&str]) -> Command {
    let mut command = workstation.command(&["run"]);
    command.arg("--").args(arguments);
    command
}

fn run(workstation: &Workstation, arguments: &[&str]) -> Ran {
    Ran::of(&command(workstation, arguments).output().unwrap())
}

/// The calls that were recorded: one text each, of what is asked for.
fn recorded(workstation: &Workstation, columns: &str) -> Vec<String> {
    let file = workstation.file();
    let sql = format!("SELECT concat_ws('|', {columns}) FROM tool_metrics ORDER BY rowid");
    let mut statement = file.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn a_command_keeps_its_streams_and_its_exit_code_and_leaves_a_row() {
    let workstation = Workstation::of_ada();
    let script = "cat; echo told >&2; exit 7";
    let ran = Ran::of_command(command(&workstation, &["/bin/sh", "-c", script]), "given");
    assert_eq!(
        (ran.code, &*ran.stdout, &*ran.stderr),
        (7, "given", "told\n")
    );
    assert_eq!(run(&workstation, &["true"]).code, 0);
    assert_eq!(
        recorded(
            &workstation,
            "tool_name, program, tool_category, outcome, error_count, duration_source, source,
             total_duration_ms >= 0, cpu_time_ms >= 0, ifnull(command_line, '-'), ifnull(parameters, '-'),
             ifnull(working_directory, '-')"
        ),
        [
            "sh|sh|shell|error|1|process|manual|1|1|-|-|-",
            "true|true|shell|success|0|process|manual|1|1|-|-|-",
        ]
    );
}

#[test]
fn no_word_of_the_command_line_is_kept_but_the_program_s_name() {
    let workstation = Workstation::of_ada();
    let secret = "hunter2-hunter2";
    let named = workstation.folder.path().join("AKIA0123456789 secret");
    std::fs::copy("/bin/true", &named).unwrap();
    assert_eq!(run(&workstation, &["/bin/true", secret]).code, 0);
    assert_eq!(run(&workstation, &[named.to_str().unwrap()]).code, 0);
    assert_eq!(recorded(&workstation, "tool_name"), ["true", "command"]);
    let path = workstation.tenant()["path"].as_str().unwrap().to_owned();
    let mut all = std::fs::read(&path).unwrap();
    all.extend(std::fs::read(format!("{path}-wal")).unwrap_or_default());
    let all = String::from_utf8_lossy(&all);
    assert!(!all.contains(secret) && !all.contains("AKIA"));
}

#[test]
fn a_command_that_a_signal_killed_ends_with_128_and_its_number() {
    let workstation = Workstation::of_ada();
    assert_eq!(run(&workstation, &["sh", "-c", "kill -KILL $$"]).code, 137);
    assert_eq!(run(&workstation, &["sh", "-c", "kill -TERM $$"]).code, 143);
    assert_eq!(recorded(&workstation, "outcome"), ["error", "interrupted"]);
}

#[test]
fn a_command_that_cannot_be_started_is_told_as_a_shell_tells_it_and_leaves_no_row() {
    let workstation = Workstation::of_ada();
    let plain = workstation.folder.path().join("plain");
    std::fs::write(&plain, "no program").unwrap();
    assert_eq!(run(&workstation, &["no-such-program"]).code, 127);
    assert_eq!(run(&workstation, &[plain.to_str().unwrap()]).code, 126);
    assert_eq!(workstation.run(&["run"]).refused(2), "usage");
    assert!(recorded(&workstation, "id").is_empty());
}

#[test]
fn the_kernel_s_figures_of_a_command_and_its_children_are_kept() {
    let workstation = Workstation::of_ada();
    // `tail` holds what it may have to print.
    let hungry = "head -c 60000000 /dev/zero | tail -c 60000000 > /dev/null";
    let busy = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
    assert_eq!(run(&workstation, &["sh", "-c", hungry]).code, 0);
    assert_eq!(run(&workstation, &["sh", "-c", busy]).code, 0);
    assert_eq!(run(&workstation, &["true"]).code, 0);
    let peaks = recorded(&workstation, "memory_usage_mb BETWEEN 50 AND 500");
    assert_eq!(peaks[0], "1");
    let busy: i64 = recorded(&workstation, "cpu_time_ms")[1].parse().unwrap();
    assert!(busy > 0);
    // A small one has no peak of its own that the kernel could tell.
    assert_eq!(recorded(&workstation, "memory_usage_mb IS NULL")[2], "1");
}

#[test]
fn the_exit_code_is_the_command_s_where_recording_fails() {
    let nowhere = Workstation::new();
    let ran = run(&nowhere, &["sh", "-c", "echo done; exit 3"]);
    assert_eq!((ran.code, &*ran.stdout), (3, "done\n"));
    assert!(
        ran.stderr.contains("was not recorded") && ran.stderr.contains("hint:"),
        "{}",
        ran.stderr
    );
    assert!(!nowhere.home().exists());
    let workstation = Workstation::of_ada();
    workstation.run(&["tenant", "deactivate", "acme"]).json();
    let ran = run(&workstation, &["true"]);
    assert_eq!(ran.code, 0);
    assert!(ran.stderr.contains("inactive tenant"), "{}", ran.stderr);
    assert!(recorded(&workstation, "id").is_empty());
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_signal_ends_the_command_and_not_its_record() {
    let workstation = Workstation::of_ada();
    let script = "trap 'exit 9' TERM; trap 'echo interrupted' INT; echo ready; read line; echo $line; read line";
    let mut child = command(&workstation, &["sh", "-c", script])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut given = child.stdin.take().unwrap();
    assert_eq!(told.next().unwrap().unwrap(), "ready");
    // The terminal sends an interrupt to the command itself: this process neither ends by it nor repeats it.
    send("-INT", &child);
    given.write_all(b"going on\n").unwrap();
    assert_eq!(told.next().unwrap().unwrap(), "going on");
    send("-TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(9));
    assert_eq!(recorded(&workstation, "tool_name, outcome"), ["sh|error"]);
}

#[test]
fn a_run_lies_in_the_session_that_was_begun_by_hand() {
    let workstation = Workstation::of_ada();
    let begun = workstation.run(&["session", "start"]).json();
    assert_eq!(run(&workstation, &["true"]).code, 0);
    let shown = workstation
        .run(&["session", "show", begun["id"].as_str().unwrap()])
        .json();
    assert_eq!(shown["calls"][0]["tool_name"], "true");
}
