//! Making a tenant's schema anew.
//!
//! Invariants: one transaction, so that the old schema stands wherever it is cut; the users stay, since devices'
//! rows hang on them; streams go, so that each device finds itself unknown and offers every row that it holds.

use tokio_postgres::types::Type;

use super::super::connect::Connection;
use super::super::names::quote_ident;
use super::super::schema::{Names, dedicated, make_fresh};
use super::migrate::is_blocked;
use super::{Central, CentralError, Tenant, one, value};

const ACTION: &str = "reset a tenant's schema";

impl Central {
    /// Drops a tenant's schema with every row that arrived, and makes it anew at the newest version with its users.
    ///
    /// Sessions of the tenant's devices that are in the way are ended.
    ///
    /// # Errors
    /// [`CentralError::NotFound`], [`CentralError::Locked`] where another admin is at work on it,
    /// [`CentralError::Migration`], [`CentralError::NotInitialised`], [`CentralError::Remote`].
    pub async fn reset_tenant(&self, domain: &str) -> Result<(), CentralError> {
        let tenant = self.tenant(domain).await?;
        let mut outcome = self.reset(&tenant).await;
        if outcome.as_ref().is_err_and(is_blocked) && self.end_blockers(tenant.id).await? {
            outcome = self.reset(&tenant).await;
        }
        outcome
    }

    async fn reset(&self, tenant: &Tenant) -> Result<(), CentralError> {
        let names = Names::of(tenant.id);
        // Dropped where anything fails, and its transaction with it.
        let connection = dedicated(&self.endpoint, &names.schema).await?;
        connection.batch(ACTION, "BEGIN").await?;
        let sql =
            "SELECT 1 FROM control.tenant_schemas WHERE tenant_id = $1 FOR UPDATE SKIP LOCKED";
        let mine = connection
            .query(ACTION, sql, &[(&tenant.id, Type::UUID)])
            .await?;
        if mine.is_empty() {
            return Err(CentralError::Locked {
                domain: tenant.domain.clone(),
            });
        }
        let users = read_users(&connection, &names.schema).await?;
        let schema = quote_ident(&names.schema);
        let sql = format!("DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}");
        connection.batch(ACTION, &sql).await?;
        let latest = self.migrations.latest();
        let filled = self.migrations.filled(&names, latest)?;
        make_fresh(&connection, &names.schema, &filled).await?;
        write_users(&connection, &names.schema, &users).await?;
        let checksum = self.migrations.checksum(latest).unwrap_or_default();
        let sql = "UPDATE control.tenant_schemas SET version = $2, checksum = $3, migrated_at = now(), \
                   last_error = NULL, last_error_at = NULL WHERE tenant_id = $1";
        connection
            .execute(
                ACTION,
                sql,
                &[
                    (&tenant.id, Type::UUID),
                    (&latest, Type::INT4),
                    (&checksum, Type::TEXT),
                ],
            )
            .await?;
        Ok(connection.batch(ACTION, "COMMIT").await?)
    }
}

/// The users as a JSON array of their rows; an empty one where there is no such table.
async fn read_users(connection: &Connection, schema: &str) -> Result<String, CentralError> {
    let table = format!("{}.users", quote_ident(schema));
    let sql = "SELECT to_regclass($1) IS NOT NULL";
    let rows = connection
        .query(ACTION, sql, &[(&table, Type::TEXT)])
        .await?;
    if !value::<bool>(&one(ACTION, rows)?, 0)? {
        return Ok("[]".to_owned());
    }
    // Whatever became of its policies: forced, they hold for the owner, and what they hide would be lost.
    let sql = format!("ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY");
    connection.batch(ACTION, &sql).await?;
    let sql = format!("SELECT coalesce(jsonb_agg(to_jsonb(u)), '[]')::text FROM {table} u");
    let rows = connection.query(ACTION, &sql, &[]).await?;
    value(&one(ACTION, rows)?, 0)
}

/// Puts the users back, by the columns that the old table and the new one share.
async fn write_users(
    connection: &Connection,
    schema: &str,
    users: &str,
) -> Result<(), CentralError> {
    let table = format!("{}.users", quote_ident(schema));
    let sql = "SELECT string_agg(quote_ident(attname), ', ') FROM pg_catalog.pg_attribute \
               WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attgenerated = '' \
                 AND jsonb_exists($2::text::jsonb -> 0, attname::text)";
    let rows = connection
        .query(ACTION, sql, &[(&table, Type::TEXT), (&users, Type::TEXT)])
        .await?;
    let Some(columns) = value::<Option<String>>(&one(ACTION, rows)?, 0)? else {
        return Ok(());
    };
    let sql = format!(
        "INSERT INTO {table} ({columns}) \
         SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, $1::text::jsonb)"
    );
    connection
        .execute(ACTION, &sql, &[(&users, Type::TEXT)])
        .await?;
    Ok(())
}
