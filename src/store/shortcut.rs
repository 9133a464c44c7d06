//! What a hook needs of the registry, kept in a small file, so that whoever writes one row opens one database.
//!
//! `HOME/registry.seen` holds the tenants that hooks asked for, and how the registry's files stood when they were read:
//! inode, size and times of change, of the database and of its log. It counts only while they still stand so, whichever
//! program changes them: no writer of the registry has to know of it. Depends on the home and the file system; opens no
//! SQLite.
//! Invariants: nothing is kept of a registry that was changed less than a second before it was read, since a change
//! within one tick of the file system's clock could hide; at most 64 tenants; whose a tenant's file is, the file itself
//! says at every opening; one that is missing, torn or out of date is no error, and costs what the registry costs.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::home::{self, Home};
use crate::domain::tenant::{Domain, Tenant};
use crate::domain::units::Timestamp;

/// Bounds what every hook reads.
const MOST_TENANTS: usize = 64;
/// In seconds: coarser than any file system's clock.
const SETTLED: i64 = 1;

/// How a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    inode: u64,
    size: u64,
    /// When its content last changed: seconds and nanoseconds.
    written: (i64, i64),
    /// When anything of it last changed. No program can set this back, as a restored copy's time of writing is.
    changed: (i64, i64),
}

/// How the registry's files stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RegistryStanding {
    database: Standing,
    /// `None` where there is no log or nothing in it: opening makes one and closing removes it, and neither changes
    /// what the registry says.
    log: Option<Standing>,
}

/// A tenant that a hook asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Known {
    pub(super) tenant: Tenant,
    pub(super) directory: Uuid,
}

/// What is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Shortcut {
    standing: RegistryStanding,
    pub(super) default: Option<Domain>,
    tenants: Vec<Known>,
}

impl RegistryStanding {
    /// How they stand now; `None` where there is no registry or it cannot be looked at.
    pub(super) fn now(home: &Home) -> Option<Self> {
        let file = home.registry_file();
        let log = match standing(&file.with_extension("db-wal")) {
            Ok(log) => Some(log).filter(|log| log.size > 0),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(_) => return None,
        };
        let database = standing(&file).ok()?;
        Some(Self { database, log })
    }

    /// Whether the last write lies so long before `now` that another would have another time.
    fn is_settled(&self, now: Timestamp) -> bool {
        [Some(self.database), self.log]
            .into_iter()
            .flatten()
            .all(|file| file.written.0.saturating_add(SETTLED) < now.as_micros() / 1_000_000)
    }
}

fn standing(path: &Path) -> io::Result<Standing> {
    let about = fs::metadata(path)?;
    Ok(Standing {
        inode: about.ino(),
        size: about.size(),
        written: (about.mtime(), about.mtime_nsec()),
        changed: (about.ctime(), about.ctime_nsec()),
    })
}

impl Shortcut {
    /// What is kept of a registry that stands so.
    pub(super) fn read(home: &Home, standing: RegistryStanding) -> Option<Self> {
        let raw = fs::read(path(home)).ok()?;
        let kept: Self = serde_json::from_slice(&raw).ok()?;
        (kept.standing == standing).then_some(kept)
    }

    /// Nothing yet, of a registry that stood so before it was read.
    pub(super) const fn of(standing: RegistryStanding) -> Self {
        Self {
            standing,
            default: None,
            tenants: Vec::new(),
        }
    }

    /// The tenant of that name, if a hook asked for it before.
    pub(super) fn find(&self, domain: &Domain) -> Option<&Known> {
        self.tenants
            .iter()
            .find(|known| known.tenant.domain == *domain)
    }

    pub(super) fn add(&mut self, known: Known) {
        self.tenants.truncate(MOST_TENANTS - 1);
        self.tenants.insert(0, known);
    }

    /// Keeps this for the next hook, if the registry still stands as it did and has stood so for long enough. It is
    /// only a shortcut: where it cannot be written, the next hook opens the registry again.
    pub(super) fn keep(&self, home: &Home, now: Timestamp) {
        if !self.standing.is_settled(now) || RegistryStanding::now(home) != Some(self.standing) {
            return;
        }
        if let Err(error) = self.write(home) {
            tracing::debug!(error = %error, "the registry's shortcut could not be kept");
        }
    }

    /// Whole or not at all, so that no reader sees half of it. Not synced: a torn one is none.
    fn write(&self, home: &Home) -> io::Result<()> {
        let path = path(home);
        let draft = path.with_extension(format!("{}.new", Uuid::new_v4().simple()));
        let written = home::create_new(&draft)
            .and_then(|mut file| file.write_all(&serde_json::to_vec(self)?))
            .and_then(|()| fs::rename(&draft, &path));
        written.inspect_err(|_| {
            // The first error tells more than that of a draft that cannot be removed either.
            let _ = fs::remove_file(&draft);
        })
    }
}

fn path(home: &Home) -> PathBuf {
    home.root().join("registry.seen")
}
