//! The user's own configuration: a TOML file that no repository can bring along.
//!
//! ```toml
//! # The tenant that work below a folder belongs to; the longest path wins.
//! [tenants]
//! "/home/ada/clients/umbra" = "umbra"
//! ```
//! It lies at `MILLPOND_HOME/config.toml` where the home was moved, else in the platform's place for configuration
//! (`~/.config/millpond/config.toml` on Linux). A missing file is an empty one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

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
    /// A tenant is named that no tenant can be called.
    #[error("{} names a tenant that is no domain, for the path {key}", path.display())]
    NoDomain {
        /// The file.
        path: PathBuf,
        /// The path in question.
        key: String,
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
            tenants.insert(PathBuf::from(key), domain);
        }
        Ok(Self { tenants })
    }

    /// The tenant that work in `folder` belongs to: that of the longest configured path which `folder` lies in.
    #[must_use]
    pub fn tenant_of(&self, folder: &Path) -> Option<&Domain> {
        self.tenants
            .iter()
            .filter(|(path, _)| folder.starts_with(path))
            .max_by_key(|(path, _)| path.components().count())
            .map(|(_, domain)| domain)
    }
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
