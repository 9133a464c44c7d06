//! The central schema's migrations, embedded, and how one schema is brought up to date.
//!
//! Purpose: fills the placeholders of `migrations/` and hands them to refinery. Depends on [`super::connect`].
//! Invariants: all of a schema's pending migrations run in one transaction; names in them are unqualified, and the
//! dedicated connection's `search_path` is that one schema; `lock_timeout` is 500 ms, so that a migration never
//! queues behind a device and holds up everyone behind it.

use std::error::Error as StdError;

use std::sync::Arc;

use refinery::{AsyncMigrate, Migration, Runner};
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::central::CentralError;
use super::connect::{Connection, connect, read_error};
use super::endpoint::Endpoint;
use super::names::{OWNER, PROGRAM, REGISTRY, program_role, quote_ident, schema_name, writer_role};
use crate::fault::RemoteError;

const CONTROL: &[(&str, &str)] = &[
    (
        "V1__control",
        include_str!("../../migrations/control/V1__control.sql"),
    ),
    (
        "V2__programs",
        include_str!("../../migrations/control/V2__programs.sql"),
    ),
];
const TENANT: &[(&str, &str)] = &[
    (
        "V1__tenant",
        include_str!("../../migrations/tenant/V1__tenant.sql"),
    ),
    (
        "V2__programs",
        include_str!("../../migrations/tenant/V2__programs.sql"),
    ),
];

/// The schema that the administration keeps its own tables in.
pub(crate) const CONTROL_SCHEMA: &str = "control";

/// Where a schema keeps which migrations it has.
const HISTORY: &str = "refinery_schema_history";

/// The login's device id. `session_user`, since SET ROLE does not change it; NULL where no device is logged in.
const DEVICE_ID: &str = "CASE WHEN starts_with(session_user::text, 'dv_') \
                         THEN substr(session_user::text, 4)::uuid END";

/// The migrations that tenants' schemas are brought up to date with: those of this program, and what a caller adds,
/// which is how an upgrade is tried before its migration is embedded. Cloning costs a counter.
#[derive(Debug, Clone)]
pub struct TenantMigrations(Arc<[Source]>);

/// A migration's source, before a tenant's id is put in.
#[derive(Debug, Clone)]
struct Source {
    version: i32,
    name: String,
    sql: String,
}

impl Source {
    fn parse(name: &str, sql: &str) -> Result<Self, CentralError> {
        let parsed = Migration::unapplied(name, sql).map_err(|error| failed("tenant", &error))?;
        Ok(Self {
            version: parsed.version(),
            name: name.to_owned(),
            sql: sql.to_owned(),
        })
    }
}

impl TenantMigrations {
    /// Those of this program.
    ///
    /// # Errors
    /// [`CentralError::Migration`] where an embedded migration is malformed; a test rules it out.
    pub fn embedded() -> Result<Self, CentralError> {
        TENANT
            .iter()
            .map(|(name, sql)| Source::parse(name, sql))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// These and a newer one, named as its file would be: `V2__add_notes`.
    ///
    /// # Errors
    /// [`CentralError::Migration`] where the name has no version.
    pub fn with(self, name: &str, sql: &str) -> Result<Self, CentralError> {
        let added = Source::parse(name, sql)?;
        Ok(Self(self.0.iter().cloned().chain([added]).collect()))
    }

    /// The newest version of a tenant's schema.
    #[must_use]
    pub fn latest(&self) -> i32 {
        self.0.last().map_or(0, |newest| newest.version)
    }

    /// The checksum of all migrations up to a version; `None` where that version is not known.
    pub(crate) fn checksum(&self, version: i32) -> Option<String> {
        let known = self.0.iter().any(|source| source.version == version);
        let until = self.0.iter().filter(|source| source.version <= version);
        let all: String = until
            .flat_map(|source| [source.name.as_str(), source.sql.as_str()])
            .collect();
        let whole = Migration::unapplied("V1__all", &all).ok()?;
        known.then(|| format!("{:016x}", whole.checksum()))
    }

    /// The migrations up to a version, with a tenant's names put in.
    pub(crate) fn filled(&self, names: &Names, until: i32) -> Result<Vec<Migration>, CentralError> {
        let sources: Vec<(&str, &str)> = self
            .0
            .iter()
            .filter(|source| source.version <= until)
            .map(|source| (source.name.as_str(), source.sql.as_str()))
            .collect();
        migrations(
            &sources,
            &[
                ("{{tenant_id}}", &names.tenant.to_string()),
                ("{{schema}}", &quote_ident(&names.schema)),
                ("{{owner}}", &quote_ident(&names.owner)),
                ("{{writer}}", &quote_ident(&names.writer)),
                ("{{program}}", &quote_ident(&names.program)),
                ("{{device_id}}", DEVICE_ID),
            ],
            &names.schema,
        )
    }
}

/// The names that a tenant's migrations are filled with.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) tenant: Uuid,
    pub(crate) schema: String,
    pub(crate) owner: String,
    pub(crate) writer: String,
    pub(crate) program: String,
}

impl Names {
    /// Those of a tenant's own schema.
    pub(crate) fn of(tenant: Uuid) -> Self {
        Self {
            tenant,
            schema: schema_name(tenant),
            owner: OWNER.to_owned(),
            writer: writer_role(tenant),
            program: program_role(tenant),
        }
    }
}

/// Runs filled migrations in an empty schema and writes their history, inside a transaction that the caller has begun
/// and whose `search_path` is that schema: refinery begins and ends transactions of its own.
pub(crate) async fn make_fresh(
    connection: &Connection,
    schema: &str,
    filled: &[Migration],
) -> Result<(), CentralError> {
    const ACTION: &str = "make a schema anew";
    let told = |error: RemoteError| CentralError::Migration {
        schema: schema.to_owned(),
        sqlstate: error.sqlstate,
        message: error.message,
    };
    let history = <tokio_postgres::Client as AsyncMigrate>::assert_migrations_table_query(HISTORY);
    connection.batch(ACTION, &history).await.map_err(told)?;
    for migration in filled {
        let sql = migration.sql().unwrap_or_default();
        connection.batch(ACTION, sql).await.map_err(told)?;
        // The form of the time is RFC 3339, which refinery reads back.
        let sql = format!(
            "INSERT INTO {HISTORY} (version, name, applied_on, checksum) VALUES \
             ($1, $2, to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), $3)"
        );
        let checksum = migration.checksum().to_string();
        connection
            .execute(
                ACTION,
                &sql,
                &[
                    (&migration.version(), Type::INT4),
                    (&migration.name(), Type::TEXT),
                    (&checksum, Type::TEXT),
                ],
            )
            .await
            .map_err(told)?;
    }
    Ok(())
}

/// Brings `control` and `public.tenants` up to date.
///
/// # Errors
/// [`CentralError::Migration`] where a statement fails, [`CentralError::Remote`] where the server cannot be reached.
pub(crate) async fn migrate_control(endpoint: &Endpoint) -> Result<(), CentralError> {
    let filled = migrations(
        CONTROL,
        &[
            ("{{owner}}", &quote_ident(OWNER)),
            ("{{program}}", &quote_ident(PROGRAM)),
            ("{{registry}}", &quote_ident(REGISTRY)),
        ],
        CONTROL_SCHEMA,
    )?;
    run(endpoint, CONTROL_SCHEMA, &filled).await
}

/// Brings one tenant's schema up to date.
///
/// # Errors
/// [`CentralError::Migration`] where a statement fails, [`CentralError::Remote`] where the server cannot be reached.
pub(crate) async fn migrate_tenant(
    endpoint: &Endpoint,
    tenant: Uuid,
    migrations: &TenantMigrations,
) -> Result<(), CentralError> {
    let names = Names::of(tenant);
    let filled = migrations.filled(&names, migrations.latest())?;
    run(endpoint, &names.schema, &filled).await
}

fn migrations(
    sources: &[(&str, &str)],
    values: &[(&str, &str)],
    schema: &str,
) -> Result<Vec<Migration>, CentralError> {
    sources
        .iter()
        .map(|(name, sql)| {
            let filled = values.iter().fold((*sql).to_owned(), |sql, (key, value)| {
                sql.replace(key, value)
            });
            Migration::unapplied(name, &filled).map_err(|error| failed(schema, &error))
        })
        .collect()
}

async fn run(
    endpoint: &Endpoint,
    schema: &str,
    migrations: &[Migration],
) -> Result<(), CentralError> {
    let mut connection = dedicated(endpoint, schema).await?;
    Runner::new(migrations)
        .set_grouped(true)
        .run_async(connection.client_mut())
        .await
        .map(|_| ())
        .map_err(|error| failed(schema, &error))
}

/// The one kind of connection that sets `search_path`; it works for one schema and is closed.
pub(crate) async fn dedicated(
    endpoint: &Endpoint,
    schema: &str,
) -> Result<Connection, CentralError> {
    let connection = connect(endpoint, super::central::ADMIN_LIMIT).await?;
    let sql = format!(
        "SET ROLE {}; SET search_path = {}; SET lock_timeout = '500ms'",
        quote_ident(OWNER),
        quote_ident(schema)
    );
    connection.batch("prepare a migration", &sql).await?;
    Ok(connection)
}

/// Tells a failed migration in the server's code and words where a server answered.
fn failed(schema: &str, error: &refinery::Error) -> CentralError {
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(current) = next {
        if let Some(server) = current.downcast_ref::<tokio_postgres::Error>() {
            let told = read_error("migrate", server);
            return CentralError::Migration {
                schema: schema.to_owned(),
                sqlstate: told.sqlstate,
                message: told.message,
            };
        }
        next = current.source();
    }
    CentralError::Migration {
        schema: schema.to_owned(),
        sqlstate: None,
        message: "the schema's history and this program's migrations disagree".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{CONTROL, TENANT, TenantMigrations};
    use std::collections::BTreeSet;

    #[test]
    fn every_migration_file_is_embedded() {
        for (folder, embedded) in [("control", CONTROL), ("tenant", TENANT)] {
            let path = format!("{}/migrations/{folder}", env!("CARGO_MANIFEST_DIR"));
            let files: BTreeSet<String> = std::fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            let names = embedded
                .iter()
                .map(|(name, _)| format!("{name}.sql"))
                .collect();
            assert_eq!(files, names);
        }
    }

    #[test]
    fn the_latest_version_is_the_number_of_migrations() {
        let embedded = TenantMigrations::embedded().unwrap();
        assert_eq!(usize::try_from(embedded.latest()).unwrap(), TENANT.len());
    }

    #[test]
    fn a_checksum_is_of_all_that_came_before() {
        let embedded = TenantMigrations::embedded().unwrap();
        let latest = embedded.latest();
        let next = latest + 1;
        let one = embedded
            .clone()
            .with(&format!("V{next}__a"), "SELECT 1")
            .unwrap();
        let other = embedded
            .clone()
            .with(&format!("V{next}__a"), "SELECT 2")
            .unwrap();
        assert_eq!(one.checksum(latest), embedded.checksum(latest));
        assert_ne!(one.checksum(next), other.checksum(next));
        assert_eq!(embedded.checksum(next), None);
    }
}
