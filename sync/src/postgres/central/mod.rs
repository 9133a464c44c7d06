//! The central database's administration: what an admin's login does, never a device's.
//!
//! Purpose: set the database up, make tenants, enrol and revoke devices, report and migrate. One file a noun. Depends
//! on [`super::connect`], `names` and `schema`. Invariants: it works as superuser and as a role with CREATEROLE that
//! owns the database; text of a user is only ever a parameter.

mod catalogue;
mod devices;
mod doors;
mod init;
mod migrate;
mod reset;
mod roles;
mod shadow;
mod status;
mod tenants;

use std::future::Future;
use std::time::Duration;

use super::connect::{Connection, connect};
use super::endpoint::Endpoint;
use crate::fault::RemoteError;

pub use self::catalogue::Difference;
pub use self::devices::{Enrolment, Revocation, User};
pub use self::doors::OpenDoor;
pub use self::migrate::{Failure, Migrated, Progress};
pub use self::shadow::{Shadow, TenantDifferences};
pub use self::status::{Drift, Status, TenantStatus};
pub use self::tenants::{NewTenant, Plan, Tenant, is_domain};
pub use super::schema::TenantMigrations;

/// Bounds one statement of the administration; making a schema takes about 50 ms.
pub(crate) const ADMIN_LIMIT: Duration = Duration::from_secs(60);

/// Why the administration failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CentralError {
    /// The server failed or refused; its fault and SQLSTATE tell why.
    #[error(transparent)]
    Remote(RemoteError),
    /// The server is older than PostgreSQL 15.
    #[error("the server is PostgreSQL {major}; 15 or later is needed")]
    ServerTooOld {
        /// Its major version.
        major: i32,
    },
    /// `central init` has not run in this database.
    #[error("this database is not set up")]
    NotInitialised,
    /// It exists already.
    #[error("the {what} {value} exists already")]
    UniqueViolation {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        value: String,
    },
    /// It does not exist.
    #[error("there is no {what} {value}")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        value: String,
    },
    /// The tenant is deactivated.
    #[error("the tenant {domain} is not active")]
    Inactive {
        /// Its domain.
        domain: String,
    },
    /// A given value is not of the form that it must have.
    #[error("this is no valid {what}")]
    Invalid {
        /// What it should have been.
        what: &'static str,
    },
    /// Another admin is at work on the tenant's schema.
    #[error("another administrator is at work on {domain}")]
    Locked {
        /// Its domain.
        domain: String,
    },
    /// The schema is not what its migrations make.
    #[error("the schema of {domain} is not what its migrations make: {}", objects.join(", "))]
    Drift {
        /// The tenant.
        domain: String,
        /// The names of what differs.
        objects: Vec<String>,
    },
    /// The shadow database's server words its catalogue otherwise.
    #[error(
        "the shadow database is on PostgreSQL {shadow}, the central one on {central}: they cannot be compared"
    )]
    ShadowDiffers {
        /// The shadow server's major version.
        shadow: i32,
        /// The central server's.
        central: i32,
    },
    /// A migration failed; its transaction was rolled back.
    #[error("cannot migrate {schema}: {message}")]
    Migration {
        /// The schema.
        schema: String,
        /// The server's code, where a server answered.
        sqlstate: Option<String>,
        /// What it said.
        message: String,
    },
}

impl From<RemoteError> for CentralError {
    /// A missing table or schema of ours means that nobody has set the database up.
    fn from(error: RemoteError) -> Self {
        match error.sqlstate.as_deref() {
            Some("42P01" | "3F000") => Self::NotInitialised,
            _ => Self::Remote(error),
        }
    }
}

impl CentralError {
    /// The server's code, where a server answered.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        match self {
            Self::Remote(error) => error.sqlstate.as_deref(),
            Self::Migration { sqlstate, .. } => sqlstate.as_deref(),
            _ => None,
        }
    }
}

/// An admin's connection to the central database.
#[derive(Debug)]
pub struct Central {
    connection: Connection,
    endpoint: Endpoint,
    server: Server,
    migrations: TenantMigrations,
}

/// What the server and the login are.
#[derive(Debug, Clone, Copy)]
struct Server {
    major: i32,
    superuser: bool,
}

impl Central {
    /// Connects as an admin.
    ///
    /// # Errors
    /// [`CentralError::Remote`] where the server cannot be reached or refuses the login,
    /// [`CentralError::ServerTooOld`] below PostgreSQL 15.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, CentralError> {
        const ACTION: &str = "read the server's version";
        let connection = connect(endpoint, ADMIN_LIMIT).await?;
        let sql = "SELECT current_setting('server_version_num')::int / 10000, rolsuper \
                   FROM pg_catalog.pg_roles WHERE rolname = current_user";
        let rows = connection.query(ACTION, sql, &[]).await?;
        let row = one(ACTION, rows)?;
        let server = Server {
            major: value(&row, 0)?,
            superuser: value(&row, 1)?,
        };
        if server.major < 15 {
            return Err(CentralError::ServerTooOld {
                major: server.major,
            });
        }
        Ok(Self {
            connection,
            endpoint: endpoint.clone(),
            server,
            migrations: TenantMigrations::embedded()?,
        })
    }

    /// This connection with a list of migrations of the caller's for tenants' schemas.
    #[must_use]
    pub fn with_migrations(self, migrations: TenantMigrations) -> Self {
        Self { migrations, ..self }
    }

    /// Runs `work` in one transaction.
    async fn transaction<T>(
        &self,
        work: impl Future<Output = Result<T, CentralError>>,
    ) -> Result<T, CentralError> {
        self.connection.batch("begin", "BEGIN").await?;
        match work.await {
            Ok(done) => {
                self.connection.batch("commit", "COMMIT").await?;
                Ok(done)
            }
            Err(error) => {
                // The first error is the one to tell; a failed rollback means that the connection is gone.
                let _ = self.connection.batch("roll back", "ROLLBACK").await;
                Err(error)
            }
        }
    }
}

/// Reads a value of a row by its place.
fn value<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a tokio_postgres::Row,
    column: usize,
) -> Result<T, CentralError> {
    Ok(super::connect::value(
        "read the server's answer",
        row,
        column,
    )?)
}

/// The one row of an answer.
fn one(
    action: &'static str,
    rows: Vec<tokio_postgres::Row>,
) -> Result<tokio_postgres::Row, CentralError> {
    rows.into_iter().next().ok_or_else(|| {
        RemoteError::new(
            action,
            crate::fault::Fault::Systemic,
            "the server returned no row",
        )
        .into()
    })
}
