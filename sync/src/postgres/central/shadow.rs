//! The shadow database: where migrations are rehearsed, and what live schemas are compared with.
//!
//! Invariants: everything in it happens in a transaction that is rolled back, the scratch schema and its role
//! included, so that nothing is left wherever it is cut; a version is replayed once a connection.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Mutex;
use uuid::Uuid;

use super::super::connect::Connection;
use super::super::endpoint::Endpoint;
use super::super::names::{program_role, quote_ident, schema_name, writer_role};
use super::super::schema::{Names, TenantMigrations, make_fresh};
use super::catalogue::{self, Catalogue, Difference};
use super::status::Drift;
use super::{Central, CentralError, one, value};

/// A connection to the shadow database. Its login makes roles and schemas there: a superuser, or CREATEROLE and
/// CREATE on the database.
#[derive(Debug)]
pub struct Shadow {
    central: Central,
    replays: Mutex<BTreeMap<i32, Arc<Catalogue>>>,
}

/// What differs in one tenant's schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantDifferences {
    /// The tenant's domain.
    pub domain: String,
    /// The version that its schema stands at.
    pub version: i32,
    /// How it differs by version, checksum and catalogue.
    pub drift: Drift,
    /// What differs from a replay of its version. Empty where it is ahead: what a newer program's migrations make is
    /// not known here.
    pub differences: Vec<Difference>,
}

impl Shadow {
    /// Connects to the shadow database.
    ///
    /// # Errors
    /// Those of [`Central::connect`].
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, CentralError> {
        Ok(Self {
            central: Central::connect(endpoint).await?,
            replays: Mutex::default(),
        })
    }

    /// What the migrations up to `version` make, found by running them.
    ///
    /// # Errors
    /// [`CentralError::Migration`] where one fails, [`CentralError::Remote`].
    pub(super) async fn replay(
        &self,
        migrations: &TenantMigrations,
        version: i32,
    ) -> Result<Arc<Catalogue>, CentralError> {
        let mut replays = self.replays.lock().await;
        if let Some(known) = replays.get(&version) {
            return Ok(Arc::clone(known));
        }
        let made = Arc::new(
            in_vain(
                &self.central.connection,
                self.make_and_read(migrations, version),
            )
            .await?,
        );
        replays.insert(version, Arc::clone(&made));
        Ok(made)
    }

    async fn make_and_read(
        &self,
        migrations: &TenantMigrations,
        version: i32,
    ) -> Result<Catalogue, CentralError> {
        const ACTION: &str = "make a scratch schema";
        let connection = &self.central.connection;
        let rows = connection
            .query(ACTION, "SELECT current_user::text", &[])
            .await?;
        let scratch = Uuid::new_v4();
        let names = Names {
            tenant: scratch,
            schema: schema_name(scratch),
            owner: value(&one(ACTION, rows)?, 0)?,
            writer: writer_role(scratch),
            program: program_role(scratch),
        };
        let schema = quote_ident(&names.schema);
        let sql = format!(
            "CREATE ROLE {} NOLOGIN; CREATE ROLE {} NOLOGIN; CREATE SCHEMA {schema}; \
             SET LOCAL search_path = {schema}",
            quote_ident(&names.writer),
            quote_ident(&names.program)
        );
        connection.batch(ACTION, &sql).await?;
        if version > 0 {
            let filled = migrations.filled(&names, version)?;
            make_fresh(connection, "the shadow database", &filled).await?;
        }
        catalogue::read(connection, &names).await
    }
}

/// Runs `work` in a transaction that is rolled back, whatever comes of it.
async fn in_vain<T>(
    connection: &Connection,
    work: impl Future<Output = Result<T, CentralError>>,
) -> Result<T, CentralError> {
    connection.batch("begin", "BEGIN").await?;
    let done = work.await;
    let rolled_back = connection.batch("roll back", "ROLLBACK").await;
    // The first error is the one to tell.
    done.and_then(|done| Ok(rolled_back.map(|()| done)?))
}

impl Central {
    /// Compares each tenant's schema, or one's, with a replay of its migrations in the shadow database.
    ///
    /// # Errors
    /// [`CentralError::NotFound`] for the tenant, [`CentralError::ShadowDiffers`] where the servers are of two major
    /// versions, [`CentralError::Migration`] where the replay fails, [`CentralError::NotInitialised`],
    /// [`CentralError::Remote`].
    pub async fn diff(
        &self,
        shadow: &Shadow,
        domain: Option<&str>,
    ) -> Result<Vec<TenantDifferences>, CentralError> {
        self.check_shadow(shadow)?;
        if let Some(domain) = domain {
            self.tenant(domain).await?;
        }
        let mut all = Vec::new();
        for tenant in self.status().await?.tenants {
            if domain.is_some_and(|domain| domain != tenant.domain) {
                continue;
            }
            let differences = if tenant.drift == Drift::Ahead {
                Vec::new()
            } else {
                let expected = shadow.replay(&self.migrations, tenant.version).await?;
                catalogue::compare(&expected, &self.catalogue(tenant.id).await?)
            };
            let drift = if differences.is_empty() {
                tenant.drift
            } else {
                Drift::Differs
            };
            all.push(TenantDifferences {
                domain: tenant.domain,
                version: tenant.version,
                drift,
                differences,
            });
        }
        Ok(all)
    }

    /// Checks that a tenant's schema is what the newest migrations make.
    pub(super) async fn check_came_out(
        &self,
        shadow: &Shadow,
        tenant: Uuid,
        domain: &str,
    ) -> Result<(), CentralError> {
        let expected = shadow
            .replay(&self.migrations, self.migrations.latest())
            .await?;
        let found = catalogue::compare(&expected, &self.catalogue(tenant).await?);
        if found.is_empty() {
            return Ok(());
        }
        Err(CentralError::Drift {
            domain: domain.to_owned(),
            objects: found.into_iter().map(|found| found.name).collect(),
        })
    }

    /// Refuses a shadow whose server words its catalogue otherwise.
    pub(super) fn check_shadow(&self, shadow: &Shadow) -> Result<(), CentralError> {
        if shadow.central.server.major == self.server.major {
            return Ok(());
        }
        Err(CentralError::ShadowDiffers {
            shadow: shadow.central.server.major,
            central: self.server.major,
        })
    }

    async fn catalogue(&self, tenant: Uuid) -> Result<Catalogue, CentralError> {
        let names = Names::of(tenant);
        in_vain(&self.connection, catalogue::read(&self.connection, &names)).await
    }
}
