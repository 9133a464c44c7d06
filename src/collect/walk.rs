//! The transcripts under the paths that a user names.
//!
//! Depends on std only. Invariants: a folder is entered once, however many links lead to it, and at most
//! [`MAX_DEPTH`] deep; at most [`MAX_FILES`] files are taken; only regular files whose name ends in `.jsonl`, or
//! that were named themselves, each once. The order depends on nothing but the files: sessions before subagents'
//! files, then by the time of the last change, then by path. An original is thereby read before its forks, and the
//! call that started a subagent before the subagent's.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// How deep folders are entered: `projects/<project>/<session>/subagents` is four.
pub const MAX_DEPTH: usize = 16;

/// The most files that are taken at once.
pub const MAX_FILES: usize = 500_000;

/// A transcript to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transcript {
    /// Where it lies, without links.
    pub path: PathBuf,
    /// Its size when it was found.
    pub bytes: u64,
    modified: SystemTime,
}

/// An entry that could not be read and was passed over.
#[derive(Debug)]
pub struct Unreadable {
    /// The entry.
    pub path: PathBuf,
    /// Why not.
    pub source: io::Error,
}

/// What was found, in the order in which to read it.
#[derive(Debug, Default)]
pub struct Found {
    /// The transcripts.
    pub files: Vec<Transcript>,
    /// What was passed over.
    pub unreadable: Vec<Unreadable>,
}

impl Found {
    /// The size of all transcripts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// Why the paths cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WalkError {
    /// A path that was named cannot be read.
    #[error("cannot read {}", path.display())]
    Path {
        /// The path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A path that was named is neither a file nor a folder.
    #[error("{} is neither a file nor a folder", path.display())]
    Kind {
        /// The path.
        path: PathBuf,
    },
    /// There are more than [`MAX_FILES`].
    #[error("more than {MAX_FILES} transcripts at once")]
    TooMany,
}

/// Finds the transcripts under `paths`: files as they are, folders with all that lies in them.
///
/// # Errors
/// [`WalkError::Path`] or [`WalkError::Kind`] where a named path cannot be read, [`WalkError::TooMany`] beyond
/// [`MAX_FILES`]. What lies inside a folder and cannot be read is reported in [`Found::unreadable`].
pub fn find<P: AsRef<Path>>(paths: &[P]) -> Result<Found, WalkError> {
    let mut walk = Walk::default();
    for path in paths {
        let named = path.as_ref();
        let failed = |source| WalkError::Path {
            path: named.to_owned(),
            source,
        };
        let path = fs::canonicalize(named).map_err(failed)?;
        let about = fs::metadata(&path).map_err(failed)?;
        if about.is_dir() {
            // Read once here, so that a folder that is named and cannot be read is an error.
            fs::read_dir(&path).map_err(failed)?;
            walk.folder(&path, 0)?;
        } else if about.is_file() {
            File::open(&path).map_err(failed)?;
            walk.file(path, &about)?;
        } else {
            return Err(WalkError::Kind {
                path: named.to_owned(),
            });
        }
    }
    let mut found = walk.found;
    found
        .files
        .sort_by_cached_key(|file| (is_subagent(&file.path), file.modified, file.path.clone()));
    Ok(found)
}

#[derive(Default)]
struct Walk {
    found: Found,
    seen: HashSet<PathBuf>,
}

impl Walk {
    fn folder(&mut self, path: &Path, depth: usize) -> Result<(), WalkError> {
        if depth > MAX_DEPTH || !self.seen.insert(path.to_owned()) {
            return Ok(());
        }
        let entries = match fs::read_dir(path) {
            Ok(entries) => entries,
            Err(source) => {
                self.pass_over(path, source);
                return Ok(());
            }
        };
        for entry in entries {
            let path = match entry {
                Ok(entry) => entry.path(),
                Err(source) => {
                    self.pass_over(path, source);
                    continue;
                }
            };
            if let Err(source) = self.entry(&path, depth)? {
                self.pass_over(&path, source);
            }
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, depth: usize) -> Result<io::Result<()>, WalkError> {
        let is_transcript = path
            .extension()
            .is_some_and(|extension| extension == "jsonl");
        let (target, about) = match resolve(path) {
            Ok(Some(resolved)) => resolved,
            Ok(None) => return Ok(Ok(())),
            // A dangling link of another name is none of ours.
            Err(source) => return Ok(if is_transcript { Err(source) } else { Ok(()) }),
        };
        if about.is_dir() {
            self.folder(&target, depth + 1)?;
        } else if about.is_file() && is_transcript {
            if let Err(source) = File::open(&target) {
                return Ok(Err(source));
            }
            self.file(target, &about)?;
        }
        Ok(Ok(()))
    }

    fn file(&mut self, path: PathBuf, about: &fs::Metadata) -> Result<(), WalkError> {
        if !self.seen.insert(path.clone()) {
            return Ok(());
        }
        if self.found.files.len() >= MAX_FILES {
            return Err(WalkError::TooMany);
        }
        let modified = about.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        self.found.files.push(Transcript {
            path,
            bytes: about.len(),
            modified,
        });
        Ok(())
    }

    fn pass_over(&mut self, path: &Path, source: io::Error) {
        self.found.unreadable.push(Unreadable {
            path: path.to_owned(),
            source,
        });
    }
}

/// What an entry is, links followed; `None` for what is neither file nor folder. Its path stays free of links,
/// since its folder's is.
fn resolve(path: &Path) -> io::Result<Option<(PathBuf, fs::Metadata)>> {
    let about = fs::symlink_metadata(path)?;
    if about.is_symlink() {
        let target = fs::canonicalize(path)?;
        let about = fs::metadata(&target)?;
        return Ok(Some((target, about)));
    }
    Ok((about.is_dir() || about.is_file()).then(|| (path.to_owned(), about)))
}

/// Whether a file is a subagent's: `agent-<id>.jsonl`.
fn is_subagent(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.starts_with("agent-"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn write(folder: &Path, name: &str, age_s: u64) -> PathBuf {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "{}").unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age_s);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(time)
            .unwrap();
        path
    }

    fn names(found: &Found) -> Vec<&str> {
        found
            .files
            .iter()
            .map(|file| file.path.file_name().unwrap().to_str().unwrap())
            .collect()
    }

    #[test]
    fn originals_come_before_forks_and_sessions_before_their_subagents() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "p/fork.jsonl", 1);
        write(folder.path(), "p/original.jsonl", 9);
        write(folder.path(), "p/original/subagents/agent-1.jsonl", 20);
        write(folder.path(), "p/b.jsonl", 5);
        write(folder.path(), "p/a.jsonl", 5);
        write(folder.path(), "p/notes.md", 30);
        let found = find(&[folder.path()]).unwrap();
        assert_eq!(
            names(&found),
            [
                "original.jsonl",
                "a.jsonl",
                "b.jsonl",
                "fork.jsonl",
                "agent-1.jsonl"
            ]
        );
        assert_eq!(found.bytes(), 10);
    }

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_ends_and_a_file_that_is_reached_twice_is_read_once() {
        let folder = tempfile::tempdir().unwrap();
        let file = write(folder.path(), "p/a.jsonl", 1);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("p/loop")).unwrap();
        std::os::unix::fs::symlink(&file, folder.path().join("again.jsonl")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("dangling.jsonl")).unwrap();
        let found = find(&[folder.path(), &file]).unwrap();
        assert_eq!(names(&found), ["a.jsonl"]);
        assert_eq!(found.unreadable.len(), 1, "the dangling link is reported");
    }

    #[test]
    fn a_path_that_does_not_exist_is_an_error_and_a_named_file_needs_no_ending() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            find(&[folder.path().join("none")]),
            Err(WalkError::Path { .. })
        ));
        let named = write(folder.path(), "transcript.txt", 1);
        assert_eq!(names(&find(&[named]).unwrap()), ["transcript.txt"]);
    }
}
