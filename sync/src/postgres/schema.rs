//! The central schema's migrations, embedded, and how one schema is brought up to date.
//!
//! Purpose: fills the placeholders of `migrations/` and hands them to refinery. Depends on [`super::connect`].
//! Invariants: all of a schema's pending migrations run in one transaction; names in them are unqualified, and the
//! dedicated connection's `search_path` is that one schema; `lock_timeout` is 500 ms, so that a migration never
//! queues behind a device and holds up everyone behind it.

use std::error::Error as StdError;

use refinery::{Migration, Runner};
use uuid::Uuid;

use super::central::CentralError;
use super::connect::{Connection, connect, read_error};
use super::endpoint::Endpoint;
use super::names::{OWNER, quote_ident, schema_name, writer_role};

const CONTROL: &[(&str, &str)] = &[(
    "V1__control",
    include_str!("../../migrations/control/V1__control.sql"),
)];
const TENANT: &[(&str, &str)] = &[(
    "V1__tenant",
    include_str!("../../migrations/tenant/V1__tenant.sql"),
)];

/// The schema that the administration keeps its own tables in.
pub(crate) const CONTROL_SCHEMA: &str = "control";

/// The login's device id. `session_user`, since SET ROLE does not change it; NULL where no device is logged in.
const DEVICE_ID: &str = "CASE WHEN starts_with(session_user::text, 'dv_') \
                         THEN substr(session_user::text, 4)::uuid END";

/// What a tenant's schema should stand at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Latest {
    /// The newest migration's version.
    pub(crate) version: i32,
    /// Of all migrations' source, before a tenant's id is put in.
    pub(crate) checksum: String,
}

/// The newest version of a tenant's schema that this program knows.
///
/// # Errors
/// [`CentralError::Migration`] where an embedded migration is malformed; a test rules it out.
pub(crate) fn latest() -> Result<Latest, CentralError> {
    let source: String = TENANT
        .iter()
        .flat_map(|(name, sql)| [*name, *sql])
        .collect();
    let version = migrations(TENANT, &[], "tenant")?
        .iter()
        .map(Migration::version)
        .max()
        .unwrap_or_default();
    let whole = Migration::unapplied("V1__all", &source).map_err(|e| failed("tenant", &e))?;
    Ok(Latest {
        version,
        checksum: format!("{:016x}", whole.checksum()),
    })
}

/// Brings `control` and `public.tenants` up to date.
///
/// # Errors
/// [`CentralError::Migration`] where a statement fails, [`CentralError::Remote`] where the server cannot be reached.
pub(crate) async fn migrate_control(endpoint: &Endpoint) -> Result<(), CentralError> {
    let owner = quote_ident(OWNER);
    let filled = migrations(CONTROL, &[("{{owner}}", &owner)], CONTROL_SCHEMA)?;
    run(endpoint, CONTROL_SCHEMA, &filled).await
}

/// Brings one tenant's schema up to date.
///
/// # Errors
/// [`CentralError::Migration`] where a statement fails, [`CentralError::Remote`] where the server cannot be reached.
pub(crate) async fn migrate_tenant(endpoint: &Endpoint, tenant: Uuid) -> Result<(), CentralError> {
    let schema = schema_name(tenant);
    let filled = migrations(
        TENANT,
        &[
            ("{{tenant_id}}", &tenant.to_string()),
            ("{{schema}}", &quote_ident(&schema)),
            ("{{owner}}", &quote_ident(OWNER)),
            ("{{writer}}", &quote_ident(&writer_role(tenant))),
            ("{{device_id}}", DEVICE_ID),
        ],
        &schema,
    )?;
    run(endpoint, &schema, &filled).await
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
async fn dedicated(endpoint: &Endpoint, schema: &str) -> Result<Connection, CentralError> {
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
    use super::{CONTROL, TENANT, latest};
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
        assert_eq!(
            usize::try_from(latest().unwrap().version).unwrap(),
            TENANT.len()
        );
    }
}
