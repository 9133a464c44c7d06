//! A PostgreSQL server of one's own, for tests, the demo and the benches.
//!
//! Purpose: starts the installed server (15 or later) on a free loopback port, with a folder and a socket of its
//! own and a random superuser password (scram-sha-256), never as root. Depends on the installed server and on
//! `sh`. Invariants: a small shell stands between and reads a pipe from this process; when the pipe closes, by
//! [`PrivateServer::stop`], by drop or because this process was killed, it stops the server and removes the
//! folder if it was temporary. Readiness is the server's own log line, with a limit of 60 s; nothing sleeps.

mod account;
mod binaries;

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use self::account::Account;
use super::endpoint::Secret;

const SUPERVISOR: &str = include_str!("supervisor.sh");
/// What the server logs; its messages are kept in English by `lc_messages=C`.
const LISTENING: &str = "listening on ";
const READY: &str = "ready to accept connections";
const SHUT_DOWN: &str = "database system is shut down";
const FATAL: &str = "FATAL:";
/// What the supervisor says after a halt.
const HALTED: &str = "supervisor: halted";
/// Longest wait for a start or a halt. A start takes about 2 s; a loaded machine may take much longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of the server's log that are kept for an error.
const LOG_TAIL: usize = 40;
/// Lines that wait to be looked at; while nobody looks, further ones are dropped rather than hoarded.
const LOG_QUEUE: usize = 1024;
/// A free port may be taken between its choice and its use: how often another is tried.
const PORT_ATTEMPTS: usize = 5;
/// Longest socket folder: a socket's whole path must fit into 108 bytes.
const SOCKET_FOLDER_MAX: usize = 90;

/// Why a private server could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateServerError {
    /// No PostgreSQL server of version 15 or later is installed.
    #[error("no PostgreSQL server of version 15 or later was found")]
    NotFound {
        /// The folders looked in, in order.
        looked_in: Vec<PathBuf>,
    },
    /// This process is root, and neither `postgres` nor `nobody` exists to run the server.
    #[error("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")]
    NoAccount,
    /// The server, or `initdb` before it, ended before it was ready.
    #[error("the private PostgreSQL server did not start")]
    NotStarted {
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// The server was neither ready nor dead in time.
    #[error("the private PostgreSQL server did not answer in {} s", PATIENCE.as_secs())]
    TimedOut {
        /// The last lines of its log.
        log: Vec<String>,
    },
    /// The file system or a process did not do as told.
    #[error("cannot {action}")]
    Io {
        /// What was being done.
        action: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// How a private server is set up.
#[derive(Debug, Clone, Default)]
pub struct PrivateServerOptions {
    /// The data directory, kept afterwards; made if it is missing. `None`: a temporary one, removed at the end.
    /// Under root its parents must be open to the user `postgres` (a home directory of root is not).
    pub data_dir: Option<PathBuf>,
    /// Whether commits wait for the disk. Off for tests, on wherever speed is measured or data kept.
    pub fsync: bool,
    /// Further settings of the server, such as `("log_statement", "all")`.
    pub settings: Vec<(String, String)>,
}

/// A running server; stopped when dropped.
#[derive(Debug)]
pub struct PrivateServer {
    supervisor: Option<(Child, ChildStdin)>,
    /// Behind a lock only so that a server can be shared: it is read through `&mut` alone.
    lines: Mutex<Receiver<String>>,
    log: VecDeque<String>,
    port: u16,
    password: Secret,
    /// Removed after the supervisor, which cannot always remove the folder itself.
    temporary: Option<PathBuf>,
    programs: PathBuf,
}

impl PrivateServer {
    /// Starts a server and waits until it takes connections. Blocks for about 2 s.
    ///
    /// # Errors
    /// [`PrivateServerError::NotFound`] where no server is installed; the others as they say. Nothing is left.
    pub fn start(options: &PrivateServerOptions) -> Result<Self, PrivateServerError> {
        let programs = binaries::find()?;
        let mut attempt = 1;
        loop {
            match Self::start_once(&programs, options) {
                Err(PrivateServerError::NotStarted { log })
                    if attempt < PORT_ATTEMPTS
                        && log
                            .iter()
                            .any(|line| line.contains("Address already in use")) =>
                {
                    attempt += 1;
                }
                other => return other,
            }
        }
    }

    fn start_once(
        programs: &Path,
        options: &PrivateServerOptions,
    ) -> Result<Self, PrivateServerError> {
        let folder = std::env::temp_dir().join(format!("millpond-pg-{}", Uuid::new_v4().simple()));
        make_folder(&folder)?;
        let account = match account::for_owner_of(&folder) {
            Ok(account) => account,
            Err(error) => {
                remove(&folder);
                return Err(error);
            }
        };
        let launched = launch(programs, options, &folder, account);
        let (child, port, password) = match launched {
            Ok(parts) => parts,
            Err(error) => {
                remove(&folder);
                return Err(error);
            }
        };
        let mut server = Self::adopt(child, port, password, folder, programs.to_owned())?;
        server.wait_until_ready()?;
        Ok(server)
    }

    fn adopt(
        mut child: Child,
        port: u16,
        password: String,
        folder: PathBuf,
        programs: PathBuf,
    ) -> Result<Self, PrivateServerError> {
        let (sender, lines) = sync_channel(LOG_QUEUE);
        let (Some(stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(PrivateServerError::Io {
                action: "take the supervisor's pipes",
                source: io::ErrorKind::BrokenPipe.into(),
            });
        };
        read_lines(stderr, sender);
        Ok(Self {
            supervisor: Some((child, stdin)),
            lines: Mutex::new(lines),
            log: VecDeque::new(),
            port,
            password: Secret::new(password),
            temporary: Some(folder),
            programs,
        })
    }

    /// The loopback port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The folder of the programs in use.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// The superuser's URL for the database `postgres`. Holds the password.
    #[must_use]
    pub fn admin_url(&self) -> String {
        self.url("postgres")
    }

    /// The superuser's URL for a database. Holds the password.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let password = self.password.expose();
        format!(
            "postgresql://postgres:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// Stops the server but keeps its data and port: an outage. [`Self::resume`] ends it.
    ///
    /// # Errors
    /// [`PrivateServerError`] where the supervisor does not answer.
    pub fn halt(&mut self) -> Result<(), PrivateServerError> {
        self.tell("halt")?;
        loop {
            if self.next_line()? == HALTED {
                return Ok(());
            }
        }
    }

    /// Starts a halted server again, on the same port, and waits until it takes connections.
    ///
    /// # Errors
    /// [`PrivateServerError`] where it does not start.
    pub fn resume(&mut self) -> Result<(), PrivateServerError> {
        self.tell("start")?;
        self.wait_until_ready()
    }

    /// Stops the server for good and removes what was temporary. Again: does nothing.
    pub fn stop(&mut self) {
        if let Some((mut child, stdin)) = self.supervisor.take() {
            // The end of its input is what the supervisor waits for; it ends when the server has.
            drop(stdin);
            let _ = child.wait();
        }
        if let Some(folder) = self.temporary.take() {
            remove(&folder);
        }
    }

    fn tell(&mut self, word: &str) -> Result<(), PrivateServerError> {
        let action = "speak to the server's supervisor";
        let Some((_, stdin)) = &mut self.supervisor else {
            return Err(PrivateServerError::Io {
                action,
                source: io::ErrorKind::NotConnected.into(),
            });
        };
        // What was logged before the command has nothing to say about it.
        while self
            .lines
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .try_recv()
            .is_ok()
        {}
        writeln!(stdin, "{word}")
            .and_then(|()| stdin.flush())
            .map_err(|source| PrivateServerError::Io { action, source })
    }

    fn wait_until_ready(&mut self) -> Result<(), PrivateServerError> {
        let mut listening = false;
        loop {
            let line = self.next_line()?;
            if line.contains(READY) {
                return Ok(());
            }
            listening |= line.contains(LISTENING);
            // Until it listens, a FATAL is the server's own; afterwards it may be that of a session.
            if line.contains(SHUT_DOWN) || (!listening && line.contains(FATAL)) {
                return Err(self.not_started());
            }
        }
    }

    /// The next line of the log, which it also keeps for an error.
    fn next_line(&mut self) -> Result<String, PrivateServerError> {
        let lines = self.lines.get_mut().unwrap_or_else(PoisonError::into_inner);
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => {
                if self.log.len() == LOG_TAIL {
                    self.log.pop_front();
                }
                self.log.push_back(line.clone());
                Ok(line)
            }
            Err(RecvTimeoutError::Disconnected) => Err(self.not_started()),
            Err(RecvTimeoutError::Timeout) => Err(PrivateServerError::TimedOut {
                log: self.log.iter().cloned().collect(),
            }),
        }
    }

    fn not_started(&self) -> PrivateServerError {
        PrivateServerError::NotStarted {
            log: self.log.iter().cloned().collect(),
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the supervisor, which makes the cluster where there is none and starts the server.
fn launch(
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

fn make_folder(path: &Path) -> Result<(), PrivateServerError> {
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

/// Removes a folder that may be gone already.
fn remove(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}

/// Reads lines to the end in a thread of its own, so that the writer never blocks on a full pipe.
fn read_lines(source: impl io::Read + Send + 'static, lines: SyncSender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(source).split(b'\n') {
            let Ok(line) = line else { break };
            // A full queue means that nobody looks: go on reading, or the server blocks.
            let _ = lines.try_send(String::from_utf8_lossy(&line).into_owned());
        }
    });
}
