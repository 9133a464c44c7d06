//! Joining store and synchronisation: the only file that knows both.
//!
//! Purpose: a tenant's outbox as the engine sees it, and what a tenant's synchronisation comes to. Rows pass from the
//! file to the wire as they are, so that a row that another program spoiled is refused by the server and quarantined,
//! not lost here. The engine must run on a multi-threaded runtime: SQLite's work blocks its thread.

use millpond_sync::change::{Batch, Change, Column, Kind, Link, Table, Value};
use millpond_sync::port::{self, Acknowledged, Limits, Receipt};
use millpond_sync::postgres::pull::PulledUser;
use rusqlite::types::Value as Stored;
use uuid::Uuid;

use crate::domain::InvalidValue;
use crate::domain::ids::UserId;
use crate::domain::user::{CentralUser, Email, PersonName, Role, ZoneName};
use crate::store::outbox::{FoundConflict, FoundReject, OutboxRow, SealLimits, SealedBatch};
use crate::store::{Error, TenantStore};

/// Follows what the central database says of this device's users. Returns how many changed here.
///
/// # Errors
/// [`Error::Invalid`] where a user there could not be one here, and what the store says; nothing is changed then.
pub fn follow_users(tenant: &TenantStore, users: &[PulledUser]) -> Result<u64, Error> {
    let users: Vec<CentralUser> = users.iter().map(to_user).collect::<Result<_, _>>()?;
    tenant.write(|w| {
        let mut changed = 0;
        for user in &users {
            changed += u64::from(w.users().follow(user)?);
        }
        Ok(changed)
    })
}

fn to_user(pulled: &PulledUser) -> Result<CentralUser, InvalidValue> {
    let name = |raw: &Option<String>| {
        raw.as_deref()
            .filter(|raw| !raw.is_empty())
            .map(|raw| PersonName::parse("name", raw))
            .transpose()
    };
    Ok(CentralUser {
        id: UserId::from_uuid(pulled.id),
        email: Email::parse(&pulled.email)?,
        first_name: name(&pulled.first_name)?,
        last_name: name(&pulled.last_name)?,
        role: Role::parse(&pulled.role)?,
        timezone: ZoneName::parse("time zone", &pulled.timezone)?,
        is_active: pulled.is_active,
    })
}

/// A tenant's outbox, for one run of the engine.
#[derive(Debug)]
pub struct TenantOutbox {
    tenant: TenantStore,
    enrolled: Vec<UserId>,
    sealed: Option<SealedBatch>,
    /// Whether the journal may hold something of `sealed`, or has to be told that it is about to be offered.
    must_journal: bool,
}

impl TenantOutbox {
    /// The outbox of a tenant whose device is enrolled for these users. Frees what was held only for lack of that.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(tenant: TenantStore, enrolled: Vec<UserId>) -> Result<Self, Error> {
        tenant.write(|w| w.outbox().release(&enrolled))?;
        Ok(Self {
            tenant,
            enrolled,
            sealed: None,
            must_journal: true,
        })
    }

    /// The sealed batch that a link is of.
    fn sealed(&self, link: Link) -> Result<SealedBatch, Error> {
        self.sealed
            .filter(|sealed| sealed.batch_id == link.batch_id)
            .ok_or_else(|| Error::NotFound {
                what: "sealed batch",
                key: link.batch_id.to_string(),
            })
    }

    fn load(&mut self, limits: Limits) -> Result<Option<Batch>, Error> {
        let limits = SealLimits {
            rows: limits.rows,
            bytes: limits.bytes,
        };
        let enrolled = &self.enrolled;
        // Sealed and read in one transaction: what is sent is what was sealed, digests and all.
        let loaded = self.tenant.write(|w| {
            let known = w.outbox().unacknowledged()?;
            let Some(sealed) = w.outbox().seal(limits, enrolled)? else {
                return Ok(None);
            };
            let mut changes = Vec::new();
            for table in Table::ALL {
                let names: Vec<&'static str> = table.columns().iter().map(|c| c.name).collect();
                let rows = w.outbox().rows(&sealed, table.name(), &names)?;
                changes.extend(rows.into_iter().map(|row| to_change(table, row)));
            }
            let must_journal = known.is_some() || !w.outbox().has_synced()?;
            Ok::<_, Error>(Some((sealed, changes, must_journal)))
        })?;
        let Some((sealed, changes, must_journal)) = loaded else {
            return Ok(None);
        };
        self.sealed = Some(sealed);
        self.must_journal = must_journal;
        Ok(Some(Batch {
            stream_id: sealed.stream_id,
            batch_id: sealed.batch_id,
            prev_batch_id: sealed.prev_batch_id,
            changes,
        }))
    }
}

impl port::Outbox for TenantOutbox {
    type Error = Error;

    async fn unacknowledged(&mut self) -> Result<Option<Link>, Error> {
        self.sealed =
            tokio::task::block_in_place(|| self.tenant.read(|r| r.outbox().unacknowledged()))?;
        Ok(self.sealed.map(|sealed| Link {
            stream_id: sealed.stream_id,
            batch_id: sealed.batch_id,
            prev_batch_id: sealed.prev_batch_id,
        }))
    }

    async fn unseal(&mut self, batch: Link) -> Result<(), Error> {
        let sealed = self.sealed(batch)?;
        tokio::task::block_in_place(|| self.tenant.write(|w| w.outbox().unseal(&sealed)))
    }

    async fn next_batch(&mut self, limits: Limits) -> Result<Option<Batch>, Error> {
        tokio::task::block_in_place(|| self.load(limits))
    }

    async fn journal(&mut self, batch: &Batch, receipt: &Receipt) -> Result<(), Error> {
        let sealed = self.sealed(batch.link())?;
        if !self.must_journal && receipt.rejects.is_empty() && receipt.conflicts.is_empty() {
            return Ok(());
        }
        self.must_journal = true;
        let rejects: Vec<FoundReject> = receipt
            .rejects
            .iter()
            .map(|reject| FoundReject {
                table: reject.table.name(),
                id: reject.id,
                rev: reject.rev,
                sqlstate: reject.sqlstate.clone(),
                message: reject.message.clone(),
            })
            .collect();
        let conflicts: Vec<FoundConflict> = receipt
            .conflicts
            .iter()
            .filter_map(|conflict| {
                let local = batch
                    .changes
                    .iter()
                    .find(|change| change.table == conflict.table && change.id == conflict.id)?;
                Some(FoundConflict {
                    table: conflict.table.name(),
                    id: conflict.id,
                    rev: conflict.rev,
                    local_digest: local.digest,
                    remote_digest: conflict.remote_digest,
                    local_row: to_json(local).to_string(),
                    remote_row: conflict.remote_row.to_string(),
                })
            })
            .collect();
        tokio::task::block_in_place(|| {
            self.tenant
                .write(|w| w.outbox().journal(&sealed, &rejects, &conflicts))
        })
    }

    async fn acknowledge(&mut self, batch: Link) -> Result<Acknowledged, Error> {
        let sealed = self.sealed(batch)?;
        let rejected =
            tokio::task::block_in_place(|| self.tenant.write(|w| w.outbox().acknowledge(&sealed)))?;
        Ok(Acknowledged {
            rows: sealed.rows,
            rejected,
        })
    }

    async fn rewind(&mut self, batch: Link, to: Uuid) -> Result<bool, Error> {
        let stream_id = batch.stream_id;
        tokio::task::block_in_place(|| self.tenant.write(|w| w.outbox().rewind(stream_id, to)))
    }

    async fn begin_anew(&mut self) -> Result<(), Error> {
        tokio::task::block_in_place(|| self.tenant.write(|w| w.outbox().begin_anew().map(drop)))
    }
}

fn to_change(table: Table, row: OutboxRow) -> Change {
    let values = row
        .values
        .into_iter()
        .zip(table.columns())
        .map(|(stored, column)| to_value(stored, column))
        .collect();
    Change {
        table,
        id: row.id,
        rev: row.rev,
        digest: row.digest,
        values,
    }
}

/// A stored value as its column's kind. One of another kind passes as it is, for the remote to refuse.
fn to_value(stored: Stored, column: &Column) -> Value {
    match (stored, column.kind) {
        (Stored::Null, _) => Value::Null,
        (Stored::Integer(value), Kind::Timestamp) => Value::Timestamp(value),
        (Stored::Integer(value), Kind::Boolean) => Value::Boolean(value != 0),
        (Stored::Integer(value), _) => Value::BigInt(value),
        (Stored::Real(value), _) => Value::Double(value),
        (Stored::Text(value), Kind::Json) => Value::Json(value),
        (Stored::Text(value), _) => Value::Text(value),
        (Stored::Blob(bytes), _) => match Uuid::from_slice(&bytes) {
            Ok(id) => Value::Uuid(id),
            Err(_) => Value::Text(format!("{} bytes that are no id", bytes.len())),
        },
    }
}

/// A change as a JSON object, column by column, for people to compare.
fn to_json(change: &Change) -> serde_json::Value {
    let values = change
        .table
        .columns()
        .iter()
        .zip(&change.values)
        .map(|(column, value)| {
            let value = match value {
                Value::Null => serde_json::Value::Null,
                Value::Uuid(id) => id.to_string().into(),
                Value::Text(text) => text.as_str().into(),
                Value::BigInt(number) | Value::Timestamp(number) => (*number).into(),
                Value::Double(number) => (*number).into(),
                Value::Boolean(truth) => (*truth).into(),
                Value::Json(raw) => serde_json::from_str(raw)
                    .unwrap_or_else(|_| serde_json::Value::String(raw.clone())),
            };
            (column.name.to_owned(), value)
        });
    let mut object: serde_json::Map<String, serde_json::Value> = values.collect();
    object.insert("id".into(), change.id.to_string().into());
    object.insert("rev".into(), change.rev.into());
    serde_json::Value::Object(object)
}
