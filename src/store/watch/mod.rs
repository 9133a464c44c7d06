//! Queries watched: how often each statement ran and how long it took, and how work waited for its turn.
//!
//! Purpose: real figures of this process, per tenant and in all, from what SQLite itself tells of each statement.
//! Depends on [`crate::domain`] alone. Invariants: a statement is known by its normal form, which holds no value;
//! everything is bounded (256 statements, 16 tenants told apart, 20 KiB a histogram); a hook's work is not watched; what
//! work on the registry and opening a file take is not counted.
//!
//! ```
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use millpond::domain::ids::TenantId;
//! use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
//! use millpond::store::{Home, Store};
//!
//! let folder = tempfile::tempdir()?;
//! let store = Store::init(Home::at(folder.path().join("home")))?;
//! let domain = Domain::parse("acme")?;
//! store.create_tenant(&NewTenant {
//!     id: TenantId::generate(),
//!     domain: domain.clone(),
//!     name: TenantName::parse("name", "Acme")?,
//!     plan: Plan::Basic,
//!     admin_email: None,
//! })?;
//! store.tenant(&domain)?.read(|r| r.sessions().count())?;
//!
//! let statistics = store.statistics()?;
//! assert_eq!(statistics.all.transactions, 1);
//! for statement in &statistics.all.statements {
//!     println!("{:?} at the most: {}", statement.times.p99, statement.sql);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Each statement is logged at DEBUG and each slow one at WARN, by `tracing` with target `millpond::store::watch`, in
//! its normal form.

mod books;
mod exposition;
mod probe;
mod statement;
mod statistics;
mod times;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) use exposition::{Exposition, Kind, seconds};
pub(super) use probe::Probe;
pub use statistics::{Figures, PoolState, StatementFigures, Statistics, TenantFigures, Waits};
pub use times::Summary;

use books::Books;
use probe::Tally;

use crate::domain::ids::TenantId;
use crate::domain::units::Timestamp;

/// What is slow unless it is said otherwise.
pub const DEFAULT_SLOW_THRESHOLD: Duration = Duration::from_secs(1);

/// What a store sees of the work on its tenants.
#[derive(Debug)]
pub struct Watch {
    is_on: AtomicBool,
    slow_ns: AtomicU64,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    since: Timestamp,
    books: Books,
}

impl Watch {
    pub(super) fn new(now: Timestamp) -> Self {
        let watch = Self {
            is_on: AtomicBool::new(true),
            slow_ns: AtomicU64::new(0),
            counts: Mutex::new(Counts {
                since: now,
                books: Books::default(),
            }),
        };
        watch.set_slow_threshold(DEFAULT_SLOW_THRESHOLD);
        watch
    }

    /// How long a statement has to take to be called slow; one second unless it was changed.
    #[must_use]
    pub fn slow_threshold(&self) -> Duration {
        Duration::from_nanos(self.slow_ns.load(Ordering::Relaxed))
    }

    /// Changes what is called slow from now on; what was counted stays as it was.
    pub fn set_slow_threshold(&self, threshold: Duration) {
        let nanos = u64::try_from(threshold.as_nanos()).unwrap_or(u64::MAX);
        self.slow_ns.store(nanos, Ordering::Relaxed);
    }

    /// Watches statements, as it does from the start, or no more: for a process that counts them by other means.
    pub fn set_on(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed);
    }

    /// Forgets what was counted.
    pub(super) fn reset(&self, now: Timestamp) {
        *self.counts() = Counts {
            since: now,
            books: Books::default(),
        };
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What work waits for before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// For one of the tenant's connections, all of which are at work.
    Connection,
    /// For its turn to write.
    Writer,
}

/// Counts one tenant's work.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    watch: Arc<Watch>,
    tenant: TenantId,
}

impl Watched {
    pub(super) const fn new(watch: Arc<Watch>, tenant: TenantId) -> Self {
        Self { watch, tenant }
    }

    const fn tenant(&self) -> TenantId {
        self.tenant
    }

    fn slow_threshold(&self) -> Duration {
        self.watch.slow_threshold()
    }

    fn is_on(&self) -> bool {
        self.watch.is_on.load(Ordering::Relaxed)
    }

    fn count(&self, tally: &Tally) {
        if !tally.is_empty() {
            let slow = self.slow_threshold();
            self.watch.counts().books.count(self.tenant, tally, slow);
        }
    }

    fn transaction(&self, failed: bool) {
        let mut counts = self.watch.counts();
        let book = counts.books.of(self.tenant);
        book.transactions += 1;
        book.failed += u64::from(failed);
    }

    /// Counts that work had to wait, and whether it gave up.
    pub(super) fn waited(&self, line: Line, took: Duration, gave_up: bool) {
        let slow = self.slow_threshold();
        let mut counts = self.watch.counts();
        let book = counts.books.of(self.tenant);
        let waited = match line {
            Line::Connection => &mut book.connection_waits,
            Line::Writer => &mut book.writer_waits,
        };
        waited.times.add(took, slow);
        waited.timeouts += u64::from(gave_up);
    }
}
