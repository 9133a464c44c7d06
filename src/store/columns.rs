//! Reading columns into values that cannot be wrong, and writing those that SQLite has no type for.

use rusqlite::Row;
use rusqlite::types::Type;

use crate::domain::InvalidValue;
use crate::domain::units::{Text, Timestamp};

/// Whether a row is there for its readers, or waits for its deletion to travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It is there.
    Present,
    /// It was deleted.
    Deleted,
}

impl Life {
    /// By the value of `deleted_at`.
    pub(super) const fn of(deleted_at: Option<i64>) -> Self {
        if deleted_at.is_some() {
            Self::Deleted
        } else {
            Self::Present
        }
    }
}

/// A value that another program put into the file and that its type does not take.
pub(super) fn unreadable(column: usize) -> impl FnOnce(InvalidValue) -> rusqlite::Error {
    move |source| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(source))
}

/// A text that may be missing.
pub(super) fn text<const MAX: usize>(
    row: &Row<'_>,
    at: usize,
) -> rusqlite::Result<Option<Text<MAX>>> {
    row.get_ref(at)?
        .as_str_or_null()?
        .map(|raw| Text::parse("text", raw).map_err(unreadable(at)))
        .transpose()
}

/// A text.
pub(super) fn some_text<const MAX: usize>(row: &Row<'_>, at: usize) -> rusqlite::Result<Text<MAX>> {
    text(row, at)?.ok_or_else(|| missing(at))
}

/// A time that may be missing.
pub(super) fn time(row: &Row<'_>, at: usize) -> rusqlite::Result<Option<Timestamp>> {
    row.get::<_, Option<i64>>(at)?
        .map(|micros| Timestamp::from_micros(micros).map_err(unreadable(at)))
        .transpose()
}

/// A time.
pub(super) fn some_time(row: &Row<'_>, at: usize) -> rusqlite::Result<Timestamp> {
    time(row, at)?.ok_or_else(|| missing(at))
}

/// A name that `parse` knows.
pub(super) fn named<T>(
    row: &Row<'_>,
    at: usize,
    parse: impl FnOnce(&str) -> Result<T, InvalidValue>,
) -> rusqlite::Result<T> {
    parse(row.get_ref(at)?.as_str()?).map_err(unreadable(at))
}

/// A list or object as JSON text.
pub(super) fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|source| rusqlite::Error::ToSqlConversionFailure(Box::new(source)))
}

fn missing(at: usize) -> rusqlite::Error {
    unreadable(at)(InvalidValue::new("value", "is missing"))
}
