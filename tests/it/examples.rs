//! The examples, run as a reader would: each ends well and prints what it is about.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::workstation::Central;

/// What each example has to print, among other things. One that is not named here fails.
const PRINTS: [(&str, &[&str]); 11] = [
    (
        "axum",
        &[
            "alder: HTTP/1.1 200 OK",
            "\"email\":\"",
            "ghost: HTTP/1.1 404 Not Found",
            "there is no tenant ghost",
        ],
    ),
    (
        "batch",
        &[
            "800 of Some(1000), 200 failed",
            "chunk 3 was not written: time is not an RFC 3339 time",
            "chunk 7 was not written",
            "800 sessions",
        ],
    ),
    ("context", &["alder: 5 users, ", "umbra: 5 users, "]),
    (
        "dashboards",
        &[
            "version 1 became 2",
            "an edit of the old version: stale",
            "back to its name: true, 3 versions kept",
        ],
    ),
    ("health", &["healthy, within ", " lines for Prometheus"]),
    (
        "legacy",
        &[
            "this machine: the first tenant of 3 is alder",
            "calls of Bash",
            "1 user moved to UTC",
            "refused: ",
        ],
    ),
    (
        "migrate",
        &[
            "2 of 2",
            "acme: 1 more, a copy of what it was is kept",
            "umbra: 1 more",
            "acme: migration",
            "umbra: migration",
            "acme is as it was: true",
        ],
    ),
    (
        "paginate",
        &["keyset pages", "numbered pages", " took Some("],
    ),
    (
        "query",
        &[
            "tool_name\tcalls",
            "truncated: true",
            "not_read_only: ",
            "too_large: ",
            "5 users are ",
        ],
    ),
    ("record", &["Bash: 1 call, 40 ms", "2 rows wait"]),
    (
        "roles",
        &[
            "the manager sees sessions: true",
            "the viewer may not look: denied",
            "the viewer deletes a session: denied",
        ],
    ),
];

/// The programs that cargo makes of the folder of examples: its files, and its folders with a main.rs.
fn examples() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs") || path.join("main.rs").exists())
        .map(|path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn every_example_runs_and_prints_what_it_is_about() {
    let expected: BTreeMap<&str, &[&str]> = PRINTS.into_iter().collect();
    let found = examples();
    assert_eq!(found, expected.keys().copied().collect::<Vec<_>>());
    for (name, texts) in expected {
        let ran = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--locked", "--offline", "--example", name])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        let stdout = String::from_utf8_lossy(&ran.stdout);
        let stderr = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{name}: {stdout}\n{stderr}");
        for text in texts {
            assert!(
                stdout.contains(text),
                "{name} does not print {text:?}: {stdout}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_legacy_example_asks_the_central_database_where_one_is_named() {
    let central = Central::empty().await;
    central.with_tenants(&["acme"]).await;
    let ran = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--locked", "--offline"])
        .args(["--example", "legacy"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("DATABASE_URL", &central.url)
        .output()
        .unwrap();
    let stdout = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{ran:?}");
    assert!(
        stdout.contains("the central database: the first tenant of 1 is acme"),
        "{stdout}"
    );
}

#[test]
fn no_example_is_longer_than_eighty_lines() {
    for name in examples() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("examples/{name}.rs"));
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines < 80, "{name} has {lines} lines");
    }
}
