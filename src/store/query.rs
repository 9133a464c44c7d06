//! Statements that are not the program's own: a person's question to a tenant's rows.
//!
//! Depends on the tenant's handle and on [`super::connection`], which opens a connection of its own for each, read-only
//! and held to a list of what may be done. Invariants: one statement, which only reads, in one snapshot; it is
//! interrupted after its time (1 s); no value is larger than 512 KiB, so that no single step of SQLite takes long;
//! at most so many rows (1,000) and 16 MiB are kept, and whether there were more is told.

use std::time::{Duration, Instant};

use rusqlite::types::ValueRef;
use rusqlite::{Row, ffi};
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::connection::{self, FileKind};
use super::error::{self, Error};
use super::tenant::{self, TenantStore};
use crate::domain::InvalidValue;

/// How often a running statement is looked at: some 10 µs of work.
const STEPS: i32 = 1_000;
/// Bounds what an answer holds in memory.
const MOST_BYTES: usize = 16 << 20;

/// What a question may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    rows: usize,
    run: Duration,
}

impl Default for QueryLimits {
    fn default() -> Self {
        Self {
            rows: 1_000,
            run: Duration::from_secs(1),
        }
    }
}

impl QueryLimits {
    /// The same, with so many rows at the most.
    ///
    /// # Errors
    /// When it is not 1 to 100,000.
    pub fn with_rows(self, rows: usize) -> Result<Self, InvalidValue> {
        if !(1..=100_000).contains(&rows) {
            return Err(InvalidValue::new("row limit", "must be 1 to 100000"));
        }
        Ok(Self { rows, ..self })
    }

    /// The same, interrupted after such a time.
    #[must_use]
    pub const fn with_time(self, run: Duration) -> Self {
        Self { run, ..self }
    }
}

/// A value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum QueryValue {
    /// Nothing.
    Null,
    /// A whole number. Times are microseconds since 1970-01-01T00:00:00Z.
    Integer(i64),
    /// A number.
    Real(f64),
    /// A text.
    Text(String),
    /// Bytes. Ids are 16 of them.
    Blob(Vec<u8>),
}

impl QueryValue {
    pub(super) fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => Self::Text(String::from_utf8_lossy(bytes).into_owned()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }

    const fn bytes(&self) -> usize {
        match self {
            Self::Null | Self::Integer(_) | Self::Real(_) => 0,
            Self::Text(text) => text.len(),
            Self::Blob(bytes) => bytes.len(),
        }
    }
}

/// As people read it: 16 bytes as an id, others as hexadecimal digits.
impl std::fmt::Display for QueryValue {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => Ok(()),
            Self::Integer(number) => number.fmt(out),
            Self::Real(number) => number.fmt(out),
            Self::Text(text) => out.write_str(text),
            Self::Blob(bytes) => match Uuid::from_slice(bytes) {
                Ok(id) => id.fmt(out),
                Err(_) => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
            },
        }
    }
}

impl Serialize for QueryValue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Real(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Blob(_) => serializer.collect_str(self),
        }
    }
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QueryAnswer {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, a value for each column.
    pub rows: Vec<Vec<QueryValue>>,
    /// Whether there were more rows than are kept.
    pub truncated: bool,
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// It would do more than read.
    #[error("the statement does more than read the tenant's rows")]
    NotReadOnly {
        /// What SQLite says.
        #[source]
        source: Option<rusqlite::Error>,
    },
    /// It makes a value that is larger than one may be.
    #[error("the statement makes a value of more than 512 KiB")]
    TooLarge {
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// SQLite cannot run it, or it is not one statement.
    #[error("the statement cannot be run")]
    Statement {
        /// What SQLite says.
        #[source]
        source: rusqlite::Error,
    },
    /// It took longer than it may.
    #[error("the statement took longer than it may")]
    TimedOut,
}

impl QueryError {
    /// A stable name of the kind, for programs.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotReadOnly { .. } => "not_read_only",
            Self::TooLarge { .. } => "too_large",
            Self::Statement { .. } => "statement",
            Self::TimedOut => "timed_out",
        }
    }
}

impl TenantStore {
    /// Answers one statement that reads, from a connection that cannot write.
    ///
    /// ```
    /// # use millpond::store::{Error, QueryLimits, TenantStore};
    /// # fn f(tenant: &TenantStore) -> Result<(), Error> {
    /// let sql = "SELECT tool_name, count(*) AS calls FROM tool_metrics GROUP BY tool_name ORDER BY calls DESC";
    /// let answer = tenant.query(sql, QueryLimits::default().with_rows(10)?)?;
    /// assert_eq!(answer.columns, ["tool_name", "calls"]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Statement`], which tells why in a [`QueryError`]; those of [`super::Store::tenant`] where the file was
    /// replaced.
    pub fn query(&self, sql: &str, limits: QueryLimits) -> Result<QueryAnswer, Error> {
        let connection = connection::open_to_read(self.path())?;
        // A schema of any version may be asked: whoever asks names its columns.
        connection::check_header(&connection, self.path(), FileKind::Tenant, i64::MAX)?;
        tenant::check_owner(&connection, self.path(), &[self.tenant().id])?;
        connection::confine(&connection).map_err(error::query("confine a statement"))?;
        let begun = Instant::now();
        connection
            .progress_handler(STEPS, Some(move || begun.elapsed() > limits.run))
            .map_err(error::query("limit the time"))?;
        let mut statement = connection.prepare(sql).map_err(of_sqlite)?;
        // What changes nothing by itself may still attach or vacuum: those are refused by the list of what may be done.
        if !statement.readonly() {
            return Err(Error::Statement(QueryError::NotReadOnly { source: None }));
        }
        let mut answer = QueryAnswer {
            columns: statement
                .column_names()
                .into_iter()
                .map(ToOwned::to_owned)
                .collect(),
            rows: Vec::new(),
            truncated: false,
        };
        let width = answer.columns.len();
        let mut bytes = 0;
        let mut rows = statement.query([]).map_err(of_sqlite)?;
        while let Some(row) = rows.next().map_err(of_sqlite)? {
            if answer.rows.len() == limits.rows || bytes > MOST_BYTES {
                answer.truncated = true;
                break;
            }
            let values = values(row, width).map_err(of_sqlite)?;
            bytes += values.iter().map(QueryValue::bytes).sum::<usize>();
            answer.rows.push(values);
        }
        Ok(answer)
    }
}

fn values(row: &Row<'_>, width: usize) -> rusqlite::Result<Vec<QueryValue>> {
    (0..width)
        .map(|at| row.get_ref(at).map(QueryValue::of))
        .collect()
}

/// Tells by SQLite's code why a statement was not run.
fn of_sqlite(source: rusqlite::Error) -> Error {
    let code = source
        .sqlite_error()
        .map(|failure| failure.extended_code & 0xff);
    let told = match code {
        Some(ffi::SQLITE_AUTH | ffi::SQLITE_READONLY) => QueryError::NotReadOnly {
            source: Some(source),
        },
        Some(ffi::SQLITE_TOOBIG) => QueryError::TooLarge { source },
        Some(ffi::SQLITE_INTERRUPT) => QueryError::TimedOut,
        Some(
            ffi::SQLITE_BUSY
            | ffi::SQLITE_LOCKED
            | ffi::SQLITE_IOERR
            | ffi::SQLITE_FULL
            | ffi::SQLITE_CORRUPT
            | ffi::SQLITE_NOTADB,
        ) => return error::query("run the statement")(source),
        _ => QueryError::Statement { source },
    };
    Error::Statement(told)
}
