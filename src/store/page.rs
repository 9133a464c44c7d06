//! Keyset pages: a cursor names the last row seen, so that page 10,000 costs what page 1 costs.

use serde::Serialize;
use uuid::Uuid;

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
    /// How many rows the filter matches in all.
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

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
