//! The values of a program's statement, and what a server answers.
//!
//! Purpose: one Rust type for each kind of value, to the server and back. Depends on nothing of ours but the errors.
//! Invariants: a parameter is sent with its type; `numeric`, which `sum` and `avg` return, comes back as an integer
//! where it is one that fits and else as the nearest double; a type that is not listed is refused, with its name.

use std::error::Error as StdError;
use std::fmt::Write as _;

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};
use uuid::Uuid;

use super::connect::remote_error;
use crate::fault::{Fault, RemoteError};

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// No value.
    Null,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// An id.
    Uuid(Uuid),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Time(i64),
    /// A JSON document.
    Json(serde_json::Value),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// What a statement returned.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// The columns' names, in order. Empty where it returned no row.
    pub columns: Vec<String>,
    /// The rows, each with a value per column.
    pub rows: Vec<Vec<Value>>,
    /// Rows that were returned or touched.
    pub affected: u64,
}

/// A parameter and its type. A NULL has none: the server takes that of its place.
pub(crate) fn parameter(value: &Value) -> (&(dyn ToSql + Sync), Type) {
    let of = match value {
        Value::Null => Type::UNKNOWN,
        Value::Bool(_) => Type::BOOL,
        Value::Int(_) => Type::INT8,
        Value::Float(_) => Type::FLOAT8,
        Value::Text(_) => Type::TEXT,
        Value::Uuid(_) => Type::UUID,
        Value::Time(_) => Type::TIMESTAMPTZ,
        Value::Json(_) => Type::JSONB,
        Value::Bytes(_) => Type::BYTEA,
    };
    (value, of)
}

/// PostgreSQL's epoch, 2000-01-01, in microseconds since 1970.
const EPOCH: i64 = 946_684_800_000_000;

impl ToSql for Value {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<IsNull, Box<dyn StdError + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            Self::Bool(value) => value.to_sql(ty, out),
            Self::Int(value) => value.to_sql(ty, out),
            Self::Float(value) => value.to_sql(ty, out),
            Self::Text(value) => value.to_sql(ty, out),
            Self::Uuid(value) => value.to_sql(ty, out),
            Self::Time(micros) => {
                // The binary form of a timestamptz.
                let since = micros
                    .checked_sub(EPOCH)
                    .ok_or("the time is out of range")?;
                since.to_sql(&Type::INT8, out)
            }
            Self::Json(value) => value.to_sql(ty, out),
            Self::Bytes(value) => value.to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(match *ty {
            Type::BOOL => Self::Bool(bool::from_sql(ty, raw)?),
            Type::INT2 => Self::Int(i16::from_sql(ty, raw)?.into()),
            Type::INT4 => Self::Int(i32::from_sql(ty, raw)?.into()),
            Type::INT8 => Self::Int(i64::from_sql(ty, raw)?),
            Type::FLOAT4 => Self::Float(f32::from_sql(ty, raw)?.into()),
            Type::FLOAT8 => Self::Float(f64::from_sql(ty, raw)?),
            Type::NUMERIC => numeric(raw)?,
            Type::UUID => Self::Uuid(Uuid::from_sql(ty, raw)?),
            Type::TIMESTAMPTZ | Type::TIMESTAMP => {
                let since = i64::from_sql(&Type::INT8, raw)?;
                Self::Time(since.checked_add(EPOCH).ok_or("the time is out of range")?)
            }
            Type::JSON | Type::JSONB => Self::Json(serde_json::Value::from_sql(ty, raw)?),
            Type::BYTEA => Self::Bytes(raw.to_vec()),
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::NAME | Type::UNKNOWN => {
                Self::Text(String::from_sql(&Type::TEXT, raw)?)
            }
            _ => return Err(format!("a value of type {} cannot be read", ty.name()).into()),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn StdError + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// Reads a `numeric` (`numeric_send` in PostgreSQL's source): digits to the base 10,000.
fn numeric(raw: &[u8]) -> Result<Value, Box<dyn StdError + Sync + Send>> {
    const MALFORMED: &str = "a numeric value is malformed";
    let mut words = raw
        .chunks_exact(2)
        .map(|pair| <[u8; 2]>::try_from(pair).map(u16::from_be_bytes));
    let mut next = || words.next().ok_or(MALFORMED)?.map_err(|_| MALFORMED);
    let (count, weight, sign, scale) = (next()?, next()?.cast_signed(), next()?, next()?);
    // 0xC000 NaN, 0xD000 Infinity, 0xF000 -Infinity.
    match sign {
        0xC000 => return Ok(Value::Float(f64::NAN)),
        0xD000 => return Ok(Value::Float(f64::INFINITY)),
        0xF000 => return Ok(Value::Float(f64::NEG_INFINITY)),
        _ => {}
    }
    let mut text = String::from(if sign == 0x4000 { "-0" } else { "0" });
    let mut place = weight;
    for _ in 0..count {
        if place == -1 {
            text.push('.');
        }
        write!(text, "{:04}", next()?)?;
        place -= 1;
    }
    if weight < -1 {
        // Smaller than 1/10,000: the digits stand behind the point.
        let digits = text.trim_start_matches('-').to_owned();
        let exponent = (i32::from(place) + 1) * 4;
        let minus = if sign == 0x4000 { "-" } else { "" };
        return Ok(Value::Float(format!("{minus}{digits}e{exponent}").parse()?));
    }
    for _ in 0..=place.max(-1) {
        text.push_str("0000");
    }
    if scale == 0
        && let Ok(whole) = text.parse()
    {
        return Ok(Value::Int(whole));
    }
    Ok(Value::Float(text.parse()?))
}

/// Reads rows into values.
pub(crate) fn read(rows: &[Row], affected: u64) -> Result<Answer, RemoteError> {
    const ACTION: &str = "read the rows";
    let mut answer = Answer {
        columns: Vec::new(),
        rows: Vec::with_capacity(rows.len()),
        affected,
    };
    for row in rows {
        if answer.columns.is_empty() {
            let unreadable = row
                .columns()
                .iter()
                .find(|column| !matches!(column.type_().kind(), Kind::Simple | Kind::Pseudo));
            if let Some(column) = unreadable {
                return Err(RemoteError::new(
                    ACTION,
                    Fault::Unclear,
                    format!(
                        "column {} has the type {}, which has no value here: cast it to text",
                        column.name(),
                        column.type_()
                    ),
                ));
            }
            answer.columns = row
                .columns()
                .iter()
                .map(|column| column.name().to_owned())
                .collect();
        }
        let values = (0..row.len())
            .map(|at| row.try_get(at).map_err(|error| remote_error(ACTION, error)))
            .collect::<Result<_, _>>()?;
        answer.rows.push(values);
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::{Value, numeric};

    fn words(words: &[u16]) -> Value {
        let raw: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        numeric(&raw).unwrap()
    }

    #[test]
    fn a_numeric_is_an_integer_where_it_is_one_and_a_number_else() {
        assert_eq!(words(&[0, 0, 0, 0]), Value::Int(0));
        assert_eq!(words(&[1, 0, 0, 0, 42]), Value::Int(42));
        assert_eq!(words(&[2, 1, 0x4000, 0, 1, 2]), Value::Int(-10_002));
        // 10^8 is sent as one digit: the zeros behind it are not.
        assert_eq!(words(&[1, 2, 0, 0, 1]), Value::Int(100_000_000));
        assert_eq!(words(&[2, 0, 0, 1, 1, 5000]), Value::Float(1.5));
        assert_eq!(
            words(&[1, (-1_i16).cast_unsigned(), 0, 4, 5]),
            Value::Float(0.0005)
        );
        assert_eq!(
            words(&[1, (-2_i16).cast_unsigned(), 0, 8, 5]),
            Value::Float(5e-8)
        );
        assert!(matches!(words(&[0, 0, 0xC000, 0]), Value::Float(nan) if nan.is_nan()));
    }
}
