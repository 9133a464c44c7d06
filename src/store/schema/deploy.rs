//! Brings every file of a home to the newest version: for production.
//!
//! What it adds to the upgrade that opening a tenant makes: one tenant first, and nothing more where that one fails
//! or does not come out as the migrations say; all tenants in one go, past those that fail; a report. Invariants: the
//! registry goes first; each file is copied before it is upgraded, and upgraded in one transaction, so that a failure
//! leaves it as it was; running it again goes on with what is still behind.

use std::path::PathBuf;

use super::super::connection::FileKind;
use super::super::error::Error;
use super::super::migrate::{self, Brought};
use super::status::{Drift, Replays};
use super::{File, Schema, Schemas};
use crate::domain::tenant::Domain;

/// What bringing all files up to date did.
#[derive(Debug, Default)]
pub struct Deployed {
    /// The files that were upgraded, in the order in which they were.
    pub upgraded: Vec<DeployedFile>,
    /// How many were up to date before.
    pub unchanged: u64,
    /// The tenants that failed; each file stands as it stood.
    pub failed: Vec<Failed>,
    /// Whether it ended at the canary: no other tenant was touched.
    pub stopped_at_canary: bool,
}

/// A file that was upgraded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedFile {
    /// Whose it is; `None` for the registry.
    pub domain: Option<Domain>,
    /// The version it came from; 0 where it was empty.
    pub from: i64,
    /// The version it is at now.
    pub to: i64,
    /// What lay there before; `None` where the file was empty.
    pub copy: Option<PathBuf>,
}

/// A tenant whose file could not be read or upgraded.
#[derive(Debug)]
pub struct Failed {
    /// The tenant.
    pub domain: Domain,
    /// Why not.
    pub error: Error,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Tenants' files gone through.
    pub done: u64,
    /// Tenants' files in all.
    pub total: u64,
}

impl Schemas {
    /// Brings the registry and every tenant's file to the newest version, `canary`'s first.
    ///
    /// `progress` is called after each tenant.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such canary, and what keeps the registry from being upgraded. A tenant
    /// that fails is no error here but part of the report.
    pub fn deploy(
        &self,
        canary: Option<&Domain>,
        mut progress: impl FnMut(Progress),
    ) -> Result<Deployed, Error> {
        let mut files = self.tenants()?;
        if let Some(canary) = canary {
            let at = files
                .iter()
                .position(|file| file.domain().as_ref() == Some(canary))
                .ok_or_else(|| Error::not_found("tenant", canary))?;
            let file = files.remove(at);
            files.insert(0, file);
        }
        let mut deployed = Deployed::default();
        let registry = self.upgrade(&self.registry())?;
        deployed.count(registry);
        let total = u64::try_from(files.len()).unwrap_or(u64::MAX);
        for (done, file) in (1..).zip(&files) {
            let is_canary = done == 1 && canary.is_some();
            let upgraded = self.upgrade(file).and_then(|upgraded| {
                if is_canary {
                    self.check_came_out(file)?;
                }
                Ok(upgraded)
            });
            match (upgraded, file.domain()) {
                (Ok(upgraded), _) => deployed.count(upgraded),
                (Err(error), Some(domain)) => {
                    tracing::warn!(error = %error, "a tenant's file could not be upgraded");
                    deployed.failed.push(Failed { domain, error });
                }
                (Err(error), None) => return Err(error),
            }
            progress(Progress { done, total });
            if is_canary && !deployed.failed.is_empty() {
                deployed.stopped_at_canary = true;
                break;
            }
        }
        Ok(deployed)
    }

    /// Brings one file up to date; `None` where it was.
    fn upgrade(&self, file: &File) -> Result<Option<DeployedFile>, Error> {
        let (mut connection, schema) = file.open(&self.migrations)?;
        if schema != Schema::Empty {
            file.check_owner(&connection)?;
        } else if file.kind == FileKind::Tenant {
            // Without its tenant's id it is no file that this home made.
            return Err(Error::WrongTenant {
                path: file.path.clone(),
            });
        }
        let brought = migrate::up_to_date(
            &mut connection,
            &file.path,
            &file.lock,
            file.kind,
            &self.migrations,
        )?;
        let (from, copy) = match brought {
            Brought::Nothing => return Ok(None),
            Brought::Made => (0, None),
            Brought::Upgraded { from, copy } => (from, Some(copy)),
        };
        Ok(Some(DeployedFile {
            domain: file.domain(),
            from,
            to: self.migrations.latest(file.kind),
            copy,
        }))
    }

    /// Checks that a file is what the migrations make.
    fn check_came_out(&self, file: &File) -> Result<(), Error> {
        let status = self.file_status(file, &mut Replays::default())?;
        if status.drift == Drift::None {
            return Ok(());
        }
        Err(Error::Drift {
            path: file.path.clone(),
            objects: status
                .differences
                .into_iter()
                .map(|found| found.name)
                .collect(),
        })
    }
}

impl Deployed {
    fn count(&mut self, upgraded: Option<DeployedFile>) {
        match upgraded {
            Some(file) => self.upgraded.push(file),
            None => self.unchanged += 1,
        }
    }
}
