//! The one place that asks what time it is, so that tests can hold it still.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::domain::units::Timestamp;

/// A source of the current time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The current time, in whole microseconds.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    /// The machine's time; 1970 or the end of 9999 where it is set outside those years.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place that the rule points to"
    )]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(micros).unwrap_or(Timestamp::LATEST)
    }
}
