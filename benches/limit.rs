//! The limit of a push: binary COPY of rows in memory, by a superuser, whom row-level security does not hold.

use std::error::Error;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use millpond_sync::change::{Kind, Table};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags};
use tokio::runtime::Runtime;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// From 1970 to 2000, where PostgreSQL's time begins, in microseconds.
const EPOCH: i64 = 946_684_800_000_000;

/// A value as the file holds it, and what it is.
#[derive(Debug)]
struct Field(Value, Kind);

struct TableRows {
    sql: String,
    types: Vec<Type>,
    rows: Vec<Vec<Field>>,
}

/// A superuser's connection and all rows of a tenant's file.
pub struct Limit<'r> {
    runtime: &'r Runtime,
    client: Client,
    schema: String,
    tables: Vec<TableRows>,
}

impl<'r> Limit<'r> {
    /// Connects, and reads the sessions and calls of a tenant's file with what travels of each.
    pub fn new(runtime: &'r Runtime, admin: &str, schema: &str, file: &Path) -> Self {
        let client = runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(admin, NoTls).await.unwrap();
            tokio::spawn(async move { connection.await.unwrap() });
            client
        });
        #[allow(
            clippy::disallowed_methods,
            reason = "the rows as they lie in the file, read once"
        )]
        let file = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let tables = [Table::MetricsSessions, Table::ToolMetrics]
            .map(|table| TableRows::read(&file, schema, table))
            .into();
        Self {
            runtime,
            client,
            schema: schema.to_owned(),
            tables,
        }
    }

    /// Empties the tables and lets the server write what it still has to, so that each round starts alike.
    pub fn empty(&self) {
        let schema = &self.schema;
        let sql = format!(
            "TRUNCATE {schema}.tool_metrics, {schema}.metrics_sessions, {schema}.sync_streams, {schema}.sync_rejects;
             CHECKPOINT;"
        );
        self.runtime
            .block_on(self.client.batch_execute(&sql))
            .unwrap();
    }

    /// Copies all rows in, parents first.
    pub fn copy(&self) -> Duration {
        let begun = Instant::now();
        self.runtime.block_on(async {
            for table in &self.tables {
                let sink = self.client.copy_in(&table.sql).await.unwrap();
                let mut writer = pin!(BinaryCopyInWriter::new(sink, &table.types));
                for row in &table.rows {
                    writer.as_mut().write_raw(row).await.unwrap();
                }
                writer.finish().await.unwrap();
            }
        });
        begun.elapsed()
    }

    /// How many sessions and calls there are.
    pub fn count(&self) -> u64 {
        let schema = &self.schema;
        let sql = format!(
            "SELECT (SELECT count(*) FROM {schema}.tool_metrics)
                  + (SELECT count(*) FROM {schema}.metrics_sessions)"
        );
        let row = self
            .runtime
            .block_on(self.client.query_one(&sql, &[]))
            .unwrap();
        u64::try_from(row.get::<_, i64>(0)).unwrap()
    }
}

impl TableRows {
    fn read(file: &Connection, schema: &str, table: Table) -> Self {
        let mut columns = vec![("id", Kind::Uuid)];
        columns.extend(
            table
                .columns()
                .iter()
                .map(|column| (column.name, column.kind)),
        );
        columns.push(("rev", Kind::BigInt));
        let mut names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
        names.push("digest");
        let names = names.join(", ");
        let name = table.name();
        let mut types: Vec<Type> = columns.iter().map(|(_, kind)| to_type(*kind)).collect();
        types.push(Type::BYTEA);
        let mut statement = file
            .prepare(&format!("SELECT {names} FROM {name} ORDER BY rowid"))
            .unwrap();
        let rows = statement
            .query_map([], |row| {
                let mut fields = Vec::with_capacity(types.len());
                for (at, (_, kind)) in columns.iter().enumerate() {
                    fields.push(Field(row.get(at)?, *kind));
                }
                // A digest travels as its bytes, as an id does.
                fields.push(Field(row.get(columns.len())?, Kind::Uuid));
                Ok(fields)
            })
            .unwrap()
            .collect::<Result<_, _>>()
            .unwrap();
        let sql = format!("COPY {schema}.{name} ({names}) FROM STDIN (FORMAT binary)");
        Self { sql, types, rows }
    }
}

fn to_type(kind: Kind) -> Type {
    match kind {
        Kind::Uuid => Type::UUID,
        Kind::Text => Type::TEXT,
        Kind::BigInt => Type::INT8,
        Kind::Double => Type::FLOAT8,
        Kind::Boolean => Type::BOOL,
        Kind::Timestamp => Type::TIMESTAMPTZ,
        Kind::Json => Type::JSONB,
    }
}

impl ToSql for Field {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (&self.0, self.1) {
            (Value::Null, _) => Ok(IsNull::Yes),
            (Value::Integer(truth), Kind::Boolean) => (*truth != 0).to_sql(ty, out),
            (Value::Integer(micros), Kind::Timestamp) => (micros - EPOCH).to_sql(ty, out),
            (Value::Integer(number), _) => number.to_sql(ty, out),
            (Value::Real(number), _) => number.to_sql(ty, out),
            (Value::Text(text), Kind::Json) => {
                // The version of jsonb's binary form.
                out.extend_from_slice(&[1]);
                text.as_str().to_sql(ty, out)
            }
            (Value::Text(text), _) => text.as_str().to_sql(ty, out),
            (Value::Blob(bytes), _) if *ty == Type::UUID => {
                Uuid::from_slice(bytes)?.to_sql(ty, out)
            }
            (Value::Blob(bytes), _) => bytes.as_slice().to_sql(ty, out),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
