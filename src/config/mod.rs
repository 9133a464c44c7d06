//! The user's own configuration: a TOML file that no repository can bring along.
//!
//! ```toml
//! # The tenant that work below a folder belongs to; the longest path wins.
//! [tenants]
//! "/home/ada/clients/umbra" = "umbra"
//! "~/clients/dune" = "dune"
//! ```
//! Paths are absolute or begin with `~/`; `.` and `..` are taken out of them and of the folder that is asked for by
//! their text alone, so that `/home/ada/clients/umbra/../acme` is no work of umbra's.
//! It lies at `MILLPOND_HOME/config.toml` where the home was moved, else in the platform's place for configuration
//! (`~/.config/millpond/config.toml` on Linux). A missing file is an empty one.

mod database;
pub mod timing;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

pub use database::{DatabaseSettings, DatabaseUrl};

use crate::domain::tenant::Domain;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file is there and cannot be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// The file is no TOML, or holds a key that means nothing.
    #[error("{} is not a valid configuration", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// A path of the table does not begin at the root or at the user's home directory.
    #[error("{} holds the path {key}, which is neither absolute nor begins with ~/", path.display())]
    RelativePath {
        /// The file.
        path: PathBuf,
        /// The path in question.
        key: String,
    },
    /// A tenant is named that no tenant can be called.
    #[error("{} names a tenant that is no domain, for the path {key}", path.display())]
    NoDomain {
        /// The file.
        path: PathBuf,
        /// The path in question.
        key: String,
    },
    /// A variable or key holds what cannot be used. The value is not repeated: it may be a secret.
    #[error("{name} {problem}")]
    Value {
        /// The variable, or the key with its section.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// What the user has configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    tenants: BTreeMap<PathBuf, Domain>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    tenants: BTreeMap<String, String>,
}

impl Config {
    /// The file that is read: in `home` where the home was moved, else in the platform's place.
    #[must_use]
    pub fn path(moved_home: Option<&Path>) -> Option<PathBuf> {
        let folder = match moved_home {
            Some(home) => home.to_owned(),
            None => directories::ProjectDirs::from("", "", "millpond")?
                .config_dir()
                .to_owned(),
        };
        Some(folder.join("config.toml"))
    }

    /// Reads a configuration file; an empty configuration where there is none.
    ///
    /// # Errors
    /// [`ConfigError`] where the file is there and cannot be used.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let raw = match std::fs::read_to_string(path) {
            Ok(raw) => raw,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => {
                return Err(ConfigError::Unreadable {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        let file: File = toml::from_str(&raw).map_err(|source| ConfigError::Malformed {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        let mut tenants = BTreeMap::new();
        for (key, value) in file.tenants {
            let Ok(domain) = Domain::parse(&value) else {
                return Err(ConfigError::NoDomain {
                    path: path.to_owned(),
                    key,
                });
            };
            let Some(folder) = absolute(&key) else {
                return Err(ConfigError::RelativePath {
                    path: path.to_owned(),
                    key,
                });
            };
            tenants.insert(folder, domain);
        }
        Ok(Self { tenants })
    }

    /// The table of tenants: folders, in full, in order, and the tenant of each.
    pub fn tenants(&self) -> impl Iterator<Item = (&Path, &Domain)> {
        self.tenants
            .iter()
            .map(|(path, domain)| (path.as_path(), domain))
    }

    /// The tenant that work in `folder` belongs to: that of the longest configured path which `folder` lies in.
    #[must_use]
    pub fn tenant_of(&self, folder: &Path) -> Option<&Domain> {
        let folder = normal(folder);
        self.tenants
            .iter()
            .filter(|(path, _)| folder.starts_with(path))
            .max_by_key(|(path, _)| path.components().count())
            .map(|(_, domain)| domain)
    }
}

/// A path of the table, in full; `None` where it is relative.
fn absolute(key: &str) -> Option<PathBuf> {
    let path = match key.strip_prefix('~') {
        Some("") => home_directory()?,
        Some(rest) => home_directory()?.join(rest.strip_prefix('/')?),
        None => PathBuf::from(key),
    };
    path.is_absolute().then(|| normal(&path))
}

fn home_directory() -> Option<PathBuf> {
    directories::BaseDirs::new().map(|all| all.home_dir().to_owned())
}

/// The path without `.` and `..`, by its text alone: the folder may be gone, or be another machine's.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(raw: &str) -> Result<Config, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, raw).unwrap();
        Config::load(&path)
    }

    #[test]
    fn the_longest_path_decides_and_a_neighbour_s_name_is_no_prefix() {
        let config = config("[tenants]\n\"/w\" = \"acme\"\n\"/w/umbra\" = \"umbra\"\n").unwrap();
        let of = |path: &str| config.tenant_of(Path::new(path)).map(Domain::as_str);
        assert_eq!(of("/w/umbra/src"), Some("umbra"));
        assert_eq!(of("/w/umbrage"), Some("acme"));
        assert_eq!(of("/elsewhere"), None);
    }

    #[test]
    fn a_path_is_what_it_comes_to_and_begins_at_the_root_or_at_home() {
        let home = home_directory().unwrap();
        let config = config(
            "[tenants]\n\"/w/x/../umbra/\" = \"umbra\"\n\"/w\" = \"acme\"\n\"~/dune\" = \"dune\"\n",
        )
        .unwrap();
        let of = |path: &Path| config.tenant_of(path).map(Domain::as_str);
        assert_eq!(of(Path::new("/w/umbra/../acme")), Some("acme"));
        assert_eq!(of(Path::new("/w/./acme/../umbra/src")), Some("umbra"));
        assert_eq!(of(Path::new("/w/umbra/../../elsewhere")), None);
        assert_eq!(of(&home.join("dune/src")), Some("dune"));
    }

    #[test]
    fn a_relative_path_is_refused() {
        for bad in ["w", "./w", "../w", "", "~ada/w"] {
            let refused = config(&format!("[tenants]\n\"{bad}\" = \"acme\""));
            assert!(
                matches!(refused, Err(ConfigError::RelativePath { .. })),
                "{bad}: {refused:?}"
            );
        }
    }

    #[test]
    fn a_key_that_means_nothing_is_refused_and_a_missing_file_is_not() {
        assert!(matches!(
            config("tenant = 1"),
            Err(ConfigError::Malformed { .. })
        ));
        assert!(matches!(
            config("[tenants]\n\"/w\" = \"../x\""),
            Err(ConfigError::NoDomain { .. })
        ));
        assert_eq!(
            Config::load(Path::new("/nowhere/config.toml")).unwrap(),
            Config::default()
        );
    }
}
