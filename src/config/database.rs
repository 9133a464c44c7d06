//! Where the central database is and how its connections are used.
//!
//! Invariants: a URL is never shown, since it may hold a password; a value that cannot be used is an error that names
//! the variable or key it came from, and nothing is guessed in its place.

use std::fmt;
use std::time::Duration;

use super::ConfigError;

/// A database URL, which may hold a password: neither Debug nor Display shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// Takes a text as a URL; whoever connects reads it.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The URL itself, for the one place that must have it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[database URL]")
    }
}

/// How the central database is reached, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// Its URL; `None` where no central database is named.
    pub url: Option<DatabaseUrl>,
    /// Connections that are opened ahead of need.
    pub pool_min: usize,
    /// Connections at most.
    pub pool_max: usize,
    /// Longest wait for a free connection.
    pub pool_timeout: Duration,
    /// Longest run of one statement.
    pub query_timeout: Duration,
    /// From this time on a statement is told to the log.
    pub slow_query_threshold: Duration,
}

impl Default for DatabaseSettings {
    fn default() -> Self {
        Self {
            url: None,
            pool_min: 0,
            pool_max: 10,
            pool_timeout: Duration::from_secs(10),
            query_timeout: Duration::from_secs(30),
            slow_query_threshold: Duration::from_secs(1),
        }
    }
}

/// The most that any of the numbers may be: a day in milliseconds.
const MOST: u64 = 86_400_000;
/// The most connections of one pool.
const CONNECTIONS_MOST: u64 = 1_000;

impl DatabaseSettings {
    /// Reads the settings that the environment names, by `variable`; an empty variable is none.
    ///
    /// ```
    /// use millpond::config::DatabaseSettings;
    /// let four = |name: &str| (name == "DATABASE_POOL_MAX").then(|| "4".to_owned());
    /// assert_eq!(DatabaseSettings::of(four)?.pool_max, 4);
    /// let bad = |name: &str| (name == "DATABASE_POOL_MAX").then(|| "many".to_owned());
    /// let error = DatabaseSettings::of(bad).unwrap_err().to_string();
    /// assert!(error.contains("DATABASE_POOL_MAX"), "{error}");
    /// # Ok::<(), millpond::config::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError::Value`] for a value that cannot be used, with its variable's name.
    pub fn of(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let read = |name: &'static str| {
            variable(name)
                .map(|text| text.trim().to_owned())
                .filter(|text| !text.is_empty())
        };
        let number = |name: &'static str, least: u64, most: u64, default: u64| match read(name) {
            None => Ok(default),
            Some(text) => whole(name, &text, least, most),
        };
        let millis = |name: &'static str, default: Duration| {
            let default = u64::try_from(default.as_millis()).unwrap_or(MOST);
            number(name, 1, MOST, default).map(Duration::from_millis)
        };
        let default = Self::default();
        let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let settings = Self {
            url: read("DATABASE_URL").map(DatabaseUrl::new),
            pool_min: count(number("DATABASE_POOL_MIN", 0, CONNECTIONS_MOST, 0)?),
            pool_max: count(number("DATABASE_POOL_MAX", 1, CONNECTIONS_MOST, 10)?),
            pool_timeout: millis("DATABASE_POOL_TIMEOUT_MS", default.pool_timeout)?,
            query_timeout: millis("DATABASE_QUERY_TIMEOUT_MS", default.query_timeout)?,
            slow_query_threshold: millis("SLOW_QUERY_THRESHOLD_MS", default.slow_query_threshold)?,
        };
        if settings.pool_min > settings.pool_max {
            return Err(ConfigError::Value {
                name: "DATABASE_POOL_MIN".to_owned(),
                problem: format!(
                    "is {}, more than DATABASE_POOL_MAX, which is {}",
                    settings.pool_min, settings.pool_max
                ),
            });
        }
        Ok(settings)
    }
}

/// Reads a whole number within its limits.
pub(super) fn whole(name: &str, text: &str, least: u64, most: u64) -> Result<u64, ConfigError> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| ConfigError::Value {
            name: name.to_owned(),
            problem: format!("is not a whole number from {least} to {most}"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<DatabaseSettings, ConfigError> {
        DatabaseSettings::of(|name| {
            let found = given.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn every_variable_is_read_and_what_cannot_be_used_is_named() {
        let all = read(&[
            ("DATABASE_URL", " postgresql://u:secret@localhost/d "),
            ("DATABASE_POOL_MIN", "2"),
            ("DATABASE_POOL_MAX", "4"),
            ("DATABASE_POOL_TIMEOUT_MS", "50"),
            ("DATABASE_QUERY_TIMEOUT_MS", "60"),
            ("SLOW_QUERY_THRESHOLD_MS", "70"),
        ])
        .unwrap();
        let settings = DatabaseSettings {
            url: Some(DatabaseUrl::new("postgresql://u:secret@localhost/d")),
            pool_min: 2,
            pool_max: 4,
            pool_timeout: Duration::from_millis(50),
            query_timeout: Duration::from_millis(60),
            slow_query_threshold: Duration::from_millis(70),
        };
        assert_eq!(all, settings);
        assert!(!format!("{all:?}").contains("secret"));
        assert_eq!(
            read(&[("DATABASE_POOL_MAX", " ")]).unwrap(),
            DatabaseSettings::default()
        );
        for (name, value) in [
            ("DATABASE_POOL_MIN", "11"),
            ("DATABASE_POOL_MAX", "0"),
            ("DATABASE_POOL_MAX", "1001"),
            ("DATABASE_POOL_TIMEOUT_MS", "0"),
            ("DATABASE_QUERY_TIMEOUT_MS", "1s"),
            ("SLOW_QUERY_THRESHOLD_MS", "-1"),
        ] {
            let told = read(&[(name, value)]).unwrap_err().to_string();
            assert!(told.starts_with(name), "{name}={value}: {told}");
        }
    }
}
