//! How a command fails: a kind for programs, a message and a hint for people, an exit code for scripts.

use std::fmt;
use std::process::ExitCode;

use millpond::config::ConfigError;
use millpond::config::timing::InvalidVariable;
use millpond::domain::InvalidValue;
use millpond::store;
use millpond_sync::fault::{Fault, RemoteError};
use serde::Serialize;

/// A command that did not do what it was asked.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) kind: &'static str,
    pub(super) message: String,
    pub(super) hint: Option<String>,
    code: u8,
}

/// A failure that is told beside what went well, as of one tenant among several.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ErrorView {
    kind: &'static str,
    message: String,
    hint: Option<String>,
    sqlstate: Option<String>,
}

impl ErrorView {
    pub(super) fn of(failure: &Failure, sqlstate: Option<String>) -> Self {
        Self {
            kind: failure.kind,
            message: failure.message.clone(),
            hint: failure.hint.clone(),
            sqlstate,
        }
    }
}

impl fmt::Display for ErrorView {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "error: {}", self.message)?;
        self.hint
            .as_ref()
            .map_or(Ok(()), |hint| write!(out, "\nhint: {hint}"))
    }
}

const DISK: &str = "check the free disk space and the permissions of the home, and try again";

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const REFUSED: u8 = 4;
const UNREACHABLE: u8 = 69;
const TRY_AGAIN: u8 = 75;
const CONFIGURATION: u8 = 78;

impl Failure {
    pub(super) fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            code: FAILED,
        }
    }

    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: USAGE,
            ..Self::new("usage", message)
        }
    }

    pub(super) fn refused(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            code: REFUSED,
            ..Self::new(kind, message)
        }
    }

    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self {
            code: TRY_AGAIN,
            ..Self::new("busy", message)
        }
    }

    pub(super) fn configuration(message: impl Into<String>) -> Self {
        Self {
            code: CONFIGURATION,
            ..Self::new("configuration", message)
        }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same with another exit code, where a contract that is not ours sets it.
    pub(super) const fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same, told as the cause of something.
    pub(super) fn with_context(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    pub(super) fn exit_code(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

/// The message of an error and of its causes, one after the other.
pub(super) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let text = source.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = source.source();
    }
    message
}

impl From<InvalidValue> for Failure {
    fn from(error: InvalidValue) -> Self {
        Self {
            code: USAGE,
            ..Self::new("invalid", error.to_string()).with_hint(hint_of_value(error.what))
        }
    }
}

const fn hint_of_value(what: &str) -> &'static str {
    match what.as_bytes() {
        b"domain" => "name a tenant as acme or acme.dev; see those here with: millpond tenant list",
        b"cursor" => "give the `next` of the page before, or leave --after out for the first page",
        b"time" => "give a span (90m, 12h, 30d, 4w), a date (2026-01-31) or 2026-01-31T09:00:00Z",
        b"email" => "give an address as ada@acme.dev",
        b"role" | b"plan" => "give one of these",
        _ => "correct the value; the command's --help tells what it takes",
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::configuration(chain(&error)).with_hint("correct the file, or remove it")
    }
}

impl From<InvalidVariable> for Failure {
    fn from(error: InvalidVariable) -> Self {
        Self::configuration(error.to_string())
            .with_hint(format!("correct {}, or unset it", error.name))
    }
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        use store::Error;
        if let Error::NotOurs {
            path,
            problem: store::OTHERS_MAY_ENTER,
        } = &error
        {
            let close = format!(
                "if it is Millpond's alone, close it with: chmod 700 {}; else choose another place with --home",
                path.display()
            );
            return Self::refused(error.kind(), chain(&error)).with_hint(close);
        }
        let (code, hint) = code_and_hint(&error);
        Self {
            kind: error.kind(),
            message: chain(&error),
            hint: Some(hint.to_owned()),
            code,
        }
    }
}

/// What to say and do where something that was named is not there.
fn of_missing(what: &str) -> (u8, &'static str) {
    match what {
        "tenant" => (
            FAILED,
            "see the tenants of this machine with: millpond tenant list",
        ),
        "user" => (
            FAILED,
            "add the user with: millpond user add EMAIL --tenant DOMAIN",
        ),
        "default user" => (
            USAGE,
            "name the user with --user EMAIL, or choose one: millpond user update EMAIL --default",
        ),
        "session" => (
            FAILED,
            "see the sessions with: millpond session list --tenant DOMAIN",
        ),
        "dashboard" => (
            FAILED,
            "see a user's dashboards with: millpond dashboard list",
        ),
        _ => (FAILED, "list what is there, and name one of it"),
    }
}

/// What to say and do where a statement was not run.
const fn of_statement(error: &store::QueryError) -> (u8, &'static str) {
    use store::QueryError;
    match error {
        QueryError::NotReadOnly { .. } => (
            REFUSED,
            "ask with one SELECT; the other commands change what is to be changed",
        ),
        QueryError::TooLarge { .. } => {
            (FAILED, "select less of it, as with substr(value, 1, 1000)")
        }
        QueryError::TimedOut => (
            FAILED,
            "ask for less: WHERE session_id = ..., or started_at within a few days, is found by an index",
        ),
        _ => (
            USAGE,
            "see tables and columns with: millpond query \"SELECT name, sql FROM sqlite_schema\"",
        ),
    }
}

/// The exit code of a failure of the store, and what to do next.
fn code_and_hint(error: &store::Error) -> (u8, &'static str) {
    use store::Error;
    match error {
        Error::NoHome { .. } => (
            CONFIGURATION,
            "make one with: millpond init --tenant DOMAIN --user EMAIL",
        ),
        Error::NotOurs { .. } => (
            REFUSED,
            "work as the user who owns it, or choose another place with --home",
        ),
        Error::File { source, .. } => match source.kind() {
            std::io::ErrorKind::PermissionDenied => {
                (REFUSED, "check who owns it and its permissions")
            }
            std::io::ErrorKind::NotFound => (FAILED, "put it back, or restore it from a backup"),
            _ => (FAILED, DISK),
        },
        Error::Io { .. } | Error::Write { .. } => (FAILED, DISK),
        Error::UniqueViolation { table, .. } if table == "users" => (
            FAILED,
            "see the users that are there with: millpond user list --tenant DOMAIN",
        ),
        Error::UniqueViolation { .. } => {
            (FAILED, "choose another value, or use what is there already")
        }
        Error::NotFound { what, .. } => of_missing(what),
        Error::ForeignKey { .. } | Error::Check { .. } => (
            FAILED,
            "nothing was written: correct what was given and try again",
        ),
        Error::OtherProgram { .. } => (
            FAILED,
            "another program's file lies in its place: move it away and restore the tenant's own",
        ),
        Error::WrongTenant { .. } => (
            FAILED,
            "put the tenant's own file back, or restore it from a backup",
        ),
        Error::OldSqlite { .. } => (
            CONFIGURATION,
            "build millpond with the SQLite that comes with it",
        ),
        Error::Busy { .. } | Error::Pool { .. } | Error::TimedOut { .. } => {
            (TRY_AGAIN, "try again in a moment")
        }
        Error::Statement(error) => of_statement(error),
        Error::Stale { .. } => (
            FAILED,
            "someone changed it meanwhile: look at it again, then repeat the change",
        ),
        Error::Denied {
            who: "an inactive tenant",
            ..
        } => (
            REFUSED,
            "let it take rows again with: millpond tenant activate DOMAIN",
        ),
        Error::Denied { .. } => (REFUSED, "ask an admin of the tenant"),
        Error::RecordedTwice { .. } => (REFUSED, "make a new tenant and import into that one"),
        Error::DiskFull { .. } => (
            FAILED,
            "free some space and try again: nothing was half written",
        ),
        Error::Corrupt { .. } => (FAILED, "restore the file from a backup"),
        Error::AlreadySynced { .. } => (
            REFUSED,
            "enrol under the id that it has, or make a new tenant and import into that one",
        ),
        Error::Invalid(error) => (USAGE, hint_of_value(error.what)),
        error => schema_code_and_hint(error),
    }
}

/// The same where it is about a file's schema, and where nothing better is known.
const fn schema_code_and_hint(error: &store::Error) -> (u8, &'static str) {
    use store::Error;
    match error {
        Error::SchemaNewer { .. } => (
            CONFIGURATION,
            "update millpond: a newer one wrote this file",
        ),
        Error::Migration { .. } => (
            FAILED,
            "the file is as it was; see how it stands with: millpond db status",
        ),
        Error::Drift { .. } => (FAILED, "see what differs with: millpond db diff"),
        Error::Draft { .. } => (FAILED, "that file is as it was: correct the draft"),
        Error::NotDevelopment { .. } => (
            REFUSED,
            "try drafts in a home of their own: millpond --home DIR init --development",
        ),
        Error::NoSourceTree { .. } => (
            USAGE,
            "run it in a checkout of Millpond: its migrations are part of the program",
        ),
        _ => (
            FAILED,
            "try again; if it stays, restore the file from a backup",
        ),
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        let (kind, code, hint) = match error.fault {
            Fault::Transient => (
                "unreachable",
                UNREACHABLE,
                "work goes on offline: nothing is lost, try again later",
            ),
            Fault::Login => (
                "login_refused",
                REFUSED,
                "the device may have been revoked: ask for a new document (millpond central enroll)",
            ),
            Fault::Systemic if error.sqlstate.as_deref() == Some("42501") => (
                "permission",
                REFUSED,
                "the login lacks a right: ask the administrator to run millpond central migrate",
            ),
            _ => (
                "central",
                FAILED,
                "see what the central database holds with: millpond central status",
            ),
        };
        Self {
            kind,
            message: chain(&error),
            hint: Some(hint.to_owned()),
            code,
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::new("io", error.to_string()).with_hint(DISK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_once() {
        let error = store::Error::File {
            action: "open",
            path: "/x".into(),
            source: std::io::Error::other("no such thing"),
        };
        assert_eq!(chain(&error), "cannot open /x: no such thing");
    }
}
