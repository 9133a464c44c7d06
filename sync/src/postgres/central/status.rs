//! How the central database stands.
//!
//! Purpose: each tenant's version, drift, devices and last error, and what is open to everyone. Invariant: two
//! queries, however many tenants there are.

use uuid::Uuid;

use super::super::schema::TenantMigrations;
use super::{Central, CentralError, OpenDoor, value};

const TENANTS: &str = "
    SELECT t.id, t.domain, t.name, t.schema_name, t.is_active, s.version, s.checksum,
           (extract(epoch FROM s.migrated_at) * 1000000)::bigint, s.last_error,
           (SELECT count(*) FROM control.devices d WHERE d.tenant_id = t.id AND d.revoked_at IS NULL)
      FROM public.tenants t JOIN control.tenant_schemas s ON s.tenant_id = t.id
     ORDER BY t.domain";

/// How a tenant's schema differs from what this program would make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drift {
    /// Not at all.
    None,
    /// It lacks migrations: [`Central::migrate`] brings them.
    Behind,
    /// It has migrations that this program does not know: a newer one made them.
    Ahead,
    /// It has as many migrations, but others.
    Differs,
}

impl Drift {
    /// Its name for people and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Behind => "behind",
            Self::Ahead => "ahead",
            Self::Differs => "differs",
        }
    }

    pub(super) fn of(version: i32, checksum: &str, migrations: &TenantMigrations) -> Self {
        let latest = migrations.latest();
        if version > latest {
            return Self::Ahead;
        }
        // Nothing has been applied to an empty schema, so nothing can be other than expected.
        let same = version == 0 || migrations.checksum(version).as_deref() == Some(checksum);
        match (same, version == latest) {
            (false, _) => Self::Differs,
            (true, true) => Self::None,
            (true, false) => Self::Behind,
        }
    }
}

/// One tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantStatus {
    /// Its id.
    pub id: Uuid,
    /// Its domain.
    pub domain: String,
    /// Its name for people.
    pub name: String,
    /// Its schema.
    pub schema_name: String,
    /// Whether it may enrol devices.
    pub is_active: bool,
    /// Its schema's version; 0 where the schema is still empty.
    pub version: i32,
    /// How it differs from the newest.
    pub drift: Drift,
    /// When it was last migrated, in microseconds since 1970-01-01T00:00:00Z.
    pub migrated_at: Option<i64>,
    /// Why its last migration failed, if it did.
    pub last_error: Option<String>,
    /// Devices enrolled and not revoked.
    pub devices: i64,
}

/// The whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The newest version that this program knows.
    pub latest_version: i32,
    /// All tenants, by domain.
    pub tenants: Vec<TenantStatus>,
    /// What everyone may do and nobody should.
    pub open_doors: Vec<OpenDoor>,
}

impl Central {
    /// Reads how everything stands.
    ///
    /// # Errors
    /// [`CentralError::NotInitialised`] before [`Central::init`], [`CentralError::Remote`].
    pub async fn status(&self) -> Result<Status, CentralError> {
        let rows = self
            .connection
            .query("read the tenants' status", TENANTS, &[])
            .await?;
        let tenants = rows
            .iter()
            .map(|row| {
                let (version, checksum): (i32, String) = (value(row, 5)?, value(row, 6)?);
                Ok(TenantStatus {
                    id: value(row, 0)?,
                    domain: value(row, 1)?,
                    name: value(row, 2)?,
                    schema_name: value(row, 3)?,
                    is_active: value(row, 4)?,
                    version,
                    drift: Drift::of(version, &checksum, &self.migrations),
                    migrated_at: value(row, 7)?,
                    last_error: value(row, 8)?,
                    devices: value(row, 9)?,
                })
            })
            .collect::<Result<_, CentralError>>()?;
        let open_doors = self.open_doors().await?;
        Ok(Status {
            latest_version: self.migrations.latest(),
            tenants,
            open_doors,
        })
    }

    /// Counts a tenant's rows that arrived: sessions, calls, dashboards.
    ///
    /// # Errors
    /// [`CentralError::NotFound`], [`CentralError::NotInitialised`], [`CentralError::Remote`].
    pub async fn row_counts(&self, domain: &str) -> Result<Vec<(&'static str, i64)>, CentralError> {
        let tenant = self.tenant(domain).await?;
        let schema = super::super::names::quote_ident(&tenant.schema_name);
        let mut counts = Vec::new();
        for table in crate::change::Table::ALL {
            let sql = format!("SELECT count(*) FROM {schema}.{}", table.name());
            let rows = self
                .connection
                .query("count a tenant's rows", &sql, &[])
                .await?;
            counts.push((
                table.name(),
                value(&super::one("count a tenant's rows", rows)?, 0)?,
            ));
        }
        Ok(counts)
    }
}

#[cfg(test)]
mod tests {
    use super::{Drift, TenantMigrations};

    #[test]
    fn drift_tells_behind_ahead_and_other_content_apart() {
        let before = TenantMigrations::embedded().unwrap();
        let latest = before.latest();
        let next = latest + 1;
        let migrations = before.with(&format!("V{next}__a"), "SELECT 1").unwrap();
        let (old, new) = (migrations.checksum(latest), migrations.checksum(next));
        let (old, new) = (old.unwrap(), new.unwrap());
        assert_eq!(Drift::of(next, &new, &migrations), Drift::None);
        assert_eq!(Drift::of(next, "y", &migrations), Drift::Differs);
        assert_eq!(Drift::of(latest, &old, &migrations), Drift::Behind);
        assert_eq!(Drift::of(latest, "y", &migrations), Drift::Differs);
        assert_eq!(Drift::of(0, "", &migrations), Drift::Behind);
        assert_eq!(Drift::of(next + 1, &new, &migrations), Drift::Ahead);
    }
}
