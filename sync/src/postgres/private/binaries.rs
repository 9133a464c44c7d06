//! Finds the programs of an installed PostgreSQL server.
//!
//! Purpose: `initdb` and `postgres` from one folder, of version 15 or later. Depends on the file system and on
//! running `postgres --version` and `pg_config --bindir`. Invariant: what is returned has both programs.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::PrivateServerError;

/// The oldest major version that the central schema runs on.
pub(crate) const OLDEST_MAJOR: u32 = 15;

/// Folders where packages put a server, each with a part `*` for the version.
const VERSIONED: &[(&str, &str)] = &[
    ("/usr/lib/postgresql", "bin"),
    ("/usr/lib64/postgresql", "bin"),
    ("/Library/PostgreSQL", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "bin"),
];

/// Folders whose children named `postgresql@N` or `pgsql-N` hold a server.
const PREFIXED: &[(&str, &str)] = &[
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
    ("/usr", "pgsql-"),
];

/// Folders that hold a server themselves.
const PLAIN: &[&str] = &[
    "/usr/local/pgsql/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/opt/homebrew/bin",
];

/// Finds the folder with `initdb` and `postgres`: PATH, `pg_config --bindir`, then the usual places, newest first.
///
/// # Errors
/// [`PrivateServerError::NotFound`] with every folder looked in.
pub(crate) fn find() -> Result<PathBuf, PrivateServerError> {
    let mut looked_in = Vec::new();
    for folder in candidates() {
        if looked_in.contains(&folder) {
            continue;
        }
        if has_programs(&folder)
            && major_version(&folder).is_some_and(|major| major >= OLDEST_MAJOR)
        {
            return Ok(folder);
        }
        looked_in.push(folder);
    }
    Err(PrivateServerError::NotFound { looked_in })
}

fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> = env::var_os("PATH")
        .map(|path| env::split_paths(&path).collect())
        .unwrap_or_default();
    folders.extend(pg_config_bindir());
    let mut versioned = Vec::new();
    for (root, below) in VERSIONED {
        versioned.extend(
            children(Path::new(root), "")
                .into_iter()
                .map(|(n, dir)| (n, dir.join(below))),
        );
    }
    for (root, prefix) in PREFIXED {
        versioned.extend(
            children(Path::new(root), prefix)
                .into_iter()
                .map(|(n, dir)| (n, dir.join("bin"))),
        );
    }
    versioned.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    folders.extend(versioned.into_iter().map(|(_, folder)| folder));
    folders.extend(PLAIN.iter().map(PathBuf::from));
    folders
}

/// The folders under `root` whose name starts with `prefix`, with the version their name tells (0 for none).
fn children(root: &Path, prefix: &str) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(root) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let rest = name.strip_prefix(prefix)?;
            let digits: String = rest
                .trim_start_matches(['@', '-'])
                .chars()
                .take_while(char::is_ascii_digit)
                .collect();
            Some((digits.parse().unwrap_or(0), entry.path()))
        })
        .collect()
}

fn pg_config_bindir() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let folder = text.trim();
    (output.status.success() && !folder.is_empty()).then(|| PathBuf::from(folder))
}

fn has_programs(folder: &Path) -> bool {
    ["initdb", "postgres"]
        .iter()
        .all(|program| folder.join(program).is_file())
}

fn major_version(folder: &Path) -> Option<u32> {
    let output = Command::new(folder.join("postgres"))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .ok()?;
    parse_major(&String::from_utf8(output.stdout).ok()?)
}

/// Reads "postgres (PostgreSQL) 15.18 (Debian …)" and "postgres (PostgreSQL) 18beta1".
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once(") ")?.1;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parse_major;

    #[test]
    fn the_major_version_is_read_from_what_servers_print() {
        assert_eq!(
            parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(parse_major("command not found"), None);
    }
}
