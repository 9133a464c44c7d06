//! How the store is: does each file answer, is anything slow, waiting or damaged, and what to do about it.
//!
//! Purpose: [`Store::health_check`] asks each file for an answer; [`Store::health_report`] looks closer and says what
//! follows. Depends on the store's own files and [`super::watch`]. Invariants: looking changes no row; what is not well
//! with one tenant hides nothing of the others; every recommendation follows from a figure of the same report.
//!
//! | status | when |
//! |---|---|
//! | `unhealthy` | a tenant's file cannot be opened or read, or its last integrity check found something |
//! | `degraded` | statements were slow, work gave up waiting or waited long, a log is large, synchronisation stopped or is late, rows lie in quarantine |
//! | `healthy` | neither; an index that would serve or an integrity check that is due may be recommended all the same |
//!
//! A report runs a few of the statements that commands run (a page of sessions, figures by tool of 30 days, the state of
//! the outbox), so that a process that has only begun has figures too.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use millpond::store::health::{HealthLimits, HealthStatus};
//! use millpond::store::{Home, Store};
//!
//! let folder = tempfile::tempdir()?;
//! let store = Store::init(Home::at(folder.path().join("home")))?;
//! let report = store.health_report(None, &HealthLimits::default())?;
//! assert_eq!(report.status(), HealthStatus::Healthy);
//! for recommendation in report.recommendations() {
//!     println!("{recommendation}; {}", recommendation.fix());
//! }
//! # Ok(())
//! # }
//! ```
//! [`Store::health_check`]: crate::store::Store::health_check
//! [`Store::health_report`]: crate::store::Store::health_report

mod advice;
mod check;
mod explain;
mod exposition;
mod integrity;
mod report;

use std::time::Duration;

use serde::Serialize;

pub use advice::Recommendation;
pub use check::{Answer, HealthCheck};
pub use explain::MissingIndex;
pub use integrity::{IntegrityCheck, IntegrityDepth};
pub use report::{Facts, HealthReport, TenantHealth};

/// How well something is; the worse the greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nothing is in the way.
    #[default]
    Healthy,
    /// It works, and something ought to be done.
    Degraded,
    /// Something does not work.
    Unhealthy,
}

impl HealthStatus {
    /// Its name for people and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// From where on something is worth a recommendation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HealthLimits {
    /// A log larger than this, in bytes: 64 MiB. It is cut back to 16 MiB whenever it has been moved into its file, so
    /// that someone must be in the way of that.
    pub log_bytes: u64,
    /// A wait for a connection or for a turn to write that is longer: 1 s.
    pub wait: Duration,
    /// A last integrity check, or a file never checked, that is older: 30 days.
    pub integrity_age: Duration,
    /// A waiting row that is older, of a tenant that is enrolled: 3 days.
    pub pending_age: Duration,
    /// A table that is read as a whole and has at least so many rows: 10,000.
    pub scanned_rows: u32,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Default for HealthLimits {
    fn default() -> Self {
        Self {
            log_bytes: 64 << 20,
            wait: Duration::from_secs(1),
            integrity_age: DAY.saturating_mul(30),
            pending_age: DAY.saturating_mul(3),
            scanned_rows: 10_000,
        }
    }
}
