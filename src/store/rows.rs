//! What the tables that travel have in common: an owner, a life, a rev.
//!
//! Invariant: deleting and restoring raise `rev`, so that the triggers capture them, and leave the digest to sealing.

use rusqlite::{OptionalExtension as _, ToSql};
use serde::Serialize;
use uuid::Uuid;

use super::Sighting;
use super::columns::Life;
use super::error::{self, Error};
use super::tenant::{Reader, Writer};
use crate::domain::ids::UserId;

/// What a bulk insert does with a row whose id is there already, deleted or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDuplicate {
    /// Leaves the row as it is.
    Skip,
    /// Makes the row as given, bringing it back where it was deleted.
    Update,
}

/// What a bulk insert did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Bulk {
    /// Rows that are new.
    pub inserted: u64,
    /// Rows that were there and changed.
    pub updated: u64,
    /// Rows that were there and stayed.
    pub skipped: u64,
}

impl Bulk {
    pub(super) const fn count(&mut self, done: Sighting) {
        match done {
            Sighting::Inserted => self.inserted += 1,
            Sighting::Raised => self.updated += 1,
            Sighting::Unchanged => self.skipped += 1,
        }
    }
}

/// What is known of a row without reading it all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Held {
    pub(super) owner: UserId,
    pub(super) life: Life,
    pub(super) deleted_at: Option<i64>,
}

/// Looks a row up by its id. `table` is one of the tables that have an owner.
pub(super) fn held(
    reader: &Reader<'_>,
    table: &'static str,
    id: Uuid,
    action: &'static str,
) -> Result<Option<Held>, Error> {
    reader
        .connection()
        .prepare_cached(&format!(
            "SELECT user_id, deleted_at FROM {table} WHERE id = ?1"
        ))
        .and_then(|mut statement| {
            statement
                .query_row([id], |row| {
                    let deleted_at = row.get(1)?;
                    Ok(Held {
                        owner: UserId::from_uuid(row.get(0)?),
                        life: Life::of(deleted_at),
                        deleted_at,
                    })
                })
                .optional()
        })
        .map_err(error::query(action))
}

/// Marks a row as deleted; how many rows that was.
pub(super) fn delete(
    writer: &Writer<'_>,
    table: &'static str,
    id: Uuid,
    action: &'static str,
) -> Result<usize, Error> {
    let now = writer.now().as_micros();
    let params: [&dyn ToSql; 2] = [&id, &now];
    let sql = format!(
        "UPDATE {table} SET deleted_at = ?2, rev = rev + 1, digest = NULL
         WHERE id = ?1 AND deleted_at IS NULL"
    );
    writer
        .rows(action)?
        .prepare_cached(&sql)
        .and_then(|mut update| update.execute(params))
        .map_err(error::query(action))
}

/// Brings a deleted row back; how many rows that was.
pub(super) fn restore(
    writer: &Writer<'_>,
    table: &'static str,
    id: Uuid,
    action: &'static str,
) -> Result<usize, Error> {
    let sql = format!(
        "UPDATE {table} SET deleted_at = NULL, rev = rev + 1, digest = NULL
         WHERE id = ?1 AND deleted_at IS NOT NULL"
    );
    writer
        .rows(action)?
        .prepare_cached(&sql)
        .and_then(|mut update| update.execute([id]))
        .map_err(error::query(action))
}
