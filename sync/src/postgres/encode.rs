//! Rows as typed columns: an array or one value each, written straight into the message that carries them.
//!
//! Purpose: a batch's values in PostgreSQL's binary format, without a copy in between, and the check that each row can
//! be written so. Depends on [`crate::change`]. Invariant: a row that [`flaw`] passes never fails to encode, so that
//! one bad row costs itself and not the connection.

use std::error::Error;
use std::fmt;

use bytes::{BufMut, BytesMut};
use postgres_protocol::types::{ArrayDimension, array_to_sql};
use tokio_postgres::types::{IsNull, Kind as TypeKind, ToSql, Type, to_sql_checked};

use crate::change::{Change, Kind, Value};

/// Microseconds from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_OFFSET: i64 = 946_684_800_000_000;
/// Longest text that is sent: far above every column's limit, far below what a message can hold.
const TEXT_MAX: usize = 16 * 1024 * 1024;
/// The version byte that goes before binary `jsonb`.
const JSONB_VERSION: u8 = 1;

/// Why a row cannot be sent, in the server's codes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Flaw {
    /// The code that the server would give.
    pub(crate) sqlstate: &'static str,
    /// The column and what is wrong with it, without the value.
    pub(crate) message: String,
}

/// Finds what keeps a row from being sent.
pub(crate) fn flaw(change: &Change) -> Option<Flaw> {
    let columns = change.table.columns();
    if columns.len() != change.values.len() {
        let message = "the row has another number of values than its table has columns".to_owned();
        return Some(Flaw {
            sqlstate: "22023",
            message,
        });
    }
    columns
        .iter()
        .zip(&change.values)
        .find_map(|(column, value)| {
            let (sqlstate, wrong) = match (column.kind, value) {
                (Kind::Text, Value::Text(text)) | (Kind::Json, Value::Json(text)) => {
                    if text.contains('\0') {
                        ("22021", "holds a NUL character")
                    } else if text.len() > TEXT_MAX {
                        ("54000", "is longer than any server takes")
                    } else {
                        return None;
                    }
                }
                (Kind::Timestamp, Value::Timestamp(micros)) => {
                    if micros.checked_sub(EPOCH_OFFSET).is_some() {
                        return None;
                    }
                    ("22008", "is out of range")
                }
                (_, Value::Null)
                | (Kind::Uuid, Value::Uuid(_))
                | (Kind::BigInt, Value::BigInt(_))
                | (Kind::Double, Value::Double(_))
                | (Kind::Boolean, Value::Boolean(_)) => return None,
                _ => ("22P02", "is of another type than its column"),
            };
            Some(Flaw {
                sqlstate,
                message: format!("{} {wrong}", column.name),
            })
        })
}

/// The part of a row that an array takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    /// Its id.
    Id,
    /// Its rev.
    Rev,
    /// Its digest.
    Digest,
    /// The value at this place.
    Value(usize),
}

/// One part of every row, as a parameter: an array, or one value where all rows have the same.
pub(crate) struct Column<'a> {
    rows: &'a [&'a Change],
    part: Part,
    uniform: bool,
}

impl<'a> Column<'a> {
    /// A part of these rows. The id is never uniform, so that a statement has an array to take its rows from.
    pub(crate) fn of(rows: &'a [&'a Change], part: Part) -> Self {
        let all = |same: &dyn Fn(&Change, &Change) -> bool| {
            rows.first()
                .is_some_and(|first| rows.iter().all(|row| same(first, row)))
        };
        let uniform = match part {
            Part::Id => false,
            Part::Rev => all(&|a, b| a.rev == b.rev),
            Part::Digest => all(&|a, b| a.digest == b.digest),
            // A NaN is unlike itself and so makes no column uniform: it travels as it is.
            Part::Value(place) => all(&|a, b| a.values.get(place) == b.values.get(place)),
        };
        Self {
            rows,
            part,
            uniform,
        }
    }

    /// Whether it is one value.
    pub(crate) const fn is_uniform(&self) -> bool {
        self.uniform
    }
}

impl fmt::Debug for Column<'_> {
    /// Shows no value: the client library may print its parameters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {} rows", self.part, self.rows.len())
    }
}

impl ToSql for Column<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        if self.uniform {
            let row = self.rows.first().ok_or("there is no row")?;
            return Ok(match write_part(row, self.part, out)? {
                postgres_protocol::IsNull::Yes => IsNull::Yes,
                postgres_protocol::IsNull::No => IsNull::No,
            });
        }
        let TypeKind::Array(element) = ty.kind() else {
            return Err("the parameter is no array".into());
        };
        let dimension = ArrayDimension {
            len: i32::try_from(self.rows.len())?,
            lower_bound: 1,
        };
        array_to_sql(
            Some(dimension),
            element.oid(),
            self.rows.iter(),
            |change, out| write_part(change, self.part, out),
            out,
        )?;
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

fn write_part(
    change: &Change,
    part: Part,
    out: &mut BytesMut,
) -> Result<postgres_protocol::IsNull, Box<dyn Error + Sync + Send>> {
    match part {
        Part::Id => out.put_slice(change.id.as_bytes()),
        Part::Rev => out.put_i64(change.rev),
        Part::Digest => out.put_slice(&change.digest),
        Part::Value(place) => match change.values.get(place).ok_or("a value is missing")? {
            Value::Null => return Ok(postgres_protocol::IsNull::Yes),
            Value::Uuid(id) => out.put_slice(id.as_bytes()),
            Value::Text(text) => out.put_slice(text.as_bytes()),
            Value::BigInt(number) => out.put_i64(*number),
            Value::Double(number) => out.put_f64(*number),
            Value::Boolean(truth) => out.put_u8(u8::from(*truth)),
            Value::Timestamp(micros) => {
                out.put_i64(
                    micros
                        .checked_sub(EPOCH_OFFSET)
                        .ok_or("a time is out of range")?,
                );
            }
            Value::Json(text) => {
                out.put_u8(JSONB_VERSION);
                out.put_slice(text.as_bytes());
            }
        },
    }
    Ok(postgres_protocol::IsNull::No)
}

#[cfg(test)]
mod tests {
    use super::{Flaw, flaw};
    use crate::change::{Change, Kind, Table, Value};
    use uuid::Uuid;

    fn row(table: Table) -> Change {
        let values = table.columns().iter().map(|_| Value::Null).collect();
        Change {
            table,
            id: Uuid::nil(),
            rev: 1,
            digest: [0; 16],
            is_new: false,
            values,
        }
    }

    fn with(table: Table, column: &str, value: Value) -> Option<Flaw> {
        let mut change = row(table);
        let place = table
            .columns()
            .iter()
            .position(|c| c.name == column)
            .unwrap();
        change.values[place] = value;
        flaw(&change)
    }

    #[test]
    fn a_row_that_can_be_written_has_no_flaw() {
        for table in Table::ALL {
            let mut change = row(table);
            assert_eq!(flaw(&change), None);
            change.values = table
                .columns()
                .iter()
                .map(|column| match column.kind {
                    Kind::Uuid => Value::Uuid(Uuid::nil()),
                    Kind::Text => Value::Text("x".into()),
                    Kind::BigInt => Value::BigInt(i64::MIN),
                    Kind::Double => Value::Double(f64::NAN),
                    Kind::Boolean => Value::Boolean(true),
                    Kind::Timestamp => Value::Timestamp(0),
                    Kind::Json => Value::Json("not even JSON".into()),
                })
                .collect();
            assert_eq!(flaw(&change), None);
        }
    }

    #[test]
    fn a_flaw_names_its_column_and_not_its_value() {
        let nul = with(
            Table::ToolMetrics,
            "tool_name",
            Value::Text("secret\0".into()),
        )
        .unwrap();
        assert_eq!(
            (nul.sqlstate, nul.message.as_str()),
            ("22021", "tool_name holds a NUL character")
        );
        let code = |column, value| with(Table::ToolMetrics, column, value).unwrap().sqlstate;
        assert_eq!(code("started_at", Value::Timestamp(i64::MIN)), "22008");
        assert_eq!(code("started_at", Value::Text("today".into())), "22P02");
        assert_eq!(code("program", Value::Text("x".repeat(17 << 20))), "54000");
        let mut short = row(Table::ToolMetrics);
        short.values.pop();
        assert_eq!(flaw(&short).unwrap().sqlstate, "22023");
    }
}
