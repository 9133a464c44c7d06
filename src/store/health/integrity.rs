//! Whether a tenant's file is whole: SQLite's own check, and when it was made last.
//!
//! Invariant: the outcome is noted in the file that was checked (`meta`, key `integrity`), so that a copy brings the age
//! of its original's check along.

use rusqlite::Connection;
use serde::Serialize;

use crate::domain::units::Timestamp;
use crate::store::TenantStore;
use crate::store::error::{self, Error};
use crate::store::tenant::Reader;

/// How closely a file is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum IntegrityDepth {
    /// Pages, records and constraints (`PRAGMA quick_check`): reads the file once.
    Quick,
    /// Also that every index agrees with its table (`PRAGMA integrity_check`): takes several times as long.
    Full,
}

/// What a check of a file's integrity came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct IntegrityCheck {
    /// When it was made.
    pub at: Timestamp,
    /// How much was found; 0 where the file is whole.
    pub problems: u64,
    /// What was found, in SQLite's words, at most 100 of it; empty for a check of the past.
    pub found: Vec<String>,
}

/// The key of the last outcome among the file's own notes: microseconds, a space, and how much was found.
const NOTE: &str = "integrity";
const ACTION: &str = "check the integrity";
/// Bounds what is told of a file that is damaged all over.
const MOST_FOUND: usize = 100;

impl TenantStore {
    /// Checks that the tenant's file is whole, and notes the outcome in it. Writers go on meanwhile.
    ///
    /// ```
    /// # use millpond::store::{Error, TenantStore};
    /// # use millpond::store::health::IntegrityDepth;
    /// # fn f(tenant: &TenantStore) -> Result<(), Error> {
    /// let check = tenant.check_integrity(IntegrityDepth::Quick)?;
    /// assert_eq!(check.problems, 0, "{:?}", check.found);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// What SQLite says of a file that is too damaged to be checked, or to take a note.
    pub fn check_integrity(&self, depth: IntegrityDepth) -> Result<IntegrityCheck, Error> {
        let check = self.read(|r| {
            let found = check(r.connection(), depth).map_err(error::query(ACTION))?;
            Ok::<_, Error>(IntegrityCheck {
                at: r.now(),
                problems: u64::try_from(found.len()).unwrap_or(u64::MAX),
                found,
            })
        })?;
        let note = format!("{} {}", check.at.as_micros(), check.problems);
        self.write(|w| w.set_meta(NOTE, &note))?;
        Ok(check)
    }
}

impl Reader<'_> {
    /// The outcome of the last check of the file's integrity.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn last_integrity(&self) -> Result<Option<IntegrityCheck>, Error> {
        Ok(self.meta(NOTE)?.as_deref().and_then(parse))
    }
}

fn parse(note: &str) -> Option<IntegrityCheck> {
    let (at, problems) = note.split_once(' ')?;
    Some(IntegrityCheck {
        at: Timestamp::from_micros(at.parse().ok()?).ok()?,
        problems: problems.parse().ok()?,
        found: Vec::new(),
    })
}

fn check(file: &Connection, depth: IntegrityDepth) -> rusqlite::Result<Vec<String>> {
    let pragma = match depth {
        IntegrityDepth::Quick => "quick_check",
        IntegrityDepth::Full => "integrity_check",
    };
    let mut statement = file.prepare(&format!("PRAGMA {pragma}({MOST_FOUND})"))?;
    let mut found: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    // SQLite answers "ok" where it finds nothing.
    found.retain(|line| line != "ok");
    // Neither check looks at what refers to what.
    let mut statement = file.prepare("SELECT \"table\", parent FROM pragma_foreign_key_check")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if found.len() >= MOST_FOUND {
            break;
        }
        let (table, parent): (String, String) = (row.get(0)?, row.get(1)?);
        found.push(format!(
            "a row of {table} refers to a row of {parent} that is missing"
        ));
    }
    Ok(found)
}
