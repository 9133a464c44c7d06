//! What a file's own catalogue says of its schema, and how two catalogues differ.
//!
//! Pure but for one query. `sqlite_schema` keeps the text of each CREATE as it was written, so texts that are not the
//! same are compared word by word: comments, white space, letter case outside quotes and quotes around plain names
//! make no difference.

use std::collections::BTreeMap;

use rusqlite::Connection;
use serde::Serialize;

use super::super::error::{self, Error};

/// The objects of a schema, each with the text of its CREATE.
pub(super) type Catalogue = BTreeMap<Object, String>;

/// A table, index, trigger or view.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Object {
    kind: String,
    name: String,
}

/// How an object differs from what the migrations make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// `table`, `index`, `trigger` or `view`.
    pub object: String,
    /// Its name.
    pub name: String,
    /// What is the matter.
    pub state: DifferenceState,
    /// Parts of its definition that the migrations make and the file lacks.
    pub missing: Vec<String>,
    /// Parts of its definition that the file has and the migrations do not make.
    pub extra: Vec<String>,
}

/// What is the matter with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceState {
    /// The migrations make it and the file lacks it.
    Missing,
    /// The file has it and the migrations do not make it.
    Extra,
    /// Both have it, defined otherwise.
    Altered,
}

/// Reads a file's catalogue. What SQLite and the migrations' own history keep for themselves is left out.
pub(super) fn read(connection: &Connection) -> Result<Catalogue, Error> {
    const ACTION: &str = "read the schema";
    let mut statement = connection
        .prepare(
            "SELECT type, name, sql FROM sqlite_schema
             WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
               AND tbl_name <> 'refinery_schema_history'",
        )
        .map_err(error::query(ACTION))?;
    let rows = statement
        .query_map([], |row| {
            let object = Object {
                kind: row.get(0)?,
                name: row.get(1)?,
            };
            Ok((object, row.get(2)?))
        })
        .map_err(error::query(ACTION))?;
    rows.map(|row| row.map_err(error::query(ACTION))).collect()
}

/// What differs between the catalogue that the migrations make and a live one, by kind and name.
pub(super) fn compare(expected: &Catalogue, live: &Catalogue) -> Vec<Difference> {
    let mut all: Vec<&Object> = expected.keys().chain(live.keys()).collect();
    all.sort();
    all.dedup();
    all.into_iter()
        .filter_map(|object| difference(object, expected.get(object), live.get(object)))
        .collect()
}

fn difference(
    object: &Object,
    expected: Option<&String>,
    live: Option<&String>,
) -> Option<Difference> {
    if expected == live {
        return None;
    }
    let (state, missing, extra) = match (expected.map(|sql| parts(sql)), live.map(|sql| parts(sql)))
    {
        (Some(expected), Some(live)) if expected == live => return None,
        (Some(expected), Some(live)) => (
            DifferenceState::Altered,
            lacking(&expected, &live),
            lacking(&live, &expected),
        ),
        (Some(_), None) => (DifferenceState::Missing, vec![], vec![]),
        (None, Some(live)) => (DifferenceState::Extra, vec![], live),
        (None, None) => return None,
    };
    Some(Difference {
        object: object.kind.clone(),
        name: object.name.clone(),
        state,
        missing,
        extra,
    })
}

/// The parts of the one that the other lacks.
fn lacking(one: &[String], other: &[String]) -> Vec<String> {
    one.iter()
        .filter(|part| !other.contains(part))
        .cloned()
        .collect()
}

/// Splits a definition into its parts: a table's columns and constraints, a trigger's statements.
fn parts(sql: &str) -> Vec<String> {
    let words = words(sql);
    // Only a table's parentheses hold parts of its own; an index' are one with it.
    let is_table = words.get(1).is_some_and(|word| word == "table");
    let mut parts = vec![String::new()];
    let mut depth = 0_u32;
    for word in &words {
        let closes = is_table && word == ")" && depth == 1;
        let opens = is_table && word == "(" && depth == 0;
        match word.as_str() {
            "(" => depth += 1,
            ")" => depth = depth.saturating_sub(1),
            _ => {}
        }
        let separates = (is_table && word == "," && depth == 1) || (word == ";" && depth == 0);
        if closes {
            parts.push(String::new());
        }
        if let Some(part) = parts.last_mut().filter(|_| !separates) {
            if !part.is_empty() {
                part.push(' ');
            }
            part.push_str(word);
        }
        if opens || separates {
            parts.push(String::new());
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The words of an SQL text: names and numbers in lower case, quoted texts as they are, every other sign alone.
fn words(sql: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = sql.chars().peekable();
    while let Some(sign) = rest.next() {
        match sign {
            '-' if rest.peek() == Some(&'-') => {
                while rest.next().is_some_and(|sign| sign != '\n') {}
            }
            '/' if rest.peek() == Some(&'*') => {
                rest.next();
                let mut last = ' ';
                for sign in rest.by_ref() {
                    if last == '*' && sign == '/' {
                        break;
                    }
                    last = sign;
                }
            }
            '\'' | '"' | '`' => {
                let text = quoted(&mut rest, sign);
                let plain = text.chars().all(is_name) && !text.is_empty();
                words.push(if sign == '\'' {
                    format!("'{}'", text.replace('\'', "''"))
                } else if plain {
                    text.to_lowercase()
                } else {
                    format!("\"{}\"", text.replace('"', "\"\""))
                });
            }
            _ if sign.is_whitespace() => {}
            _ if is_name(sign) => {
                let mut word = String::from(sign);
                while let Some(next) = rest.next_if(|next| is_name(*next)) {
                    word.push(next);
                }
                words.push(word.to_lowercase());
            }
            _ => words.push(sign.into()),
        }
    }
    words
}

fn is_name(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_' || sign == '.'
}

/// Reads to the closing quote; a doubled one stands for itself.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) -> String {
    let mut text = String::new();
    while let Some(sign) = rest.next() {
        if sign == quote && rest.next_if_eq(&quote).is_none() {
            break;
        }
        text.push(sign);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalogue(sql: &str) -> Catalogue {
        let connection = super::super::super::connection::in_memory().unwrap();
        connection.execute_batch(sql).unwrap();
        read(&connection).unwrap()
    }

    #[test]
    fn spelling_makes_no_difference() {
        let one =
            catalogue("CREATE TABLE a (x TEXT NOT NULL, -- why\n y INTEGER DEFAULT (1 + 2));");
        let other =
            catalogue("create  table \"a\"(x text /* what */ not null,\n\ty integer default(1+2))");
        assert_eq!(compare(&one, &other), []);
    }

    #[test]
    fn a_text_in_quotes_is_compared_to_the_letter() {
        let one = catalogue("CREATE TABLE a (x TEXT DEFAULT 'It''s -- A');");
        let other = catalogue("CREATE TABLE a (x TEXT DEFAULT 'it''s -- a');");
        let found = compare(&one, &other);
        assert_eq!(found[0].missing, ["x text default 'It''s -- A'"]);
        assert_eq!(found[0].extra, ["x text default 'it''s -- a'"]);
    }

    #[test]
    fn each_difference_is_named_with_its_part() {
        let one =
            catalogue("CREATE TABLE a (x, y); CREATE INDEX i ON a (x); CREATE TABLE gone (z);");
        let other = catalogue(
            "CREATE TABLE a (x, y, z); CREATE INDEX i ON a (y); CREATE VIEW v AS SELECT 1;",
        );
        let told: Vec<_> = compare(&one, &other)
            .into_iter()
            .map(|found| (found.object, found.name, found.state, found.extra))
            .collect();
        let text = |text: &str| text.to_owned();
        assert_eq!(
            told,
            [
                (
                    text("index"),
                    text("i"),
                    DifferenceState::Altered,
                    vec![text("create index i on a ( y )")]
                ),
                (
                    text("table"),
                    text("a"),
                    DifferenceState::Altered,
                    vec![text("z")]
                ),
                (
                    text("table"),
                    text("gone"),
                    DifferenceState::Missing,
                    vec![]
                ),
                (
                    text("view"),
                    text("v"),
                    DifferenceState::Extra,
                    vec![text("create view v as select 1")]
                ),
            ]
        );
    }
}
