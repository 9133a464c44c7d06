//! The counts: per statement, per tenant, and of tenants that were not used lately together.
//!
//! Depends on [`super::times`] and [`super::statement`]. Invariants: at most 256 distinct statements are told apart, in
//! all tenants together, and at most 16 tenants; what goes beyond is counted under one name, or with the tenants that
//! are no longer told apart, and nothing is lost from a sum.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::probe::Tally;
use super::statement;
use super::times::Times;
use crate::domain::ids::TenantId;

/// Bounds the distinct statements: the store itself has about a hundred.
pub(super) const MOST_STATEMENTS: usize = 256;
/// Bounds the tenants that are told apart: as many as have an open pool.
const MOST_TENANTS: usize = 16;
/// Longer statements are counted, but their text is not remembered as it was written.
const LONGEST_SOURCE: usize = 8_192;
/// The name of all statements beyond the bound.
pub(super) const OTHERS: &str = "(other statements)";

/// A statement that was seen.
#[derive(Debug, Clone)]
pub(super) struct Statement {
    pub(super) id: String,
    pub(super) form: Arc<str>,
    /// Its text as the program wrote it, once; `None` where it is too long. Never shown: it may hold literals.
    pub(super) source: Option<Arc<str>>,
}

/// What one tenant's work came to.
#[derive(Debug, Clone, Default)]
pub(super) struct Book {
    pub(super) transactions: u64,
    pub(super) failed: u64,
    /// By the statement's place in [`Books::statements`].
    pub(super) statements: BTreeMap<usize, Times>,
    pub(super) connection_waits: Waited,
    pub(super) writer_waits: Waited,
}

/// How often and how long work had to wait, and how often in vain.
#[derive(Debug, Clone, Default)]
pub(super) struct Waited {
    pub(super) times: Times,
    pub(super) timeouts: u64,
}

impl Book {
    pub(super) fn merge(&mut self, other: &Self) {
        self.transactions += other.transactions;
        self.failed += other.failed;
        for (place, times) in &other.statements {
            self.statements.entry(*place).or_default().merge(times);
        }
        for (into, from) in [
            (&mut self.connection_waits, &other.connection_waits),
            (&mut self.writer_waits, &other.writer_waits),
        ] {
            into.times.merge(&from.times);
            into.timeouts += from.timeouts;
        }
    }
}

/// All counts of a store.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) statements: Vec<Statement>,
    by_source: HashMap<Arc<str>, usize>,
    by_form: HashMap<Arc<str>, usize>,
    /// The tenant that was used last at the back.
    pub(super) tenants: VecDeque<(TenantId, Book)>,
    /// Of tenants that are no longer told apart.
    pub(super) retired: Book,
}

impl Books {
    pub(super) fn count(&mut self, tenant: TenantId, tally: &Tally, slow: Duration) {
        let (statements, times) = tally.parts();
        let places: Vec<usize> = statements.map(|sql| self.place(sql)).collect();
        let book = self.of(tenant);
        for (local, took) in times {
            if let Some(place) = places.get(*local) {
                book.statements.entry(*place).or_default().add(*took, slow);
            }
        }
    }

    /// The counts of a tenant.
    pub(super) fn of(&mut self, tenant: TenantId) -> &mut Book {
        match self.tenants.iter().position(|(of, _)| *of == tenant) {
            // Seldom: where one tenant is worked on for a while, it is the last already.
            Some(at) if at + 1 < self.tenants.len() => {
                if let Some(entry) = self.tenants.remove(at) {
                    self.tenants.push_back(entry);
                }
            }
            Some(_) => {}
            None => {
                if self.tenants.len() == MOST_TENANTS
                    && let Some((_, oldest)) = self.tenants.pop_front()
                {
                    self.retired.merge(&oldest);
                }
                self.tenants.push_back((tenant, Book::default()));
            }
        }
        match self.tenants.back_mut() {
            Some((_, book)) => book,
            None => &mut self.retired,
        }
    }

    /// The place of a statement, by its text or else its normal form.
    fn place(&mut self, sql: &str) -> usize {
        if let Some(place) = self.by_source.get(sql) {
            return *place;
        }
        let form = statement::normal_form(sql);
        let place = match self.by_form.get(form.as_str()) {
            Some(place) => *place,
            None if self.statements.len() + 1 < MOST_STATEMENTS => self.add(form.into(), sql),
            None => match self.by_form.get(OTHERS) {
                Some(place) => *place,
                None => self.add(OTHERS.into(), ""),
            },
        };
        if self.by_source.len() < MOST_STATEMENTS && sql.len() <= LONGEST_SOURCE {
            self.by_source.insert(sql.into(), place);
        }
        place
    }

    fn add(&mut self, form: Arc<str>, sql: &str) -> usize {
        let place = self.statements.len();
        self.statements.push(Statement {
            id: statement::id(&form),
            form: Arc::clone(&form),
            source: (!sql.is_empty() && sql.len() <= LONGEST_SOURCE).then(|| sql.into()),
        });
        self.by_form.insert(form, place);
        place
    }
}
