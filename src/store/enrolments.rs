//! Enrolments: which central database a tenant synchronises with, as whom, and for which users.
//!
//! Invariants: the secret lies in a 0600 file of its own, never in the registry; a tenant that has synchronised
//! under one id is never given another; an enrolment that cannot be applied changes nothing; whose work is recorded by
//! default does not change.

use rusqlite::{OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Store;
use super::error::{self, Error};
use super::tenant::Writer;
use crate::domain::InvalidValue;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::tenant::Domain;
use crate::domain::user::{Email, NewUser, Role};

/// A user whose rows this device may send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnrolledUser {
    /// The id, the same on both sides.
    pub id: UserId,
    /// The address.
    pub email: String,
    /// The role.
    pub role: Role,
}

/// What a device was enrolled with, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The tenant's id in the central database.
    pub tenant_id: TenantId,
    /// This device's id there.
    pub device_id: Uuid,
    /// The tenant's schema there.
    pub schema_name: String,
    /// The address of the database, without the secret.
    pub url: String,
    /// The users whose rows may be sent.
    pub users: Vec<EnrolledUser>,
}

impl Store {
    /// The tenant's enrolment, if it has one.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such tenant.
    pub fn enrolment(&self, domain: &Domain) -> Result<Option<Enrolment>, Error> {
        let tenant = self.registry.find(domain)?.tenant;
        let row = self
            .registry
            .connection()
            .query_row(
                "SELECT device_id, schema_name, url, users FROM enrolments WHERE tenant_id = ?1",
                [tenant.id.as_uuid()],
                |row| {
                    let users: String = row.get(3)?;
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, users))
                },
            )
            .optional()
            .map_err(error::query("read the enrolment"))?;
        row.map(|(device_id, schema_name, url, users)| {
            let users = users_from_json(&users)?;
            Ok(Enrolment {
                tenant_id: tenant.id,
                device_id,
                schema_name,
                url,
                users,
            })
        })
        .transpose()
    }

    /// The secret that the tenant's device logs in with.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read.
    pub fn enrolment_secret(&self, domain: &Domain) -> Result<String, Error> {
        self.home.read_secret(self.registry.find(domain)?.directory)
    }

    /// Stores an enrolment, first giving the tenant and its users the ids that the central database knows them by.
    ///
    /// A local user is the enrolled one who has the same id, or else the same address. Where both are here, they are
    /// one person: the work of both is kept under the enrolled id.
    ///
    /// # Errors
    /// [`Error::Busy`] while the tenant is synchronised; [`Error::AlreadySynced`] where it has synchronised under
    /// other ids; [`Error::UniqueViolation`] where another tenant of this machine has the id or the schema name;
    /// [`Error::RecordedTwice`] where two users who are one person recorded the same work; [`Error::Invalid`] where an
    /// address is none or a user is named twice. Nothing is changed then.
    pub fn enrol(&self, domain: &Domain, enrolment: &Enrolment, secret: &str) -> Result<(), Error> {
        let users = distinct(&enrolment.users)?;
        let _lock = self.lock_against_sync(domain, "enrol the tenant")?;
        self.rekey(domain, enrolment, &users)?;
        let entry = self.registry.find(domain)?;
        self.tenant(domain)?.write(|w| take_in(w, &users))?;
        // The secret first: an enrolment without its secret could not be used, while a secret without one, or beside
        // the enrolment that this one replaces, opens nothing that it should not, and enrolling again mends it.
        self.home.write_secret(entry.directory, secret)?;
        self.registry
            .connection()
            .execute(
                "INSERT INTO enrolments (tenant_id, device_id, schema_name, url, users, enrolled_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (tenant_id) DO UPDATE
                 SET device_id = excluded.device_id, schema_name = excluded.schema_name,
                     url = excluded.url, users = excluded.users, enrolled_at = excluded.enrolled_at",
                params![
                    enrolment.tenant_id.as_uuid(),
                    enrolment.device_id,
                    enrolment.schema_name,
                    enrolment.url,
                    users_to_json(&enrolment.users)?,
                    self.clock.now().as_micros(),
                ],
            )
            .map(drop)
            .map_err(error::query("store the enrolment"))
    }
}

/// The users with their addresses as this machine writes them.
fn distinct(users: &[EnrolledUser]) -> Result<Vec<EnrolledUser>, Error> {
    let mut known: Vec<EnrolledUser> = Vec::with_capacity(users.len());
    for user in users {
        let email = Email::parse(&user.email)?.to_string();
        if known
            .iter()
            .any(|other| other.id == user.id || other.email == email)
        {
            return Err(Error::Invalid(InvalidValue::new(
                "enrolled users",
                "name one user or one address twice",
            )));
        }
        known.push(EnrolledUser {
            email,
            ..user.clone()
        });
    }
    Ok(known)
}

/// Gives the enrolled users the addresses of the enrolment and adds those that the file does not have yet. Whoever was
/// the default user stays it, also where that was only by being alone; the first becomes it where there was none.
pub(super) fn take_in(w: &Writer<'_>, users: &[EnrolledUser]) -> Result<(), Error> {
    let default = match w.users().default() {
        Ok(user) => Some(user.id),
        Err(Error::NotFound { .. }) => users.first().map(|user| user.id),
        Err(other) => return Err(other),
    };
    let addresses: Vec<(UserId, &str)> = users
        .iter()
        .map(|user| (user.id, user.email.as_str()))
        .collect();
    w.users().readdress(&addresses)?;
    for enrolled in users {
        let email = Email::parse(&enrolled.email)?;
        match w.users().find_by_email(&email) {
            Ok(user) if user.id == enrolled.id => {}
            Ok(_) => {
                return Err(Error::UniqueViolation {
                    table: "users".into(),
                    columns: vec!["email".into()],
                });
            }
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
    default.map_or(Ok(()), |id| w.users().set_default_id(id))
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
