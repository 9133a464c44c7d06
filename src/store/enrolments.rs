//! Enrolments: which central database a tenant synchronises with, as whom, and for which users.
//!
//! Invariants: the secret lies in a 0600 file of its own, never in the registry; a tenant that has synchronised
//! under one id is never given another.

use rusqlite::{OptionalExtension as _, params};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::error::{self, Error};
use super::{Store, rekey};
use crate::domain::ids::{TenantId, UserId};
use crate::domain::tenant::Domain;
use crate::domain::user::Role;

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
            let users = rekey::users_from_json(&users)?;
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
    /// # Errors
    /// [`Error::AlreadySynced`] where the tenant has synchronised under other ids; [`Error::UniqueViolation`] where
    /// another tenant of this machine has the id. Nothing is changed then.
    pub fn enrol(&self, domain: &Domain, enrolment: &Enrolment, secret: &str) -> Result<(), Error> {
        self.rekey(domain, enrolment)?;
        let entry = self.registry.find(domain)?;
        self.tenant(domain)?
            .write(|w| rekey::add_enrolled_users(w, &enrolment.users))?;
        // The secret first: an enrolment without its secret could not be used, a secret without one is harmless.
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
                    rekey::users_to_json(&enrolment.users)?,
                    self.clock.now().as_micros(),
                ],
            )
            .map(drop)
            .map_err(error::query("store the enrolment"))
    }
}
