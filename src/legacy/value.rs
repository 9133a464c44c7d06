//! Values and rows: one Rust type for each kind of value, whichever side it comes from.
//!
//! The sides differ in what they keep: SQLite has no type for ids, times, truth values and JSON, and keeps them as
//! bytes, microseconds, 0 or 1 and text. [`Row::get`] reads both, so that a program sees no difference.

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;
use uuid::Uuid;

use super::error::Error;
use crate::domain::units::Timestamp;

/// A parameter of a statement, or a value of a row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
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
    /// A moment, to the microsecond.
    Time(Timestamp),
    /// A JSON document.
    Json(Json),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Value {
    /// What it is, in words.
    pub(super) const fn in_words(&self) -> &'static str {
        match self {
            Self::Null => "no value (NULL)",
            Self::Bool(_) => "a truth value",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Uuid(_) => "an id",
            Self::Time(_) => "a time",
            Self::Json(_) => "a JSON document",
            Self::Bytes(_) => "bytes",
        }
    }
}

macro_rules! from {
    ($($of:ty => $kind:ident),*) => { $(
        impl From<$of> for Value {
            fn from(value: $of) -> Self {
                Self::$kind(value.into())
            }
        }
    )* };
}

from!(bool => Bool, i32 => Int, i64 => Int, f64 => Float, &str => Text, String => Text, Uuid => Uuid,
      Timestamp => Time, Json => Json, Vec<u8> => Bytes);

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A type that a column can be read as.
pub trait FromValue: Sized {
    /// What it is, in words, as "a text".
    const WANTED: &'static str;

    /// Reads a value; `None` where it is of another kind.
    fn from_value(value: &Value) -> Option<Self>;
}

impl FromValue for Value {
    const WANTED: &'static str = "a value";

    fn from_value(value: &Value) -> Option<Self> {
        Some(value.clone())
    }
}

impl FromValue for String {
    const WANTED: &'static str = "a text";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        }
    }
}

impl FromValue for i64 {
    const WANTED: &'static str = "an integer";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }
}

impl FromValue for f64 {
    const WANTED: &'static str = "a number";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Float(number) => Some(*number),
            // SQLite's `sum` of integers is one; a 32-bit one is a double without loss.
            Value::Int(number) => i32::try_from(*number).ok().map(Self::from),
            _ => None,
        }
    }
}

impl FromValue for bool {
    const WANTED: &'static str = "a truth value";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bool(truth) => Some(*truth),
            Value::Int(0) => Some(false),
            Value::Int(1) => Some(true),
            _ => None,
        }
    }
}

impl FromValue for Uuid {
    const WANTED: &'static str = "an id";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Uuid(id) => Some(*id),
            Value::Bytes(bytes) => Self::from_slice(bytes).ok(),
            _ => None,
        }
    }
}

impl FromValue for Timestamp {
    const WANTED: &'static str = "a time";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Time(time) => Some(*time),
            Value::Int(micros) => Self::from_micros(*micros).ok(),
            _ => None,
        }
    }
}

impl FromValue for Json {
    const WANTED: &'static str = "a JSON document";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Json(json) => Some(json.clone()),
            Value::Text(text) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }
}

impl FromValue for Vec<u8> {
    const WANTED: &'static str = "bytes";

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        }
    }
}

impl<T: FromValue> FromValue for Option<T> {
    const WANTED: &'static str = T::WANTED;

    fn from_value(value: &Value) -> Option<Self> {
        match value {
            Value::Null => Some(None),
            other => T::from_value(other).map(Some),
        }
    }
}

/// One row of an answer.
#[derive(Clone, PartialEq)]
pub struct Row {
    columns: Arc<[String]>,
    values: Vec<Value>,
}

impl Row {
    pub(super) const fn new(columns: Arc<[String]>, values: Vec<Value>) -> Self {
        Self { columns, values }
    }

    /// The columns' names, in order.
    #[must_use]
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Reads a column by its name. `Option<T>` where it may hold no value.
    ///
    /// ```
    /// # use millpond::legacy::{Error, Row};
    /// # fn f(row: &Row) -> Result<(), Error> {
    /// let domain: String = row.get("domain")?;
    /// let billing = row.get::<Option<String>>("billing_email")?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::NoColumn`], [`Error::AmbiguousColumn`], and [`Error::WrongType`] where the value is of another kind.
    pub fn get<T: FromValue>(&self, column: &str) -> Result<T, Error> {
        let mut found = self
            .columns
            .iter()
            .zip(&self.values)
            .filter(|(name, _)| *name == column)
            .map(|(_, value)| value);
        let value = found.next().ok_or_else(|| Error::NoColumn {
            column: column.to_owned(),
            columns: self.columns.to_vec(),
        })?;
        if found.next().is_some() {
            return Err(Error::AmbiguousColumn {
                column: column.to_owned(),
            });
        }
        T::from_value(value).ok_or_else(|| Error::WrongType {
            column: column.to_owned(),
            wanted: T::WANTED,
            found: value.in_words(),
        })
    }
}

/// The columns alone: values are a tenant's own, and Debug ends up in logs.
impl fmt::Debug for Row {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Row")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_what_is_wrong_with_what_was_asked_of_it() {
        let columns: Arc<[String]> = ["id", "n", "n"].map(str::to_owned).into();
        let row = Row::new(
            columns,
            vec![Value::Bytes(vec![7; 16]), Value::Int(1), Value::Null],
        );
        assert_eq!(row.get::<Uuid>("id").unwrap(), Uuid::from_bytes([7; 16]));
        assert_eq!(
            row.get::<String>("id").unwrap_err().to_string(),
            "column id holds bytes, not a text"
        );
        assert_eq!(
            row.get::<i64>("x").unwrap_err().to_string(),
            "the row has no column x; it has id, n, n"
        );
        assert_eq!(row.get::<i64>("n").unwrap_err().kind(), "column");
        assert!(!format!("{row:?}").contains('7'));
    }
}
