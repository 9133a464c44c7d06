//! A statement that was checked, and the one that is run in its place.
//!
//! Purpose: takes exactly one SELECT, INSERT, UPDATE or DELETE over the tables of its context. Depends on `tokens`,
//! `shape` and `place`. Invariants: nothing runs before the whole statement was looked at; a DELETE sets `deleted_at`,
//! which travels, and a session's calls go with it; what Millpond keeps itself (`rev`, `digest`, where a row came from)
//! cannot be written.
//!
//! This is a guard against mistakes, and against text of others that reached a statement. The locks behind it are
//! SQLite's authorizer on a file that holds one tenant alone, and the server's role.

use std::ops::ControlFlow;

use sqlparser::ast::{
    Assignment, AssignmentTarget, Delete, FromTable, Ident, Insert, OnConflictAction, OnInsert,
    SetExpr, Statement, TableFactor, TableObject, TableWithJoins, Update, UpdateTableFromKind,
    Visit,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::keywords::Keyword;
use sqlparser::parser::Parser;

use super::error::Refusal;
use super::place::Place;
use super::shape::{Extra, Extras, Inspector, folded, single};
use super::tokens::{Tokens, quoted};

/// Columns that Millpond keeps itself.
const KEPT: [&str; 6] = [
    "rev",
    "digest",
    "tenant_id",
    "device_id",
    "received_at",
    "provenance",
];

/// A statement that may run.
#[derive(Debug)]
pub(super) struct Checked {
    /// The text that is run.
    pub(super) sql: String,
    /// What is run after it, where it touched a row; takes the same parameters.
    pub(super) then: Option<String>,
    /// Whether it writes.
    pub(super) writes: bool,
    /// The values that come behind the given parameters.
    pub(super) extras: Vec<Extra>,
    /// The statement without its values, for a log.
    pub(super) shape: String,
}

/// Checks a statement that comes with `given` parameters.
pub(super) fn check(sql: &str, given: usize, place: &Place) -> Result<Checked, Refusal> {
    let tokens = Tokens::read(sql)?;
    let named = tokens.parameters()?;
    if named != given {
        return Err(Refusal::Parameters { named, given });
    }
    let mut statements = Parser::new(&PostgreSqlDialect {})
        .with_tokens_with_locations(tokens.placed())
        .parse_statements()
        .map_err(|error| Refusal::Unreadable(error.to_string()))?;
    let statement = match (statements.pop(), statements.is_empty()) {
        (Some(one), true) => one,
        (None, _) => return Err(Refusal::Kind),
        (Some(_), false) => return Err(Refusal::Several),
    };
    let mut inspector = Inspector::new(&tokens, place, Extras::behind(given));
    let target = match &statement {
        Statement::Query(query) if !matches!(*query.body, SetExpr::Values(_)) => None,
        Statement::Insert(insert) => Some(inspector.insert(insert)?),
        Statement::Update(update) => Some(inspector.update(update)?),
        Statement::Delete(delete) => Some(inspector.delete(delete)?),
        _ => return Err(Refusal::Kind),
    };
    if let ControlFlow::Break(refusal) = statement.visit(&mut inspector) {
        return Err(refusal);
    }
    let deletes_sessions = matches!(&statement, Statement::Delete(_))
        && target
            .as_ref()
            .is_some_and(|target| target.table == "metrics_sessions");
    let then = deletes_sessions
        .then(|| delete_calls(place, &mut inspector.extras))
        .transpose()?;
    Ok(Checked {
        sql: tokens.text(&inspector.edits, place.side())?,
        then,
        writes: target.is_some(),
        extras: inspector.extras.into_all(),
        shape: tokens.shape(),
    })
}

/// The deletion of the calls of the sessions that this transaction has deleted.
fn delete_calls(place: &Place, extras: &mut Extras) -> Result<String, Refusal> {
    let (calls, sessions) = (
        place.target("tool_metrics")?,
        place.target("metrics_sessions")?,
    );
    let now = place.now(extras);
    let raise = place.raise("tool_metrics", "\"tool_metrics\"");
    Ok(format!(
        "UPDATE {calls} SET {raise}\"deleted_at\" = {now} WHERE \"deleted_at\" IS NULL \
         AND \"session_id\" IN (SELECT \"id\" FROM {sessions} WHERE \"deleted_at\" = {now})"
    ))
}

/// What a statement writes into.
struct Target {
    table: String,
    /// How its columns are told from those of other relations, quoted.
    qualifier: String,
    /// The last token of its name and alias.
    last: usize,
}

impl Inspector<'_> {
    /// Takes a table as the target, and replaces its name by the qualified one.
    fn target(&mut self, name: &Ident, alias: Option<&Ident>) -> Result<Target, Refusal> {
        let table = folded(name);
        let at = self.tokens.index(name.span)?;
        self.edits.instead(at, self.place.target(&table)?);
        self.known.insert(at);
        let qualifier = quoted(&alias.map_or_else(|| table.clone(), folded));
        let last = alias.map_or(Ok(at), |alias| self.tokens.index(alias.span))?;
        if last == at + 1 {
            // SQLite wants the word before a target's alias.
            self.edits.before(last, "AS ");
        }
        Ok(Target {
            table,
            qualifier,
            last,
        })
    }

    fn plain_target(&mut self, relation: &TableWithJoins) -> Result<Target, Refusal> {
        match &relation.relation {
            TableFactor::Table { name, alias, .. } if relation.joins.is_empty() => {
                if alias
                    .as_ref()
                    .is_some_and(|alias| !alias.columns.is_empty())
                {
                    return Err(Refusal::Shape("a target whose columns are renamed"));
                }
                self.target(single(name)?, alias.as_ref().map(|alias| &alias.name))
            }
            _ => Err(Refusal::Shape("a target that is no plain table")),
        }
    }

    fn insert(&mut self, insert: &Insert) -> Result<Target, Refusal> {
        let plain = insert.or.is_none()
            && !insert.ignore
            && insert.into
            && !insert.overwrite
            && !insert.has_table_keyword
            && !insert.replace_into
            && insert.assignments.is_empty()
            && insert.partitioned.is_none()
            && insert.after_columns.is_empty()
            && insert.output.is_none()
            && insert.priority.is_none()
            && insert.insert_alias.is_none()
            && insert.settings.is_none()
            && insert.format_clause.is_none()
            && insert.multi_table_insert_type.is_none()
            && insert.source.is_some();
        let TableObject::TableName(name) = &insert.table else {
            return Err(Refusal::Shape("a target that is no plain table"));
        };
        if !plain {
            return Err(Refusal::Shape("a clause of INSERT that is not taken"));
        }
        if insert.columns.is_empty() {
            return Err(Refusal::Shape("an INSERT that does not name its columns"));
        }
        for column in &insert.columns {
            writable(single(column)?)?;
        }
        let alias = insert.table_alias.as_ref().map(|alias| &alias.alias);
        let target = self.target(single(name)?, alias)?;
        match &insert.on {
            None => {}
            Some(OnInsert::OnConflict(conflict)) => {
                if let OnConflictAction::DoUpdate(update) = &conflict.action {
                    self.assignments(&update.assignments, &target)?;
                }
            }
            Some(_) => return Err(Refusal::Shape("a clause of INSERT that is not taken")),
        }
        Ok(target)
    }

    fn update(&mut self, update: &Update) -> Result<Target, Refusal> {
        let plain = update.or.is_none()
            && update.output.is_none()
            && update.order_by.is_empty()
            && update.limit.is_none()
            && !matches!(update.from, Some(UpdateTableFromKind::BeforeSet(_)));
        if !plain {
            return Err(Refusal::Shape("a clause of UPDATE that is not taken"));
        }
        let target = self.plain_target(&update.table)?;
        self.assignments(&update.assignments, &target)?;
        self.only_present(&target, update.selection.is_some());
        Ok(target)
    }

    fn delete(&mut self, delete: &Delete) -> Result<Target, Refusal> {
        let plain = delete.tables.is_empty()
            && delete.using.is_none()
            && delete.output.is_none()
            && delete.order_by.is_empty()
            && delete.limit.is_none();
        let (true, FromTable::WithFromKeyword(from)) = (plain, &delete.from) else {
            return Err(Refusal::Shape("a clause of DELETE that is not taken"));
        };
        let [relation] = from.as_slice() else {
            return Err(Refusal::Shape("a target that is no plain table"));
        };
        let target = self.plain_target(relation)?;
        // DELETE FROM t → UPDATE t SET deleted_at: a row that is gone could not tell anyone that it went.
        let start = self.tokens.index(delete.delete_token.0.span)?;
        self.edits.instead(start, "UPDATE".to_owned());
        self.edits.instead(start + 1, String::new());
        let now = self.place.now(&mut self.extras);
        let raise = self.place.raise(&target.table, &target.qualifier);
        self.edits
            .after(target.last, &format!(" SET {raise}\"deleted_at\" = {now}"));
        self.only_present(&target, delete.selection.is_some());
        Ok(target)
    }

    /// Checks what is set, and raises the version beside it.
    fn assignments(&mut self, all: &[Assignment], target: &Target) -> Result<(), Refusal> {
        let mut first = None;
        for assignment in all {
            let AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(Refusal::Shape("several columns that are set at once"));
            };
            let column = single(name)?;
            writable(column)?;
            first.get_or_insert(self.tokens.index(column.span)?);
        }
        let first = first.ok_or(Refusal::Shape("nothing to set"))?;
        let raise = self.place.raise(&target.table, &target.qualifier);
        self.edits.before(first, &raise);
        Ok(())
    }

    /// Leaves out the rows that were deleted.
    fn only_present(&mut self, target: &Target, selects: bool) {
        let present = format!("WHERE {}.\"deleted_at\" IS NULL", target.qualifier);
        let condition = self
            .tokens
            .keyword(target.last + 1, Keyword::WHERE)
            .filter(|_| selects);
        let behind = condition.unwrap_or(target.last) + 1;
        let end = self.tokens.keyword(behind, Keyword::RETURNING);
        match condition {
            Some(at) => {
                self.edits.instead(at, format!("{present} AND ("));
                self.edits.before_or_last(end, ") ");
            }
            None => self.edits.before_or_last(end, &format!(" {present} ")),
        }
    }
}

fn writable(column: &Ident) -> Result<(), Refusal> {
    let name = folded(column);
    if KEPT.contains(&name.as_str()) {
        return Err(Refusal::Column(name));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(sql: &str, place: &Place) -> String {
        check(sql, 0, place).unwrap().sql
    }

    fn schema() -> Place {
        Place::Schema("t_1".into())
    }

    #[test]
    fn relations_are_qualified_and_a_cte_never_means_a_table() {
        assert_eq!(
            sent("SELECT u.id FROM users u, USERS", &schema()),
            "SELECT u . id FROM (SELECT * FROM \"t_1\".\"users\" WHERE \"deleted_at\" IS NULL) u , \
             (SELECT * FROM \"t_1\".\"users\" WHERE \"deleted_at\" IS NULL) AS \"users\""
        );
        assert_eq!(
            sent(
                "WITH pg_class AS (SELECT 1) SELECT * FROM pg_class",
                &schema()
            ),
            "WITH \"cte_pg_class\" AS ( SELECT 1 ) SELECT * FROM \"cte_pg_class\" AS \"pg_class\""
        );
        let inside = "WITH pg_class AS (SELECT * FROM pg_class) SELECT * FROM pg_class";
        assert!(sent(inside, &schema()).contains("( SELECT * FROM \"cte_pg_class\""));
    }

    #[test]
    fn a_deletion_is_an_update_that_travels() {
        let done = check(
            "DELETE FROM users u WHERE a OR b RETURNING id",
            0,
            &Place::File,
        )
        .unwrap();
        assert_eq!(
            done.sql,
            "UPDATE  \"main\".\"users\" AS u SET \"deleted_at\" = ?1 \
             WHERE \"u\".\"deleted_at\" IS NULL AND ( a OR b ) RETURNING id"
        );
        assert_eq!(done.extras, [Extra::Now]);
        let all = check("DELETE FROM metrics_sessions", 0, &schema()).unwrap();
        assert!(
            all.sql
                .ends_with("WHERE \"metrics_sessions\".\"deleted_at\" IS NULL ")
        );
        assert!(all.then.unwrap().contains("\"t_1\".\"tool_metrics\""));
    }

    #[test]
    fn an_update_raises_the_version_centrally() {
        assert_eq!(
            sent("UPDATE users SET timezone = 'UTC' WHERE x OR y", &schema()),
            "UPDATE \"t_1\".\"users\" SET \"rev\" = \"users\".\"rev\" + 1, timezone = 'UTC' \
             WHERE \"users\".\"deleted_at\" IS NULL AND ( x OR y) "
        );
    }

    #[test]
    fn what_millpond_keeps_is_not_written() {
        for bad in [
            "UPDATE users SET rev = 9",
            "INSERT INTO users (id, digest) VALUES (1, 2)",
            "INSERT INTO tool_metrics VALUES (1)",
            "INSERT INTO users (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET \"rev\" = 1",
        ] {
            assert!(check(bad, 0, &schema()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_chain_of_conditions_ends_in_an_answer() {
        let long = format!(
            "SELECT 1 FROM users WHERE {}",
            vec!["a = 1"; 1_900].join(" OR ")
        );
        assert!(check(&long, 0, &schema()).is_ok());
        let deep = format!("SELECT {}1{}", "(".repeat(3_000), ")".repeat(3_000));
        assert!(check(&deep, 0, &schema()).is_err());
    }
}
