//! Joining later: giving a tenant, its users and all that is derived from their ids the central database's ids.
//!
//! The registry and the tenant's file are two databases that do not commit together, so: the registry records the
//! intent, the file changes in one transaction, the registry follows and drops the intent. Opening a tenant finishes
//! whatever was cut in between ([`Store::finish_rekeying`] is idempotent).

use rusqlite::functions::FunctionFlags;
use rusqlite::{Connection, OptionalExtension as _, params};
use uuid::Uuid;

use super::connection::Use;
use super::enrolments::{EnrolledUser, Enrolment};
use super::error::{self, Error};
use super::registry::{Entry, Registry};
use super::tenant::{self, Writer};
use super::{Store, outbox};
use crate::domain::InvalidValue;
use crate::domain::ids::{CallId, SessionId, TenantId, UserId};
use crate::domain::session::{Source, SourceId};
use crate::domain::tenant::Domain;
use crate::domain::user::{Email, NewUser};

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
}

impl Store {
    /// Gives a tenant the ids of an enrolment; does nothing where it has them.
    pub(super) fn rekey(&self, domain: &Domain, enrolment: &Enrolment) -> Result<(), Error> {
        let entry = self.registry.find(domain)?;
        let handle = self.tenant(domain)?;
        let (foreign_users, synced) = handle.read(|r| {
            let users = r.users().list()?;
            let foreign = users.iter().any(|user| {
                enrolment
                    .users
                    .iter()
                    .any(|new| new.email == user.email.as_str() && new.id != user.id)
            });
            Ok::<_, Error>((foreign, r.outbox().has_synced()?))
        })?;
        let foreign_tenant = entry.tenant.id != enrolment.tenant_id;
        if !foreign_tenant && !foreign_users {
            return Ok(());
        }
        if synced {
            return Err(Error::AlreadySynced {
                domain: domain.to_string(),
            });
        }
        if foreign_tenant && self.registry.find_by_id(enrolment.tenant_id).is_ok() {
            return Err(Error::UniqueViolation {
                table: "tenants".into(),
                columns: vec!["id".into()],
            });
        }
        self.registry
            .connection()
            .execute(
                "INSERT INTO rekeyings (tenant_id, new_id, new_schema, users, started_at)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    entry.tenant.id.as_uuid(),
                    enrolment.tenant_id.as_uuid(),
                    enrolment.schema_name,
                    users_to_json(&enrolment.users)?,
                    self.clock.now().as_micros(),
                ],
            )
            .map_err(error::query("record the re-keying"))?;
        drop(handle);
        self.finish_rekeying(&entry)
    }

    /// Carries out the re-keying that the registry recorded for this tenant, or what is left of it.
    pub(super) fn finish_rekeying(&self, entry: &Entry) -> Result<(), Error> {
        let Some(rekeying) = self.registry.rekeying(entry.tenant.id)? else {
            return Ok(());
        };
        self.pools.forget(entry.tenant.id);
        let path = self.home.tenant_file(entry.directory);
        let mut connection =
            tenant::open_any_of(&path, &[entry.tenant.id, rekeying.new_id], Use::Ordinary)?;
        rekey_file(&mut connection, &rekeying)?;
        drop(connection);
        let mut registry = self.registry.connection();
        let mut finish = || -> rusqlite::Result<()> {
            let transaction = registry.transaction()?;
            transaction.execute(
                "DELETE FROM rekeyings WHERE tenant_id = ?1",
                [entry.tenant.id.as_uuid()],
            )?;
            transaction.execute(
                "UPDATE tenants SET id = ?2, schema_name = ?3, updated_at = ?4 WHERE id = ?1",
                params![
                    entry.tenant.id.as_uuid(),
                    rekeying.new_id.as_uuid(),
                    rekeying.new_schema,
                    self.clock.now().as_micros(),
                ],
            )?;
            transaction.commit()
        };
        finish().map_err(error::query("settle the re-keying"))
    }
}

/// Changes every id in the file in one transaction. Running it again changes nothing.
fn rekey_file(connection: &mut Connection, rekeying: &Rekeying) -> Result<(), Error> {
    let mut run = || -> rusqlite::Result<()> {
        connection.create_scalar_function(
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
        let transaction = connection.transaction()?;
        transaction.execute_batch(
            "PRAGMA defer_foreign_keys = ON;
             INSERT INTO meta (key, value) VALUES ('capture_paused', 're-keying');",
        )?;
        for (old, new) in user_ids(&transaction, rekeying)? {
            transaction.execute("UPDATE users SET id = ?2 WHERE id = ?1", [old, new])?;
            transaction.execute(
                "UPDATE meta SET value = ?2 WHERE key = 'default_user' AND value = ?1",
                [old.to_string(), new.to_string()],
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
        outbox::offer_everything(&transaction)?;
        transaction.execute("DELETE FROM meta WHERE key = 'capture_paused'", [])?;
        transaction.execute(
            "UPDATE meta SET value = ?2 WHERE key = ?1",
            params![tenant::TENANT_ID, rekeying.new_id.to_string()],
        )?;
        transaction.commit()
    };
    run().map_err(error::query("re-key the tenant's file"))
}

/// The users whose ids change: an enrolment's ids win, the others follow from the tenant's new id.
fn user_ids(connection: &Connection, rekeying: &Rekeying) -> rusqlite::Result<Vec<(Uuid, Uuid)>> {
    let mut statement = connection.prepare("SELECT id, email FROM users")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, Uuid>(0)?, row.get::<_, String>(1)?))
    })?;
    let mut changed = Vec::new();
    for row in rows {
        let (old, email) = row?;
        let enrolled = rekeying
            .users
            .iter()
            .find(|user| user.email == email)
            .map(|user| user.id);
        let derived = || {
            Email::parse(&email)
                .ok()
                .map(|email| UserId::derive(rekeying.new_id, &email))
        };
        if let Some(new) = enrolled
            .or_else(derived)
            .map(UserId::as_uuid)
            .filter(|new| *new != old)
        {
            changed.push((old, new));
        }
    }
    Ok(changed)
}

/// Adds the enrolled users that the file does not have yet; the first becomes the default where there is none.
pub(super) fn add_enrolled_users(w: &Writer<'_>, users: &[EnrolledUser]) -> Result<(), Error> {
    for enrolled in users {
        let email = Email::parse(&enrolled.email)?;
        match w.users().find_by_email(&email) {
            Ok(_) => {}
            Err(Error::NotFound { .. }) => {
                let new = NewUser {
                    id: enrolled.id,
                    email,
                    first_name: None,
                    last_name: None,
                    role: enrolled.role,
                };
                w.users().insert(&new)?;
            }
            Err(other) => return Err(other),
        }
    }
    match (w.users().default(), users.first()) {
        (Err(Error::NotFound { .. }), Some(first)) => {
            w.users().set_default(&Email::parse(&first.email)?)
        }
        (other, _) => other.map(drop),
    }
}

pub(super) fn users_to_json(users: &[EnrolledUser]) -> Result<String, Error> {
    serde_json::to_string(users).map_err(|_| unreadable_users())
}

pub(super) fn users_from_json(raw: &str) -> Result<Vec<EnrolledUser>, Error> {
    serde_json::from_str(raw).map_err(|_| unreadable_users())
}

fn unreadable_users() -> Error {
    Error::Invalid(InvalidValue::new(
        "enrolled users",
        "are not a list of users",
    ))
}
