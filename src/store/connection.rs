//! Opening SQLite: the one place that does, because its flags and pragmas are invariants.
//!
//! Every connection: WAL, `synchronous=FULL` (a commit that returned survives a power cut), `busy_timeout` 5 s (a
//! hook's 250 ms), foreign keys on, schema untrusted, cell sizes checked, defensive, no memory map, a cache of at most 8 MiB
//! (128 MiB for bulk), a log that is cut back to 16 MiB. SQLite older than 3.51.3 is refused: its WAL reset can corrupt a file.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, ffi};

use super::error::{self, Error};
use super::home;

/// Whether a missing file is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Make it where there is none.
    Create,
    /// It must be there.
    Existing,
}

/// Who closes a connection next: decides what closing costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// A connection that does its work and leaves the file in one piece.
    Ordinary,
    /// A connection that writes millions of rows: their ids are random, so that each row lies on another page of their
    /// index. A cache that holds that index, and a log that is seldom moved into the file, write each page once for
    /// many rows.
    Bulk,
    /// A hook: it leaves a small log as it is, since moving it into the file would cost its caller four syncs.
    Hook,
}

/// What a file is, kept in its header as `application_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// The registry: "MPRG".
    Registry,
    /// A tenant's file: "MPTN".
    Tenant,
}

impl FileKind {
    /// Its name, which is that of its folder of migrations.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Registry => "registry",
            Self::Tenant => "tenant",
        }
    }

    /// The number in the file's header.
    pub(crate) const fn application_id(self) -> i64 {
        match self {
            Self::Registry => 0x4D50_5247,
            Self::Tenant => 0x4D50_544E,
        }
    }
}

/// No CREATE: a file that is gone is an error, never a fresh empty one. No mutex: a connection has one user at a time.
pub(crate) const FLAGS: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

/// The log that a hook moves into the file when it closes: 256 pages. It has to be some hook that does, where only
/// hooks come by: each reads the whole log before it writes, and none knows how much of it the file holds already, so
/// that the log would grow for ever and be copied at every commit once it is past SQLite's own mark.
const HOOK_LOG: u64 = 1 << 20;

const OLDEST_SAFE_SQLITE: i32 = 3_051_003;

/// Opens a file. A new one is made first, empty, with `O_EXCL` and 0600: SQLite never creates.
pub(crate) fn open(path: &Path, access: Access, usage: Use) -> Result<Connection, Error> {
    if rusqlite::version_number() < OLDEST_SAFE_SQLITE {
        return Err(Error::OldSqlite {
            found: rusqlite::version(),
        });
    }
    if access == Access::Create {
        match home::create_new(path) {
            Ok(_) => {}
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                return Err(Error::File {
                    action: "create",
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place that the rule points to"
    )]
    let connection =
        Connection::open_with_flags(path, FLAGS).map_err(|source| unopened(path, source))?;
    configure(&connection, usage).map_err(|source| unopened(path, source))?;
    if access == Access::Existing
        && pragma(&connection, path, "application_id")? == 0
        && Header::read(&connection, path)? == Header::BLANK
    {
        // What was there is gone: a fresh schema would hide the loss. No tenant is listed before its file is made.
        return Err(Error::Corrupt {
            path: path.to_owned(),
            source: rusqlite::Error::SqliteFailure(
                ffi::Error::new(ffi::SQLITE_EMPTY),
                Some("it is empty".to_owned()),
            ),
        });
    }
    if usage == Use::Hook && log_size(path) < HOOK_LOG {
        connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .map_err(|source| unopened(path, source))?;
    }
    Ok(connection)
}

/// Opens an existing file for reading alone.
pub(super) fn open_to_read(path: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place that the rule points to"
    )]
    let connection =
        Connection::open_with_flags(path, flags).map_err(|source| unopened(path, source))?;
    configure(&connection, Use::Ordinary).map_err(|source| unopened(path, source))?;
    Ok(connection)
}

/// The largest value of a confined statement: twice the largest document that a row holds. Some functions of SQLite
/// take the product of two values' sizes in one step, which no deadline cuts short.
const LARGEST_VALUE: i32 = 512 * 1024;

/// Holds a connection to reading, whatever statement it is given: a list of what may be done, and limits.
pub(super) fn confine(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "query_only", true)?;
    for (limit, most) in [
        (Limit::SQLITE_LIMIT_LENGTH, LARGEST_VALUE),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 64 * 1024),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        connection.set_limit(limit, most)?;
    }
    connection.authorizer(Some(|asked: AuthContext<'_>| {
        if may(&asked.action) {
            Authorization::Allow
        } else {
            Authorization::Deny
        }
    }))
}

/// Pragmas that tell of the schema and change nothing.
const TELLING: [&str; 8] = [
    "table_list",
    "table_info",
    "table_xinfo",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "function_list",
];

/// Functions that are not for a confined statement: one loads code, the others gather a document in memory and hold it
/// against the largest value only when it is whole (1.5 GB within a second).
const REFUSED: [&str; 5] = [
    "load_extension",
    "json_group_array",
    "json_group_object",
    "jsonb_group_array",
    "jsonb_group_object",
];

/// What a confined statement may do. All that is not named is denied, what a later SQLite brings too.
fn may(action: &AuthAction<'_>) -> bool {
    match action {
        AuthAction::Select | AuthAction::Read { .. } | AuthAction::Recursive => true,
        AuthAction::Function { function_name } => !REFUSED
            .iter()
            .any(|refused| function_name.eq_ignore_ascii_case(refused)),
        AuthAction::Pragma { pragma_name, .. } => TELLING
            .iter()
            .any(|telling| pragma_name.eq_ignore_ascii_case(telling)),
        _ => false,
    }
}

/// Opens a database that lies in memory and is gone with its connection.
pub(crate) fn in_memory() -> Result<Connection, Error> {
    Connection::open_in_memory().map_err(error::query("open a database in memory"))
}

/// Whether the error is that of an existing file in which nothing is written.
pub(crate) fn is_blank(error: &Error) -> bool {
    matches!(error, Error::Corrupt { source, .. }
        if source.sqlite_error().is_some_and(|failure| failure.extended_code == ffi::SQLITE_EMPTY))
}

fn log_size(path: &Path) -> u64 {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    std::fs::metadata(log).map_or(0, |about| about.len())
}

/// Sets what every connection is held to.
pub(crate) fn configure(connection: &Connection, usage: Use) -> rusqlite::Result<()> {
    connection.busy_timeout(match usage {
        Use::Ordinary | Use::Bulk => Duration::from_secs(5),
        // The tool that called waits too: an event that cannot be written at once goes to the spool.
        Use::Hook => Duration::from_millis(250),
    })?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(
        "PRAGMA synchronous = FULL;
         PRAGMA cell_size_check = ON;
         PRAGMA mmap_size = 0;
         PRAGMA cache_size = -8192;
         PRAGMA journal_size_limit = 16777216;",
    )?;
    if usage == Use::Bulk {
        // 128 MiB of cache, and as much of log.
        connection
            .execute_batch("PRAGMA cache_size = -131072; PRAGMA wal_autocheckpoint = 32768;")?;
    }
    Ok(())
}

/// Tells a damaged file from a missing or forbidden one.
pub(super) fn unopened(path: &Path, source: rusqlite::Error) -> Error {
    let code = source
        .sqlite_error()
        .map_or(0, |failure| failure.extended_code & 0xff);
    match code {
        ffi::SQLITE_NOTADB | ffi::SQLITE_CORRUPT => Error::Corrupt {
            path: path.to_owned(),
            source,
        },
        ffi::SQLITE_CANTOPEN | ffi::SQLITE_PERM | ffi::SQLITE_READONLY => Error::File {
            action: "open",
            path: path.to_owned(),
            source: std::fs::metadata(path)
                .err()
                .unwrap_or_else(|| io::ErrorKind::PermissionDenied.into()),
        },
        _ => error::query("open the database")(source),
    }
}

/// Whether the file keeps a write-ahead log: its header remembers it.
pub(crate) fn has_wal(connection: &Connection, path: &Path) -> Result<bool, Error> {
    connection
        .pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0))
        .map(|mode| mode == "wal")
        .map_err(|source| unopened(path, source))
}

/// Gives the file a write-ahead log. Under the migration's lock only: SQLite answers two that switch at once with
/// BUSY, whatever the timeout.
pub(crate) fn switch_to_wal(connection: &Connection, path: &Path) -> Result<(), Error> {
    connection
        .pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))
        .map_err(|source| unopened(path, source))
}

/// A number of the file's header: neither the schema is read for it nor a table made.
fn pragma(connection: &Connection, path: &Path, name: &str) -> Result<i64, Error> {
    connection
        .pragma_query_value(None, name, |row| row.get(0))
        .map_err(|source| unopened(path, source))
}

/// What the header of a file says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// Nothing has been written yet.
    Empty,
    /// An older version, to be brought up.
    Older(i64),
    /// The version that this program writes.
    Current,
}

#[derive(Debug, PartialEq, Eq)]
struct Header {
    application_id: i64,
    version: i64,
    /// Entries of the schema, indexes among them.
    tables: i64,
}

impl Header {
    /// That of a file in which nothing is written.
    const BLANK: Self = Self {
        application_id: 0,
        version: 0,
        tables: 0,
    };

    /// In one statement, and so of one moment: another process may be making the file. The statement costs a hook a
    /// tenth of its time.
    fn read(connection: &Connection, path: &Path) -> Result<Self, Error> {
        connection
            .query_row(
                "SELECT (SELECT application_id FROM pragma_application_id),
                        (SELECT user_version FROM pragma_user_version),
                        (SELECT count(*) FROM sqlite_schema)",
                [],
                |row| {
                    Ok(Self {
                        application_id: row.get(0)?,
                        version: row.get(1)?,
                        tables: row.get(2)?,
                    })
                },
            )
            .map_err(|source| unopened(path, source))
    }
}

/// Reads and checks the header: the kind of file, and a schema that is not newer than `known`.
pub(crate) fn check_header(
    connection: &Connection,
    path: &Path,
    kind: FileKind,
    known: i64,
) -> Result<Schema, Error> {
    // Both are what they should be, and neither is ever put back: they were so at one moment, too.
    if pragma(connection, path, "application_id")? == kind.application_id()
        && pragma(connection, path, "user_version")? == known
    {
        return Ok(Schema::Current);
    }
    let header = Header::read(connection, path)?;
    match (header.application_id, header.version) {
        // A migration that was cut short leaves its own history table and nothing else.
        (0, 0) if header.tables <= 2 => Ok(Schema::Empty),
        (id, _) if id != kind.application_id() => Err(Error::OtherProgram {
            path: path.to_owned(),
        }),
        (_, found) if found > known => Err(Error::SchemaNewer {
            path: path.to_owned(),
            found,
            known,
        }),
        (_, found) if found < known => Ok(Schema::Older(found)),
        _ => Ok(Schema::Current),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `.cargo/config.toml` asks for, and why, is said there.
    #[test]
    fn sqlite_keeps_the_journal_of_a_row_with_a_trigger_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any.db");
        let connection = open(&path, Access::Create, Use::Ordinary).unwrap();
        let options: String = connection
            .query_row(
                "SELECT group_concat(compile_options) FROM pragma_compile_options",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert!(options.contains("STMTJRNL_SPILL=524288"), "{options}");
    }
}
