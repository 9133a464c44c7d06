//! Tenants: a row of `public.tenants`, a schema and a writer role each.
//!
//! Purpose: create, list and show. Invariants: row, role and an empty schema come in one transaction, with the
//! schema's version as 0; filling it is a migration like every later one, so that a crash between the two is
//! mended by `migrate`.

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use super::super::names::{DEVICE, OWNER, quote_ident, schema_name, writer_role};
use super::{Central, CentralError, one, value};
use crate::fault::RemoteError;

/// Longest name of a tenant, in characters.
const NAME_MAX: usize = 255;
/// Longest domain, in bytes.
const DOMAIN_MAX: usize = 253;

const COLUMNS: &str = "id, name, domain, schema_name, subscription_plan, is_active, admin_email, \
                       (extract(epoch FROM created_at) * 1000000)::bigint";

/// What a tenant has subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Plan {
    /// `basic`.
    #[default]
    Basic,
    /// `professional`.
    Professional,
    /// `enterprise`.
    Enterprise,
    /// `custom`.
    Custom,
}

impl Plan {
    /// Its name in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Professional => "professional",
            Self::Enterprise => "enterprise",
            Self::Custom => "custom",
        }
    }
}

/// A tenant to be made.
#[derive(Debug, Clone)]
pub struct NewTenant {
    /// The id that a workstation gave it; `None` for a new one (`UUIDv7`).
    pub id: Option<Uuid>,
    /// Its domain; see [`is_domain`].
    pub domain: String,
    /// Its name for people, 1–255 characters.
    pub name: String,
    /// Its plan.
    pub plan: Plan,
}

/// A tenant as the central database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its id.
    pub id: Uuid,
    /// Its name for people.
    pub name: String,
    /// Its domain.
    pub domain: String,
    /// Its schema.
    pub schema_name: String,
    /// Its plan.
    pub subscription_plan: String,
    /// Whether it may enrol devices.
    pub is_active: bool,
    /// Whom to write to.
    pub admin_email: Option<String>,
    /// When it was made, in microseconds since 1970-01-01T00:00:00Z.
    pub created_at: i64,
}

impl Tenant {
    fn from_row(row: &Row) -> Result<Self, CentralError> {
        Ok(Self {
            id: value(row, 0)?,
            name: value(row, 1)?,
            domain: value(row, 2)?,
            schema_name: value(row, 3)?,
            subscription_plan: value(row, 4)?,
            is_active: value(row, 5)?,
            admin_email: value(row, 6)?,
            created_at: value(row, 7)?,
        })
    }
}

/// Whether a text is a domain: `^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`.
#[must_use]
pub fn is_domain(text: &str) -> bool {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    text.len() <= DOMAIN_MAX
        && text.starts_with(edge)
        && text.ends_with(edge)
        && text.chars().all(|c| edge(c) || c == '.' || c == '-')
}

impl Central {
    /// Makes a tenant with its schema.
    ///
    /// # Errors
    /// [`CentralError::UniqueViolation`] where the domain or the id exists, [`CentralError::Invalid`] for a malformed
    /// domain or name, [`CentralError::NotInitialised`] before [`Central::init`], [`CentralError::Migration`] where
    /// the tenant was made but its schema could not be filled: [`Central::migrate`] goes on from there.
    pub async fn create_tenant(&self, new: &NewTenant) -> Result<Tenant, CentralError> {
        if !is_domain(&new.domain) {
            return Err(CentralError::Invalid { what: "domain" });
        }
        let length = new.name.chars().count();
        if length == 0 || length > NAME_MAX || new.name.contains('\0') {
            return Err(CentralError::Invalid {
                what: "tenant name",
            });
        }
        let id = new.id.unwrap_or_else(Uuid::now_v7);
        let tenant = self.transaction(self.insert_tenant(id, new)).await?;
        self.migrate_one(id).await?;
        Ok(tenant)
    }

    async fn insert_tenant(&self, id: Uuid, new: &NewTenant) -> Result<Tenant, CentralError> {
        let schema = schema_name(id);
        let sql = format!(
            "INSERT INTO public.tenants (id, name, domain, schema_name, subscription_plan) \
             VALUES ($1, $2, $3, $4, $5) RETURNING {COLUMNS}"
        );
        let rows = self
            .connection
            .query(
                "insert a tenant",
                &sql,
                &[
                    (&id, Type::UUID),
                    (&new.name, Type::TEXT),
                    (&new.domain, Type::TEXT),
                    (&schema, Type::TEXT),
                    (&new.plan.as_str(), Type::TEXT),
                ],
            )
            .await
            .map_err(|error| taken(error, &new.domain))?;
        let tenant = Tenant::from_row(&one("insert a tenant", rows)?)?;
        let sql = "INSERT INTO control.tenant_schemas (tenant_id) VALUES ($1)";
        self.connection
            .execute("insert a tenant", sql, &[(&id, Type::UUID)])
            .await?;
        let writer = writer_role(id);
        self.ensure_role(&writer, "NOLOGIN").await?;
        self.grant_role(DEVICE, &writer).await?;
        let sql = format!(
            "CREATE SCHEMA {} AUTHORIZATION {}",
            quote_ident(&schema),
            quote_ident(OWNER)
        );
        self.connection
            .batch("make a tenant's schema", &sql)
            .await?;
        Ok(tenant)
    }

    /// All tenants, by domain.
    ///
    /// # Errors
    /// [`CentralError::NotInitialised`] before [`Central::init`], [`CentralError::Remote`].
    pub async fn tenants(&self) -> Result<Vec<Tenant>, CentralError> {
        let sql = format!("SELECT {COLUMNS} FROM public.tenants ORDER BY domain");
        let rows = self.connection.query("list tenants", &sql, &[]).await?;
        rows.iter().map(Tenant::from_row).collect()
    }

    /// The tenant of a domain.
    ///
    /// # Errors
    /// [`CentralError::NotFound`], [`CentralError::NotInitialised`], [`CentralError::Remote`].
    pub async fn tenant(&self, domain: &str) -> Result<Tenant, CentralError> {
        let not_found = || CentralError::NotFound {
            what: "tenant",
            value: domain.to_owned(),
        };
        if !is_domain(domain) {
            return Err(not_found());
        }
        let sql = format!("SELECT {COLUMNS} FROM public.tenants WHERE domain = $1");
        let rows = self
            .connection
            .query("read a tenant", &sql, &[(&domain, Type::TEXT)])
            .await?;
        rows.first()
            .map(Tenant::from_row)
            .transpose()?
            .ok_or_else(not_found)
    }
}

/// Tells a key that is taken from every other failure. The only keys of the table are the domain's and the id's.
fn taken(error: RemoteError, domain: &str) -> CentralError {
    if error.sqlstate.as_deref() == Some("23505") {
        CentralError::UniqueViolation {
            what: "tenant",
            value: domain.to_owned(),
        }
    } else {
        error.into()
    }
}

#[cfg(test)]
mod tests {
    use super::is_domain;

    #[test]
    fn a_domain_is_lower_case_letters_digits_dots_and_dashes() {
        for good in ["a", "acme", "acme-2.dev", "0x", &"a".repeat(253)] {
            assert!(is_domain(good), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a.",
            "../x",
            "Acme",
            "a b",
            "ä",
            "a\"b",
            &"a".repeat(254),
        ] {
            assert!(!is_domain(bad), "{bad}");
        }
    }
}
