//! The registry: the list of tenants on this machine, and what is not any one tenant's.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::columns::{named, some_text, some_time, text};
use super::connection::{self, Access, FileKind, Use};
use super::error::{self, Error};
use super::home::Home;
use super::migrate;
use super::migrations::Migrations;
use crate::domain::ids::TenantId;
use crate::domain::json::JsonObject;
use crate::domain::tenant::{Domain, NewTenant, Plan, Tenant};
use crate::domain::units::Timestamp;
use crate::domain::user::Email;

/// A tenant and where its files lie.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// The tenant.
    pub(crate) tenant: Tenant,
    /// Its directory's name.
    pub(crate) directory: Uuid,
}

/// The open registry.
#[derive(Debug)]
pub(crate) struct Registry {
    connection: Mutex<Connection>,
}

pub(super) const COLUMNS: &str = "id, name, domain, schema_name, subscription_plan, is_active, admin_email, \
                       created_at, updated_at, directory, billing_email, data_region, metadata, \
                       compliance_settings";

impl Registry {
    /// Opens the registry and brings its schema up to date.
    pub(crate) fn open(
        home: &Home,
        access: Access,
        usage: Use,
        migrations: &Migrations,
    ) -> Result<Self, Error> {
        let path = home.registry_file();
        let no_home = || Error::NoHome {
            path: home.root().to_owned(),
        };
        let has_tenants = home.has_tenants();
        if access == Access::Existing && !has_tenants && !path.exists() {
            return Err(no_home());
        }
        // Where there are tenants, the registry was whole once: a fresh one would forget them.
        let access = if has_tenants {
            Access::Existing
        } else {
            access
        };
        let mut connection = match connection::open(&path, access, usage) {
            // Its maker was killed, or is at work: there is no home until `init` has finished it.
            Err(error) if connection::is_blank(&error) && !has_tenants => return Err(no_home()),
            other => other?,
        };
        migrate::up_to_date(
            &mut connection,
            &path,
            &home.lock_file(),
            FileKind::Registry,
            migrations,
        )?;
        Ok(Self {
            connection: Mutex::new(connection),
        })
    }

    pub(super) fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn list(&self) -> Result<Vec<Tenant>, Error> {
        let connection = self.connection();
        let mut statement = connection
            .prepare(&format!("SELECT {COLUMNS} FROM tenants ORDER BY domain"))
            .map_err(error::query("list tenants"))?;
        let rows = statement
            .query_map([], from_row)
            .map_err(error::query("list tenants"))?;
        rows.map(|row| Ok(row.map_err(error::query("list tenants"))?.tenant))
            .collect()
    }

    pub(crate) fn find(&self, domain: &Domain) -> Result<Entry, Error> {
        find_in(&self.connection(), domain)
    }

    pub(crate) fn find_by_id(&self, id: TenantId) -> Result<Entry, Error> {
        self.connection()
            .query_row(
                &format!("SELECT {COLUMNS} FROM tenants WHERE id = ?1"),
                [id.as_uuid()],
                from_row,
            )
            .optional()
            .map_err(error::query("find a tenant"))?
            .ok_or_else(|| Error::not_found("tenant", &id))
    }

    /// Adds a tenant's entry: all of it, or on an error nothing.
    pub(crate) fn insert(
        &self,
        new: &NewTenant,
        directory: Uuid,
        now: Timestamp,
    ) -> Result<Tenant, Error> {
        const ACTION: &str = "add a tenant";
        let mut connection = self.connection();
        let transaction = connection.transaction().map_err(error::query(ACTION))?;
        transaction
            .execute(
                "INSERT INTO tenants (id, name, domain, schema_name, subscription_plan, admin_email,
                                      directory, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8)",
                params![
                    new.id.as_uuid(),
                    new.name.as_str(),
                    new.domain.as_str(),
                    new.id.schema_name(),
                    new.plan.as_str(),
                    new.admin_email.as_ref().map(Email::as_str),
                    directory,
                    now.as_micros(),
                ],
            )
            .map_err(error::query(ACTION))?;
        // Read before the commit: after it nothing may fail, since the caller removes what has no entry.
        let entry = find_in(&transaction, &new.domain)?;
        transaction.commit().map_err(error::query(ACTION))?;
        Ok(entry.tenant)
    }

    /// The chosen default tenant, or the one that was made first.
    pub(crate) fn default_tenant(&self) -> Result<Option<Domain>, Error> {
        let domain: Option<String> = self
            .connection()
            .query_row(
                "SELECT domain FROM tenants
                 ORDER BY domain = (SELECT value FROM settings WHERE key = 'default_tenant') DESC,
                          created_at, domain
                 LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()
            .map_err(error::query("find the default tenant"))?;
        domain
            .as_deref()
            .map(Domain::parse)
            .transpose()
            .map_err(Error::from)
    }
}

fn find_in(connection: &Connection, domain: &Domain) -> Result<Entry, Error> {
    connection
        .query_row(
            &format!("SELECT {COLUMNS} FROM tenants WHERE domain = ?1"),
            [domain.as_str()],
            from_row,
        )
        .optional()
        .map_err(error::query("find a tenant"))?
        .ok_or_else(|| Error::not_found("tenant", domain))
}

pub(super) fn from_row(row: &Row<'_>) -> rusqlite::Result<Entry> {
    Ok(Entry {
        tenant: Tenant {
            id: TenantId::from_uuid(row.get(0)?),
            name: some_text(row, 1)?,
            domain: named(row, 2, Domain::parse)?,
            schema_name: row.get(3)?,
            subscription_plan: named(row, 4, Plan::parse)?,
            is_active: row.get(5)?,
            admin_email: row.get(6)?,
            created_at: some_time(row, 7)?,
            billing_email: row.get(10)?,
            data_region: text(row, 11)?,
            metadata: named(row, 12, |raw| JsonObject::parse("metadata", raw))?,
            compliance_settings: named(row, 13, |raw| JsonObject::parse("compliance", raw))?,
            updated_at: some_time(row, 8)?,
        },
        directory: row.get(9)?,
    })
}
