//! Where a statement works, and what its tables are there.
//!
//! Invariants: without a tenant there is one table, `tenants`; in a tenant there are its four, and of `tenants` its own
//! row, which can only be read. Every name is qualified with its schema. What was deleted is not there to be read.

use super::error::Refusal;
use super::shape::{Extra, Extras};
use super::tokens::{Side, quoted};

/// The tables of a tenant.
pub(super) const TABLES: [&str; 4] = [
    "users",
    "metrics_sessions",
    "tool_metrics",
    "dashboard_configs",
];
/// The list of tenants.
pub(super) const TENANTS: &str = "tenants";
/// Its columns that both sides have.
pub(super) const TENANT_COLUMNS: [&str; 13] = [
    "id",
    "name",
    "domain",
    "schema_name",
    "subscription_plan",
    "is_active",
    "metadata",
    "admin_email",
    "billing_email",
    "data_region",
    "compliance_settings",
    "created_at",
    "updated_at",
];

/// A database and a context in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// The registry of this machine.
    Registry,
    /// A tenant's SQLite file.
    File,
    /// The central list of tenants.
    CentralList,
    /// A tenant's central schema, by its name.
    Schema(String),
}

impl Place {
    pub(super) const fn side(&self) -> Side {
        match self {
            Self::Registry | Self::File => Side::Local,
            Self::CentralList | Self::Schema(_) => Side::Central,
        }
    }

    pub(super) fn is_table(name: &str) -> bool {
        name == TENANTS || TABLES.contains(&name)
    }

    /// The schema of the tenant's tables, quoted; `None` where there is no tenant.
    fn schema(&self) -> Option<String> {
        match self {
            Self::File => Some(quoted("main")),
            Self::Schema(name) => Some(quoted(name)),
            Self::Registry | Self::CentralList => None,
        }
    }

    /// A table to write into, qualified.
    pub(super) fn target(&self, table: &str) -> Result<String, Refusal> {
        self.schema()
            .filter(|_| TABLES.contains(&table))
            .map(|schema| format!("{schema}.{}", quoted(table)))
            .ok_or_else(|| Refusal::Table(table.to_owned()))
    }

    /// What a table is read as.
    pub(super) fn read(&self, table: &str, extras: &mut Extras) -> Result<String, Refusal> {
        if table == TENANTS {
            return Ok(self.tenants(extras));
        }
        let target = self.target(table)?;
        Ok(format!(
            "(SELECT * FROM {target} WHERE \"deleted_at\" IS NULL)"
        ))
    }

    fn tenants(&self, extras: &mut Extras) -> String {
        let from = |schema: &str| {
            format!(
                "(SELECT {} FROM {schema}.{TENANTS})",
                TENANT_COLUMNS.join(", ")
            )
        };
        match self {
            Self::Registry => from("main"),
            // The server shows a program's role its own tenant's row.
            Self::CentralList | Self::Schema(_) => from("public"),
            // The list is another file: the row comes along.
            Self::File => {
                let columns = TENANT_COLUMNS
                    .map(|column| format!("?{} AS {column}", extras.number(Extra::Tenant(column))));
                format!("(SELECT {})", columns.join(", "))
            }
        }
    }

    /// The time of the transaction, as SQL.
    pub(super) fn now(&self, extras: &mut Extras) -> String {
        match self.side() {
            Side::Local => format!("?{}", extras.number(Extra::Now)),
            Side::Central => "pg_catalog.now()".to_owned(),
        }
    }

    /// What an update sets beside what it was told to: centrally no trigger raises the version.
    pub(super) fn raise(&self, table: &str, qualifier: &str) -> String {
        match (self.side(), table) {
            (Side::Local, _) => String::new(),
            (Side::Central, "users") => format!("\"rev\" = {qualifier}.\"rev\" + 1, "),
            (Side::Central, _) => format!(
                "\"rev\" = {qualifier}.\"rev\" + 1, \
                 \"digest\" = pg_catalog.uuid_send(pg_catalog.gen_random_uuid()), "
            ),
        }
    }
}
