//! What can go wrong in the store, as the questions that callers ask: is it there, is it taken, shall I wait?

use std::path::{Path, PathBuf};

use rusqlite::ffi;

use super::query::QueryError;
use crate::domain::InvalidValue;

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no home yet.
    #[error("there is no Millpond home at {}", path.display())]
    NoHome {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Another user owns the home, or others may enter it.
    #[error("{} is not private to this user: {problem}", path.display())]
    NotOurs {
        /// The directory or file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A value is taken already.
    #[error("{table} already holds a row with this {}", columns.join(", "))]
    UniqueViolation {
        /// The table.
        table: String,
        /// The columns of the constraint.
        columns: Vec<String>,
    },
    /// There is no such row.
    #[error("there is no {what} {key}")]
    NotFound {
        /// What was looked for.
        what: &'static str,
        /// By what.
        key: String,
    },
    /// A row names another that is not there, or is still named by one.
    #[error("cannot {action}: a row that it refers to is missing, or one refers to it")]
    ForeignKey {
        /// What was being done.
        action: &'static str,
    },
    /// A constraint of the schema refused a value.
    #[error("cannot {action}: the value breaks {constraint}")]
    Check {
        /// What was being done.
        action: &'static str,
        /// The constraint's name.
        constraint: String,
    },
    /// Another process holds what is needed: try again.
    #[error("cannot {action}: another process is at work on it")]
    Busy {
        /// What was being done.
        action: &'static str,
    },
    /// The work took longer than it may: it was interrupted, and nothing of it was written.
    #[error("cannot {action}: it took longer than it may")]
    TimedOut {
        /// What was being done.
        action: &'static str,
    },
    /// Someone else changed the row since the caller read it: read it again, and decide again.
    #[error("{what} {key} has version {found} by now; the change was made to version {seen}")]
    Stale {
        /// What was to be changed.
        what: &'static str,
        /// Which one.
        key: String,
        /// The version that the caller had read.
        seen: i64,
        /// The version that the row has.
        found: i64,
    },
    /// Whoever works here may not do this.
    #[error("{who} may not {action}")]
    Denied {
        /// Who, as "a viewer" or "an inactive tenant".
        who: &'static str,
        /// What was to be done.
        action: &'static str,
    },
    /// The disk is full.
    #[error("cannot {action}: the disk is full")]
    DiskFull {
        /// What was being done.
        action: &'static str,
    },
    /// The file system failed under SQLite: which of its many reasons it was, SQLite does not say.
    #[error("cannot {action}: reading or writing the file failed")]
    Io {
        /// What was being done.
        action: &'static str,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The file is damaged or no database.
    #[error("{} is damaged or is not a database", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// The file was written by a newer Millpond.
    #[error("{} has schema version {found}; this program knows up to {known}", path.display())]
    SchemaNewer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that is known here.
        known: i64,
    },
    /// The file is a database of another program.
    #[error("{} is not a Millpond database", path.display())]
    OtherProgram {
        /// The file.
        path: PathBuf,
    },
    /// The file says that it belongs to another tenant than the registry says.
    #[error("{} belongs to another tenant", path.display())]
    WrongTenant {
        /// The file.
        path: PathBuf,
    },
    /// The tenant has synchronised under another id already.
    #[error("tenant {domain} has already synchronised under another id")]
    AlreadySynced {
        /// The tenant.
        domain: String,
    },
    /// Two of the tenant's users are one person in the central database, and the same work lies under both.
    #[error(
        "two users of tenant {domain} are one person in the central database, and both recorded the same work"
    )]
    RecordedTwice {
        /// The tenant.
        domain: String,
    },
    /// This SQLite is too old.
    #[error("SQLite {found} has a bug that can corrupt a write-ahead log; 3.51.3 is needed")]
    OldSqlite {
        /// Its version.
        found: &'static str,
    },
    /// A value that its type does not take.
    #[error(transparent)]
    Invalid(#[from] InvalidValue),
    /// The schema could not be brought up to date.
    #[error("cannot migrate {}", path.display())]
    Migration {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: Box<refinery::Error>,
    },
    /// The file's schema is not what its migrations make.
    #[error("the schema of {} is not what its migrations make: {}", path.display(), objects.join(", "))]
    Drift {
        /// The file.
        path: PathBuf,
        /// The names of what differs.
        objects: Vec<String>,
    },
    /// A draft failed, or ended the transaction that it runs in.
    #[error("cannot apply the draft to {}{}", path.display(), if source.is_none() { ": it ends the transaction that it runs in" } else { "" })]
    Draft {
        /// The file.
        path: PathBuf,
        /// What SQLite says; nothing where the draft ended the transaction.
        #[source]
        source: Option<rusqlite::Error>,
    },
    /// The program ends, and takes no more work.
    #[error("the program is ending")]
    Closing,
    /// The home holds work that counts.
    #[error("the home at {} is not marked for development", path.display())]
    NotDevelopment {
        /// The home.
        path: PathBuf,
    },
    /// Migrations are written in Millpond's own source.
    #[error("{} lies in no source tree of Millpond", path.display())]
    NoSourceTree {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A program's statement does more than it may: SQLite refused it.
    #[error("the statement reaches for what it may not touch")]
    OutOfReach {
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// A program's statement returns more rows than one answer may have.
    #[error("the statement returns more than {max} rows")]
    TooManyRows {
        /// The limit.
        max: usize,
    },
    /// No connection could be had in time.
    #[error("no connection to the tenant's file became free")]
    Pool {
        /// Why not.
        #[source]
        source: r2d2::Error,
    },
    /// A statement of the caller's was not run.
    #[error(transparent)]
    Statement(QueryError),
    /// What was to be written out could not be.
    #[error("cannot {action}")]
    Write {
        /// What was being done.
        action: &'static str,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Anything else that SQLite says.
    #[error("cannot {action}")]
    Query {
        /// What was being done.
        action: &'static str,
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
}

impl Error {
    /// A stable name of the kind, for programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NoHome { .. } => "no_home",
            Self::NotOurs { .. } => "permission",
            Self::File { .. } | Self::Io { .. } | Self::Write { .. } => "io",
            Self::UniqueViolation { .. } => "unique_violation",
            Self::NotFound { .. } => "not_found",
            Self::ForeignKey { .. } => "foreign_key",
            Self::Check { .. } => "check",
            Self::Busy { .. } => "busy",
            Self::TimedOut { .. } => "timed_out",
            Self::Stale { .. } => "stale",
            Self::Denied { .. } => "denied",
            Self::DiskFull { .. } => "disk_full",
            Self::Corrupt { .. } => "corrupt",
            Self::SchemaNewer { .. } => "schema_newer",
            Self::OtherProgram { .. } => "other_program",
            Self::WrongTenant { .. } => "wrong_tenant",
            Self::AlreadySynced { .. } => "already_synced",
            Self::RecordedTwice { .. } => "recorded_twice",
            Self::OldSqlite { .. } => "old_sqlite",
            Self::Invalid(_) => "invalid",
            Self::Migration { .. } => "migration",
            Self::Drift { .. } => "drift",
            Self::Draft { .. } => "draft",
            Self::NotDevelopment { .. } => "not_development",
            Self::NoSourceTree { .. } => "no_source_tree",
            Self::OutOfReach { .. } => "refused",
            Self::TooManyRows { .. } => "too_many_rows",
            Self::Pool { .. } => "pool",
            Self::Closing => "closing",
            Self::Statement(error) => error.kind(),
            Self::Query { .. } => "query",
        }
    }

    /// The code that the predecessor's callers know: that of Prisma, whose client it was
    /// (<https://www.prisma.io/docs/orm/reference/error-reference>). Where several kinds share a code, [`Error::kind`]
    /// tells them apart.
    ///
    /// | code | there | here |
    /// |---|---|---|
    /// | P1001 | the database cannot be reached | a file that cannot be read or written, damaged, or of another program; a full disk |
    /// | P1003 | the database does not exist | no home; no source tree |
    /// | P1008 | the operation timed out | longer than it may |
    /// | P1010 | access was denied | files of another user; another tenant's file; a role that may not; a statement that does more than read; a home that is not for development |
    /// | P2002 | a unique constraint failed | a value that is taken |
    /// | P2003 | a foreign key constraint failed | a missing or needed row |
    /// | P2004 | a constraint failed in the database | a value that a check refuses |
    /// | P2007 | the data is not valid | a value that its type refuses |
    /// | P2010 | the query failed | anything else that SQLite says |
    /// | P2024 | no connection became free in time | the same; a program that is ending |
    /// | P2025 | a record that is needed was not found | the same |
    /// | P2034 | a write conflict, try again | another process is writing; a version that is no longer the latest |
    /// | P3018 | a migration failed | a migration or a draft failed, drift, or a newer program made it; ids that are settled |
    ///
    /// ```
    /// use millpond::store::{Error, Home, Store};
    /// let missing = Store::open(Home::at("/nowhere/at/all".into())).unwrap_err();
    /// assert_eq!((missing.kind(), missing.code()), ("no_home", "P1003"));
    /// ```
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoHome { .. } | Self::NoSourceTree { .. } => "P1003",
            Self::NotOurs { .. }
            | Self::WrongTenant { .. }
            | Self::Denied { .. }
            | Self::Statement(QueryError::NotReadOnly { .. })
            | Self::OutOfReach { .. }
            | Self::NotDevelopment { .. } => "P1010",
            Self::File { .. }
            | Self::DiskFull { .. }
            | Self::Io { .. }
            | Self::Write { .. }
            | Self::Corrupt { .. }
            | Self::OtherProgram { .. } => "P1001",
            Self::TimedOut { .. } | Self::Statement(QueryError::TimedOut) => "P1008",
            Self::UniqueViolation { .. } | Self::RecordedTwice { .. } => "P2002",
            Self::ForeignKey { .. } => "P2003",
            Self::Check { .. } => "P2004",
            Self::Invalid(_) | Self::TooManyRows { .. } => "P2007",
            Self::OldSqlite { .. } | Self::Statement(_) | Self::Query { .. } => "P2010",
            Self::Pool { .. } | Self::Closing => "P2024",
            Self::NotFound { .. } => "P2025",
            Self::Busy { .. } | Self::Stale { .. } => "P2034",
            Self::SchemaNewer { .. }
            | Self::AlreadySynced { .. }
            | Self::Migration { .. }
            | Self::Drift { .. }
            | Self::Draft { .. } => "P3018",
        }
    }

    /// Whether waiting and trying again can help.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Busy { .. } | Self::Pool { .. })
    }

    pub(crate) fn not_found(what: &'static str, key: &impl ToString) -> Self {
        Self::NotFound {
            what,
            key: key.to_string(),
        }
    }
}

/// Turns SQLite's error into the store's by its extended result code (<https://sqlite.org/rescode.html>).
///
/// Only the names of columns and constraints are read from the text, since SQLite gives them nowhere else.
pub(crate) fn query(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Error {
    move |source| {
        let rusqlite::Error::SqliteFailure(failure, message) = &source else {
            return Error::Query { action, source };
        };
        let named = message
            .as_deref()
            .and_then(|text| text.rsplit_once(": "))
            .map_or("", |(_, names)| names);
        match failure.extended_code {
            ffi::SQLITE_CONSTRAINT_UNIQUE | ffi::SQLITE_CONSTRAINT_PRIMARYKEY => unique(named),
            ffi::SQLITE_CONSTRAINT_FOREIGNKEY => Error::ForeignKey { action },
            ffi::SQLITE_CONSTRAINT_CHECK => Error::Check {
                action,
                constraint: named.to_owned(),
            },
            code if code & 0xff == ffi::SQLITE_BUSY || code & 0xff == ffi::SQLITE_LOCKED => {
                Error::Busy { action }
            }
            ffi::SQLITE_AUTH => Error::OutOfReach { source },
            code if code & 0xff == ffi::SQLITE_INTERRUPT => Error::TimedOut { action },
            // Sure only here: the IOERR codes tell which call failed, not that space was what it lacked.
            code if code & 0xff == ffi::SQLITE_FULL => Error::DiskFull { action },
            code if code & 0xff == ffi::SQLITE_IOERR => Error::Io { action, source },
            _ => Error::Query { action, source },
        }
    }
}

/// Tells a failed migration; a file that is busy or a disk that is full is no fault of the migration.
pub(crate) fn migration(path: &Path, source: refinery::Error) -> Error {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&source);
    while let Some(current) = next {
        let code = current
            .downcast_ref::<rusqlite::Error>()
            .and_then(rusqlite::Error::sqlite_error)
            .map_or(ffi::SQLITE_OK, |failure| failure.extended_code & 0xff);
        match code {
            ffi::SQLITE_BUSY | ffi::SQLITE_LOCKED => {
                return Error::Busy {
                    action: "migrate the file",
                };
            }
            ffi::SQLITE_FULL => {
                return Error::DiskFull {
                    action: "migrate the file",
                };
            }
            _ => next = current.source(),
        }
    }
    Error::Migration {
        path: path.to_owned(),
        source: Box::new(source),
    }
}

fn unique(named: &str) -> Error {
    let mut table = String::new();
    let mut columns = Vec::new();
    for column in named.split(", ") {
        let (of, name) = column.split_once('.').unwrap_or(("", column));
        of.clone_into(&mut table);
        columns.push(name.to_owned());
    }
    Error::UniqueViolation { table, columns }
}

#[cfg(test)]
mod tests;
