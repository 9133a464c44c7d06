//! Joining later: giving a tenant, its users and all that is derived from their ids the central database's ids.
//!
//! The registry and the tenant's file are two databases that do not commit together, so: the registry records the
//! intent, the file changes in one transaction, the registry follows and drops the intent. Opening a tenant finishes
//! whatever was cut in between ([`Store::finish_rekeying`] is idempotent). Both steps are tried and rolled back before
//! the intent is recorded, so that an enrolment that cannot be applied is refused and nothing waits to be finished; an
//! intent that turns out to be impossible all the same is dropped while the file still has its old ids.
//!
//! Who is who: a local user whose id is enrolled is that user, whatever the address; else the one with the enrolled
//! address takes the id; the others follow from the tenant's id. Two who come to one id are one person under a derived
//! id and the real one: sessions, calls and dashboards of both are kept under it, and re-derived. Where both recorded
//! the same session or call, one of the two rows would be lost: that is refused ([`Error::RecordedTwice`]).

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use super::connection::Use;
use super::enrolments::{EnrolledUser, Enrolment, take_in, users_from_json, users_to_json};
use super::error::{self, Error};
use super::registry::{Entry, Registry};
use super::tenant::{self, Writer};
use super::{Store, outbox};
use crate::domain::InvalidValue;
use crate::domain::ids::{CallId, SessionId, TenantId, UserId};
use crate::domain::session::{Source, SourceId};
use crate::domain::tenant::Domain;
use crate::domain::units::Timestamp;
use crate::domain::user::Email;

const INTEND: &str = "record the re-keying";
const ACTION: &str = "re-key the tenant's file";

/// A re-keying that was begun.
#[derive(Debug)]
pub(super) struct Rekeying {
    new_id: TenantId,
    new_schema: String,
    users: Vec<EnrolledUser>,
}

impl Registry {
    /// The tenant's unfinished re-keying, if there is one.
    pub(super) fn rekeying(&self, tenant: TenantId) -> Result<Option<Rekeying>, Error> {
        let row = self
            .connection()
            .query_row(
                "SELECT new_id, new_schema, users FROM rekeyings WHERE tenant_id = ?1",
                [tenant.as_uuid()],
                |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, String>(2)?)),
            )
            .optional()
            .map_err(error::query("look for a re-keying"))?;
        row.map(|(new_id, new_schema, users)| {
            let users = users_from_json(&users)?;
            Ok(Rekeying {
                new_id: TenantId::from_uuid(new_id),
                new_schema,
                users,
            })
        })
        .transpose()
    }

    /// Records the intent, after trying that the registry can follow.
    fn intend(&self, old: TenantId, intent: &Rekeying, now: Timestamp) -> Result<(), Error> {
        let users = users_to_json(&intent.users)?;
        let mut connection = self.connection();
        let mut transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(error::query(INTEND))?;
        let promised = transaction
            .query_row(
                "SELECT EXISTS (SELECT 1 FROM rekeyings WHERE new_id = ?1)",
                [intent.new_id.as_uuid()],
                |row| row.get::<_, bool>(0),
            )
            .map_err(error::query(INTEND))?;
        if promised {
            return Err(Error::UniqueViolation {
                table: "tenants".into(),
                columns: vec!["id".into()],
            });
        }
        // A savepoint that is dropped is rolled back.
        transaction
            .savepoint()
            .and_then(|trial| follow(&trial, old, intent, now))
            .map_err(error::query(INTEND))?;
        transaction
            .execute(
                "INSERT INTO rekeyings (tenant_id, new_id, new_schema, users, started_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    old.as_uuid(),
                    intent.new_id.as_uuid(),
                    intent.new_schema,
                    users,
                    now.as_micros(),
                ],
            )
            .and_then(|_| transaction.commit())
            .map_err(error::query(INTEND))
    }

    /// Follows the file, and drops the intent.
    fn settle(&self, old: TenantId, intent: &Rekeying, now: Timestamp) -> Result<(), Error> {
        let mut connection = self.connection();
        let mut settle = || -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            drop_intent(&transaction, old)?;
            follow(&transaction, old, intent, now)?;
            transaction.commit()
        };
        settle().map_err(error::query("settle the re-keying"))
    }
}

fn drop_intent(registry: &Connection, tenant: TenantId) -> rusqlite::Result<()> {
    registry
        .execute(
            "DELETE FROM rekeyings WHERE tenant_id = ?1",
            [tenant.as_uuid()],
        )
        .map(drop)
}

fn follow(
    registry: &Connection,
    old: TenantId,
    intent: &Rekeying,
    now: Timestamp,
) -> rusqlite::Result<()> {
    registry
        .execute(
            "UPDATE tenants SET id = ?2, schema_name = ?3, updated_at = ?4 WHERE id = ?1",
            params![
                old.as_uuid(),
                intent.new_id.as_uuid(),
                intent.new_schema,
                now.as_micros(),
            ],
        )
        .map(drop)
}

impl Store {
    /// Gives a tenant the ids of an enrolment; does nothing where it has them. The caller holds the lock of
    /// synchronisation.
    pub(super) fn rekey(
        &self,
        domain: &Domain,
        enrolment: &Enrolment,
        users: &[EnrolledUser],
    ) -> Result<(), Error> {
        let entry = self.settled(domain)?;
        let now = self.clock.now();
        let intent = Rekeying {
            new_id: enrolment.tenant_id,
            new_schema: enrolment.schema_name.clone(),
            users: users.to_vec(),
        };
        let path = self.home.tenant_file(entry.directory);
        let mut connection =
            tenant::open_checked(&path, entry.tenant.id, Use::Ordinary, &self.migrations)?;
        let trial = begin(&mut connection)?;
        let changes = rekey_file(&trial, &entry, &intent, now)?;
        take_in(&Writer::within(&trial, intent.new_id, now), users)?;
        trial
            .rollback()
            .map_err(error::query("roll the trial back"))?;
        drop(connection);
        if !changes {
            return Ok(());
        }
        self.registry.intend(entry.tenant.id, &intent, now)?;
        self.finish_rekeying(&entry)
    }

    /// The tenant's entry, after finishing a re-keying that was cut short, or giving it up for good.
    pub(super) fn settled(&self, domain: &Domain) -> Result<Entry, Error> {
        let entry = self.registry.find(domain)?;
        let id = entry.tenant.id;
        if self.registry.rekeying(id)?.is_none() {
            return Ok(entry);
        }
        if let Err(error) = self.finish_rekeying(&entry) {
            if self.registry.rekeying(id)?.is_some() {
                return Err(error);
            }
            tracing::warn!(tenant.id = %id, error = %error, "a re-keying that cannot be done was given up");
        }
        self.registry.find(domain)
    }

    /// Carries out the re-keying that the registry recorded for this tenant, or what is left of it. One that can never
    /// succeed is dropped: the file was rolled back to its old ids.
    fn finish_rekeying(&self, entry: &Entry) -> Result<(), Error> {
        let old = entry.tenant.id;
        let Some(intent) = self.registry.rekeying(old)? else {
            return Ok(());
        };
        let now = self.clock.now();
        self.pools.forget(old);
        let path = self.home.tenant_file(entry.directory);
        let mut connection = tenant::open_any_of(
            &path,
            &[old, intent.new_id],
            Use::Ordinary,
            &self.migrations,
        )?;
        let transaction = begin(&mut connection)?;
        if let Err(error) = rekey_file(&transaction, entry, &intent, now) {
            if is_final(&error) {
                drop_intent(&self.registry.connection(), old)
                    .map_err(error::query("drop the re-keying"))?;
            }
            return Err(error);
        }
        transaction.commit().map_err(error::query(ACTION))?;
        drop(connection);
        self.registry.settle(old, &intent, now)
    }
}

/// Whether trying again comes to the same: the rows are at fault, not the disk or another process.
const fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::AlreadySynced { .. }
            | Error::RecordedTwice { .. }
            | Error::UniqueViolation { .. }
            | Error::ForeignKey { .. }
            | Error::Check { .. }
            | Error::Invalid(_)
            | Error::Query { .. }
    )
}

fn begin(connection: &mut Connection) -> Result<Transaction<'_>, Error> {
    connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(error::query("begin to re-key"))
}

/// Changes every id in the file; true if any had to change. Running it again changes nothing.
fn rekey_file(
    transaction: &Transaction<'_>,
    entry: &Entry,
    intent: &Rekeying,
    now: Timestamp,
) -> Result<bool, Error> {
    let (old, new) = (entry.tenant.id, intent.new_id);
    let writer = Writer::within(transaction, new, now);
    if old != new && writer.meta(tenant::TENANT_ID)? == Some(new.to_string()) {
        // Committed before it was cut.
        return Ok(false);
    }
    let moves = user_ids(transaction, intent, old != new).map_err(error::query(ACTION))?;
    if old == new && moves.is_empty() {
        return Ok(false);
    }
    let domain = || entry.tenant.domain.to_string();
    if writer.outbox().has_synced()? {
        return Err(Error::AlreadySynced { domain: domain() });
    }
    match change_ids(transaction, new, &moves).map_err(error::query(ACTION)) {
        Ok(()) => Ok(true),
        Err(Error::UniqueViolation { table, .. })
            if table == "metrics_sessions" || table == "tool_metrics" =>
        {
            Err(Error::RecordedTwice { domain: domain() })
        }
        Err(other) => Err(other),
    }
}

fn change_ids(
    transaction: &Transaction<'_>,
    new: TenantId,
    moves: &[(Uuid, Uuid)],
) -> rusqlite::Result<()> {
    transaction.create_scalar_function(
        "derived_id",
        4,
        FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC,
        |context| {
            let user = UserId::from_uuid(context.get(1)?);
            let (source, own): (String, String) = (context.get(2)?, context.get(3)?);
            let invalid =
                |source: InvalidValue| rusqlite::Error::UserFunctionError(Box::new(source));
            let source = Source::parse("source", &source).map_err(invalid)?;
            let own = SourceId::parse("source id", &own).map_err(invalid)?;
            Ok(if context.get::<String>(0)? == "session" {
                SessionId::derive(user, &source, Some(&own)).as_uuid()
            } else {
                CallId::derive(user, &source, Some(&own)).as_uuid()
            })
        },
    )?;
    transaction.execute(
        "INSERT INTO meta (key, value) VALUES ('capture_paused', 're-keying')",
        [],
    )?;
    for (from, to) in moves {
        // A row that has the id and moves on itself is another person's: SQLite refuses the id then.
        let taken = transaction.query_row(
            "SELECT EXISTS (SELECT 1 FROM users WHERE id = ?1)",
            [to],
            |row| row.get::<_, bool>(0),
        )? && !moves.iter().any(|(other, _)| other == to);
        if taken {
            merge(transaction, *from, *to)?;
        } else {
            transaction.execute("UPDATE users SET id = ?2 WHERE id = ?1", [from, to])?;
        }
        transaction.execute(
            "UPDATE meta SET value = ?2 WHERE key = 'default_user' AND value = ?1",
            [from.to_string(), to.to_string()],
        )?;
    }
    // Sessions and calls whose source named them get the id that the person's other machines derive.
    transaction.execute_batch(
        "CREATE TEMP TABLE rekeyed (old BLOB PRIMARY KEY, new BLOB NOT NULL) WITHOUT ROWID;
         INSERT INTO rekeyed SELECT id, derived_id('session', user_id, source, source_id)
           FROM metrics_sessions WHERE source_id IS NOT NULL;
         UPDATE metrics_sessions SET id = (SELECT new FROM rekeyed WHERE old = id)
           WHERE id IN (SELECT old FROM rekeyed WHERE old <> new);
         DELETE FROM rekeyed;
         INSERT INTO rekeyed SELECT id, derived_id('call', user_id, source, source_id)
           FROM tool_metrics WHERE source_id IS NOT NULL;
         UPDATE tool_metrics SET id = (SELECT new FROM rekeyed WHERE old = id)
           WHERE id IN (SELECT old FROM rekeyed WHERE old <> new);
         UPDATE tool_metrics SET parent_id = (SELECT new FROM rekeyed WHERE old = parent_id)
           WHERE parent_id IN (SELECT old FROM rekeyed WHERE old <> new);
         DROP TABLE rekeyed;
         UPDATE metrics_sessions SET digest = NULL;
         UPDATE tool_metrics SET digest = NULL;
         UPDATE dashboard_configs SET digest = NULL;
         DELETE FROM quarantine;",
    )?;
    outbox::offer_everything(transaction)?;
    transaction.execute("DELETE FROM meta WHERE key = 'capture_paused'", [])?;
    transaction.execute(
        "UPDATE meta SET value = ?2 WHERE key = ?1",
        params![tenant::TENANT_ID, new.to_string()],
    )?;
    Ok(())
}

/// Makes one user of two: all that hangs on `from` hangs on `into`.
fn merge(transaction: &Transaction<'_>, from: Uuid, into: Uuid) -> rusqlite::Result<()> {
    for sql in [
        // A user has one default dashboard; the other one stays an ordinary one.
        "UPDATE dashboard_configs SET is_default = 0
         WHERE user_id = ?1 AND is_default = 1 AND deleted_at IS NULL
           AND EXISTS (SELECT 1 FROM dashboard_configs
                       WHERE user_id = ?2 AND is_default = 1 AND deleted_at IS NULL)",
        "UPDATE dashboard_configs SET user_id = ?2 WHERE user_id = ?1",
        "UPDATE metrics_sessions SET user_id = ?2 WHERE user_id = ?1",
        "UPDATE tool_metrics SET user_id = ?2 WHERE user_id = ?1",
        "UPDATE users AS u SET first_name = coalesce(u.first_name, o.first_name),
                               last_name = coalesce(u.last_name, o.last_name)
         FROM users o WHERE u.id = ?2 AND o.id = ?1",
    ] {
        transaction.execute(sql, [from, into])?;
    }
    transaction
        .execute("DELETE FROM users WHERE id = ?1", [from])
        .map(drop)
}

/// The users whose ids change, and to what. Those that are not enrolled follow from the tenant's id where it changes.
fn user_ids(
    connection: &Connection,
    intent: &Rekeying,
    derive: bool,
) -> rusqlite::Result<Vec<(Uuid, Uuid)>> {
    let mut statement =
        connection.prepare("SELECT id, email FROM users ORDER BY created_at, id")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, Uuid>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut moves = Vec::new();
    for row in rows {
        let (old, email) = row?;
        if intent.users.iter().any(|user| user.id.as_uuid() == old) {
            continue;
        }
        let enrolled = intent
            .users
            .iter()
            .find(|user| user.email == email)
            .map(|user| user.id);
        let derived = || {
            let email = Email::parse(&email).ok().filter(|_| derive)?;
            Some(UserId::derive(intent.new_id, &email))
        };
        if let Some(new) = enrolled
            .or_else(derived)
            .map(UserId::as_uuid)
            .filter(|new| *new != old)
        {
            moves.push((old, new));
        }
    }
    Ok(moves)
}
