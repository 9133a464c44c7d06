//! The one printer: data to stdout, messages to stderr.

use std::io::{self, IsTerminal as _, Write as _};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{Cell, Row, Table};
use serde::Serialize;
use serde_json::{Map, Value};

use super::failure::{ErrorView, Failure};

/// How this process prints.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    pub(super) const fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    pub(super) const fn is_json(self) -> bool {
        self.json
    }

    /// Whether a progress bar would be seen, and not be in the way.
    pub(super) fn is_animated(self) -> bool {
        !self.quiet && !self.json && io::stderr().is_terminal()
    }

    /// Prints an object: as JSON beside `"v": 1`, or as `human` shows it.
    pub(super) fn data<T: Serialize>(
        self,
        object: &T,
        human: impl FnOnce(&T) -> String,
    ) -> Result<(), Failure> {
        if !self.json {
            return write_stdout(human(object).trim_end());
        }
        let mut printed = Map::new();
        printed.insert("v".into(), 1.into());
        match serde_json::to_value(object) {
            Ok(Value::Object(fields)) => printed.extend(fields),
            Ok(_) | Err(_) => return Err(Failure::new("internal", "the result is no JSON object")),
        }
        write_stdout(&Value::Object(printed).to_string())
    }

    /// Tells the user something.
    pub(super) fn message(self, text: &str) {
        if !self.quiet {
            write_stderr(text);
        }
    }

    /// Tells the user what went wrong and what to do next.
    pub(super) fn failure(self, failure: &Failure) {
        if self.json {
            let mut error = Map::new();
            error.insert("kind".into(), failure.kind.into());
            error.insert("message".into(), failure.message.as_str().into());
            error.insert(
                "hint".into(),
                failure.hint.as_deref().map_or(Value::Null, Value::from),
            );
            let mut printed = Map::new();
            printed.insert("v".into(), 1.into());
            printed.insert("error".into(), Value::Object(error));
            if print(&Value::Object(printed).to_string()).is_ok() {
                return;
            }
            // No one reads the object: the message is all that is left.
        }
        Self::trouble(failure);
    }

    /// Tells the same on standard error alone, where standard output is another's.
    pub(super) fn trouble(failure: &Failure) {
        write_stderr(&format!("error: {}", failure.message));
        if let Some(hint) = &failure.hint {
            write_stderr(&format!("hint: {hint}"));
        }
    }
}

/// Prints a text as it is, whether or not JSON was asked for. A reader who is gone is an error: it cannot be had again.
pub(super) fn raw(text: &str) -> io::Result<()> {
    print(text.trim_end())
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush())
}

fn write_stdout(text: &str) -> Result<(), Failure> {
    match print(text) {
        // The reader has seen enough, as `head` does.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other.map_err(Failure::from),
    }
}

fn write_stderr(text: &str) {
    // There is no one left to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A head and a line for each of what follows.
pub(super) fn lines(head: String, rest: impl IntoIterator<Item = String>) -> String {
    std::iter::once(head)
        .chain(rest)
        .collect::<Vec<_>>()
        .join("\n")
}

/// A number that may not be known.
pub(super) fn known(number: Option<u64>) -> String {
    number.map_or_else(|| "-".into(), |number| number.to_string())
}

/// A table, and below it what went wrong with each tenant that could not be read.
pub(super) fn with_errors<'e>(
    table: String,
    tenants: impl Iterator<Item = (&'e str, Option<&'e ErrorView>)>,
) -> String {
    let told = tenants.filter_map(|(domain, error)| Some(format!("{domain}: {}", error?)));
    lines(table, told)
}

/// A table for people.
pub(super) fn table<const N: usize>(
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    grid(head, rows)
}

/// A table for people, of as many columns as there are.
pub(super) fn grid<C: Into<Cell>, R: IntoIterator<Item = String>>(
    head: impl IntoIterator<Item = C>,
    rows: impl IntoIterator<Item = R>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_header(Row::from(head));
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}
