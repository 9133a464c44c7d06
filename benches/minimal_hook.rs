//! The peer of the hook: what a program that keeps one row safely cannot do without.

use std::io::Read as _;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, params};

/// Makes the file and its one table.
pub fn prepare(path: &Path) {
    #[allow(
        clippy::disallowed_methods,
        reason = "the peer is SQLite without the store"
    )]
    let file = Connection::open(path).unwrap();
    file.execute_batch(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE calls (id INTEGER PRIMARY KEY, event TEXT NOT NULL, size INTEGER NOT NULL) STRICT;",
    )
    .unwrap();
}

/// Reads an event and inserts it.
pub fn run(path: &Path) {
    let mut event = String::new();
    std::io::stdin().read_to_string(&mut event).unwrap();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    #[allow(
        clippy::disallowed_methods,
        reason = "the peer is SQLite without the store"
    )]
    let file = Connection::open_with_flags(path, flags).unwrap();
    file.execute_batch("PRAGMA synchronous = FULL").unwrap();
    file.execute(
        "INSERT INTO calls (event, size) VALUES (?1, ?2)",
        params![event, event.len()],
    )
    .unwrap();
    // Closing moves the log into the file: four syncs, which it pays as seldom as the hook does.
    let log = std::fs::metadata(path.with_extension("db-wal"));
    if log.is_ok_and(|about| about.len() < 1 << 20) {
        std::mem::forget(file);
    }
}
