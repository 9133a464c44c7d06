//! Making a tenant's file anew.
//!
//! Invariants: the fresh schema replaces the old content in one transaction of the live file, so that it is either
//! the old file or the new one wherever it is cut, and other processes that have it open go on with the new one; the
//! tenant keeps its id, the file gets a new one, since it is not the file that synchronised.

use rusqlite::backup::{Backup, StepResult};

use super::super::connection::{self, FileKind, Use};
use super::super::error::{self, Error};
use super::super::home::FileLock;
use super::super::tenant;
use super::status::replay;
use super::{Access, Schemas};
use crate::domain::tenant::Domain;

impl Schemas {
    /// The tenants of the home, by domain.
    ///
    /// # Errors
    /// What is wrong with the registry.
    pub fn domains(&self) -> Result<Vec<Domain>, Error> {
        Ok(self
            .tenants()?
            .iter()
            .filter_map(super::File::domain)
            .collect())
    }

    /// Empties a tenant's file and makes its schema anew. Every row is gone, those that were not sent included.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such tenant, [`Error::Busy`] where it is being synchronised, written to
    /// or given another id.
    pub fn reset_tenant(&self, domain: &Domain) -> Result<(), Error> {
        const ACTION: &str = "reset the tenant";
        let file = self.tenant(domain)?;
        let Some(owner) = file.tenant.as_ref().filter(|owner| !owner.rekeying) else {
            return Err(Error::Busy { action: ACTION });
        };
        let _sync = FileLock::try_take(&file.path.with_file_name("sync.lock"), ACTION)?;
        let _migration = FileLock::take(&file.lock)?;
        let fresh = replay(
            FileKind::Tenant,
            self.migrations.latest(FileKind::Tenant),
            &self.migrations,
        )?;
        tenant::name_file(&fresh, owner.id)?;
        // Whatever its version or its schema: it is replaced.
        let mut live = connection::open(&file.path, Access::Existing, Use::Ordinary)?;
        connection::switch_to_wal(&live, &file.path)?;
        let backup = Backup::new(&fresh, &mut live).map_err(error::query(ACTION))?;
        match backup.step(-1).map_err(error::query(ACTION))? {
            StepResult::Done => Ok(()),
            _ => Err(Error::Busy { action: ACTION }),
        }
    }
}
