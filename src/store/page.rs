//! Pages, two ways.
//!
//! Keyset pages: a cursor names the last row seen, so that page 10,000 costs what page 1 costs. Numbered pages: for
//! tables on a screen, with the number of pages; page n costs what n pages cost, and a row that is added meanwhile moves
//! the others on.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use serde::Serialize;
use uuid::Uuid;

use super::error::{self, Error};
use super::filter::{self, Conditions};
use crate::domain::InvalidValue;
use crate::domain::units::Timestamp;

/// Where a page ended: a time and the id that breaks ties. Opaque to callers; 48 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    pub(super) at: i64,
    pub(super) id: Uuid,
}

impl Cursor {
    pub(super) const fn new(at: Timestamp, id: Uuid) -> Self {
        Self {
            at: at.as_micros(),
            id,
        }
    }

    /// Reads a cursor that [`Cursor`]'s `Display` wrote.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        let invalid = || InvalidValue::new("cursor", "was not given by a page before");
        let (at, id) = raw.split_at_checked(16).ok_or_else(invalid)?;
        Ok(Self {
            at: i64::from_str_radix(at, 16).map_err(|_| invalid())?,
            id: Uuid::try_parse(id).map_err(|_| invalid())?,
        })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:016x}{}", self.at, self.id.simple())
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Some rows, and where to go on.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// The rows, in the order asked for.
    pub rows: Vec<T>,
    /// Where the next page begins; `None` after the last row.
    pub next: Option<Cursor>,
}

/// Which way a list runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Direction {
    /// The least first; rows without a value before all others.
    #[default]
    Ascending,
    /// The greatest first; rows without a value after all others.
    Descending,
}

impl Direction {
    pub(super) const fn sql(self) -> &'static str {
        match self {
            Self::Ascending => "ASC",
            Self::Descending => "DESC",
        }
    }
}

/// Which numbered page is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageRequest {
    page: u32,
    limit: u32,
}

impl PageRequest {
    /// Page `page`, counted from 1, of pages of `limit` rows.
    ///
    /// # Errors
    /// When `page` is 0, or `limit` is not 1 to 1,000.
    pub fn new(page: u32, limit: u32) -> Result<Self, InvalidValue> {
        if page == 0 {
            return Err(InvalidValue::new("page", "is counted from 1"));
        }
        if !(1..=1_000).contains(&limit) {
            return Err(InvalidValue::new("page size", "must be 1 to 1000"));
        }
        Ok(Self { page, limit })
    }
}

/// Where a numbered page stands among the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PageMeta {
    /// The page, counted from 1.
    pub page: u32,
    /// How many rows a page has.
    pub limit: u32,
    /// How many rows there are in all.
    pub total: u64,
    /// How many pages that makes; 0 where there are no rows.
    pub total_pages: u64,
    /// Whether there is a page after this one.
    pub has_next: bool,
    /// Whether there is a page before this one.
    pub has_prev: bool,
}

impl PageMeta {
    fn new(request: PageRequest, total: u64) -> Self {
        let total_pages = total.div_ceil(u64::from(request.limit));
        Self {
            page: request.page,
            limit: request.limit,
            total,
            total_pages,
            has_next: u64::from(request.page) < total_pages,
            has_prev: request.page > 1,
        }
    }
}

/// A numbered page: its rows, and where it stands. A page after the last one has no rows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct NumberedPage<T> {
    /// The rows, in the order asked for.
    pub data: Vec<T>,
    /// Where the page stands.
    pub meta: PageMeta,
}

/// A page of at most `limit` rows (1 to 1,000) that match, by a column of times and the id, after `cursor`. The words
/// are the program's own.
pub(super) fn keyset<T>(
    connection: &Connection,
    (table, columns, time): (&'static str, &'static str, &'static str),
    conditions: &Conditions,
    (direction, limit, after): (Direction, usize, Option<Cursor>),
    action: &'static str,
    from_row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    cursor_of: impl FnOnce(&T) -> Cursor,
) -> Result<Page<T>, Error> {
    let limit = limit.clamp(1, 1_000);
    let mut values = conditions.values().to_vec();
    let sql = keyset_sql(
        (table, columns, time),
        conditions,
        (direction, after.is_some()),
    );
    if let Some(cursor) = after {
        values.extend([Value::Integer(cursor.at), filter::id(cursor.id)]);
    }
    // One more than is shown tells whether there is a page after this one.
    values.push(Value::Integer(i64::try_from(limit + 1).unwrap_or(i64::MAX)));
    let mut rows: Vec<T> = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| {
            statement
                .query_map(params_from_iter(values), from_row)?
                .collect()
        })
        .map_err(error::query(action))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let next = rows.last().filter(|_| more).map(cursor_of);
    Ok(Page { rows, next })
}

/// The statement of a keyset page: its values are those of the conditions, the cursor's two, and the limit.
pub(super) fn keyset_sql(
    (table, columns, time): (&'static str, &'static str, &'static str),
    conditions: &Conditions,
    (direction, has_cursor): (Direction, bool),
) -> String {
    let (comparison, way) = match direction {
        Direction::Ascending => (">", "ASC"),
        Direction::Descending => ("<", "DESC"),
    };
    let mut at = conditions.len() + 1;
    let mut after_cursor = String::new();
    if has_cursor {
        after_cursor = format!(" AND ({time}, id) {comparison} (?{at}, ?{})", at + 1);
        at += 2;
    }
    format!(
        "SELECT {columns} FROM {table} WHERE {}{after_cursor} ORDER BY {time} {way}, id {way} LIMIT ?{at}",
        conditions.sql()
    )
}

/// A numbered page of a table's rows that match. `columns` and `order` are the program's own words.
pub(super) fn numbered<T>(
    connection: &Connection,
    (table, columns, order): (&'static str, &'static str, &str),
    conditions: &Conditions,
    request: PageRequest,
    action: &'static str,
    from_row: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<NumberedPage<T>, Error> {
    let (limit, offset) = (conditions.len() + 1, conditions.len() + 2);
    let sql = format!(
        "SELECT {columns} FROM {table} WHERE {} ORDER BY {order} LIMIT ?{limit} OFFSET ?{offset}",
        conditions.sql()
    );
    let mut values = conditions.values().to_vec();
    let skipped = i64::from(request.page - 1) * i64::from(request.limit);
    values.extend([
        Value::Integer(request.limit.into()),
        Value::Integer(skipped),
    ]);
    let data = connection
        .prepare_cached(&sql)
        .and_then(|mut statement| {
            statement
                .query_map(params_from_iter(values), from_row)?
                .collect()
        })
        .map_err(error::query(action))?;
    let total = count(connection, table, conditions, action)?;
    Ok(NumberedPage {
        data,
        meta: PageMeta::new(request, total),
    })
}

/// How many rows of a table match.
pub(super) fn count(
    connection: &Connection,
    table: &'static str,
    conditions: &Conditions,
    action: &'static str,
) -> Result<u64, Error> {
    connection
        .prepare_cached(&format!(
            "SELECT count(*) FROM {table} WHERE {}",
            conditions.sql()
        ))
        .and_then(|mut statement| {
            statement.query_row(params_from_iter(conditions.values()), |row| row.get(0))
        })
        .map_err(error::query(action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_page_knows_its_neighbours() {
        let meta = |page, total| PageMeta::new(PageRequest::new(page, 10).unwrap(), total);
        let seen = |meta: PageMeta| (meta.total_pages, meta.has_prev, meta.has_next);
        assert_eq!(seen(meta(1, 0)), (0, false, false));
        assert_eq!(seen(meta(1, 10)), (1, false, false));
        assert_eq!(seen(meta(1, 11)), (2, false, true));
        assert_eq!(seen(meta(2, 11)), (2, true, false));
        assert_eq!(seen(meta(7, 11)), (2, true, false));
        assert!(PageRequest::new(0, 10).is_err());
        assert!(PageRequest::new(1, 0).is_err() && PageRequest::new(1, 1_001).is_err());
    }

    #[test]
    fn a_cursor_survives_being_written_and_read() {
        let cursor = Cursor {
            at: 1_767_905_603_465_000,
            id: Uuid::from_u128(77),
        };
        assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
        for bad in ["", "zz", "ä", &"0".repeat(47), "' OR 1=1 --"] {
            assert!(Cursor::parse(bad).is_err(), "{bad:?} was taken");
        }
    }
}
