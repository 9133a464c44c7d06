//! What SQLite tells of each statement while work is done on a connection.
//!
//! Depends on rusqlite's trace events, which are handed to a plain function: what they are counted into lies in a
//! variable of the thread. Invariants: an event is counted for the work whose connection it comes from, also where
//! work on one tenant is done inside work on another (four deep; deeper work is not watched); a panic in the work ends
//! the watching with it; nothing is kept of a statement but its text as the program wrote it, parameters unbound.
//!
//! SQLite's own profile has a resolution of one millisecond, so the time between its two events is taken from the
//! monotonic clock: from a statement's first step to its end or reset, what the program did between two rows included.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};

use super::{Watched, statement};

/// Work inside work inside work: no more connections of one thread are told apart.
const HANDLERS: [fn(TraceEvent<'_>); 4] = [handle::<0>, handle::<1>, handle::<2>, handle::<3>];
const EVENTS: TraceEventCodes =
    TraceEventCodes::SQLITE_TRACE_STMT.union(TraceEventCodes::SQLITE_TRACE_PROFILE);
/// Bounds what waits to be counted: times, and the statements that they are of.
const MOST_TIMES: usize = 1_024;
const MOST_STATEMENTS: usize = 64;
/// Bounds the statements of one connection that are told to have begun: more than ever run at once.
const MOST_RUNNING: usize = 16;

thread_local! {
    static OPEN: RefCell<Vec<Open>> = const { RefCell::new(Vec::new()) };
}

/// The work that is being watched on this thread, by depth.
struct Open {
    watched: Watched,
    tally: Tally,
}

/// What was seen and not counted yet.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Where the text of a running statement lies, and when it began. The address is the statement's own until it ends.
    running: Vec<(usize, Instant)>,
    statements: Vec<Seen>,
    times: Vec<(usize, Duration)>,
}

#[derive(Debug)]
struct Seen {
    address: usize,
    sql: Box<str>,
}

impl Tally {
    /// The statements by their place, and each time with the place of its statement.
    pub(super) fn parts(&self) -> (impl Iterator<Item = &str>, &[(usize, Duration)]) {
        (self.statements.iter().map(|seen| &*seen.sql), &self.times)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    fn begin(&mut self, sql: &str) {
        // A trigger is part of the statement that fires it, as are statements that a function runs.
        if sql.starts_with("--") && !self.running.is_empty() {
            return;
        }
        if self.running.len() == MOST_RUNNING {
            self.running.remove(0);
        }
        self.running.push((address(sql), Instant::now()));
    }

    fn end(&mut self, sql: &str) -> Option<Duration> {
        let address = address(sql);
        let at = self.running.iter().rposition(|(of, _)| *of == address)?;
        let (_, begun) = self.running.swap_remove(at);
        let took = begun.elapsed();
        let place = self.place(address, sql);
        self.times.push((place, took));
        Some(took)
    }

    /// The place of a statement. An address is another statement's once its first one is gone: the text decides.
    fn place(&mut self, address: usize, sql: &str) -> usize {
        let known = self
            .statements
            .iter()
            .position(|seen| seen.address == address && *seen.sql == *sql);
        known.unwrap_or_else(|| {
            let sql = sql.into();
            self.statements.push(Seen { address, sql });
            self.statements.len() - 1
        })
    }

    fn is_full(&self) -> bool {
        self.times.len() >= MOST_TIMES || self.statements.len() >= MOST_STATEMENTS
    }

    fn clear(&mut self) {
        self.statements.clear();
        self.times.clear();
    }
}

fn address(sql: &str) -> usize {
    sql.as_ptr().addr()
}

/// Watches a connection until it is dropped.
pub(in crate::store) struct Probe<'c> {
    connection: &'c Connection,
    /// Whether the work failed; it did unless it is told otherwise.
    failed: bool,
}

impl<'c> Probe<'c> {
    /// Begins to watch; `None` where nothing is to be, or where work lies deeper in other
    /// work than is watched.
    pub(in crate::store) fn attach(connection: &'c Connection, watched: &Watched) -> Option<Self> {
        if !watched.is_on() {
            return None;
        }
        let handler = OPEN.with(|open| {
            let mut open = open.try_borrow_mut().ok()?;
            let handler = HANDLERS.get(open.len())?;
            open.push(Open {
                watched: watched.clone(),
                tally: Tally::default(),
            });
            Some(handler)
        })?;
        connection.trace_v2(EVENTS, Some(*handler));
        Some(Self {
            connection,
            failed: true,
        })
    }

    /// Ends watching work that came to its end.
    pub(in crate::store) fn done(mut self, failed: bool) {
        self.failed = failed;
    }
}

impl Drop for Probe<'_> {
    fn drop(&mut self) {
        self.connection.trace_v2(TraceEventCodes::empty(), None);
        // Counted when the variable is free again: a log that is written on the way may do work of its own.
        let open = OPEN.with(|open| open.try_borrow_mut().ok()?.pop());
        if let Some(Open { watched, tally }) = open {
            watched.count(&tally);
            watched.transaction(self.failed);
        }
    }
}

fn handle<const DEPTH: usize>(event: TraceEvent<'_>) {
    match event {
        TraceEvent::Stmt(_, sql) => with_open(DEPTH, |open| open.tally.begin(sql)),
        TraceEvent::Profile(ended, _) => {
            let sql = ended.sql();
            let mut log = None;
            with_open(DEPTH, |open| {
                let Some(took) = open.tally.end(&sql) else {
                    return;
                };
                if open.tally.is_full() {
                    open.watched.count(&open.tally);
                    open.tally.clear();
                }
                if took >= open.watched.slow_threshold() || tracing::enabled!(tracing::Level::DEBUG)
                {
                    log = Some((open.watched.clone(), took));
                }
            });
            if let Some((watched, took)) = log {
                tell(&watched, &sql, took);
            }
        }
        _ => {}
    }
}

fn with_open(depth: usize, work: impl FnOnce(&mut Open)) {
    OPEN.with(|open| {
        if let Ok(mut open) = open.try_borrow_mut()
            && let Some(open) = open.get_mut(depth)
        {
            work(open);
        }
    });
}

/// Logs each statement at DEBUG and a slow one at WARN.
fn tell(watched: &Watched, sql: &str, took: Duration) {
    let form = statement::normal_form(sql);
    let duration_ms = took.as_secs_f64() * 1_000.0;
    let tenant = watched.tenant();
    if took >= watched.slow_threshold() {
        tracing::warn!({ tenant.id = %tenant, statement = form, duration_ms }, "slow statement");
    } else {
        tracing::debug!({ tenant.id = %tenant, statement = form, duration_ms }, "statement");
    }
}
