//! The statements of a push, built once a schema from the list of columns.
//!
//! Purpose: the SQL that a device sends. Pure. Invariants: names are qualified by the schema; a statement reads only
//! columns that the device is granted; nothing depends on a session's state.
//!
//! Rows travel as one array a column, taken apart by `unnest` in the SELECT list, where the server needs no
//! intermediate store, unlike `FROM unnest(…)`. A column that is the same in all rows of a batch travels as one value.

use tokio_postgres::types::{Kind as TypeKind, Type};

use super::encode::{Column, Part};
use super::names::quote_ident;
use crate::change::{Change, Kind, Table};

/// The statements of one table.
#[derive(Debug)]
pub(crate) struct TableStatements {
    insert: String,
    raise: String,
    columns: Vec<(Part, Type)>,
    /// Returns `id, rev, digest` of given ids.
    pub(crate) lookup: String,
    /// Returns `id` and the whole row as JSON text of given ids.
    pub(crate) whole_rows: String,
}

/// A statement that writes rows, and what it takes.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    pub(crate) sql: String,
    pub(crate) params: Vec<(Column<'a>, Type)>,
}

/// The statements of one schema.
#[derive(Debug)]
pub(crate) struct Statements {
    tables: [TableStatements; 3],
    /// Makes a stream that stands at its first batch, and returns a row if it did.
    pub(crate) open_stream: String,
    /// Moves a stream from one batch to the next, and returns a row if it did.
    pub(crate) move_stream: String,
    /// Returns where a stream stands.
    pub(crate) read_stream: String,
    /// Returns where a stream stands once no transaction is moving it.
    pub(crate) lock_stream: String,
    /// Records refused rows.
    pub(crate) insert_rejects: String,
}

impl Statements {
    /// Builds the statements of a schema.
    pub(crate) fn of_schema(schema: &str) -> Self {
        let schema = quote_ident(schema);
        Self {
            tables: Table::ALL.map(|table| TableStatements::of_table(&schema, table)),
            open_stream: format!(
                "INSERT INTO {schema}.sync_streams (stream_id, batch_id, rows) VALUES ($1, $2, $3) \
                 ON CONFLICT (stream_id) DO NOTHING RETURNING batch_id"
            ),
            move_stream: format!(
                "UPDATE {schema}.sync_streams SET batch_id = $2, rows = rows + $3 \
                 WHERE stream_id = $1 AND batch_id = $4 RETURNING batch_id"
            ),
            read_stream: format!("SELECT batch_id FROM {schema}.sync_streams WHERE stream_id = $1"),
            lock_stream: format!(
                "SELECT batch_id FROM {schema}.sync_streams WHERE stream_id = $1 FOR UPDATE"
            ),
            insert_rejects: format!(
                "INSERT INTO {schema}.sync_rejects (batch_id, table_name, row_id, rev, sqlstate, message) \
                 SELECT $1, * FROM unnest($2::text[], $3::uuid[], $4::bigint[], $5::text[], $6::text[]) \
                 ON CONFLICT (batch_id, table_name, row_id) DO NOTHING"
            ),
        }
    }

    /// The statements of one of its tables.
    pub(crate) fn table(&self, table: Table) -> &TableStatements {
        let [sessions, calls, dashboards] = &self.tables;
        match table {
            Table::MetricsSessions => sessions,
            Table::ToolMetrics => calls,
            Table::DashboardConfigs => dashboards,
        }
    }
}

impl TableStatements {
    fn of_table(schema: &str, table: Table) -> Self {
        let name = format!("{schema}.{}", table.name());
        let mut names = vec!["id", "rev", "digest"];
        let mut columns = vec![
            (Part::Id, Type::UUID_ARRAY),
            (Part::Rev, Type::INT8_ARRAY),
            (Part::Digest, Type::BYTEA_ARRAY),
        ];
        let mut raised = vec![
            "rev = excluded.rev".to_owned(),
            "digest = excluded.digest".to_owned(),
        ];
        for (place, column) in table.columns().iter().enumerate() {
            names.push(column.name);
            columns.push((Part::Value(place), array_type(column.kind)));
            if column.mutable {
                raised.push(format!("{0} = excluded.{0}", column.name));
            }
        }
        let fields: Vec<String> = names
            .iter()
            .map(|name| match *name {
                "digest" => "'digest', encode(digest, 'hex')".to_owned(),
                name => format!("'{name}', {name}"),
            })
            .collect();
        Self {
            insert: format!("INSERT INTO {name} AS t ({})", names.join(", ")),
            raise: format!(
                "ON CONFLICT (id) DO UPDATE SET {} WHERE t.rev < excluded.rev RETURNING t.id",
                raised.join(", ")
            ),
            columns,
            lookup: format!("SELECT id, rev, digest FROM {name} WHERE id = ANY($1)"),
            whole_rows: format!(
                "SELECT id, jsonb_build_object({})::text FROM {name} WHERE id = ANY($1)",
                fields.join(", ")
            ),
        }
    }

    /// Inserts rows, and fails with 23505 where the server has one of them.
    pub(crate) fn insert<'a>(&self, rows: &'a [&'a Change]) -> Write<'a> {
        let (select, params) = self.select(rows);
        let sql = format!("{} {select}", self.insert);
        Write { sql, params }
    }

    /// Inserts or raises rows, and returns the ids of those.
    pub(crate) fn upsert<'a>(&self, rows: &'a [&'a Change]) -> Write<'a> {
        let (select, params) = self.select(rows);
        let sql = format!("{} {select} {}", self.insert, self.raise);
        Write { sql, params }
    }

    fn select<'a>(&self, rows: &'a [&'a Change]) -> (String, Vec<(Column<'a>, Type)>) {
        let mut fields = Vec::with_capacity(self.columns.len());
        let mut params = Vec::with_capacity(self.columns.len());
        for (index, (part, array)) in self.columns.iter().enumerate() {
            let (column, element) = (Column::of(rows, *part), element_type(array));
            let number = index + 1;
            if column.is_uniform() {
                fields.push(format!("${number}::{}", element.name()));
                params.push((column, element));
            } else {
                fields.push(format!("unnest(${number}::{}[])", element.name()));
                params.push((column, array.clone()));
            }
        }
        (format!("SELECT {}", fields.join(", ")), params)
    }
}

fn array_type(kind: Kind) -> Type {
    match kind {
        Kind::Uuid => Type::UUID_ARRAY,
        Kind::Text => Type::TEXT_ARRAY,
        Kind::BigInt => Type::INT8_ARRAY,
        Kind::Double => Type::FLOAT8_ARRAY,
        Kind::Boolean => Type::BOOL_ARRAY,
        Kind::Timestamp => Type::TIMESTAMPTZ_ARRAY,
        Kind::Json => Type::JSONB_ARRAY,
    }
}

/// The element's type of an array type.
fn element_type(array: &Type) -> Type {
    match array.kind() {
        TypeKind::Array(element) => element.clone(),
        _ => array.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::Statements;
    use crate::change::{Change, Table, Value};
    use uuid::Uuid;

    fn row(n: u128) -> Change {
        let table = Table::DashboardConfigs;
        let values = table.columns().iter().map(|_| Value::Null).collect();
        Change {
            table,
            id: Uuid::from_u128(n),
            rev: 1,
            digest: [0; 16],
            is_new: true,
            values,
        }
    }

    #[test]
    fn an_upsert_raises_what_may_change_and_only_above_the_known_rev() {
        let statements = Statements::of_schema("t_1");
        let rows = [row(1)];
        let upsert = statements
            .table(Table::DashboardConfigs)
            .upsert(&[&rows[0]])
            .sql;
        assert!(
            upsert.starts_with(
                "INSERT INTO \"t_1\".dashboard_configs AS t (id, rev, digest, user_id, "
            )
        );
        assert!(upsert.contains("dashboard_name = excluded.dashboard_name"));
        for settled in ["user_id = ", "created_at = ", "SET id"] {
            assert!(!upsert.contains(settled), "{settled}");
        }
        assert!(upsert.ends_with("WHERE t.rev < excluded.rev RETURNING t.id"));
    }

    #[test]
    fn what_is_the_same_in_all_rows_travels_once() {
        let statements = Statements::of_schema("t_1");
        let mut rows = [row(1), row(2)];
        rows[1].values[1] = Value::Text("Mine".into());
        let rows: Vec<&Change> = rows.iter().collect();
        let sql = statements.table(Table::DashboardConfigs).insert(&rows).sql;
        let expected = "SELECT unnest($1::uuid[]), $2::int8, $3::bytea, $4::uuid, unnest($5::text[]), $6::text, ";
        assert!(sql.contains(expected), "{sql}");
    }
}
