//! Brings tenants' schemas to the newest version.
//!
//! Purpose: one tenant per transaction, resumable. Invariants: with nothing to do it is one query, however many
//! tenants there are; a tenant that fails is recorded and passed over, except the canary, which ends it; a tenant
//! that another admin is migrating is left to him (`SKIP LOCKED`), and what he has done meanwhile is not done again;
//! sessions of the tenant's own devices that are in the way are ended, once, and nobody else's; a schema newer than
//! this program is not touched.

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::super::names::schema_name;
use super::super::schema::migrate_tenant;
use super::{Central, CentralError, Shadow, value};

/// Longest recorded error, in characters.
const ERROR_MAX: usize = 1000;

/// What a migration of all tenants did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migrated {
    /// Tenants brought to the newest version, by domain.
    pub done: Vec<String>,
    /// Tenants that failed; each stands as it stood.
    pub failed: Vec<Failure>,
    /// Tenants that another admin was migrating.
    pub left: Vec<String>,
    /// Whether it ended at the canary: no other tenant was touched.
    pub stopped_at_canary: bool,
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

/// How far a migration has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tenants gone through.
    pub done: usize,
    /// Tenants that were behind when it began.
    pub total: usize,
}

/// What became of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It was migrated.
    Done,
    /// Another admin had it done already.
    Already,
    /// Another admin is at it.
    Left,
}

impl Central {
    /// Brings every tenant to the newest version, going on past those that fail.
    ///
    /// # Errors
    /// [`CentralError::NotInitialised`], or [`CentralError::Remote`] where the admin's own connection fails.
    pub async fn migrate(&self) -> Result<Migrated, CentralError> {
        self.migrate_carefully(None, None, |_| {}).await
    }

    /// Brings every tenant to the newest version, `canary` first: where that one fails, or is left to another admin,
    /// no other is touched. With a shadow, the migrations are rehearsed there before anything is touched, and the
    /// canary must come out as they say. `progress` is called after each tenant.
    ///
    /// # Errors
    /// [`CentralError::NotFound`] where there is no such canary, [`CentralError::Migration`] where the rehearsal fails,
    /// [`CentralError::ShadowDiffers`], and those of [`Central::migrate`].
    pub async fn migrate_carefully(
        &self,
        canary: Option<&str>,
        shadow: Option<&Shadow>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Migrated, CentralError> {
        let first = match canary {
            Some(domain) => Some(self.tenant(domain).await?.id),
            None => None,
        };
        let behind = self.behind(first).await?;
        if let Some(shadow) = shadow.filter(|_| !behind.is_empty()) {
            self.check_shadow(shadow)?;
            shadow
                .replay(&self.migrations, self.migrations.latest())
                .await?;
        }
        let mut migrated = Migrated::default();
        let total = behind.len();
        for (done, (id, domain)) in (1..).zip(behind) {
            let is_canary = first == Some(id);
            let mut turn = self.migrate_one(id).await;
            if let (true, Some(shadow), Ok(Turn::Done)) = (is_canary, shadow, &turn) {
                turn = self
                    .check_came_out(shadow, id, &domain)
                    .await
                    .map(|()| Turn::Done);
            }
            let well = matches!(turn, Ok(Turn::Done | Turn::Already));
            match turn {
                Ok(Turn::Done) => migrated.done.push(domain),
                Ok(Turn::Already) => {}
                Ok(Turn::Left) => migrated.left.push(domain),
                Err(error @ CentralError::Remote(_)) if self.connection.is_closed() => {
                    return Err(error);
                }
                Err(error) => migrated.failed.push(Failure {
                    domain,
                    sqlstate: error.sqlstate().map(str::to_owned),
                    message: error.to_string(),
                }),
            }
            progress(Progress { done, total });
            if is_canary && !well {
                migrated.stopped_at_canary = true;
                break;
            }
        }
        Ok(migrated)
    }

    /// The tenants that are behind, `first` at the front.
    async fn behind(&self, first: Option<Uuid>) -> Result<Vec<(Uuid, String)>, CentralError> {
        let latest = self.migrations.latest();
        let checksum = self.migrations.checksum(latest).unwrap_or_default();
        let sql = "SELECT t.id, t.domain \
                   FROM control.tenant_schemas s JOIN public.tenants t ON t.id = s.tenant_id \
                   WHERE s.version < $1 OR (s.version = $1 AND s.checksum <> $2) \
                   ORDER BY t.id IS DISTINCT FROM $3, t.id";
        let rows = self
            .connection
            .query(
                "list tenants to migrate",
                sql,
                &[
                    (&latest, Type::INT4),
                    (&checksum, Type::TEXT),
                    (&first, Type::UUID),
                ],
            )
            .await?;
        rows.iter()
            .map(|row| Ok((value(row, 0)?, value(row, 1)?)))
            .collect()
    }

    /// Brings one tenant to the newest version.
    pub(super) async fn migrate_one(&self, tenant: Uuid) -> Result<Turn, CentralError> {
        // Before the transaction: the migration runs on a connection of its own, which must see the role.
        self.ensure_program_role(tenant).await?;
        let mut outcome = self.transaction(self.migrate_locked(tenant)).await;
        if outcome.as_ref().is_err_and(is_blocked) && self.end_blockers(tenant).await? {
            outcome = self.transaction(self.migrate_locked(tenant)).await;
        }
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

    async fn migrate_locked(&self, tenant: Uuid) -> Result<Turn, CentralError> {
        const ACTION: &str = "migrate a tenant";
        let latest = self.migrations.latest();
        let checksum = self.migrations.checksum(latest).unwrap_or_default();
        let sql = "SELECT version >= $2 AND checksum = $3 FROM control.tenant_schemas \
                   WHERE tenant_id = $1 FOR UPDATE SKIP LOCKED";
        let params: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] = &[
            (&tenant, Type::UUID),
            (&latest, Type::INT4),
            (&checksum, Type::TEXT),
        ];
        let rows = self.connection.query(ACTION, sql, params).await?;
        match rows.first() {
            None => return Ok(Turn::Left),
            Some(row) if value::<bool>(row, 0)? => return Ok(Turn::Already),
            Some(_) => {}
        }
        migrate_tenant(&self.endpoint, tenant, &self.migrations).await?;
        let sql = "UPDATE control.tenant_schemas SET version = $2, checksum = $3, migrated_at = now(), \
                   last_error = NULL, last_error_at = NULL WHERE tenant_id = $1";
        self.connection.execute(ACTION, sql, params).await?;
        Ok(Turn::Done)
    }

    /// Ends the sessions of a tenant's devices that hold a lock in its schema; says whether there were any.
    pub(super) async fn end_blockers(&self, tenant: Uuid) -> Result<bool, CentralError> {
        let sql = "SELECT DISTINCT a.usename::text \
                   FROM control.devices d \
                   JOIN pg_catalog.pg_stat_activity a ON a.usename = 'dv_' || replace(d.id::text, '-', '') \
                   JOIN pg_catalog.pg_locks l ON l.pid = a.pid AND l.granted AND l.database = a.datid \
                   JOIN pg_catalog.pg_class c ON c.oid = l.relation \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   WHERE d.tenant_id = $1 AND n.nspname = $2 AND a.datname = current_database()";
        let schema = schema_name(tenant);
        let rows = self
            .connection
            .query(
                "find who is in the way",
                sql,
                &[(&tenant, Type::UUID), (&schema, Type::TEXT)],
            )
            .await?;
        let mut ended = 0;
        for row in &rows {
            ended += self.end_sessions(&value::<String>(row, 0)?).await?;
        }
        Ok(ended > 0)
    }
}

/// Whether a statement gave up because others hold what it needs.
pub(super) fn is_blocked(error: &CentralError) -> bool {
    matches!(error.sqlstate(), Some("55P03" | "40P01"))
}
