//! What can be set from outside: `.env.example` and `config.example.toml` say what the program reads, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use millpond::config::timing::Timing;
use millpond::config::{Config, DatabaseSettings};
use millpond::domain::tenant::Domain;

use crate::architecture::{files, root};

/// Names in the source that look like a variable's and are not read: given to a child or kept from it, a file's name, cargo's own.
const NOT_READ: [&str; 6] = [
    "PG",
    "PASSWORD_FILE",
    "LC_ALL",
    "PG_VERSION",
    "CARGO_PKG_NAME",
    "CARGO_MANIFEST_DIR",
];

/// Variables that a library reads for us: no source of ours names them.
const OF_LIBRARIES: [&str; 6] = [
    "HOME",
    "XDG_DATA_HOME",
    "XDG_CONFIG_HOME",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "NO_COLOR",
];

/// The variables of `.env.example`, and what it shows for each.
fn example() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(root().join(".env.example")).unwrap();
    let mut shown = BTreeMap::new();
    for line in text.lines() {
        let Some((name, value)) = line.strip_prefix('#').and_then(|l| l.split_once('=')) else {
            continue;
        };
        if is_variable(name) {
            let before = shown.insert(name.to_owned(), value.to_owned());
            assert_eq!(before, None, "{name} is told twice");
        }
    }
    shown
}

fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_uppercase())
        && name
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Every quoted name of a source that may be a variable's: with an underscore, or on a line that reads one.
fn quoted(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for line in source.lines() {
        let reads = line.contains("env::var");
        for name in line.split('"').skip(1).step_by(2) {
            if is_variable(name) && (reads || name.contains('_')) {
                names.insert(name.to_owned());
            }
        }
    }
    names
}

#[test]
fn the_example_names_every_variable_that_is_read_and_no_other() {
    let mut named = BTreeSet::new();
    for folder in ["src", "sync/src"] {
        for file in files(&root().join(folder), ".rs") {
            named.extend(quoted(&std::fs::read_to_string(file).unwrap()));
        }
    }
    for name in NOT_READ {
        assert!(named.remove(name), "{name} is in no source any more");
    }
    named.extend(OF_LIBRARIES.map(str::to_owned));
    let told: BTreeSet<String> = example().into_keys().collect();
    assert_eq!(told, named);
}

#[test]
fn the_example_shows_the_defaults() {
    let shown = example();
    let settings = DatabaseSettings::of(|name| shown.get(name).cloned()).unwrap();
    assert!(settings.url.is_some());
    let without_url = DatabaseSettings {
        url: None,
        ..settings
    };
    assert_eq!(without_url, DatabaseSettings::default());
    let timing = Timing::read(|name| shown.get(name).map(Into::into)).unwrap();
    let default = Timing::read(|_| None).unwrap();
    assert_eq!(timing.slow_query, default.slow_query);
}

#[test]
fn the_example_of_a_configuration_is_one_as_it_stands_and_without_its_marks() {
    let path = root().join("config.example.toml");
    assert_eq!(Config::load(&path).unwrap(), Config::default());

    let text = std::fs::read_to_string(path).unwrap();
    let unmarked: Vec<&str> = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|l| l.starts_with('"'))
                .unwrap_or(line)
        })
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    std::fs::write(&path, unmarked.join("\n")).unwrap();
    let config = Config::load(&path).unwrap();
    let of = |path: &str| config.tenant_of(Path::new(path)).map(Domain::as_str);
    assert_eq!(of("/home/ada/clients/umbra/src"), Some("umbra"));
    assert_eq!(of("/home/ada/clients/umbra/shared/src"), Some("acme"));
    assert_eq!(of("/home/ada/clients/umbrage"), None);
}
