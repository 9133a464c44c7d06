//! Joining store and synchronisation: the only file that knows both.
//!
//! Purpose: a tenant's outbox as the engine sees it, and what a tenant's synchronisation comes to. Rows pass from the
//! file to the wire as they are, so that a row that another program spoiled is refused by the server and quarantined,
//! not lost here. SQLite's work is done on the runtime's blocking threads.

use millpond_sync::change::{Batch, Change, Column, Kind, Link, Table, Value};
use millpond_sync::port::{self, Acknowledged, Limits, Receipt};
use millpond_sync::postgres::pull::PulledUser;
use rusqlite::types::Value as Stored;
use uuid::Uuid;

use crate::domain::InvalidValue;
use crate::domain::ids::UserId;
use crate::domain::user::{CentralUser, Email, PersonName, Role, ZoneName};
use crate::store::outbox::{FoundConflict, FoundReject, OutboxRow, SealLimits, SealedBatch};
use crate::store::{Error, TenantStore, Writer};

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
    /// The batches that were sealed and not acknowledged, the first one first.
    open: Vec<SealedBatch>,
    /// Whether the journal has to be told that a batch is about to be offered: of the file's first.
    must_journal: bool,
}

impl TenantOutbox {
    /// The outbox of a tenant whose device is enrolled for these users. Frees what was held only for lack of that.
    ///
    /// # Errors
    /// What the store says.
    pub fn open(tenant: TenantStore, enrolled: Vec<UserId>) -> Result<Self, Error> {
        let must_journal = tenant.write(|w| {
            w.outbox().release(&enrolled)?;
            Ok::<_, Error>(!w.outbox().has_synced()?)
        })?;
        Ok(Self {
            tenant,
            enrolled,
            open: Vec::new(),
            must_journal,
        })
    }

    /// The sealed batch that a link is of.
    fn sealed(&self, link: Link) -> Result<SealedBatch, Error> {
        let of = |sealed: &&SealedBatch| sealed.batch_id == link.batch_id;
        self.open
            .iter()
            .find(of)
            .copied()
            .ok_or_else(|| Error::not_found("sealed batch", &link.batch_id))
    }

    /// Does work in a transaction, beside the threads that wait for the network.
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Writer<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let tenant = self.tenant.clone();
        match tokio::task::spawn_blocking(move || tenant.write(work)).await {
            Ok(done) => done,
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Err(Error::Closing),
            },
        }
    }
}

/// Seals the next batch and reads it in one transaction: what is sent is what was sealed, digests and all.
fn seal(
    w: &Writer<'_>,
    limits: SealLimits,
    enrolled: &[UserId],
) -> Result<Option<(SealedBatch, Batch)>, Error> {
    let Some(sealed) = w.outbox().seal(limits, enrolled)? else {
        return Ok(None);
    };
    let mut changes = Vec::with_capacity(usize::try_from(sealed.rows).unwrap_or(0));
    for table in Table::ALL {
        let names: Vec<&'static str> = table.columns().iter().map(|c| c.name).collect();
        let rows = w.outbox().rows(&sealed, table.name(), &names)?;
        changes.extend(rows.into_iter().map(|row| to_change(table, row)));
    }
    let Link {
        stream_id,
        batch_id,
        prev_batch_id,
    } = link(&sealed);
    let batch = Batch {
        stream_id,
        batch_id,
        prev_batch_id,
        changes,
    };
    Ok(Some((sealed, batch)))
}

const fn link(sealed: &SealedBatch) -> Link {
    Link {
        stream_id: sealed.stream_id,
        batch_id: sealed.batch_id,
        prev_batch_id: sealed.prev_batch_id,
    }
}

impl port::Outbox for TenantOutbox {
    type Error = Error;

    async fn unacknowledged(&mut self) -> Result<Option<Link>, Error> {
        self.open = self.write(|w| w.outbox().unacknowledged()).await?;
        Ok(self.open.first().map(link))
    }

    async fn unseal(&mut self, batch: Link) -> Result<(), Error> {
        let sealed = self.sealed(batch)?;
        self.write(move |w| w.outbox().unseal(&sealed)).await?;
        self.open.retain(|open| open.no < sealed.no);
        // What told that a server may hold a batch of this file went with it.
        self.must_journal = true;
        Ok(())
    }

    async fn turn(
        &mut self,
        taken: Option<Link>,
        limits: Limits,
    ) -> Result<(Acknowledged, Option<Batch>), Error> {
        let taken = taken.map(|taken| self.sealed(taken)).transpose()?;
        let enrolled = self.enrolled.clone();
        let limits = SealLimits {
            rows: limits.rows,
            bytes: limits.bytes,
        };
        let (acknowledged, next) = self
            .write(move |w| {
                let acknowledged = match &taken {
                    Some(taken) => acknowledge(w, taken)?,
                    None => Acknowledged::default(),
                };
                Ok((acknowledged, seal(w, limits, &enrolled)?))
            })
            .await?;
        self.open.retain(|open| Some(*open) != taken);
        Ok((
            acknowledged,
            next.map(|(sealed, batch)| {
                self.open.push(sealed);
                batch
            }),
        ))
    }

    async fn journal(&mut self, batch: &Batch, receipt: &Receipt) -> Result<(), Error> {
        let sealed = self.sealed(batch.link())?;
        if !self.must_journal && receipt.rejects.is_empty() && receipt.conflicts.is_empty() {
            return Ok(());
        }
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
        self.write(move |w| w.outbox().journal(&sealed, &rejects, &conflicts))
            .await?;
        self.must_journal = false;
        Ok(())
    }

    async fn acknowledge(&mut self, batch: Link) -> Result<Acknowledged, Error> {
        let sealed = self.sealed(batch)?;
        let acknowledged = self.write(move |w| acknowledge(w, &sealed)).await?;
        self.open.retain(|open| *open != sealed);
        Ok(acknowledged)
    }

    async fn rewind(&mut self, batch: Link, to: Uuid) -> Result<bool, Error> {
        self.open.clear();
        self.write(move |w| w.outbox().rewind(batch.stream_id, to))
            .await
    }

    async fn begin_anew(&mut self) -> Result<(), Error> {
        self.open.clear();
        self.write(|w| w.outbox().begin_anew().map(drop)).await
    }
}

fn acknowledge(w: &Writer<'_>, sealed: &SealedBatch) -> Result<Acknowledged, Error> {
    Ok(Acknowledged {
        rows: sealed.rows,
        rejected: w.outbox().acknowledge(sealed)?,
    })
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
        is_new: row.is_new,
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
