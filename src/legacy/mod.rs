//! The way in for programs that were written against the predecessor's raw queries.
//!
//! ```no_run
//! # use millpond::legacy::{self, Error};
//! # async fn f() -> Result<(), Error> {
//! let db = legacy::connect().await?;
//! let found = db.query("SELECT * FROM tenants WHERE domain = $1", &["acme".into()]).await?;
//! let id = found.first().map(|row| row.get("id")).transpose()?.unwrap_or_default();
//!
//! let acme = db.set_organization_context(id).await?;
//! let slow = acme
//!     .query(
//!         "SELECT tool_name, max(total_duration_ms) AS longest FROM tool_metrics GROUP BY tool_name",
//!         &[],
//!     )
//!     .await?;
//! for row in slow {
//!     println!("{}: {:?} ms", row.get::<String>("tool_name")?, row.get::<Option<i64>>("longest")?);
//! }
//! let touched = acme
//!     .execute("UPDATE users SET timezone = $1 WHERE email = $2", &["UTC".into(), "ada@acme.dev".into()])
//!     .await?;
//! # Ok(())
//! # }
//! ```
//! Works on the central database where `DATABASE_URL` names one, else on the store of this machine; the same text
//! serves both where it keeps to what both have.
//!
//! Depends on [`crate::store`], [`crate::config`] and [`millpond_sync::postgres`]. Invariants: a tenant is chosen by a
//! value, never by a state: [`Legacy::set_organization_context`] returns a handle of that tenant and changes nothing
//! that another handle or task could see. Without a tenant only `tenants` can be read; in a tenant there are `users`,
//! `metrics_sessions`, `tool_metrics`, `dashboard_configs`, and of `tenants` its own row, to be read.
//!
//! # What is a lock, what a guard
//!
//! | | locally | centrally |
//! |---|---|---|
//! | lock | the file holds one tenant; SQLite's authorizer refuses all but the named tables; a query runs on a statement that cannot write | the transaction runs as the tenant's role, which reaches one schema; a query's is READ ONLY; the extended protocol takes one statement |
//! | guard | the statement is parsed, and refused unless all of it is known | the same, and every name qualified with its schema |
//!
//! The central lock is as strong as the login: one that is a member of one tenant's role and of nothing else cannot
//! leave it by any statement; an administrator's could leave it by a function (`set_config`), which the guard refuses.
//! The guard takes a list of functions, types and forms and refuses every other; it is no substitute for parameters,
//! which text of others belongs in.
//!
//! # What differs from plain SQL
//!
//! A deletion sets `deleted_at`, which synchronises; what was deleted is not seen, and a session's calls go with it.
//! `rev` and `digest` are kept by Millpond. Every INSERT names its columns. Locally ids and times are bytes and
//! integers: pass them as parameters and read them by [`Row::get`], and they are the same on both sides. Local writes
//! pass the triggers that synchronisation lives by; a text that the central column does not take is set aside there.

mod central;
mod error;
mod local;
mod place;
mod shape;
mod statement;
mod tokens;
mod value;

use std::sync::Arc;

use millpond_sync::postgres::endpoint::{Endpoint, EndpointError};
use millpond_sync::postgres::pool::PoolLimits;
use millpond_sync::postgres::programs::Programs;
use uuid::Uuid;

pub use error::{Error, Refusal};
pub use millpond_sync::postgres::programs::ROWS_MAX;
pub use value::{FromValue, Row, Value};

use crate::config::{ConfigError, DatabaseSettings};
use crate::domain::InvalidValue;
use crate::domain::ids::TenantId;
use crate::domain::json::has_nul;
use crate::domain::tenant::Domain;
use crate::store::{Home, Store};

/// An answer, before it is rows.
struct Answer {
    columns: Arc<[String]>,
    rows: Vec<Vec<Value>>,
    affected: u64,
}

/// Which side statements go to.
#[derive(Debug, Clone)]
enum Backend {
    Local(local::Local),
    Central(central::Central),
}

/// A connection without a tenant: it reads the list of tenants. Cloning costs a counter.
#[derive(Debug, Clone)]
pub struct Legacy {
    backend: Backend,
}

/// The tenant that a handle works in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationTenant {
    /// Its id.
    pub id: TenantId,
    /// Its domain.
    pub domain: Domain,
    /// Its name for people.
    pub name: String,
    /// Its central schema.
    pub schema_name: String,
    /// Whether it takes rows.
    pub is_active: bool,
}

/// A connection in one tenant, for good: it cannot be moved to another.
///
/// ```compile_fail
/// # async fn f(acme: millpond::legacy::Organization, other: uuid::Uuid) {
/// acme.set_organization_context(other).await;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Organization {
    backend: Backend,
    tenant: OrganizationTenant,
}

/// Connects as the environment says: to the database of `DATABASE_URL`, else to the store of `MILLPOND_HOME` or of the
/// platform's place.
///
/// # Errors
/// [`Error::Settings`] where a variable cannot be used, [`Error::Store`] where there is no home, [`Error::Central`]
/// where connections are to be open ahead of need (`DATABASE_POOL_MIN`) and cannot be made.
pub async fn connect() -> Result<Legacy, Error> {
    let settings = DatabaseSettings::of(|name| std::env::var(name).ok())?;
    if settings.url.is_some() {
        return Legacy::central(&settings).await;
    }
    let home = std::env::var_os("MILLPOND_HOME").filter(|home| !home.is_empty());
    let home = match home {
        Some(root) => Home::at(std::path::absolute(root).map_err(|_| ConfigError::Value {
            name: "MILLPOND_HOME".to_owned(),
            problem: "is no path".to_owned(),
        })?),
        None => Home::of_platform().ok_or_else(|| ConfigError::Value {
            name: "MILLPOND_HOME".to_owned(),
            problem: "is not set, and this user has no home directory".to_owned(),
        })?,
    };
    let store = tokio::task::spawn_blocking(move || Store::open(home))
        .await
        .map_err(|source| Error::Work { source })??;
    Ok(Legacy::local(Arc::new(store), &settings))
}

impl Legacy {
    /// Works on a store of the caller's.
    #[must_use]
    pub const fn local(store: Arc<Store>, settings: &DatabaseSettings) -> Self {
        Self {
            backend: Backend::Local(local::Local::new(store, Some(settings.query_timeout))),
        }
    }

    /// Works on the central database that the settings name.
    ///
    /// # Errors
    /// [`Error::Settings`] where they name none, or its URL cannot be read; [`Error::Central`] where connections are to
    /// be open ahead of need and cannot be made.
    pub async fn central(settings: &DatabaseSettings) -> Result<Self, Error> {
        let of_url = |problem: String| ConfigError::Value {
            name: "DATABASE_URL".to_owned(),
            problem,
        };
        let url = settings
            .url
            .as_ref()
            .ok_or_else(|| of_url("is not set".to_owned()))?;
        // None of its errors shows the URL.
        let endpoint = Endpoint::parse(url.expose())
            .map_err(|error: EndpointError| of_url(format!("cannot be used: {error}")))?;
        let limits = PoolLimits {
            min: settings.pool_min,
            max: settings.pool_max,
            timeout: settings.pool_timeout,
            query_timeout: settings.query_timeout,
        };
        let programs = Programs::new(&endpoint, limits)?;
        programs.warm().await?;
        Ok(Self {
            backend: Backend::Central(central::Central::new(
                programs,
                settings.slow_query_threshold,
            )),
        })
    }

    /// A handle that works in a tenant. This one, and every other, stays as it is.
    ///
    /// # Errors
    /// [`Error::NoTenant`], [`Error::NotAllowed`] where the login may not work in that tenant, and what the side says.
    pub async fn set_organization_context(&self, id: Uuid) -> Result<Organization, Error> {
        let id = TenantId::from_uuid(id);
        let tenant = match &self.backend {
            Backend::Local(local) => {
                let found = local
                    .tenant(id)
                    .await
                    .map_err(|error| no_tenant(error, id))?;
                OrganizationTenant {
                    id,
                    domain: found.domain,
                    name: found.name.to_string(),
                    schema_name: found.schema_name,
                    is_active: found.is_active,
                }
            }
            // As the tenant's own role: a login that may work in this tenant alone is enough.
            Backend::Central(_) => {
                const OWN: &str = "SELECT domain, name, schema_name, is_active FROM tenants";
                let rows = self.backend.query(Some(id), OWN, &[]).await?;
                let row = rows
                    .first()
                    .ok_or_else(|| Error::NoTenant { id: id.to_string() })?;
                OrganizationTenant {
                    id,
                    domain: Domain::parse(&row.get::<String>("domain")?)
                        .map_err(crate::store::Error::from)?,
                    name: row.get("name")?,
                    schema_name: row.get("schema_name")?,
                    is_active: row.get("is_active")?,
                }
            }
        };
        Ok(Organization {
            backend: self.backend.clone(),
            tenant,
        })
    }

    /// Reads the list of tenants: `tenants` is the one table here.
    ///
    /// # Errors
    /// [`Error::Refused`] before anything runs; what the side says.
    pub async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error> {
        self.backend.query(None, sql, params).await
    }
}

impl Organization {
    /// The tenant that this handle works in.
    #[must_use]
    pub const fn tenant(&self) -> &OrganizationTenant {
        &self.tenant
    }

    /// Runs a statement and returns its rows: those of a SELECT, or of RETURNING.
    ///
    /// # Errors
    /// [`Error::Refused`] before anything runs; [`Error::TooManyRows`] beyond [`ROWS_MAX`]; what the side says. A
    /// statement that failed has changed nothing.
    pub async fn query(&self, sql: &str, params: &[Value]) -> Result<Vec<Row>, Error> {
        self.backend.query(Some(self.tenant.id), sql, params).await
    }

    /// Runs a statement and returns how many rows it touched, or returned.
    ///
    /// # Errors
    /// Those of [`Organization::query`].
    pub async fn execute(&self, sql: &str, params: &[Value]) -> Result<u64, Error> {
        let answer = self.backend.run(Some(self.tenant.id), sql, params).await?;
        Ok(answer.affected)
    }
}

impl Backend {
    async fn query(
        &self,
        tenant: Option<TenantId>,
        sql: &str,
        params: &[Value],
    ) -> Result<Vec<Row>, Error> {
        let answer = self.run(tenant, sql, params).await?;
        let columns = answer.columns;
        Ok(answer
            .rows
            .into_iter()
            .map(|values| Row::new(Arc::clone(&columns), values))
            .collect())
    }

    async fn run(
        &self,
        tenant: Option<TenantId>,
        sql: &str,
        params: &[Value],
    ) -> Result<Answer, Error> {
        for (number, value) in (1..).zip(params) {
            checked(value).map_err(|source| Error::Parameter { number, source })?;
        }
        match self {
            Self::Local(local) => {
                let place = local::Local::place(tenant);
                let statement = statement::check(sql, params.len(), &place)?;
                local.run(tenant, statement, params.to_vec()).await
            }
            Self::Central(central) => {
                let place = central::Central::place(tenant);
                let statement = statement::check(sql, params.len(), &place)?;
                central.run(tenant, &statement, params).await
            }
        }
    }
}

/// Refuses what one of the sides cannot keep: PostgreSQL takes no NUL in a text, and JSON here is a document.
fn checked(value: &Value) -> Result<(), InvalidValue> {
    match value {
        Value::Text(text) if text.contains('\0') => {
            Err(InvalidValue::new("text", "contains a NUL character"))
        }
        Value::Json(json) if has_nul(json) => {
            Err(InvalidValue::new("JSON", "contains a NUL character"))
        }
        Value::Float(number) if !number.is_finite() => {
            Err(InvalidValue::new("number", "is not finite"))
        }
        _ => Ok(()),
    }
}

fn no_tenant(error: Error, id: TenantId) -> Error {
    match error {
        Error::Store(crate::store::Error::NotFound { .. }) => {
            Error::NoTenant { id: id.to_string() }
        }
        other => other,
    }
}
