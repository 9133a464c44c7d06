//! Values with limits: text and time.
//!
//! The limits are the central columns' own (`sync/migrations/tenant`), held here at collection, because PostgreSQL
//! refuses what SQLite takes: a NUL in a text, or one character too many.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

/// A value that its type does not take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {problem}")]
pub struct InvalidValue {
    /// What was to be made, as "email".
    pub what: &'static str,
    /// What is wrong with the given value, without repeating it.
    pub problem: String,
}

impl InvalidValue {
    /// Names what was to be made and what is wrong.
    #[must_use]
    pub fn new(what: &'static str, problem: impl Into<String>) -> Self {
        Self {
            what,
            problem: problem.into(),
        }
    }
}

/// Text of 1 to `MAX` characters, valid UTF-8 without NUL.
///
/// ```
/// use millpond::domain::units::Text;
/// assert!(Text::<5>::parse("tool name", "Bash").is_ok());
/// assert!(Text::<5>::parse("tool name", "a\0b").is_err());
/// assert!(Text::<5>::parse("tool name", "longer").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

impl<const MAX: usize> Text<MAX> {
    /// Takes a text that fits.
    ///
    /// # Errors
    /// When it is empty, holds a NUL, or has more than `MAX` characters; `what` names the value in the message.
    pub fn parse(what: &'static str, raw: &str) -> Result<Self, InvalidValue> {
        if raw.is_empty() {
            return Err(InvalidValue::new(what, "is empty"));
        }
        if raw.contains('\0') {
            return Err(InvalidValue::new(what, "contains a NUL character"));
        }
        // A text of at most MAX bytes has at most MAX characters: most are never counted.
        if raw.len() > MAX && raw.chars().count() > MAX {
            return Err(InvalidValue::new(
                what,
                format!("is longer than {MAX} characters"),
            ));
        }
        Ok(Self(raw.to_owned()))
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<const MAX: usize> AsRef<str> for Text<MAX> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = String::deserialize(deserializer)?;
        Self::parse("text", &raw).map_err(serde::de::Error::custom)
    }
}

/// A moment: whole microseconds since 1970-01-01T00:00:00Z, from 1970 up to and including 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// 10000-01-01T00:00:00Z.
const END_OF_TIME: i64 = 253_402_300_800_000_000;

impl Timestamp {
    /// The last microsecond of 9999.
    pub const LATEST: Self = Self(END_OF_TIME - 1);

    /// The moment so many microseconds after 1970-01-01T00:00:00Z.
    ///
    /// # Errors
    /// When it lies before 1970 or after 9999.
    pub fn from_micros(micros: i64) -> Result<Self, InvalidValue> {
        if (0..END_OF_TIME).contains(&micros) {
            Ok(Self(micros))
        } else {
            Err(InvalidValue::new(
                "time",
                "lies outside the years 1970 to 9999",
            ))
        }
    }

    /// Reads RFC 3339, as "2026-01-08T20:53:23.465Z"; any offset, to the microsecond.
    ///
    /// # Errors
    /// When the text is no RFC 3339 time, or lies outside 1970..9999.
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        let time = DateTime::parse_from_rfc3339(raw)
            .map_err(|_| InvalidValue::new("time", "is not an RFC 3339 time"))?;
        Self::from_micros(time.timestamp_micros())
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds from `earlier` to this moment; 0 if `earlier` is later.
    #[must_use]
    pub const fn millis_since(self, earlier: Self) -> i64 {
        let difference = (self.0 - earlier.0) / 1_000;
        if difference < 0 { 0 } else { difference }
    }

    /// The moment so many milliseconds before, but not before 1970.
    #[must_use]
    pub const fn minus_millis(self, millis: i64) -> Self {
        let micros = self.0.saturating_sub(millis.saturating_mul(1_000));
        if micros < 0 { Self(0) } else { Self(micros) }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match DateTime::<Utc>::from_timestamp_micros(self.0) {
            Some(time) => out.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
            None => write!(out, "{}", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = String::deserialize(deserializer)?;
        Self::parse(&raw).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_measured_in_characters_not_bytes() {
        assert!(Text::<3>::parse("name", "äöü").is_ok());
        assert!(Text::<2>::parse("name", "äöü").is_err());
    }

    #[test]
    fn an_empty_text_and_a_nul_are_refused() {
        assert!(Text::<3>::parse("name", "").is_err());
        assert_eq!(
            Text::<9>::parse("tool name", "a\0b")
                .unwrap_err()
                .to_string(),
            "tool name contains a NUL character"
        );
    }

    #[test]
    fn times_before_1970_and_after_9999_are_refused() {
        assert!(Timestamp::parse("1969-12-31T23:59:59Z").is_err());
        assert!(Timestamp::parse("9999-12-31T23:59:59.999999Z").is_ok());
        assert!(Timestamp::from_micros(END_OF_TIME).is_err());
    }

    #[test]
    fn a_time_survives_being_written_and_read() {
        let time = Timestamp::parse("2026-01-08T21:53:23.465+01:00").unwrap();
        assert_eq!(time.to_string(), "2026-01-08T20:53:23.465Z");
        assert_eq!(Timestamp::parse(&time.to_string()).unwrap(), time);
    }
}
