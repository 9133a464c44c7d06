//! How each file's schema stands: its version, what was applied and when, what it lacks, and what differs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use refinery::{Migration, Target};
use rusqlite::Connection;

use super::super::connection::{self, FileKind, Schema};
use super::super::error::{self, Error};
use super::super::migrate;
use super::super::migrations::Migrations;
use super::catalogue::{self, Catalogue, Difference};
use super::{Failed, File, Schemas};
use crate::domain::tenant::Domain;

/// A migration that a file's own history names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Its version.
    pub version: i64,
    /// Its name, as `tenant` in `V1__tenant`.
    pub name: String,
    /// When it was applied, as RFC 3339.
    pub applied_on: String,
    /// The checksum of its name, version and SQL.
    pub checksum: String,
    /// Whether this program's migration of that version has the same checksum.
    pub matches: bool,
}

/// How a file differs from what this program's migrations make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Drift {
    /// Not at all.
    None,
    /// It lacks migrations, and is otherwise as they made it.
    Behind,
    /// A newer program's migrations were applied.
    Ahead,
    /// A migration was applied that is not this program's, or the schema is not what its migrations make.
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
}

/// How one file's schema stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStatus {
    /// What kind of file it is.
    pub kind: FileKind,
    /// Whose it is; `None` for the registry.
    pub domain: Option<Domain>,
    /// The file.
    pub path: PathBuf,
    /// The version in its header; 0 where nothing was written yet.
    pub version: i64,
    /// The newest version that is known here.
    pub latest: i64,
    /// The migrations that it has, oldest first.
    pub applied: Vec<Applied>,
    /// The names of the migrations that it lacks, oldest first, as `V2__add_notes`.
    pub pending: Vec<String>,
    /// How it differs.
    pub drift: Drift,
    /// What differs between its schema and a replay of its migrations. Empty where it is ahead: what a newer
    /// program's migrations make is not known here.
    pub differences: Vec<Difference>,
}

/// How all files of a home stand.
#[derive(Debug)]
pub struct Statuses {
    /// Those that could be read, the registry first and the tenants by domain.
    pub files: Vec<FileStatus>,
    /// Those that could not.
    pub failed: Vec<Failed>,
}

/// What the migrations make at each version, replayed at most once.
#[derive(Debug, Default)]
pub(super) struct Replays(BTreeMap<(FileKind, i64), Catalogue>);

impl Replays {
    fn at(
        &mut self,
        kind: FileKind,
        version: i64,
        migrations: &Migrations,
    ) -> Result<&Catalogue, Error> {
        use std::collections::btree_map::Entry;
        match self.0.entry((kind, version)) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                Ok(place.insert(catalogue::read(&replay(kind, version, migrations)?)?))
            }
        }
    }
}

/// A database in memory that the migrations up to `version` have made.
pub(in crate::store) fn replay(
    kind: FileKind,
    version: i64,
    migrations: &Migrations,
) -> Result<Connection, Error> {
    let mut connection = connection::in_memory()?;
    let target = i32::try_from(version).map_or(Target::Latest, Target::Version);
    if version > 0 {
        migrate::run(
            &mut connection,
            Path::new(":memory:"),
            kind,
            migrations,
            target,
        )?;
    }
    Ok(connection)
}

impl Schemas {
    /// How every file stands, the registry first and the tenants by domain.
    ///
    /// # Errors
    /// What is wrong with the registry: without it there is no list of tenants.
    pub fn status(&self) -> Result<Statuses, Error> {
        let mut replays = Replays::default();
        let mut all = Statuses {
            files: vec![self.file_status(&self.registry(), &mut replays)?],
            failed: Vec::new(),
        };
        for file in self.tenants()? {
            match (self.file_status(&file, &mut replays), file.domain()) {
                (Ok(status), _) => all.files.push(status),
                (Err(error), Some(domain)) => all.failed.push(Failed { domain, error }),
                (Err(error), None) => return Err(error),
            }
        }
        Ok(all)
    }

    /// How one tenant's file stands.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such tenant, and what is wrong with its file.
    pub fn tenant_status(&self, domain: &Domain) -> Result<FileStatus, Error> {
        self.file_status(&self.tenant(domain)?, &mut Replays::default())
    }

    pub(super) fn file_status(
        &self,
        file: &File,
        replays: &mut Replays,
    ) -> Result<FileStatus, Error> {
        let latest = self.migrations.latest(file.kind);
        let (connection, version) = match file.open(&self.migrations) {
            Ok((connection, Schema::Empty)) => (connection, 0),
            Ok((connection, Schema::Older(version))) => (connection, version),
            Ok((connection, Schema::Current)) => (connection, latest),
            // To be told as such, not to be refused: nothing is done to the file.
            Err(Error::SchemaNewer { found, .. }) => {
                let connection = connection::open(
                    &file.path,
                    connection::Access::Existing,
                    connection::Use::Ordinary,
                )?;
                (connection, found)
            }
            Err(other) => return Err(other),
        };
        if version > 0 {
            file.check_owner(&connection)?;
        }
        let known = self.migrations.of(file.kind);
        let applied = history(&connection, known)?;
        let pending = known
            .iter()
            .filter(|migration| i64::from(migration.version()) > version)
            .map(ToString::to_string)
            .collect();
        let differences = if version > latest {
            Vec::new()
        } else {
            let expected = replays.at(file.kind, version, &self.migrations)?;
            catalogue::compare(expected, &catalogue::read(&connection)?)
        };
        let foreign = applied.iter().any(|applied| !applied.matches);
        let drift = if version > latest {
            Drift::Ahead
        } else if foreign || !differences.is_empty() {
            Drift::Differs
        } else if version < latest {
            Drift::Behind
        } else {
            Drift::None
        };
        Ok(FileStatus {
            kind: file.kind,
            domain: file.domain(),
            path: file.path.clone(),
            version,
            latest,
            applied,
            pending,
            drift,
            differences,
        })
    }
}

/// What a file's own history says was applied; nothing where it has none.
fn history(connection: &Connection, known: &[Migration]) -> Result<Vec<Applied>, Error> {
    const ACTION: &str = "read the history of migrations";
    let has_one: bool = connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'refinery_schema_history')",
            [],
            |row| row.get(0),
        )
        .map_err(error::query(ACTION))?;
    if !has_one {
        return Ok(Vec::new());
    }
    let mut statement = connection
        .prepare(
            "SELECT version, name, applied_on, checksum FROM refinery_schema_history ORDER BY version",
        )
        .map_err(error::query(ACTION))?;
    let rows = statement
        .query_map([], |row| {
            let (version, checksum): (i64, String) = (row.get(0)?, row.get(3)?);
            let matches = known.iter().any(|migration| {
                i64::from(migration.version()) == version
                    && migration.checksum().to_string() == checksum
            });
            Ok(Applied {
                version,
                name: row.get(1)?,
                applied_on: row.get(2)?,
                checksum,
                matches,
            })
        })
        .map_err(error::query(ACTION))?;
    rows.map(|row| row.map_err(error::query(ACTION))).collect()
}
