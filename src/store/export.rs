//! A tenant's rows as CSV or JSON lines.
//!
//! Depends on the tenant's handle and on each table's own list of what is exported. Invariants: one snapshot; rows go
//! out as they are read, so that memory does not grow with the table; deleted rows stay out, and so does what only
//! this machine's bookkeeping needs. Times are RFC 3339, ids UUIDs, JSON is JSON.
//!
//! A spreadsheet takes a text that begins with `=`, `+`, `-`, `@`, a tab or a return for a formula, and what stands in
//! a row came from elsewhere: such a text gets a `'` before it (<https://owasp.org/www-community/attacks/CSV_Injection>)
//! unless it was asked for as it is.

use std::io::{self, BufWriter, Write};

use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::error::{self, Error};
use super::query::QueryValue;
use super::tenant::TenantStore;
use super::{dashboards, sessions, tool_metrics, users};
use crate::domain::units::Timestamp;

const ACTION: &str = "export rows";

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportTable {
    /// `users`.
    Users,
    /// `metrics_sessions`.
    Sessions,
    /// `tool_metrics`.
    ToolMetrics,
    /// `dashboard_configs`.
    Dashboards,
}

impl ExportTable {
    /// Every table.
    pub const ALL: [Self; 4] = [
        Self::Users,
        Self::Sessions,
        Self::ToolMetrics,
        Self::Dashboards,
    ];

    /// The table's name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Users => "users",
            Self::Sessions => "metrics_sessions",
            Self::ToolMetrics => "tool_metrics",
            Self::Dashboards => "dashboard_configs",
        }
    }

    const fn columns(self) -> &'static [Column] {
        match self {
            Self::Users => users::EXPORTED,
            Self::Sessions => sessions::EXPORTED,
            Self::ToolMetrics => tool_metrics::EXPORTED,
            Self::Dashboards => dashboards::EXPORTED,
        }
    }
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// A line of names, then a line for each row (RFC 4180).
    Csv {
        /// Whether texts that a spreadsheet would take for formulas stay as they are.
        raw: bool,
    },
    /// A JSON object for each row.
    JsonLines,
}

/// A column, and what its values mean.
pub(super) type Column = (&'static str, Kind);

/// What the values of a column mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A UUID, kept as 16 bytes.
    Id,
    /// Microseconds since 1970-01-01T00:00:00Z.
    Time,
    /// 0 or 1.
    Flag,
    /// A JSON document, kept as text.
    Json,
    /// A number or text, as it is.
    Plain,
}

impl TenantStore {
    /// Writes a table's rows out in the order in which they were recorded here, and says how many there were.
    ///
    /// ```
    /// # use millpond::store::{Error, ExportFormat, ExportTable, TenantStore};
    /// # fn f(tenant: &TenantStore) -> Result<(), Error> {
    /// let mut calls = Vec::new();
    /// let rows = tenant.export(ExportTable::ToolMetrics, ExportFormat::JsonLines, &mut calls)?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Write`] where `out` fails, and those of [`TenantStore::read`]. What was written before stays in `out`.
    pub fn export(
        &self,
        table: ExportTable,
        format: ExportFormat,
        out: &mut dyn Write,
    ) -> Result<u64, Error> {
        let columns = table.columns();
        let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        let sql = format!(
            "SELECT {} FROM {} WHERE deleted_at IS NULL ORDER BY rowid",
            names.join(", "),
            table.as_str()
        );
        self.read(|r| {
            let mut statement = r.connection().prepare(&sql).map_err(error::query(ACTION))?;
            let mut rows = statement.query([]).map_err(error::query(ACTION))?;
            let mut lines = Lines::begin(format, &names, out).map_err(unwritten)?;
            let mut written = 0;
            while let Some(row) = rows.next().map_err(error::query(ACTION))? {
                lines.row(columns, row)?;
                written += 1;
            }
            lines.finish().map_err(unwritten)?;
            Ok(written)
        })
    }
}

fn unwritten(source: io::Error) -> Error {
    Error::Write {
        action: "write the export",
        source,
    }
}

/// Writes rows in a format.
enum Lines<'o> {
    Csv {
        out: Box<csv::Writer<&'o mut dyn Write>>,
        raw: bool,
    },
    JsonLines(BufWriter<&'o mut dyn Write>),
}

impl<'o> Lines<'o> {
    fn begin(format: ExportFormat, names: &[&str], out: &'o mut dyn Write) -> io::Result<Self> {
        Ok(match format {
            ExportFormat::Csv { raw } => {
                let mut out = csv::Writer::from_writer(out);
                out.write_record(names)?;
                Self::Csv {
                    out: Box::new(out),
                    raw,
                }
            }
            ExportFormat::JsonLines => Self::JsonLines(BufWriter::new(out)),
        })
    }

    fn row(&mut self, columns: &[Column], row: &Row<'_>) -> Result<(), Error> {
        match self {
            Self::Csv { out, raw } => {
                for (at, (_, kind)) in columns.iter().enumerate() {
                    let value = row.get_ref(at).map_err(error::query(ACTION))?;
                    out.write_field(field(*kind, value, *raw))
                        .map_err(|error| unwritten(error.into()))?;
                }
                out.write_record(None::<&[u8]>)
                    .map_err(|error| unwritten(error.into()))
            }
            Self::JsonLines(out) => serde_json::to_writer(&mut *out, &Object { columns, row })
                .map_err(io::Error::from)
                .and_then(|()| out.write_all(b"\n"))
                .map_err(unwritten),
        }
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Csv { mut out, .. } => out.flush(),
            Self::JsonLines(mut out) => out.flush(),
        }
    }
}

/// A value as a cell of a CSV file.
fn field(kind: Kind, value: ValueRef<'_>, raw: bool) -> String {
    match json(kind, value) {
        Value::Null => String::new(),
        Value::String(text) if !raw && looks_like_a_formula(&text) => format!("'{text}"),
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn looks_like_a_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r'])
}

/// A row as a JSON object, its columns in order.
struct Object<'r> {
    columns: &'r [Column],
    row: &'r Row<'r>,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(Some(self.columns.len()))?;
        for (at, (name, kind)) in self.columns.iter().enumerate() {
            let value = self.row.get_ref(at).map_err(serde::ser::Error::custom)?;
            object.serialize_entry(name, &json(*kind, value))?;
        }
        object.end()
    }
}

/// A value as what it means. What another program put into the file and does not mean that is told as it is.
fn json(kind: Kind, value: ValueRef<'_>) -> Value {
    match (kind, value) {
        (_, ValueRef::Null) => Value::Null,
        (Kind::Time, ValueRef::Integer(micros)) => Timestamp::from_micros(micros)
            .map_or_else(|_| micros.into(), |time| time.to_string().into()),
        (Kind::Flag, ValueRef::Integer(flag)) => (flag != 0).into(),
        (Kind::Json, ValueRef::Text(text)) => serde_json::from_slice(text)
            .unwrap_or_else(|_| String::from_utf8_lossy(text).into_owned().into()),
        (_, ValueRef::Integer(number)) => number.into(),
        (_, ValueRef::Real(number)) => number.into(),
        (_, ValueRef::Text(text)) => String::from_utf8_lossy(text).into_owned().into(),
        // An id, or bytes as hexadecimal digits.
        (_, ValueRef::Blob(_)) => QueryValue::of(value).to_string().into(),
    }
}
