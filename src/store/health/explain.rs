//! Whether a statement reads a whole table where an index would serve.
//!
//! Depends on SQLite's EXPLAIN QUERY PLAN (<https://sqlite.org/eqp.html>), whose lines begin with SCAN where all rows of
//! a table are read and with SEARCH where some are. Invariants: nothing is changed; an index is named only where the
//! table is large, its column tells rows apart, and SQLite, given that index in an empty copy of the schema, uses it.

use rusqlite::Connection;
use serde::Serialize;

use crate::store::error::{self, Error};

/// An index that a statement lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MissingIndex {
    /// The table that is read as a whole.
    pub table: String,
    /// The column that an index on it would serve.
    pub column: String,
}

const ACTION: &str = "explain a statement";
/// The name of the index that is tried.
const TRIED: &str = "millpond_tried";
/// A column with fewer values than this tells too few rows apart for an index.
const LEAST_VALUES: i64 = 10;

/// The plan's lines, in order; nothing where the statement does not fit the schema.
fn plan(connection: &Connection, sql: &str) -> Option<Vec<String>> {
    let mut statement = connection
        .prepare(&format!("EXPLAIN QUERY PLAN {sql}"))
        .ok()?;
    // Its parameters stay unbound: the plan does not depend on them.
    let mut rows = statement.raw_query();
    let mut lines = Vec::new();
    while let Ok(Some(row)) = rows.next() {
        lines.push(row.get::<_, String>(3).ok()?);
    }
    Some(lines)
}

fn scans_a_table(line: &str) -> bool {
    line.starts_with("SCAN ") && !line.contains(" USING ")
}

/// The index that a statement lacks in `file`. `model` is an empty copy of the file's schema, and is left as it was.
pub(super) fn missing_index(
    file: &Connection,
    model: &Connection,
    sql: &str,
    rows: u32,
) -> Result<Option<MissingIndex>, Error> {
    if !plan(file, sql).is_some_and(|lines| lines.iter().any(|line| scans_a_table(line))) {
        return Ok(None);
    }
    for (table, column) in columns(model)? {
        if names(sql, &table)
            && names(sql, &column)
            && would_serve(model, &table, &column, sql)?
            && is_worth_it(file, &table, &column, rows)?
        {
            return Ok(Some(MissingIndex { table, column }));
        }
    }
    Ok(None)
}

/// Every column of every table.
fn columns(model: &Connection) -> Result<Vec<(String, String)>, Error> {
    model
        .prepare_cached(
            "SELECT t.name, c.name FROM sqlite_schema t JOIN pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite%' ORDER BY t.name, c.cid",
        )
        .and_then(|mut statement| {
            statement
                .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
                .collect()
        })
        .map_err(error::query(ACTION))
}

/// Whether the statement names it, as a word of its own.
fn names(sql: &str, name: &str) -> bool {
    sql.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| word == name)
}

/// Whether SQLite would use an index on the column.
fn would_serve(model: &Connection, table: &str, column: &str, sql: &str) -> Result<bool, Error> {
    let make = format!("CREATE INDEX {TRIED} ON \"{table}\" (\"{column}\")");
    model.execute_batch(&make).map_err(error::query(ACTION))?;
    let used = plan(model, sql).is_some_and(|lines| {
        lines
            .iter()
            .any(|line| line.starts_with("SEARCH ") && names(line, TRIED))
    });
    let remove = format!("DROP INDEX {TRIED}");
    model.execute_batch(&remove).map_err(error::query(ACTION))?;
    Ok(used)
}

/// Whether the table has so many rows, and the column tells them apart.
fn is_worth_it(file: &Connection, table: &str, column: &str, rows: u32) -> Result<bool, Error> {
    let sql = format!(
        "SELECT count(*), count(DISTINCT value)
         FROM (SELECT \"{column}\" AS value FROM \"{table}\" LIMIT ?1)"
    );
    let (found, values) = file
        .query_row(&sql, [rows], |row| {
            Ok((row.get::<_, u32>(0)?, row.get::<_, i64>(1)?))
        })
        .map_err(error::query(ACTION))?;
    Ok(found >= rows && values >= LEAST_VALUES)
}
