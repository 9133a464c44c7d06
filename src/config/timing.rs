//! How long things may take, by the variables that the predecessor's users have set.
//!
//! | variable | default | what |
//! |---|---|---|
//! | `SLOW_QUERY_THRESHOLD_MS` | 1000 | a statement that takes so long is slow; 0 makes every one slow |
//! | `DATABASE_QUERY_TIMEOUT_MS` | none | how long one piece of work on a tenant's file may run |
//!
//! Both are whole milliseconds, a day at the most. An empty variable counts as one that is not set.

use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::Duration;

const DAY_MS: u64 = 86_400_000;

/// A variable whose value means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} is {value:?}, which is no number of milliseconds from {least} to {DAY_MS}")]
pub struct InvalidVariable {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: OsString,
    least: u64,
}

/// How long things may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A statement that takes so long is slow.
    pub slow_query: Duration,
    /// How long one piece of work on a tenant's file may run; `None`: as long as it takes.
    pub run: Option<Duration>,
}

impl Timing {
    /// Reads the variables by `get`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use millpond::config::timing::Timing;
    /// let timing = Timing::read(|name| (name == "SLOW_QUERY_THRESHOLD_MS").then(|| "250".into()))?;
    /// assert_eq!(timing.slow_query, Duration::from_millis(250));
    /// assert_eq!(timing.run, None);
    /// assert!(Timing::read(|_| Some("soon".into())).is_err());
    /// # Ok::<(), millpond::config::timing::InvalidVariable>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidVariable`] where one holds anything else.
    pub fn read(get: impl Fn(&str) -> Option<OsString>) -> Result<Self, InvalidVariable> {
        let slow = millis(&get, "SLOW_QUERY_THRESHOLD_MS", 0..=DAY_MS)?;
        Ok(Self {
            slow_query: slow.unwrap_or(Duration::from_secs(1)),
            run: millis(&get, "DATABASE_QUERY_TIMEOUT_MS", 1..=DAY_MS)?,
        })
    }
}

fn millis(
    get: &impl Fn(&str) -> Option<OsString>,
    name: &'static str,
    taken: RangeInclusive<u64>,
) -> Result<Option<Duration>, InvalidVariable> {
    let Some(value) = get(name).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let number = value.to_str().and_then(|text| text.parse().ok());
    match number.filter(|number| taken.contains(number)) {
        Some(number) => Ok(Some(Duration::from_millis(number))),
        None => Err(InvalidVariable {
            name,
            value,
            least: *taken.start(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(slow: &str, run: &str) -> Result<Timing, InvalidVariable> {
        Timing::read(|name| Some(if name.starts_with("SLOW") { slow } else { run }.into()))
    }

    #[test]
    fn both_are_whole_milliseconds_and_nothing_is_their_default() {
        let both = read("0", "1").unwrap();
        assert_eq!(both.slow_query, Duration::ZERO);
        assert_eq!(both.run, Some(Duration::from_millis(1)));
        let none = read("", "").unwrap();
        assert_eq!((none.slow_query, none.run), (Duration::from_secs(1), None));
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for bad in ["-1", "1.5", "1s", " 1", "86400001", "99999999999999999999"] {
            assert_eq!(
                read(bad, "").unwrap_err().name,
                "SLOW_QUERY_THRESHOLD_MS",
                "{bad}"
            );
            let refused = read("", bad).unwrap_err();
            assert_eq!(refused.name, "DATABASE_QUERY_TIMEOUT_MS", "{bad}");
            assert!(refused.to_string().contains(bad), "{refused}");
        }
        assert!(read("", "0").is_err(), "no work could be done");
    }
}
