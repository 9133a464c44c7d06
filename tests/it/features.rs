//! What the documents name, held against the tree: tests, files and headings.
//!
//! A cell of tests names them in backticks: a name with `/` is a file, one with `::` a module or type, which the compiler
//! or rustdoc holds; every other has to be a function of a source below `src`, `sync` or `tests`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::architecture::{files, root};

/// The documents whose links and paths are held.
const DOCUMENTS: [&str; 6] = [
    "README.md",
    "CONTRIBUTING.md",
    "docs/ARCHITECTURE.md",
    "docs/FEATURES.md",
    "docs/GUIDE.md",
    "docs/PERFORMANCE.md",
];

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of a table's rows, its head and its rule left out.
fn rows<'t>(document: &'t str, head: &str) -> Vec<Vec<&'t str>> {
    document
        .lines()
        .skip_while(|line| *line != head)
        .skip(2)
        .take_while(|line| line.starts_with("| "))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect()
}

/// What stands in backticks.
fn named(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// The name of every function: a macro makes tests of some, so that a mark is no sign.
fn functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["src", "sync/src", "sync/tests", "tests"] {
        for file in files(&root().join(folder), ".rs") {
            let source = std::fs::read_to_string(&file).unwrap();
            for line in source.lines().map(str::trim_start) {
                let line = line.strip_prefix("async ").unwrap_or(line);
                if let Some((name, _)) = line
                    .strip_prefix("fn ")
                    .and_then(|rest| rest.split_once('('))
                {
                    found.insert(name.to_owned());
                }
            }
        }
    }
    assert!(
        found.len() > 300,
        "the functions were not found: nothing would be held"
    );
    found
}

/// What of a cell of tests is nowhere to be found.
fn missing(cell: &str, functions: &BTreeSet<String>) -> Vec<String> {
    named(cell)
        .filter(|name| {
            if name.contains('/') {
                !root().join(name).exists()
            } else {
                !name.contains("::") && !functions.contains(*name)
            }
        })
        .map(str::to_owned)
        .collect()
}

/// The fragment by which a heading is linked to.
fn fragment(heading: &str) -> String {
    heading
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

/// The text outside of blocks of code.
fn prose(document: &str) -> String {
    document
        .split("\n```")
        .step_by(2)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether a link of the document at `from` leads to a file, and to a heading of it where it names one.
fn leads_somewhere(from: &str, link: &str) -> bool {
    let (path, heading) = link
        .split_once('#')
        .map_or((link, None), |(path, heading)| (path, Some(heading)));
    let folder = Path::new(from).parent().unwrap();
    let target = if path.is_empty() {
        root().join(from)
    } else {
        root().join(folder).join(path)
    };
    target.exists()
        && heading.is_none_or(|heading| {
            let document = std::fs::read_to_string(&target).unwrap();
            prose(&document)
                .lines()
                .filter(|line| line.starts_with('#'))
                .any(|line| fragment(line.trim_start_matches('#').trim()) == heading)
        })
}

#[test]
fn every_feature_names_tests_that_exist_and_a_section_of_the_guide() {
    let document = read("docs/FEATURES.md");
    let rows = rows(&document, "| feature | here | tests | example |");
    assert!(rows.len() > 20, "the table was not found");
    let functions = functions();
    for row in rows {
        let [feature, here, tests, example] = row.as_slice() else {
            panic!("a row has {} cells: {row:?}", row.len());
        };
        assert!(feature.contains("](GUIDE.md#"), "{feature}: no section");
        assert!(!here.is_empty(), "{feature}: nothing is said of it");
        assert!(named(tests).next().is_some(), "{feature}: no test is named");
        assert_eq!(missing(tests, &functions), [""; 0], "{feature}");
        assert!(
            example.starts_with("none") || example.contains("](../examples/"),
            "{feature}: neither an example nor none"
        );
    }
}

#[test]
fn every_invariant_names_tests_that_exist() {
    let document = read("docs/ARCHITECTURE.md");
    let rows = rows(&document, "| invariant | test |");
    assert!(rows.len() > 40, "the table was not found");
    let functions = functions();
    for row in rows {
        let [invariant, tests] = row.as_slice() else {
            panic!("a row has {} cells: {row:?}", row.len());
        };
        assert!(
            named(tests).next().is_some(),
            "{invariant}: no test is named"
        );
        assert_eq!(missing(tests, &functions), [""; 0], "{invariant}");
    }
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let mut seen = 0;
    for from in DOCUMENTS {
        let document = prose(&read(from));
        for rest in document.split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            if link.starts_with("https://") {
                continue;
            }
            seen += 1;
            assert!(leads_somewhere(from, link), "{from} links to {link}");
        }
    }
    assert!(seen > 40, "the links were not found");
}

#[test]
fn every_path_that_the_documents_name_exists() {
    // Told from other words by where it begins: documents shorten paths within the rooms that they are about.
    const ROOMS: [&str; 7] = [
        "src/",
        "sync/",
        "tests/",
        "examples/",
        "benches/",
        "scripts/",
        "docs/",
    ];
    let mut seen = 0;
    for from in DOCUMENTS {
        for path in prose(&read(from)).lines().flat_map(named) {
            if ROOMS.iter().any(|room| path.starts_with(room)) {
                seen += 1;
                assert!(root().join(path).exists(), "{from} names {path}");
            }
        }
    }
    assert!(seen > 5, "the paths were not found");
}
