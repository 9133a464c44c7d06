//! What was counted, as callers read it: a copy of one moment.

use std::sync::Arc;
use std::time::Duration;

use super::super::Store;
use super::super::error::Error;
use super::Watch;
use super::books::{Book, Books, Statement, Waited};
use super::times::{Summary, Times};
use crate::domain::ids::TenantId;
use crate::domain::tenant::Domain;
use crate::domain::units::Timestamp;

/// What a store saw of the work on its tenants since it was opened or its figures were reset.
#[derive(Debug, Clone)]
pub struct Statistics {
    /// Since when.
    pub since: Timestamp,
    /// What was called slow.
    pub slow_threshold: Duration,
    /// All tenants together, also those that are no longer told apart.
    pub all: Figures,
    /// The tenants that were used last, at most 16, by domain.
    pub tenants: Vec<TenantFigures>,
}

/// One tenant's figures.
#[derive(Debug, Clone)]
pub struct TenantFigures {
    /// The tenant's id.
    pub id: TenantId,
    /// Its domain; `None` where the registry knows it no more.
    pub domain: Option<Domain>,
    /// What its work came to.
    pub figures: Figures,
    /// Its connections now.
    pub pool: PoolState,
}

/// A tenant's connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolState {
    /// Those that are open.
    pub open: u32,
    /// Those of them that no work uses.
    pub idle: u32,
}

/// What work came to.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    /// Reads and writes that had a connection.
    pub transactions: u64,
    /// Those of them that failed or panicked.
    pub failed: u64,
    /// All statements together.
    pub times: Summary,
    /// Each statement, that which took most in all first.
    pub statements: Vec<StatementFigures>,
    /// Work that found all connections of its tenant at work.
    pub connection_waits: Waits,
    /// Writers that did not have their turn at once.
    pub writer_waits: Waits,
}

/// How work waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waits {
    /// Those that had to wait, and how long.
    pub times: Summary,
    /// Those of them that gave up.
    pub timeouts: u64,
}

/// One statement's figures.
#[derive(Debug, Clone)]
pub struct StatementFigures {
    /// Eight hexadecimal digits that name the statement, the same in every process.
    pub id: String,
    /// Its normal form: no literal, no value.
    pub sql: Arc<str>,
    /// How often it ran and how long: from its first step to its end, what the program did between rows included.
    pub times: Summary,
    /// Its text as it was written, to be explained; it may hold literals and is not to be shown.
    pub(in crate::store) source: Option<Arc<str>>,
}

impl Figures {
    fn of(book: &Book, statements: &[Statement]) -> Self {
        let mut all = Times::default();
        let mut each: Vec<StatementFigures> = Vec::new();
        for (place, times) in &book.statements {
            all.merge(times);
            if let Some(statement) = statements.get(*place) {
                each.push(StatementFigures {
                    id: statement.id.clone(),
                    sql: Arc::clone(&statement.form),
                    times: times.summary(),
                    source: statement.source.clone(),
                });
            }
        }
        each.sort_by(|a, b| (b.times.total, &a.id).cmp(&(a.times.total, &b.id)));
        Self {
            transactions: book.transactions,
            failed: book.failed,
            times: all.summary(),
            statements: each,
            connection_waits: Waits::of(&book.connection_waits),
            writer_waits: Waits::of(&book.writer_waits),
        }
    }
}

impl Waits {
    fn of(waited: &Waited) -> Self {
        Self {
            times: waited.times.summary(),
            timeouts: waited.timeouts,
        }
    }
}

fn in_all(books: &Books) -> Book {
    let mut all = books.retired.clone();
    for (_, book) in &books.tenants {
        all.merge(book);
    }
    all
}

impl Watch {
    /// What was counted so far. Domains and connections are for the store to fill in.
    pub(in crate::store) fn statistics(&self) -> Statistics {
        let counts = self.counts();
        let books = &counts.books;
        Statistics {
            since: counts.since,
            slow_threshold: self.slow_threshold(),
            all: Figures::of(&in_all(books), &books.statements),
            tenants: books
                .tenants
                .iter()
                .map(|(id, book)| TenantFigures {
                    id: *id,
                    domain: None,
                    figures: Figures::of(book, &books.statements),
                    pool: PoolState::default(),
                })
                .collect(),
        }
    }
}

impl Store {
    /// What the work on the tenants' files came to in this process, since the store was opened or the figures were
    /// reset.
    ///
    /// # Errors
    /// What SQLite says of the registry, which knows the tenants' domains.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let known = self.registry.list()?;
        let states = self.pools.states();
        let mut statistics = self.watch.statistics();
        for tenant in &mut statistics.tenants {
            let entry = known.iter().find(|known| known.id == tenant.id);
            tenant.domain = entry.map(|entry| entry.domain.clone());
            let state = states.iter().find(|(of, _)| *of == tenant.id);
            tenant.pool = state.map_or_else(PoolState::default, |(_, state)| *state);
        }
        let domain = |tenant: &TenantFigures| tenant.domain.as_ref().map(ToString::to_string);
        statistics.tenants.sort_by_key(domain);
        Ok(statistics)
    }

    /// Forgets what was counted, and counts anew.
    pub fn reset_statistics(&self) {
        self.watch.reset(self.clock.now());
    }
}
