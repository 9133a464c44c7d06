//! A PostgreSQL server of one's own, for tests, the demo and the benches.
//!
//! Purpose: starts the installed server (15 or later) on a free loopback port, with a folder and a socket of its
//! own and a random superuser password (scram-sha-256), never as root. Depends on the installed server and on
//! `sh`. Invariants: a small shell stands between and reads a pipe from this process; when the pipe closes, by
//! [`PrivateServer::stop`], by drop or because this process was killed, it stops the server and removes the
//! folder if it was temporary. Readiness is the server's own log line, with a limit of 60 s; nothing sleeps.

mod account;
mod binaries;
mod launch;

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;

use super::endpoint::Secret;

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
        launch::make_folder(&folder)?;
        let account = match account::for_owner_of(&folder) {
            Ok(account) => account,
            Err(error) => {
                remove(&folder);
                return Err(error);
            }
        };
        let launched = launch::launch(programs, options, &folder, account);
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
