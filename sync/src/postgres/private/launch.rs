//! Starts the supervisor of a private server.
//!
//! Purpose: folders, password, port, command line. Depends on `supervisor.sh` beside it. Invariants: what it writes
//! only this account (or the one it hands the server to) can read; the supervisor is in a process group of its own.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use uuid::Uuid;

use super::account::Account;
use super::{PrivateServerError, PrivateServerOptions};

const SUPERVISOR: &str = include_str!("supervisor.sh");
/// Longest socket folder: a socket's whole path must fit into 108 bytes.
const SOCKET_FOLDER_MAX: usize = 90;

/// Starts the supervisor, which makes the cluster where there is none and starts the server.
pub(super) fn launch(
    programs: &Path,
    options: &PrivateServerOptions,
    folder: &Path,
    account: Option<Account>,
) -> Result<(Child, u16, String), PrivateServerError> {
    let data = options
        .data_dir
        .clone()
        .unwrap_or_else(|| folder.join("data"));
    if !data.exists() {
        make_folder(&data)?;
    }
    let password = kept_password(&data, options.data_dir.is_some())?;
    let password_file = folder.join("password");
    write_private(&password_file, &password)?;
    if let Some(account) = account {
        for path in [folder, data.as_path(), password_file.as_path()] {
            chown(path, Some(account.uid), Some(account.gid)).map_err(|source| {
                PrivateServerError::Io {
                    action: "hand the server's folder to its account",
                    source,
                }
            })?;
        }
    }
    let port = free_port()?;
    let mut command = Command::new("/bin/sh");
    command.args(["-c", SUPERVISOR, "millpond-postgres"]);
    command.args(settings(options, folder, port));
    for (name, _) in
        std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG"))
    {
        command.env_remove(name);
    }
    command
        .env("INITDB", programs.join("initdb"))
        .env("POSTGRES", programs.join("postgres"))
        .env("DATA", &data)
        .env("PASSWORD_FILE", &password_file)
        .env("REMOVE", folder)
        .env(
            "FINAL",
            if options.data_dir.is_some() {
                "INT"
            } else {
                "QUIT"
            },
        )
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        // Ctrl-C at a terminal goes to the whole group: this process decides when the server stops.
        .process_group(0);
    if let Some(account) = account {
        command.uid(account.uid).gid(account.gid);
    }
    let child = command.spawn().map_err(|source| PrivateServerError::Io {
        action: "start the server's supervisor",
        source,
    })?;
    Ok((child, port, password))
}

/// The server's command line.
fn settings(options: &PrivateServerOptions, folder: &Path, port: u16) -> Vec<String> {
    let socket_folder = folder.to_string_lossy();
    let socket_folder = if socket_folder.len() <= SOCKET_FOLDER_MAX {
        socket_folder.into_owned()
    } else {
        String::new()
    };
    let mut pairs: Vec<(String, String)> = [
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
        ("unix_socket_directories", socket_folder),
        ("lc_messages", "C".to_owned()),
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect();
    if !options.fsync {
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            pairs.push((name.to_owned(), "off".to_owned()));
        }
    }
    pairs.extend(options.settings.iter().cloned());
    pairs
        .into_iter()
        .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")])
        .collect()
}

/// The superuser's password: a new one, or that of a data directory which was used before.
fn kept_password(data: &Path, keep: bool) -> Result<String, PrivateServerError> {
    // Beside the data directory, since initdb wants an empty one.
    let file = data.with_extension("password");
    if keep && data.join("PG_VERSION").exists() {
        return fs::read_to_string(&file).map_err(|source| PrivateServerError::Io {
            action: "read the password of the data directory",
            source,
        });
    }
    let password = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
    if keep {
        write_private(&file, &password)?;
    }
    Ok(password)
}

fn free_port() -> Result<u16, PrivateServerError> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|source| PrivateServerError::Io {
            action: "find a free port",
            source,
        })
}

pub(super) fn make_folder(path: &Path) -> Result<(), PrivateServerError> {
    DirBuilder::new()
        .mode(0o700)
        .recursive(false)
        .create(path)
        .map_err(|source| PrivateServerError::Io {
            action: "make the server's folder",
            source,
        })
}

fn write_private(path: &Path, text: &str) -> Result<(), PrivateServerError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| PrivateServerError::Io {
            action: "write the server's password",
            source,
        })
}
