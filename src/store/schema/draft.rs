//! Writing the next migration, for those who work on Millpond itself.
//!
//! A draft is begun with [`new_migration`], tried with [`Schemas::push`] as often as it takes, and undone by
//! [`Schemas::reset_tenant`]. Invariants: nothing is written outside a source tree of this program; a push happens
//! only in a home that is marked for development, in one transaction a file, and leaves the history and the version
//! in the header alone, so that the draft shows as drift until it is a migration.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use rusqlite::TransactionBehavior;

use super::super::connection::FileKind;
use super::super::error::{self, Error};
use super::super::{home, migrate};
use super::Schemas;
use crate::domain::InvalidValue;
use crate::domain::tenant::Domain;

/// Longest name of a migration: the file's name is read in lists.
const NAME_MAX: usize = 60;

/// A migration's file that was begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMigration {
    /// The file.
    pub path: PathBuf,
    /// Its version: one more than the newest in its folder.
    pub version: i64,
}

/// Begins the next migration of a kind of file in the source tree that `start` lies in.
///
/// `name` is 1 to 60 lower-case letters, digits and underscores, a letter first, as `add_notes`.
///
/// # Errors
/// [`Error::Invalid`] for the name, [`Error::NoSourceTree`] outside of Millpond's own source, and what the file
/// system says.
pub fn new_migration(start: &Path, kind: FileKind, name: &str) -> Result<NewMigration, Error> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if name.len() > NAME_MAX
        || !name.starts_with(|c: char| c.is_ascii_lowercase())
        || !name.chars().all(plain)
    {
        return Err(InvalidValue::new(
            "migration name",
            "must be 1 to 60 lower-case letters, digits and underscores, as in add_notes",
        )
        .into());
    }
    let folder = start
        .ancestors()
        .find(|folder| is_source_tree(folder))
        .ok_or_else(|| Error::NoSourceTree {
            path: start.to_owned(),
        })?
        .join("migrations")
        .join(kind.as_str());
    let version = newest_in(&folder)? + 1;
    let path = folder.join(format!("V{version}__{name}.sql"));
    let failed = |source| Error::File {
        action: "write",
        path: path.clone(),
        source,
    };
    home::create_new(&path)
        .and_then(|mut file| {
            write!(
                file,
                "-- What changes, and why.\n\nPRAGMA user_version = {version};\n\n"
            )
        })
        .map_err(failed)?;
    Ok(NewMigration { path, version })
}

/// Whether a folder holds this program's own manifest and its migrations.
fn is_source_tree(folder: &Path) -> bool {
    let is_ours = |manifest: String| {
        manifest.parse::<toml::Table>().is_ok_and(|manifest| {
            manifest
                .get("package")
                .and_then(|package| package.get("name")?.as_str())
                == Some(env!("CARGO_PKG_NAME"))
        })
    };
    folder.join("migrations").is_dir()
        && std::fs::read_to_string(folder.join("Cargo.toml")).is_ok_and(is_ours)
}

/// The greatest version of the migrations in a folder; 0 where there is none.
fn newest_in(folder: &Path) -> Result<i64, Error> {
    let failed = |source| Error::File {
        action: "read the folder",
        path: folder.to_owned(),
        source,
    };
    let mut newest = 0;
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let version = name
            .to_str()
            .and_then(|name| name.strip_prefix('V')?.split_once("__"))
            .and_then(|(version, _)| version.parse().ok());
        newest = newest.max(version.unwrap_or(0));
    }
    Ok(newest)
}

impl Schemas {
    /// Applies a draft to one tenant's file, or to all, without recording it. Each file is brought up to date first.
    ///
    /// Returns the tenants that have it now. A `PRAGMA user_version` in the draft has no effect.
    ///
    /// # Errors
    /// [`Error::NotDevelopment`] where the home is not marked for development, [`Error::Draft`] where a statement
    /// fails or ends the transaction: that file is as it was, and the ones after it were not touched.
    pub fn push(&self, draft: &str, domain: Option<&Domain>) -> Result<Vec<Domain>, Error> {
        self.home.check_development()?;
        let mut pushed = Vec::new();
        for file in self.chosen(domain)? {
            let (mut connection, _) = file.open(&self.migrations)?;
            migrate::up_to_date(
                &mut connection,
                &file.path,
                &file.lock,
                file.kind,
                &self.migrations,
            )?;
            file.check_owner(&connection)?;
            let failed = |source| Error::Draft {
                path: file.path.clone(),
                source: Some(source),
            };
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(error::query("begin to write"))?;
            transaction.execute_batch(draft).map_err(failed)?;
            if transaction.is_autocommit() {
                return Err(Error::Draft {
                    path: file.path.clone(),
                    source: None,
                });
            }
            // The header is the migrations' alone: a draft that raised it would never be applied again.
            transaction
                .execute_batch(&format!(
                    "PRAGMA application_id = {}; PRAGMA user_version = {};",
                    FileKind::Tenant.application_id(),
                    self.migrations.latest(FileKind::Tenant)
                ))
                .map_err(failed)?;
            transaction.commit().map_err(failed)?;
            pushed.extend(file.domain());
        }
        Ok(pushed)
    }
}
