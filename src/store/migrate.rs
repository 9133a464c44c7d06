//! Bringing a file's schema up to date.
//!
//! Invariants: one process at a time, under a file lock; all of a file's missing migrations in one transaction; a
//! copy beside the file before an existing one is upgraded; a file that is up to date costs three pragma reads, no lock.

use std::path::{Path, PathBuf};

use refinery::{Runner, Target};
use rusqlite::{Connection, TransactionBehavior};

use super::connection::{self, FileKind, Schema};
use super::error::{self, Error};
use super::home::{self, FileLock};
use super::migrations::Migrations;

/// What bringing a file up to date did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Brought {
    /// It was up to date.
    Nothing,
    /// It was empty and got its schema.
    Made,
    /// It was upgraded from an older version; a copy of what was there lies at the path.
    Upgraded { from: i64, copy: PathBuf },
}

/// Checks the file's header and brings its schema up to date where it is behind.
pub(crate) fn up_to_date(
    connection: &mut Connection,
    path: &Path,
    lock: &Path,
    kind: FileKind,
    migrations: &Migrations,
) -> Result<Brought, Error> {
    let latest = migrations.latest(kind);
    if connection::check_header(connection, path, kind, latest)? == Schema::Current
        && connection::has_wal(connection, path)?
    {
        return Ok(Brought::Nothing);
    }
    let _lock = FileLock::take(lock)?;
    connection::switch_to_wal(connection, path)?;
    // Another process may have done it while this one waited.
    let brought = match connection::check_header(connection, path, kind, latest)? {
        Schema::Current => return Ok(Brought::Nothing),
        Schema::Empty => Brought::Made,
        Schema::Older(from) => Brought::Upgraded {
            from,
            copy: copy_aside(connection, path, from)?,
        },
    };
    run(connection, path, kind, migrations, Target::Latest)?;
    Ok(brought)
}

/// Runs the migrations that a file lacks, up to `target`, in one transaction.
pub(crate) fn run(
    connection: &mut Connection,
    path: &Path,
    kind: FileKind,
    migrations: &Migrations,
    target: Target,
) -> Result<(), Error> {
    // Begun as a reader it would be refused at its first write, however long it would wait, where another process
    // has written in between.
    connection.set_transaction_behavior(TransactionBehavior::Immediate);
    let ran = Runner::new(migrations.of(kind))
        .set_grouped(true)
        .set_target(target)
        .run(connection);
    connection.set_transaction_behavior(TransactionBehavior::Deferred);
    ran.map(drop)
        .map_err(|source| error::migration(path, source))
}

/// Copies the file as it is, log included, to `NAME.vN` beside it, in place of an older copy of the same version:
/// a failed upgrade may have been followed by more work.
fn copy_aside(connection: &Connection, path: &Path, version: i64) -> Result<PathBuf, Error> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| Error::File {
            action,
            path,
            source,
        }
    };
    let copy = path.with_extension(format!("db.v{version}"));
    let draft = path.with_extension("db.copy");
    if draft.exists() {
        std::fs::remove_file(&draft).map_err(failed("remove", &draft))?;
    }
    // Made here, private and empty: SQLite would make it as the umask says.
    let file = home::create_new(&draft).map_err(failed("create", &draft))?;
    connection
        .execute("VACUUM INTO ?1", [draft.to_string_lossy()])
        .map_err(error::query("copy the file before its upgrade"))?;
    // SQLite does not sync what it vacuums into.
    file.sync_all().map_err(failed("write", &draft))?;
    std::fs::rename(&draft, &copy).map_err(failed("rename", &draft))?;
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::connection::{Access, Use};

    #[test]
    fn a_file_of_a_newer_schema_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenant.db");
        let lock = folder.path().join("lock");
        let mut connection = connection::open(&path, Access::Create, Use::Ordinary).unwrap();
        up_to_date(
            &mut connection,
            &path,
            &lock,
            FileKind::Tenant,
            &Migrations::embedded(),
        )
        .unwrap();
        connection
            .execute_batch("PRAGMA user_version = 99")
            .unwrap();
        let refused = up_to_date(
            &mut connection,
            &path,
            &lock,
            FileKind::Tenant,
            &Migrations::embedded(),
        )
        .unwrap_err();
        assert!(
            matches!(refused, Error::SchemaNewer { found: 99, .. }),
            "{refused}"
        );
    }

    #[test]
    fn a_registry_is_not_taken_for_a_tenant_nor_a_foreign_database_for_either() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.db");
        let lock = folder.path().join("lock");
        let mut connection = connection::open(&path, Access::Create, Use::Ordinary).unwrap();
        up_to_date(
            &mut connection,
            &path,
            &lock,
            FileKind::Registry,
            &Migrations::embedded(),
        )
        .unwrap();
        let refused = up_to_date(
            &mut connection,
            &path,
            &lock,
            FileKind::Tenant,
            &Migrations::embedded(),
        )
        .unwrap_err();
        assert!(matches!(refused, Error::OtherProgram { .. }), "{refused}");

        let path = folder.path().join("foreign.db");
        let mut connection = connection::open(&path, Access::Create, Use::Ordinary).unwrap();
        connection
            .execute_batch("CREATE TABLE a (x); CREATE TABLE b (x); CREATE TABLE c (x);")
            .unwrap();
        let refused = up_to_date(
            &mut connection,
            &path,
            &lock,
            FileKind::Tenant,
            &Migrations::embedded(),
        )
        .unwrap_err();
        assert!(matches!(refused, Error::OtherProgram { .. }), "{refused}");
    }

    #[test]
    fn a_file_of_the_first_version_is_brought_up_with_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenant.db");
        let lock = folder.path().join("lock");
        let mut connection = connection::open(&path, Access::Create, Use::Ordinary).unwrap();
        connection::switch_to_wal(&connection, &path).unwrap();
        let (kind, embedded) = (FileKind::Tenant, Migrations::embedded());
        let first = Target::Version(1);
        run(&mut connection, &path, kind, &embedded, first).unwrap();
        connection
            .execute_batch(
                "INSERT INTO meta VALUES ('kept', 'yes');
                 INSERT INTO users (id, email, created_at, updated_at) VALUES (zeroblob(16), 'a@b', 0, 0);
                 INSERT INTO metrics_sessions (id, user_id, session_start, session_type, source, created_at)
                 VALUES (zeroblob(16), zeroblob(16), 0, 'agent', 'claude', 0);
                 INSERT INTO tool_metrics (id, session_id, user_id, tool_name, tool_category, started_at,
                                           total_duration_ms, source, created_at)
                 VALUES (zeroblob(16), zeroblob(16), zeroblob(16), 'Bash', 'shell', 7200000001, 40, 'claude', 0);",
            )
            .unwrap();
        let brought = up_to_date(&mut connection, &path, &lock, kind, &embedded).unwrap();
        let copy = path.with_extension("db.v1");
        assert!(copy.exists());
        assert_eq!(brought, Brought::Upgraded { from: 1, copy });
        let read = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, String>(0));
        assert_eq!(
            read("SELECT value FROM meta WHERE key = 'kept'").unwrap(),
            "yes"
        );
        let hour = "SELECT concat_ws(' ', hour, tool_name, calls, timed, total_duration_ms) FROM tool_hours";
        assert_eq!(read(hour).unwrap(), "2 Bash 1 1 40");
        assert_eq!(
            read("SELECT user_version || '' FROM pragma_user_version").unwrap(),
            embedded.latest(kind).to_string()
        );
    }

    #[test]
    fn an_upgrade_leaves_a_copy_of_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tenant.db");
        let connection = connection::open(&path, Access::Create, Use::Ordinary).unwrap();
        connection
            .execute_batch("CREATE TABLE was (x); INSERT INTO was VALUES (7);")
            .unwrap();
        copy_aside(&connection, &path, 1).unwrap();
        let copy = connection::open(
            &path.with_extension("db.v1"),
            Access::Existing,
            Use::Ordinary,
        )
        .unwrap();
        drop(copy_aside(&connection, &path, 1).unwrap());
        assert_eq!(
            copy.query_row("SELECT x FROM was", [], |row| row.get::<_, i64>(0))
                .unwrap(),
            7
        );
    }
}
