//! Statements that a program brings, checked by whoever calls (`millpond::legacy`), run under SQLite's authorizer.
//!
//! Invariants: while such a statement is prepared and run, SQLite itself refuses whatever is not reading the named
//! tables, writing them where that is allowed, or calling a named function; the schema's own triggers may keep their
//! books beside. A read runs on a statement that SQLite says cannot write. At most `rows_max` rows.

use std::sync::Arc;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::error::{self, Error};
use super::transaction::{Reader, Writer};
use super::{Store, Timeouts};

/// What a statement may touch.
#[derive(Debug, Clone)]
pub(crate) struct Reach {
    /// The tables that it may read.
    pub(crate) tables: &'static [&'static str],
    /// The functions that it may call.
    pub(crate) functions: Arc<[&'static str]>,
}

/// A statement and its parameters.
#[derive(Debug, Clone)]
pub(crate) struct ProgramStatement<'a> {
    pub(crate) sql: &'a str,
    pub(crate) params: &'a [Value],
    pub(crate) reach: &'a Reach,
    pub(crate) rows_max: usize,
}

/// What a statement returned.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) columns: Vec<String>,
    pub(crate) rows: Vec<Vec<Value>>,
    /// Rows that were returned, or touched.
    pub(crate) affected: u64,
}

impl Reader<'_> {
    /// Runs a statement that cannot write.
    pub(crate) fn run_program(&self, statement: &ProgramStatement<'_>) -> Result<Answer, Error> {
        run(self.connection(), statement, false)
    }
}

impl Writer<'_> {
    /// Runs a statement, writes included.
    pub(crate) fn run_program(&self, statement: &ProgramStatement<'_>) -> Result<Answer, Error> {
        run(self.rows("run a program's statement")?, statement, true)
    }
}

impl Store {
    /// Runs a statement that reads the list of tenants.
    pub(crate) fn run_program(&self, statement: &ProgramStatement<'_>) -> Result<Answer, Error> {
        run(&self.registry.connection(), statement, false)
    }

    /// How long work may wait and run by default.
    pub(crate) const fn timeouts(&self) -> Timeouts {
        self.timeouts
    }
}

fn run(
    connection: &Connection,
    statement: &ProgramStatement<'_>,
    may_write: bool,
) -> Result<Answer, Error> {
    const ACTION: &str = "run a program's statement";
    let reach = statement.reach.clone();
    let triggers = if may_write {
        triggers(connection)?
    } else {
        Vec::new()
    };
    connection
        .authorizer(Some(move |asked: AuthContext<'_>| {
            authorize(&asked, &reach, may_write, &triggers)
        }))
        .map_err(error::query(ACTION))?;
    let _authorized = Authorized(connection);
    let mut prepared = connection
        .prepare(statement.sql)
        .map_err(error::query(ACTION))?;
    if !may_write && !prepared.readonly() {
        return Err(Error::Denied {
            who: "a query",
            action: "write",
        });
    }
    let writes = !prepared.readonly();
    let columns: Vec<String> = prepared
        .column_names()
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut answer = Answer {
        columns,
        ..Answer::default()
    };
    let mut rows = prepared
        .query(params_from_iter(statement.params))
        .map_err(error::query(ACTION))?;
    while let Some(row) = rows.next().map_err(error::query(ACTION))? {
        if answer.rows.len() == statement.rows_max {
            return Err(Error::TooManyRows {
                max: statement.rows_max,
            });
        }
        let values = (0..answer.columns.len()).map(|at| row.get(at));
        answer.rows.push(
            values
                .collect::<Result<_, _>>()
                .map_err(error::query(ACTION))?,
        );
    }
    answer.affected = if writes {
        connection.changes()
    } else {
        u64::try_from(answer.rows.len()).unwrap_or(u64::MAX)
    };
    Ok(answer)
}

/// What the schema's triggers keep beside the rows.
const BOOKS: [&str; 5] = [
    "change_log",
    "quarantine",
    "meta",
    "dashboard_versions",
    "tool_hours",
];

fn triggers(connection: &Connection) -> Result<Vec<String>, Error> {
    const ACTION: &str = "list the triggers";
    let mut listed = connection
        .prepare_cached("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
        .map_err(error::query(ACTION))?;
    let names = listed
        .query_map([], |row| row.get(0))
        .map_err(error::query(ACTION))?;
    names
        .collect::<Result<_, _>>()
        .map_err(error::query(ACTION))
}

/// Whether a statement may do what it asks for. `accessor` names what asks: a trigger, or a subquery by its alias, which
/// may be called as a trigger is; so that a trigger gets no more than the books of this tenant.
fn authorize(
    asked: &AuthContext<'_>,
    reach: &Reach,
    may_write: bool,
    triggers: &[String],
) -> Authorization {
    let of_trigger = asked
        .accessor
        .is_some_and(|accessor| triggers.iter().any(|name| name == accessor));
    let is_known =
        |table: &str| reach.tables.contains(&table) || (of_trigger && BOOKS.contains(&table));
    // A foreign key looks at what hangs on a row in its own name.
    let is_read = |table: &str| is_known(table) || (may_write && BOOKS.contains(&table));
    let allowed = match asked.action {
        AuthAction::Select | AuthAction::Recursive => true,
        AuthAction::Read { table_name, .. } => is_read(table_name),
        AuthAction::Insert { table_name } | AuthAction::Update { table_name, .. } => {
            may_write && is_known(table_name)
        }
        AuthAction::Delete { table_name } => may_write && of_trigger && BOOKS.contains(&table_name),
        AuthAction::Function { function_name } => reach
            .functions
            .iter()
            .any(|known| known.eq_ignore_ascii_case(function_name)),
        _ => false,
    };
    if allowed {
        Authorization::Allow
    } else {
        Authorization::Deny
    }
}

/// Takes the authorizer off again: the connection goes back to others.
struct Authorized<'c>(&'c Connection);

impl Drop for Authorized<'_> {
    fn drop(&mut self) {
        if let Err(source) = self
            .0
            .authorizer(None::<fn(AuthContext<'_>) -> Authorization>)
        {
            tracing::warn!(error = %source, "a connection keeps an authorizer");
        }
    }
}
