//! The schemas of a home's files: how they stand, and bringing all of them to the newest version at once.
//!
//! Purpose: `millpond db`. Opening a tenant brings its own file up to date; this is for looking without touching, for
//! a production that wants one tenant first and a report at the end, and for development. Invariants: nothing here
//! opens a [`super::Store`], which would upgrade what is only to be looked at; a file is read with at most one
//! connection, closed before the next one is opened; a file at the newest version costs its opening and three pragmas.

mod catalogue;
mod deploy;
mod draft;
mod reset;
mod status;

use std::path::PathBuf;

use rusqlite::Connection;
use uuid::Uuid;

pub use catalogue::{Difference, DifferenceState};
pub use deploy::{Deployed, DeployedFile, Failed, Progress};
pub use draft::{NewMigration, new_migration};
pub(super) use status::replay;
pub use status::{Applied, Drift, FileStatus, Statuses};

use super::connection::{self, Access, FileKind, Schema, Use};
use super::error::{self, Error};
use super::home::Home;
use super::migrations::Migrations;
use super::tenant;
use crate::domain::ids::TenantId;
use crate::domain::tenant::Domain;

/// The files of a home, seen as schemas.
#[derive(Debug)]
pub struct Schemas {
    home: Home,
    migrations: Migrations,
}

/// One file of a home.
#[derive(Debug, Clone)]
struct File {
    kind: FileKind,
    path: PathBuf,
    lock: PathBuf,
    /// Whose it is, where it is a tenant's.
    tenant: Option<Owner>,
}

/// The tenant of a file.
#[derive(Debug, Clone)]
struct Owner {
    id: TenantId,
    domain: Domain,
    /// It is on its way to another id: opening it as a tenant finishes that.
    rekeying: bool,
}

impl File {
    fn domain(&self) -> Option<Domain> {
        self.tenant.as_ref().map(|owner| owner.domain.clone())
    }

    /// Opens the file as it is, and checks its kind and that it is not newer than `migrations`.
    fn open(&self, migrations: &Migrations) -> Result<(Connection, Schema), Error> {
        let connection = connection::open(&self.path, Access::Existing, Use::Ordinary)?;
        let latest = migrations.latest(self.kind);
        let schema = connection::check_header(&connection, &self.path, self.kind, latest)?;
        Ok((connection, schema))
    }

    /// Checks that the file says that it is its tenant's.
    fn check_owner(&self, connection: &Connection) -> Result<(), Error> {
        match &self.tenant {
            Some(owner) if !owner.rekeying => {
                tenant::check_owner(connection, &self.path, &[owner.id])
            }
            _ => Ok(()),
        }
    }
}

impl Schemas {
    /// The files of an existing home.
    ///
    /// # Errors
    /// [`Error::NoHome`] where there is none, and what the file system says.
    pub fn of(home: Home) -> Result<Self, Error> {
        Self::with(home, Migrations::embedded())
    }

    /// The files of an existing home, held against a list of migrations of the caller's.
    ///
    /// # Errors
    /// Those of [`Schemas::of`].
    pub fn with(home: Home, migrations: Migrations) -> Result<Self, Error> {
        home.check()?;
        if !home.registry_file().exists() {
            return Err(Error::NoHome {
                path: home.root().to_owned(),
            });
        }
        Ok(Self { home, migrations })
    }

    /// The home that the files are of.
    #[must_use]
    pub const fn home(&self) -> &Home {
        &self.home
    }

    fn registry(&self) -> File {
        File {
            kind: FileKind::Registry,
            path: self.home.registry_file(),
            lock: self.home.lock_file(),
            tenant: None,
        }
    }

    /// The tenants' files, by domain, as a registry of any version lists them.
    fn tenants(&self) -> Result<Vec<File>, Error> {
        const ACTION: &str = "list the tenants' files";
        let path = self.home.registry_file();
        let connection = connection::open(&path, Access::Existing, Use::Ordinary)?;
        // Any version: a newer registry still lists its tenants, and their files have versions of their own.
        if connection::check_header(&connection, &path, FileKind::Registry, i64::MAX)?
            == Schema::Empty
        {
            return Ok(Vec::new());
        }
        let mut statement = connection
            .prepare(
                "SELECT t.id, t.domain, t.directory, r.tenant_id IS NOT NULL
                 FROM tenants t LEFT JOIN rekeyings r ON r.tenant_id = t.id ORDER BY t.domain",
            )
            .map_err(error::query(ACTION))?;
        let rows = statement
            .query_map([], |row| {
                let directory: Uuid = row.get(2)?;
                Ok((
                    row.get(0)?,
                    row.get::<_, String>(1)?,
                    directory,
                    row.get(3)?,
                ))
            })
            .map_err(error::query(ACTION))?;
        rows.map(|row| {
            let (id, domain, directory, rekeying) = row.map_err(error::query(ACTION))?;
            Ok(File {
                kind: FileKind::Tenant,
                path: self.home.tenant_file(directory),
                lock: self.home.tenant_lock(directory, "migrate"),
                tenant: Some(Owner {
                    id: TenantId::from_uuid(id),
                    domain: Domain::parse(&domain)?,
                    rekeying,
                }),
            })
        })
        .collect()
    }

    /// The file of one tenant.
    fn tenant(&self, domain: &Domain) -> Result<File, Error> {
        self.tenants()?
            .into_iter()
            .find(|file| file.domain().as_ref() == Some(domain))
            .ok_or_else(|| Error::not_found("tenant", domain))
    }

    /// The tenant's file where one is named, else all of them.
    fn chosen(&self, domain: Option<&Domain>) -> Result<Vec<File>, Error> {
        match domain {
            Some(domain) => Ok(vec![self.tenant(domain)?]),
            None => self.tenants(),
        }
    }
}
