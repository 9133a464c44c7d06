//! The tally of a batch: what became of each row, and when so many were refused that no row is to blame.
//!
//! Purpose: the bookkeeping beside `bisect`, without a connection. Depends on `encode` for what cannot be sent.
//! Invariants: every row ends in the receipt, or there is none; more than a fifth refused of 50 rows or more is
//! systemic; a call is refused with its session, without being tried, and counts on neither side of that share.

use std::collections::HashSet;

use uuid::Uuid;

use super::encode::flaw;
use crate::change::{Batch, Change, Table, Value};
use crate::fault::{Fault, RemoteError};
use crate::port::{Receipt, Reject};

/// What is said to have been done when it fails.
pub(super) const ACTION: &str = "write rows";
/// A batch of at least so many rows is trusted more than its rows are blamed.
const SYSTEMIC_FROM: usize = 50;
/// One in so many rows may be refused.
const SYSTEMIC_SHARE: usize = 5;
/// Longest reason that is kept, in characters; the central table takes 1000.
const REASON_MAX: usize = 500;

/// What became of a batch's rows so far.
#[derive(Debug)]
pub(crate) struct Tally<'a> {
    /// The rows that can be sent, by table.
    sendable: Vec<(Table, Vec<&'a Change>)>,
    pub(super) receipt: Receipt,
    rows: usize,
    /// Rows refused with a code that says nothing about rows.
    unclear: usize,
    refused_sessions: HashSet<Uuid>,
    /// Calls refused with their session.
    orphans: usize,
}

impl<'a> Tally<'a> {
    /// Sorts a batch's rows by table and refuses those that cannot be sent.
    pub(crate) fn new(batch: &'a Batch) -> Self {
        let mut tally = Self {
            sendable: Table::ALL
                .into_iter()
                .map(|table| (table, Vec::new()))
                .collect(),
            receipt: Receipt::default(),
            rows: batch.changes.len(),
            unclear: 0,
            refused_sessions: HashSet::new(),
            orphans: 0,
        };
        for change in &batch.changes {
            if let Some(flaw) = flaw(change) {
                tally.reject(change, flaw.sqlstate.to_owned(), &flaw.message);
            } else if let Some((_, rows)) = tally
                .sendable
                .iter_mut()
                .find(|(table, _)| *table == change.table)
            {
                rows.push(change);
            }
        }
        tally.refuse_orphans();
        for (table, rows) in &mut tally.sendable {
            if *table == Table::DashboardConfigs {
                // One statement writes them in order, and a user has one default: give up before taking.
                rows.sort_by_key(|change| is_default(change));
            }
        }
        tally
    }

    fn reject(&mut self, change: &Change, sqlstate: String, message: &str) {
        if change.table == Table::MetricsSessions {
            self.refused_sessions.insert(change.id);
        }
        let message = message.chars().take(REASON_MAX).collect();
        let (table, id, rev) = (change.table, change.id, change.rev);
        self.receipt.rejects.push(Reject {
            table,
            id,
            rev,
            sqlstate,
            message,
        });
    }

    /// Refuses a row that failed by itself.
    pub(super) fn reject_alone(&mut self, change: &Change, error: RemoteError) {
        if error.fault == Fault::Unclear {
            self.unclear += 1;
        }
        let sqlstate = error.sqlstate.unwrap_or_default();
        let message = if sqlstate == "23503" {
            missing_parent(change.table).to_owned()
        } else {
            error.message
        };
        self.reject(change, sqlstate, &message);
        if change.table == Table::MetricsSessions {
            self.refuse_orphans();
        }
    }

    /// Refuses the calls of refused sessions without trying them: they wait for their session, whatever they hold.
    fn refuse_orphans(&mut self) {
        if self.refused_sessions.is_empty() {
            return;
        }
        let calls = self.take(Table::ToolMetrics);
        let (orphans, rest): (Vec<&Change>, Vec<&Change>) = calls.into_iter().partition(|call| {
            session_of(call).is_some_and(|session| self.refused_sessions.contains(&session))
        });
        self.orphans += orphans.len();
        for orphan in orphans {
            let message = "its session was refused in the same batch";
            self.reject(orphan, "23503".to_owned(), message);
        }
        if let Some((_, calls)) = self.sendable_of(Table::ToolMetrics) {
            *calls = rest;
        }
    }

    fn sendable_of(&mut self, table: Table) -> Option<&mut (Table, Vec<&'a Change>)> {
        self.sendable.iter_mut().find(|(of, _)| *of == table)
    }

    /// The rows of a table, which are not to be sent again.
    pub(super) fn take(&mut self, table: Table) -> Vec<&'a Change> {
        self.sendable_of(table)
            .map(|(_, rows)| std::mem::take(rows))
            .unwrap_or_default()
    }

    /// Whether so much was refused that the rows are not to blame.
    pub(super) fn check(&self) -> Result<(), RemoteError> {
        let (rows, rejects) = (
            self.rows - self.orphans,
            self.receipt.rejects.len() - self.orphans,
        );
        let many = rows >= SYSTEMIC_FROM && rejects * SYSTEMIC_SHARE > rows;
        // A code that says nothing about rows, and not one row without it.
        let all_unclear = rows > 1 && self.unclear == rows;
        if !many && !all_unclear {
            return Ok(());
        }
        let (sqlstate, first) = self
            .receipt
            .rejects
            .first()
            .map(|reject| (reject.sqlstate.clone(), reject.message.as_str()))
            .unwrap_or_default();
        let message = format!("{rejects} of {rows} rows were refused, the first because {first}");
        Err(RemoteError {
            sqlstate: Some(sqlstate),
            ..RemoteError::new(ACTION, Fault::Systemic, message)
        })
    }

    /// The whole receipt.
    ///
    /// # Errors
    /// [`Fault::Systemic`] where a row is missing from it, or too many were refused.
    pub(crate) fn into_receipt(self) -> Result<Receipt, RemoteError> {
        self.check()?;
        let receipt = self.receipt;
        let told = receipt.applied
            + receipt.same
            + receipt.newer
            + receipt.conflicts.len()
            + receipt.rejects.len();
        if told == self.rows {
            Ok(receipt)
        } else {
            Err(unaccounted())
        }
    }
}

/// A row whose fate the server did not tell: the schema, the rights or the programs disagree.
pub(super) fn unaccounted() -> RemoteError {
    RemoteError::new(
        ACTION,
        Fault::Systemic,
        "the server did not account for every row",
    )
}

const fn missing_parent(table: Table) -> &'static str {
    match table {
        Table::ToolMetrics => "its session is not on the server, or is another user's",
        _ => "its user is not on the server",
    }
}

fn value_of<'a>(change: &'a Change, column: &str) -> Option<&'a Value> {
    let place = change
        .table
        .columns()
        .iter()
        .position(|known| known.name == column)?;
    change.values.get(place)
}

fn session_of(change: &Change) -> Option<Uuid> {
    match value_of(change, "session_id") {
        Some(Value::Uuid(id)) => Some(*id),
        _ => None,
    }
}

fn is_default(change: &Change) -> bool {
    matches!(value_of(change, "is_default"), Some(Value::Boolean(true)))
        && matches!(value_of(change, "deleted_at"), Some(Value::Null))
}
