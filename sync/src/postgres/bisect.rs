//! Applies a batch's rows, finds the bad ones, and keeps the tally.
//!
//! Purpose: what happens between the moved stream and the commit. Depends on [`super::connect`], `encode` and
//! `statements`. Invariants: tables go in [`Table::ALL`]'s order, so that parents come first; a row is refused only
//! after it failed by itself, or with the session that it hangs on; a row that was not applied is looked up by its key;
//! finding k bad rows among n takes at most about 2·k·log2(n) attempts, and k is bounded by a fifth of n, where n leaves
//! out the calls that were refused with their session: they are tried by nobody and blamed for nothing.

use std::collections::{HashMap, HashSet};

use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::connect::{Connection, value};
use super::encode::{PartArray, flaw};
use super::statements::Statements;
use crate::change::{Batch, Change, Table, Value};
use crate::fault::{Fault, RemoteError};
use crate::port::{Conflict, Receipt, Reject};

const ACTION: &str = "write rows";
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
    receipt: Receipt,
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
    fn reject_alone(&mut self, change: &Change, error: RemoteError) {
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
    fn take(&mut self, table: Table) -> Vec<&'a Change> {
        self.sendable_of(table)
            .map(|(_, rows)| std::mem::take(rows))
            .unwrap_or_default()
    }

    /// Whether so much was refused that the rows are not to blame.
    fn check(&self) -> Result<(), RemoteError> {
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

/// Applies rows within the transaction that is open on `connection`.
pub(crate) struct Applier<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) statements: &'a Statements,
}

impl Applier<'_> {
    /// Applies all rows, one statement a table. Any error leaves the transaction to be rolled back.
    pub(crate) async fn apply_whole(&self, tally: &mut Tally<'_>) -> Result<(), RemoteError> {
        tally.check()?;
        for table in Table::ALL {
            let rows = tally.take(table);
            self.upsert(table, &rows, &mut tally.receipt).await?;
        }
        Ok(())
    }

    /// Applies all rows that can be applied, halving what fails until single rows fail.
    pub(crate) async fn apply_bisecting(&self, tally: &mut Tally<'_>) -> Result<(), RemoteError> {
        for table in Table::ALL {
            let rows = tally.take(table);
            let mut waiting: Vec<&[&Change]> = vec![&rows];
            while let Some(part) = waiting.pop() {
                self.connection.batch(ACTION, "SAVEPOINT part").await?;
                let error = match self.upsert(table, part, &mut tally.receipt).await {
                    Ok(()) => {
                        self.connection
                            .batch(ACTION, "RELEASE SAVEPOINT part")
                            .await?;
                        continue;
                    }
                    Err(error) => error,
                };
                if !matches!(error.fault, Fault::Row | Fault::Unclear) {
                    return Err(error);
                }
                let undo = "ROLLBACK TO SAVEPOINT part; RELEASE SAVEPOINT part";
                self.connection.batch(ACTION, undo).await?;
                if let [row] = part {
                    tally.reject_alone(row, error);
                    tally.check()?;
                } else {
                    let (first, second) = part.split_at(part.len() / 2);
                    waiting.extend([second, first]);
                }
            }
        }
        Ok(())
    }

    /// Writes rows of one table and tells for each what became of it. Counts nothing where it fails.
    async fn upsert(
        &self,
        table: Table,
        rows: &[&Change],
        receipt: &mut Receipt,
    ) -> Result<(), RemoteError> {
        if rows.is_empty() {
            return Ok(());
        }
        let statements = self.statements.table(table);
        let arrays: Vec<PartArray<'_>> = statements
            .arrays
            .iter()
            .map(|(part, _)| PartArray { rows, part: *part })
            .collect();
        let params: Vec<(&(dyn ToSql + Sync), Type)> = arrays
            .iter()
            .zip(&statements.arrays)
            .map(|(array, (_, ty))| -> (&(dyn ToSql + Sync), Type) { (array, ty.clone()) })
            .collect();
        let mut applied = HashSet::with_capacity(rows.len());
        for row in self
            .connection
            .query(ACTION, &statements.upsert, &params)
            .await?
        {
            applied.insert(value::<Uuid>(ACTION, &row, 0)?);
        }
        let rest: Vec<&Change> = rows
            .iter()
            .copied()
            .filter(|change| !applied.contains(&change.id))
            .collect();
        if applied.len() + rest.len() != rows.len() {
            return Err(unaccounted());
        }
        let mut told = Receipt {
            applied: applied.len(),
            ..Receipt::default()
        };
        if !rest.is_empty() {
            self.class(table, &rest, &mut told).await?;
        }
        receipt.applied += told.applied;
        receipt.same += told.same;
        receipt.newer += told.newer;
        receipt.conflicts.append(&mut told.conflicts);
        Ok(())
    }

    /// Looks rows up that were not applied: the server has each of them, and tells which version.
    async fn class(
        &self,
        table: Table,
        rest: &[&Change],
        told: &mut Receipt,
    ) -> Result<(), RemoteError> {
        let statements = self.statements.table(table);
        let ids: Vec<Uuid> = rest.iter().map(|change| change.id).collect();
        let params: [(&(dyn ToSql + Sync), Type); 1] = [(&ids, Type::UUID_ARRAY)];
        let mut known: HashMap<Uuid, (i64, Vec<u8>)> = HashMap::with_capacity(rest.len());
        for row in self
            .connection
            .query(ACTION, &statements.lookup, &params)
            .await?
        {
            known.insert(
                value(ACTION, &row, 0)?,
                (value(ACTION, &row, 1)?, value(ACTION, &row, 2)?),
            );
        }
        let mut conflicting: Vec<(&Change, [u8; 16])> = Vec::new();
        for change in rest {
            let (rev, digest) = known.get(&change.id).ok_or_else(unaccounted)?;
            match rev.cmp(&change.rev) {
                std::cmp::Ordering::Greater => told.newer += 1,
                std::cmp::Ordering::Equal if *digest == change.digest => told.same += 1,
                std::cmp::Ordering::Equal => {
                    let digest = digest.as_slice().try_into().map_err(|_| unaccounted())?;
                    conflicting.push((change, digest));
                }
                std::cmp::Ordering::Less => return Err(unaccounted()),
            }
        }
        if conflicting.is_empty() {
            return Ok(());
        }
        let ids: Vec<Uuid> = conflicting.iter().map(|(change, _)| change.id).collect();
        let params: [(&(dyn ToSql + Sync), Type); 1] = [(&ids, Type::UUID_ARRAY)];
        let mut rows: HashMap<Uuid, String> = HashMap::new();
        for row in self
            .connection
            .query(ACTION, &statements.whole_rows, &params)
            .await?
        {
            rows.insert(value(ACTION, &row, 0)?, value(ACTION, &row, 1)?);
        }
        for (change, remote_digest) in conflicting {
            let remote_row = rows
                .get(&change.id)
                .and_then(|text| serde_json::from_str(text).ok())
                .ok_or_else(unaccounted)?;
            let (table, id, rev) = (change.table, change.id, change.rev);
            told.conflicts.push(Conflict {
                table,
                id,
                rev,
                remote_digest,
                remote_row,
            });
        }
        Ok(())
    }

    /// Records the refused rows beside the applied ones, in the same transaction.
    pub(crate) async fn record_rejects(
        &self,
        batch_id: Uuid,
        tally: &Tally<'_>,
    ) -> Result<(), RemoteError> {
        let rejects = &tally.receipt.rejects;
        if rejects.is_empty() {
            return Ok(());
        }
        tally.check()?;
        let tables: Vec<&str> = rejects.iter().map(|reject| reject.table.name()).collect();
        let ids: Vec<Uuid> = rejects.iter().map(|reject| reject.id).collect();
        let revs: Vec<i64> = rejects.iter().map(|reject| reject.rev).collect();
        let codes: Vec<&str> = rejects
            .iter()
            .map(|reject| reject.sqlstate.as_str())
            .collect();
        let messages: Vec<&str> = rejects
            .iter()
            .map(|reject| reject.message.as_str())
            .collect();
        let params: [(&(dyn ToSql + Sync), Type); 6] = [
            (&batch_id, Type::UUID),
            (&tables, Type::TEXT_ARRAY),
            (&ids, Type::UUID_ARRAY),
            (&revs, Type::INT8_ARRAY),
            (&codes, Type::TEXT_ARRAY),
            (&messages, Type::TEXT_ARRAY),
        ];
        self.connection
            .execute(ACTION, &self.statements.insert_rejects, &params)
            .await?;
        Ok(())
    }
}

/// A row whose fate the server did not tell: the schema, the rights or the programs disagree.
fn unaccounted() -> RemoteError {
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
