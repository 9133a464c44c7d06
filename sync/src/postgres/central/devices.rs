//! Devices: a login each, a member of its tenant's writer role and of its users' roles.
//!
//! Purpose: enrol and revoke. Invariants: the password leaves this process once, in the enrolment; the server is sent
//! a SCRAM verifier, so that no log of it holds the password; a revoked login stays, unable to log in, so that the
//! device can be told why.

use std::fmt;

use postgres_protocol::password::scram_sha_256;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::super::connect::Params;
use super::super::endpoint::{Endpoint, Secret};
use super::super::names::{device_role, quote_ident, quote_literal, user_role, writer_role};
use super::{Central, CentralError, Tenant, one, value};

/// Longest email, in characters.
const EMAIL_MAX: usize = 320;
/// Connections that one device may hold: two streams, a pull and one to spare.
const CONNECTION_LIMIT: u8 = 4;

/// A user whom a device is enrolled for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user's id, which the workstation takes over.
    pub id: Uuid,
    /// The user's email.
    pub email: String,
    /// The user's role: admin, manager, developer or viewer.
    pub role: String,
}

/// What a workstation needs to join; told once. Debug hides the URL, which holds the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Enrolment {
    /// The tenant's domain.
    pub domain: String,
    /// The tenant's schema.
    pub schema_name: String,
    /// The tenant's id.
    pub tenant_id: Uuid,
    /// The device's id.
    pub device_id: Uuid,
    /// The users, as the central database knows them.
    pub users: Vec<User>,
    /// `postgresql://dv_…:secret@host:port/db?sslmode=…`.
    pub url: String,
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Enrolment")
            .field("domain", &self.domain)
            .field("device_id", &self.device_id)
            .finish_non_exhaustive()
    }
}

/// What a revocation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revocation {
    /// The device.
    pub device_id: Uuid,
    /// Its tenant.
    pub tenant_id: Uuid,
    /// Whether it had been revoked before.
    pub already: bool,
    /// Sessions that were ended. Any other can do nothing more: its rights are gone.
    pub sessions_ended: i64,
}

impl Central {
    /// Makes a device login for users of a tenant; users who do not exist are made.
    ///
    /// `public` is where devices find the server, if not where this connection does.
    ///
    /// # Errors
    /// [`CentralError::NotFound`] for the tenant, [`CentralError::Inactive`], [`CentralError::Invalid`] for a malformed
    /// email or none, [`CentralError::NotInitialised`], [`CentralError::Remote`].
    pub async fn enroll(
        &self,
        domain: &str,
        emails: &[String],
        public: Option<&Endpoint>,
    ) -> Result<Enrolment, CentralError> {
        if emails.is_empty() || !emails.iter().all(|email| is_email(email)) {
            return Err(CentralError::Invalid { what: "email" });
        }
        let tenant = self.tenant(domain).await?;
        if !tenant.is_active {
            return Err(CentralError::Inactive {
                domain: tenant.domain,
            });
        }
        let device_id = Uuid::now_v7();
        let (high, low): (u128, u128) = rand::random();
        let password = Secret::new(format!("{high:032x}{low:032x}"));
        let users = self
            .transaction(self.insert_device(&tenant, device_id, &password, emails))
            .await?;
        let location = public.unwrap_or(&self.endpoint);
        Ok(Enrolment {
            url: location.url_for(&device_role(device_id), &password, self.endpoint.database()),
            domain: tenant.domain,
            schema_name: tenant.schema_name,
            tenant_id: tenant.id,
            device_id,
            users,
        })
    }

    async fn insert_device(
        &self,
        tenant: &Tenant,
        device_id: Uuid,
        password: &Secret,
        emails: &[String],
    ) -> Result<Vec<User>, CentralError> {
        let role = device_role(device_id);
        let verifier = scram_sha_256(password.expose().as_bytes());
        let attributes = format!(
            "LOGIN CONNECTION LIMIT {CONNECTION_LIMIT} PASSWORD {}",
            quote_literal(&verifier)
        );
        self.ensure_role(&role, &attributes).await?;
        self.grant_role(&writer_role(tenant.id), &role).await?;
        let sql = "INSERT INTO control.devices (id, tenant_id) VALUES ($1, $2)";
        self.connection
            .execute(
                "insert a device",
                sql,
                &[(&device_id, Type::UUID), (&tenant.id, Type::UUID)],
            )
            .await?;
        let mut users: Vec<User> = Vec::new();
        for email in emails {
            let user = self.ensure_user(tenant, email).await?;
            if users.iter().any(|known| known.id == user.id) {
                continue;
            }
            let of_user = user_role(user.id);
            self.ensure_role(&of_user, "NOLOGIN").await?;
            self.grant_role(&of_user, &role).await?;
            let sql = "INSERT INTO control.device_users (device_id, user_id) VALUES ($1, $2)";
            self.connection
                .execute(
                    "insert a device",
                    sql,
                    &[(&device_id, Type::UUID), (&user.id, Type::UUID)],
                )
                .await?;
            users.push(user);
        }
        Ok(users)
    }

    /// The user of an email, made where there is none: with the id that every workstation computes.
    async fn ensure_user(&self, tenant: &Tenant, email: &str) -> Result<User, CentralError> {
        const ACTION: &str = "find or make a user";
        let table = format!("{}.users", quote_ident(&tenant.schema_name));
        let lower = email.to_lowercase();
        let sql = format!("SELECT id, email, role FROM {table} WHERE lower(email) = $1 LIMIT 1");
        let found = self
            .connection
            .query(ACTION, &sql, &[(&lower, Type::TEXT)])
            .await?;
        let row = if let Some(row) = found.into_iter().next() {
            row
        } else {
            let computed = Uuid::new_v5(&tenant.id, lower.as_bytes());
            // The id is taken where its user has changed the email since: this is another person.
            let sql = format!(
                "INSERT INTO {table} (id, email) \
                 SELECT CASE WHEN EXISTS (SELECT 1 FROM {table} WHERE id = $1) THEN $2 ELSE $1 END, $3 \
                 RETURNING id, email, role"
            );
            let other = Uuid::now_v7();
            let params: &Params<'_> = &[
                (&computed, Type::UUID),
                (&other, Type::UUID),
                (&email, Type::TEXT),
            ];
            one(ACTION, self.connection.query(ACTION, &sql, params).await?)?
        };
        Ok(User {
            id: value(&row, 0)?,
            email: value(&row, 1)?,
            role: value(&row, 2)?,
        })
    }

    /// Cuts a device off: no membership, no login, no open session. Again: ends what sessions there are.
    ///
    /// # Errors
    /// [`CentralError::NotFound`], [`CentralError::NotInitialised`], [`CentralError::Remote`].
    pub async fn revoke(&self, device_id: Uuid) -> Result<Revocation, CentralError> {
        let role = device_role(device_id);
        let (tenant_id, already) = self.transaction(self.take_rights(device_id, &role)).await?;
        Ok(Revocation {
            device_id,
            tenant_id,
            already,
            sessions_ended: self.end_sessions(&role).await?,
        })
    }

    async fn take_rights(&self, device_id: Uuid, role: &str) -> Result<(Uuid, bool), CentralError> {
        const ACTION: &str = "revoke a device";
        let sql = "SELECT tenant_id, revoked_at IS NOT NULL FROM control.devices WHERE id = $1 FOR UPDATE";
        let rows = self
            .connection
            .query(ACTION, sql, &[(&device_id, Type::UUID)])
            .await?;
        let row = rows.first().ok_or_else(|| CentralError::NotFound {
            what: "device",
            value: device_id.to_string(),
        })?;
        self.revoke_all_roles(role).await?;
        self.connection
            .batch(ACTION, &format!("ALTER ROLE {} NOLOGIN", quote_ident(role)))
            .await?;
        let sql =
            "UPDATE control.devices SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1";
        self.connection
            .execute(ACTION, sql, &[(&device_id, Type::UUID)])
            .await?;
        Ok((value(row, 0)?, value(row, 1)?))
    }

    /// Ends a role's sessions, waits up to 5 s for each to be gone with its locks, and says how many are. None where this login may not: their rights are gone all the same.
    pub(super) async fn end_sessions(&self, role: &str) -> Result<i64, CentralError> {
        const ACTION: &str = "end a device's sessions";
        if !self.server.superuser {
            // Only a member of a role may end its sessions.
            self.ensure_own_membership(role).await?;
        }
        let sql = "SELECT count(*) FILTER (WHERE pg_catalog.pg_terminate_backend(pid, 5000)) \
                   FROM pg_catalog.pg_stat_activity WHERE usename = $1";
        let ended = match self
            .connection
            .query(ACTION, sql, &[(&role, Type::TEXT)])
            .await
        {
            Ok(rows) => value(&one(ACTION, rows)?, 0)?,
            Err(error) if error.sqlstate.as_deref() == Some("42501") => 0,
            Err(error) => return Err(error.into()),
        };
        if !self.server.superuser {
            let sql = format!("REVOKE {} FROM CURRENT_USER", quote_ident(role));
            self.connection.batch(ACTION, &sql).await?;
        }
        Ok(ended)
    }
}

/// Whether a text can be an email: one `@` with something on both sides, no space, no control character.
fn is_email(text: &str) -> bool {
    let parts: Vec<&str> = text.split('@').collect();
    text.chars().count() <= EMAIL_MAX
        && parts.len() == 2
        && parts.iter().all(|part| !part.is_empty())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

#[cfg(test)]
mod tests {
    use super::is_email;

    #[test]
    fn an_email_has_one_at_sign_and_no_space() {
        assert!(is_email("ada@acme.dev"));
        for bad in [
            "",
            "ada",
            "@acme.dev",
            "ada@",
            "a@b@c",
            "a da@acme.dev",
            "ada@acme\0.dev",
        ] {
            assert!(!is_email(bad), "{bad:?}");
        }
    }
}
