//! The spool: events that a hook could not write into its tenant's file, kept until someone can.
//!
//! Depends on `domain`, `store` and the hook's events. One file an event, `HOME/spool/TIME-UUID.json`, written whole
//! and renamed into place, so that a reader never sees half of one. Only what a row would hold is kept: no prompt,
//! input or answer. The tenant is the one that the hook settled, never one that whoever empties the spool would mean.
//! Invariants: a file is removed only after its transaction committed, so a repeat is possible and
//! a loss is not (recording an event twice changes nothing); a file that cannot be read is set aside as `.bad`.

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

/// Bounds what one call brings in, so that a command is not held up by a spool of months.
const MOST_AT_ONCE: usize = 10_000;

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
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BroughtIn {
    /// Events that are in their tenants' files now.
    pub recorded: usize,
    /// Files that could not be read, set aside.
    pub set_aside: usize,
    /// Events that still wait: their tenant's file could not be written either, or they have no tenant or user.
    pub waiting: usize,
}

/// Keeps an event until it can be recorded.
///
/// # Errors
/// What the file system says; nothing is left behind then.
pub fn put(home: &Home, spooled: &Spooled) -> io::Result<()> {
    let folder = home.spool();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)?;
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
/// What the file system says of the spool itself. An event that cannot be recorded stays.
pub fn bring_in(store: &Store) -> io::Result<BroughtIn> {
    let mut done = BroughtIn::default();
    let default = store.default_tenant().ok().flatten();
    for path in waiting(&store.home().spool())? {
        let Some(spooled) = read(&path)? else {
            fs::rename(&path, path.with_extension("bad"))?;
            done.set_aside += 1;
            continue;
        };
        let tenant = spooled.tenant.as_ref().or(default.as_ref());
        match tenant.map(|domain| record(store, domain, &spooled)) {
            Some(Ok(())) => {
                fs::remove_file(&path)?;
                done.recorded += 1;
            }
            Some(Err(error)) => {
                tracing::debug!(error = %error, "an event stays in the spool");
                done.waiting += 1;
            }
            None => done.waiting += 1,
        }
    }
    Ok(done)
}

fn waiting(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries.take(MOST_AT_ONCE) {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
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
        assert_eq!(
            done,
            BroughtIn {
                recorded: 0,
                set_aside: 1,
                waiting: 1
            }
        );
        assert!(home.spool().join("0.bad").exists());
    }
}
