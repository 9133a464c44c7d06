//! The spool: events that a hook could not write into its tenant's file, kept until someone can.
//!
//! Depends on `domain`, `store` and the hook's events. One file an event, `HOME/spool/TIME-UUID.json`, written whole
//! and renamed into place, so that a reader never sees half of one. Only what a row would hold is kept: no prompt,
//! input or answer. The tenant is the one that the hook settled, never one that whoever empties the spool would mean.
//! Invariants: a file is removed only after its transaction committed, so a repeat is possible and
//! a loss is not (recording an event twice changes nothing); a file that is no event is set aside as `.bad`; one that
//! cannot be read or recorded keeps no other back. At most 100,000 files: a year of hooks that nobody empties must not
//! fill the disk, nor make reading the folder the work of every command. A hook that finds it full drops its event.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::domain::tenant::Domain;
use crate::domain::units::Timestamp;
use crate::store::{self, Home, Store};

use super::claude_hook::{self, HookEvent};

/// Bounds what one call records, so that a command is not held up by a spool of months.
const MOST_AT_ONCE: usize = 10_000;
/// Bounds the folder: about 50 MB of events, and 0.1 s to list.
const MOST_FILES: usize = 100_000;

/// An event that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spooled {
    /// The tenant that the hook settled; the default tenant where nothing named one.
    pub tenant: Option<Domain>,
    /// When it was seen.
    pub at: Timestamp,
    /// What was seen.
    pub event: HookEvent,
}

/// What bringing in came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BroughtIn {
    /// Events that are in their tenants' files now.
    pub recorded: usize,
    /// Files that could not be read, set aside.
    pub set_aside: usize,
    /// Events that still wait: their tenant's file could not be written either, or they have no tenant or user.
    pub waiting: usize,
    /// Why the first of them waits; `None` where it only is the turn of others.
    pub reason: Option<String>,
}

impl BroughtIn {
    fn wait(&mut self, reason: impl FnOnce() -> String) {
        self.waiting += 1;
        self.reason.get_or_insert_with(reason);
    }
}

/// Keeps an event until it can be recorded.
///
/// # Errors
/// [`io::ErrorKind::QuotaExceeded`] where the spool is full, and what the file system says; nothing is left behind then.
pub fn put(home: &Home, spooled: &Spooled) -> io::Result<()> {
    put_below(MOST_FILES, home, spooled)
}

fn put_below(most: usize, home: &Home, spooled: &Spooled) -> io::Result<()> {
    let folder = home.spool();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
    if fs::read_dir(&folder)?.count() >= most {
        let full = format!(
            "the spool is full: {most} files wait in {}",
            folder.display()
        );
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, full));
    }
    let name = format!(
        "{:016x}-{}",
        spooled.at.as_micros(),
        Uuid::new_v4().simple()
    );
    let draft = folder.join(format!("{name}.part"));
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&draft)?;
        file.write_all(&serde_json::to_vec(spooled)?)?;
        file.sync_all()?;
        fs::rename(&draft, folder.join(format!("{name}.json")))?;
        File::open(&folder)?.sync_all()
    };
    write().inspect_err(|_| {
        // The first error tells more than that of a draft that cannot be removed either.
        let _ = fs::remove_file(&draft);
    })
}

/// Records what waits, the oldest first.
///
/// # Errors
/// What the file system says of the spool itself. A file that cannot be read or recorded stays and is counted.
pub fn bring_in(store: &Store) -> io::Result<BroughtIn> {
    bring_in_most(MOST_AT_ONCE, store)
}

fn bring_in_most(most: usize, store: &Store) -> io::Result<BroughtIn> {
    let mut done = BroughtIn::default();
    let files = waiting(&store.home().spool())?;
    if files.is_empty() {
        return Ok(done);
    }
    let default = store.default_tenant().ok().flatten();
    // A tenant that takes nothing is asked once: each answer may cost the five seconds that a lock is waited for.
    let mut closed: BTreeSet<Domain> = BTreeSet::new();
    for (at, path) in files.iter().enumerate() {
        if done.recorded == most {
            done.waiting += files.len() - at;
            break;
        }
        match bring_in_one(path, store, default.as_ref(), &mut closed) {
            Ok(Fate::Recorded) => done.recorded += 1,
            Ok(Fate::SetAside) => done.set_aside += 1,
            Ok(Fate::Waits(reason)) => done.wait(|| reason),
            // Another process brought it in.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => done.wait(|| format!("{}: {error}", path.display())),
        }
    }
    Ok(done)
}

enum Fate {
    Recorded,
    SetAside,
    Waits(String),
}

fn bring_in_one(
    path: &Path,
    store: &Store,
    default: Option<&Domain>,
    closed: &mut BTreeSet<Domain>,
) -> io::Result<Fate> {
    let Some(spooled) = read(path)? else {
        fs::rename(path, path.with_extension("bad"))?;
        return Ok(Fate::SetAside);
    };
    let Some(domain) = spooled.tenant.as_ref().or(default) else {
        return Ok(Fate::Waits("there is no tenant yet".to_owned()));
    };
    if closed.contains(domain) {
        return Ok(Fate::Waits(format!("{domain} takes none")));
    }
    if let Err(error) = record(store, domain, &spooled) {
        tracing::debug!(error = %error, "an event stays in the spool");
        if !is_of_the_event(&error) {
            closed.insert(domain.clone());
        }
        return Ok(Fate::Waits(format!("{domain}: {error}")));
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(Fate::Recorded),
    }
}

/// Whether the trouble is one event's, and not that of its tenant's file.
const fn is_of_the_event(error: &store::Error) -> bool {
    use store::Error;
    matches!(
        error,
        Error::Invalid(_)
            | Error::Check { .. }
            | Error::ForeignKey { .. }
            | Error::UniqueViolation { .. }
    )
}

fn waiting(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|ending| ending == "json"))
        .collect();
    // Before anything is cut off: a folder is listed in no order, and the oldest go first.
    files.sort();
    Ok(files)
}

/// The event in a file; `None` if it is none.
fn read(path: &Path) -> io::Result<Option<Spooled>> {
    Ok(serde_json::from_slice(&fs::read(path)?).ok())
}

fn record(store: &Store, domain: &Domain, spooled: &Spooled) -> Result<(), store::Error> {
    store.tenant(domain)?.write(|w| {
        let user = w.users().default()?;
        let seen = claude_hook::observe(&spooled.event, user.id, spooled.at)?;
        claude_hook::record(w, &seen)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::claude_hook::read as read_event;
    use crate::collect::desk::Desk;

    fn spooled(desk_call: &str) -> Spooled {
        let raw = format!(
            r#"{{"hook_event_name":"PostToolUse","session_id":"s","cwd":"/w/pond","tool_name":"Bash",
                "tool_use_id":"{desk_call}","duration_ms":7,"tool_input":{{"command":"echo secret"}},
                "tool_response":{{"stdout":"private words"}}}}"#
        );
        let event = read_event(raw.as_bytes()).unwrap().unwrap();
        Spooled {
            tenant: None,
            at: Timestamp::from_micros(1_767_603_600_000_000).unwrap(),
            event,
        }
    }

    #[test]
    fn an_event_that_was_spooled_is_recorded_once_and_its_file_goes() {
        let desk = Desk::new();
        let home = Home::at(desk.folder.path().join("home"));
        put(&home, &spooled("toolu_1")).unwrap();
        put(&home, &spooled("toolu_1")).unwrap();
        put(&home, &spooled("toolu_2")).unwrap();
        let store = Store::open(home.clone()).unwrap();
        assert_eq!(
            bring_in(&store).unwrap(),
            BroughtIn {
                recorded: 3,
                ..BroughtIn::default()
            }
        );
        assert_eq!(desk.tenant.read(|r| r.tool_metrics().count()).unwrap(), 2);
        assert_eq!(fs::read_dir(home.spool()).unwrap().count(), 0);
    }

    #[test]
    fn what_was_asked_and_answered_is_not_in_the_spool() {
        let desk = Desk::new();
        let home = Home::at(desk.folder.path().join("home"));
        put(&home, &spooled("toolu_1")).unwrap();
        let file = fs::read_dir(home.spool())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let text = fs::read_to_string(file).unwrap();
        assert!(text.contains("toolu_1"));
        assert!(
            !text.contains("secret") && !text.contains("private words"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_is_no_event_is_set_aside_and_one_whose_tenant_is_not_here_stays() {
        let desk = Desk::new();
        let home = Home::at(desk.folder.path().join("home"));
        let ghost = Spooled {
            tenant: Some(Domain::parse("ghost").unwrap()),
            ..spooled("toolu_1")
        };
        put(&home, &ghost).unwrap();
        fs::write(home.spool().join("0.json"), "{").unwrap();
        let store = Store::open(home.clone()).unwrap();
        let done = bring_in(&store).unwrap();
        assert_eq!((done.recorded, done.set_aside, done.waiting), (0, 1, 1));
        assert_eq!(
            done.reason.as_deref(),
            Some("ghost: there is no tenant ghost")
        );
        assert!(home.spool().join("0.bad").exists());
    }

    #[test]
    fn the_oldest_events_go_first_and_those_of_a_tenant_that_takes_none_hold_up_no_other() {
        let desk = Desk::new();
        let home = Home::at(desk.folder.path().join("home"));
        let at = |second: i64| Timestamp::from_micros(1_767_603_600_000_000 + second).unwrap();
        for second in (0..40).rev() {
            let tenant = (second < 20).then(|| Domain::parse("ghost").unwrap());
            let event = Spooled {
                tenant,
                at: at(second),
                ..spooled(&format!("toolu_{second:02}"))
            };
            put(&home, &event).unwrap();
        }
        let store = Store::open(home.clone()).unwrap();
        let done = bring_in_most(5, &store).unwrap();
        assert_eq!((done.recorded, done.waiting), (5, 35));
        let left = waiting(&home.spool()).unwrap();
        let first_of_acme = read(&left[20]).unwrap().unwrap();
        assert_eq!(first_of_acme.at, at(25));
    }

    #[test]
    fn a_full_spool_takes_no_more_and_says_so() {
        let desk = Desk::new();
        let home = Home::at(desk.folder.path().join("home"));
        put_below(2, &home, &spooled("toolu_1")).unwrap();
        put_below(2, &home, &spooled("toolu_2")).unwrap();
        let refused = put_below(2, &home, &spooled("toolu_3")).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(fs::read_dir(home.spool()).unwrap().count(), 2);
    }
}
