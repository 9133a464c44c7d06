//! Applies a batch's rows and finds the bad ones.
//!
//! Purpose: what happens between the moved stream and the commit. Depends on [`super::connect`], `encode`, `statements`
//! and `tally`. Invariants: tables go in [`Table::ALL`]'s order, so that parents come first; a row is refused only
//! after it failed by itself, or with the session that it hangs on; a row that was not applied is looked up by its key;
//! finding k bad rows among n takes at most about 2·k·log2(n) attempts, and k is bounded by a fifth of n, where n leaves
//! out the calls that were refused with their session: they are tried by nobody and blamed for nothing.

use std::collections::{HashMap, HashSet};

use futures_util::future::join_all;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use super::connect::{Connection, value};
use super::statements::{Statements, Write};
use super::tally::{ACTION, Tally, unaccounted};
use crate::change::{Change, Table};
use crate::fault::{Fault, RemoteError};
use crate::port::{Conflict, Receipt};

/// Rows in one statement: while the server works on one, the next is being written, and few enough rows that the
/// first is soon there, enough that a statement's planning does not count.
const PART: usize = 2_048;

/// How a batch is tried, each way after the one before it has failed by a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// What is new to its file is inserted outright: the server spares the look for each row.
    Insert,
    /// Each row is looked for.
    Upsert,
    /// As `Upsert`, with savepoints, halving what fails until single rows fail.
    Bisect,
}

impl Attempt {
    /// The attempt that may go better after an error; `None` where none will.
    pub(crate) fn after(self, error: &RemoteError) -> Option<Self> {
        let known = error.sqlstate.as_deref() == Some("23505");
        match self {
            Self::Insert if known => Some(Self::Upsert),
            Self::Insert | Self::Upsert if matches!(error.fault, Fault::Row | Fault::Unclear) => {
                Some(Self::Bisect)
            }
            _ => None,
        }
    }
}

fn params<'a>(write: &'a Write<'_>) -> Vec<(&'a (dyn ToSql + Sync), Type)> {
    let params = write.params.iter();
    params
        .map(|(column, ty)| -> (&(dyn ToSql + Sync), Type) { (column, ty.clone()) })
        .collect()
}

/// Applies rows within the transaction that is open on `connection`.
pub(crate) struct Applier<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) statements: &'a Statements,
}

impl Applier<'_> {
    /// Applies all rows that can be applied. Any error leaves the transaction to be rolled back.
    pub(crate) async fn apply(
        &self,
        tally: &mut Tally<'_>,
        attempt: Attempt,
    ) -> Result<(), RemoteError> {
        tally.check()?;
        if attempt == Attempt::Bisect {
            return self.apply_bisecting(tally).await;
        }
        let tables = Table::ALL.map(|table| (table, tally.take(table)));
        let parts = tables.iter().flat_map(|(table, rows)| {
            let outright = attempt == Attempt::Insert && rows.iter().all(|row| row.is_new);
            rows.chunks(PART)
                .map(move |part| self.write(*table, part, outright))
        });
        // Sent one behind the other without waiting for an answer: the first to fail is the one that tells why.
        for written in join_all(parts).await {
            tally.receipt.add(written?);
        }
        Ok(())
    }

    async fn write(
        &self,
        table: Table,
        rows: &[&Change],
        outright: bool,
    ) -> Result<Receipt, RemoteError> {
        if outright {
            self.insert(table, rows).await
        } else {
            self.upsert(table, rows).await
        }
    }

    /// Applies all rows that can be applied, halving what fails until single rows fail.
    async fn apply_bisecting(&self, tally: &mut Tally<'_>) -> Result<(), RemoteError> {
        for table in Table::ALL {
            let rows = tally.take(table);
            let mut waiting: Vec<&[&Change]> = rows.chunks(rows.len().max(1)).collect();
            while let Some(part) = waiting.pop() {
                self.connection.batch(ACTION, "SAVEPOINT part").await?;
                let error = match self.upsert(table, part).await {
                    Ok(told) => {
                        tally.receipt.add(told);
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

    /// Inserts rows that the server should not have: all of them, or none.
    async fn insert(&self, table: Table, rows: &[&Change]) -> Result<Receipt, RemoteError> {
        let write = self.statements.table(table).insert(rows);
        let params = params(&write);
        let inserted = self.connection.execute(ACTION, &write.sql, &params).await?;
        if usize::try_from(inserted) != Ok(rows.len()) {
            return Err(unaccounted());
        }
        Ok(Receipt {
            applied: rows.len(),
            ..Receipt::default()
        })
    }

    /// Writes rows of one table and tells for each what became of it.
    async fn upsert(&self, table: Table, rows: &[&Change]) -> Result<Receipt, RemoteError> {
        let write = self.statements.table(table).upsert(rows);
        let mut applied = HashSet::with_capacity(rows.len());
        for row in self
            .connection
            .query(ACTION, &write.sql, &params(&write))
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
        Ok(told)
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
