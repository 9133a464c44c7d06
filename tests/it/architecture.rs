//! The arrows of docs/ARCHITECTURE.md, held against the imports; and what keeps the tree readable.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of ours below `folder` that ends in `ending`.
pub fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(ending) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The layer that a file of the root package lies in, or that an import names: its first folder or file.
fn layer(path: &Path) -> String {
    let inside = path.strip_prefix(root().join("src")).unwrap();
    inside
        .iter()
        .next()
        .unwrap()
        .to_string_lossy()
        .trim_end_matches(".rs")
        .to_owned()
}

/// What each layer may import. `cli` is the binary's; whatever is not listed may import nothing of ours.
fn allowed(from: &str) -> &'static [&'static str] {
    match from {
        "clock" | "config" => &["domain"],
        "store" => &["domain", "clock"],
        "collect" | "seed" => &["domain", "clock", "store"],
        "replication" => &["domain", "store", "millpond_sync"],
        "legacy" => &["domain", "config", "store", "millpond_sync"],
        "cli" => &[
            "domain",
            "clock",
            "config",
            "store",
            "collect",
            "seed",
            "replication",
            "millpond_sync",
        ],
        _ => &[],
    }
}

/// The layers that a source names by `crate::X`, `millpond::X` or `millpond_sync`, prose left out.
fn imports(source: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for line in source
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
    {
        for prefix in ["crate::", "millpond::"] {
            for (at, _) in line.match_indices(prefix) {
                let rest = &line[at + prefix.len()..];
                let end = rest
                    .find(|c: char| !c.is_alphanumeric() && c != '_')
                    .unwrap_or(rest.len());
                if !rest[..end].is_empty() {
                    named.insert(rest[..end].to_owned());
                }
            }
        }
        if line.contains("millpond_sync") {
            named.insert("millpond_sync".into());
        }
    }
    named
}

#[test]
fn the_arrows_run_one_way() {
    let mut seen = 0;
    for file in files(&root().join("src"), ".rs") {
        let from = layer(&file);
        if from == "lib" || from == "main" {
            continue;
        }
        let source = std::fs::read_to_string(&file).unwrap();
        assert!(
            !source.contains("crate::{"),
            "{}: this test reads one path a line",
            file.display()
        );
        for to in imports(&source) {
            seen += 1;
            assert!(
                to == from || allowed(&from).contains(&to.as_str()),
                "{} imports {to}, which {from} may not: see docs/ARCHITECTURE.md",
                file.display()
            );
        }
    }
    assert!(
        seen > 50,
        "the imports were not found: this test could not fail"
    );
}

#[test]
fn synchronisation_knows_neither_sqlite_nor_our_domain() {
    let manifest = std::fs::read_to_string(root().join("sync/Cargo.toml")).unwrap();
    for forbidden in ["rusqlite", "millpond =", "r2d2"] {
        assert!(!manifest.contains(forbidden), "sync depends on {forbidden}");
    }
}

#[test]
fn no_file_is_longer_than_six_hundred_lines() {
    for folder in [
        "src",
        "sync/src",
        "tests",
        "sync/tests",
        "benches",
        "examples",
    ] {
        let folder = root().join(folder);
        if !folder.is_dir() {
            continue;
        }
        for file in files(&folder, ".rs") {
            let lines = std::fs::read_to_string(&file).unwrap().lines().count();
            assert!(
                lines <= 600,
                "{} has {lines} lines: is there a room of its own in it?",
                file.display()
            );
        }
    }
}

#[test]
fn every_file_of_tests_is_run() {
    for suite in ["tests/it", "sync/tests/postgres"] {
        let folder = root().join(suite);
        let main = std::fs::read_to_string(folder.join("main.rs")).unwrap();
        for file in files(&folder, ".rs") {
            let name = file.file_stem().unwrap().to_string_lossy().into_owned();
            if name != "main" && file.parent() == Some(folder.as_path()) {
                assert!(
                    main.contains(&format!("mod {name};")),
                    "{suite}/{name}.rs is never run"
                );
            }
        }
    }
}

/// The columns that travel are named in two crates that do not know each other: here both are in sight.
#[test]
fn the_columns_that_travel_are_the_columns_of_the_file() {
    // Local matters: where a row was read, and the bookkeeping that travels beside the payload.
    const LOCAL: [&str; 4] = ["id", "rev", "digest", "provenance"];
    let fixture = crate::fixture::Fixture::new();
    let tenant = fixture.tenant("acme");
    #[allow(clippy::disallowed_methods)]
    let file = rusqlite::Connection::open(tenant.path()).unwrap();
    for table in millpond_sync::change::Table::ALL {
        let mut statement = file
            .prepare("SELECT name FROM pragma_table_info(?1)")
            .unwrap();
        let local: BTreeSet<String> = statement
            .query_map([table.name()], |row| row.get::<_, String>(0))
            .unwrap()
            .map(Result::unwrap)
            .filter(|name| !LOCAL.contains(&name.as_str()))
            .collect();
        let travels: BTreeSet<String> = table
            .columns()
            .iter()
            .map(|column| column.name.to_owned())
            .collect();
        assert_eq!(local, travels, "{}", table.name());
    }
}
