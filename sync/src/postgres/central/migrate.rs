//! Brings tenants' schemas to the newest version.
//!
//! Purpose: one tenant per transaction, resumable. Invariants: with nothing to do it is one query, however many
//! tenants there are; a tenant that fails is recorded and passed over; a tenant that another admin is migrating is
//! left to him (`SKIP LOCKED`); a schema newer than this program is not touched.

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::super::schema::{Latest, latest, migrate_tenant};
use super::{Central, CentralError, value};

/// Longest recorded error, in characters.
const ERROR_MAX: usize = 1000;

/// What a migration of all tenants did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Tenants brought to the newest version, by domain.
    pub done: Vec<String>,
    /// Tenants that failed; each stands as it stood.
    pub failed: Vec<Failure>,
}

/// A tenant that could not be migrated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Its domain.
    pub domain: String,
    /// The server's code, where it has one.
    pub sqlstate: Option<String>,
    /// What happened.
    pub message: String,
}

impl Central {
    /// Brings every tenant to the newest version, going on past those that fail.
    ///
    /// # Errors
    /// [`CentralError::NotInitialised`], or [`CentralError::Remote`] where the admin's own connection fails.
    pub async fn migrate(&self) -> Result<Migrated, CentralError> {
        let latest = latest()?;
        let sql = "SELECT t.id, t.domain \
                   FROM control.tenant_schemas s JOIN public.tenants t ON t.id = s.tenant_id \
                   WHERE s.version < $1 OR (s.version = $1 AND s.checksum <> $2) ORDER BY t.id";
        let rows = self
            .connection
            .query(
                "list tenants to migrate",
                sql,
                &[
                    (&latest.version, Type::INT4),
                    (&latest.checksum, Type::TEXT),
                ],
            )
            .await?;
        let mut migrated = Migrated::default();
        for row in &rows {
            let (id, domain): (Uuid, String) = (value(row, 0)?, value(row, 1)?);
            match self.migrate_one(id).await {
                Ok(true) => migrated.done.push(domain),
                Ok(false) => {}
                Err(error @ CentralError::Remote(_)) if self.connection.is_closed() => {
                    return Err(error);
                }
                Err(error) => migrated.failed.push(Failure {
                    domain,
                    sqlstate: error.sqlstate().map(str::to_owned),
                    message: error.to_string(),
                }),
            }
        }
        Ok(migrated)
    }

    /// Brings one tenant to the newest version. False where another admin is at it.
    pub(super) async fn migrate_one(&self, tenant: Uuid) -> Result<bool, CentralError> {
        let latest = latest()?;
        let outcome = self.transaction(self.migrate_locked(tenant, &latest)).await;
        if let Err(error) = &outcome {
            let message: String = error.to_string().chars().take(ERROR_MAX).collect();
            let sql = "UPDATE control.tenant_schemas SET last_error = $2, last_error_at = now() \
                       WHERE tenant_id = $1";
            self.connection
                .execute(
                    "record an error",
                    sql,
                    &[(&tenant, Type::UUID), (&message, Type::TEXT)],
                )
                .await?;
        }
        outcome
    }

    async fn migrate_locked(&self, tenant: Uuid, latest: &Latest) -> Result<bool, CentralError> {
        const ACTION: &str = "migrate a tenant";
        let sql =
            "SELECT 1 FROM control.tenant_schemas WHERE tenant_id = $1 FOR UPDATE SKIP LOCKED";
        if self
            .connection
            .query(ACTION, sql, &[(&tenant, Type::UUID)])
            .await?
            .is_empty()
        {
            return Ok(false);
        }
        migrate_tenant(&self.endpoint, tenant).await?;
        let sql = "UPDATE control.tenant_schemas SET version = $2, checksum = $3, migrated_at = now(), \
                   last_error = NULL, last_error_at = NULL WHERE tenant_id = $1";
        self.connection
            .execute(
                ACTION,
                sql,
                &[
                    (&tenant, Type::UUID),
                    (&latest.version, Type::INT4),
                    (&latest.checksum, Type::TEXT),
                ],
            )
            .await?;
        Ok(true)
    }
}
