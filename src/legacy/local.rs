//! The local side: the registry, and a tenant's SQLite file.
//!
//! Purpose: carries a checked statement to the store. Depends on [`crate::store`]. Invariants: a tenant is opened by
//! its id for each statement, so that nothing of it is held in between; SQLite is never called on a runtime's thread.

use std::sync::Arc;

use rusqlite::types::Value as Stored;

use super::error::Error;
use super::place::{Place, TABLES, TENANTS};
use super::shape::{Extra, functions};
use super::statement::Checked;
use super::tokens::Side;
use super::value::Value;
use super::{Answer, ROWS_MAX};
use crate::domain::ids::TenantId;
use crate::domain::json::JsonObject;
use crate::domain::tenant::Tenant;
use crate::domain::units::{Text, Timestamp};
use crate::store::statement::{self, ProgramStatement, Reach};
use crate::store::{Store, Timeouts};

/// The store, as a program works in it. Cloning costs a counter.
#[derive(Debug, Clone)]
pub(super) struct Local {
    store: Arc<Store>,
    run: Option<std::time::Duration>,
}

impl Local {
    pub(super) const fn new(store: Arc<Store>, run: Option<std::time::Duration>) -> Self {
        Self { store, run }
    }

    pub(super) const fn place(tenant: Option<TenantId>) -> Place {
        match tenant {
            None => Place::Registry,
            Some(_) => Place::File,
        }
    }

    /// The tenant's entry in the registry.
    pub(super) async fn tenant(&self, id: TenantId) -> Result<Tenant, Error> {
        self.on_a_thread(move |local| Ok(local.store.tenant_by_id(id)?.tenant().clone()))
            .await
    }

    pub(super) async fn run(
        &self,
        tenant: Option<TenantId>,
        checked: Checked,
        params: Vec<Value>,
    ) -> Result<Answer, Error> {
        self.on_a_thread(move |local| local.run_here(tenant, &checked, &params))
            .await
    }

    async fn on_a_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let local = self.clone();
        tokio::task::spawn_blocking(move || work(&local))
            .await
            .map_err(|source| Error::Work { source })?
    }

    fn run_here(
        &self,
        tenant: Option<TenantId>,
        checked: &Checked,
        params: &[Value],
    ) -> Result<Answer, Error> {
        let given: Vec<Stored> = params.iter().map(stored).collect();
        let Some(id) = tenant else {
            let reach = reach(&[TENANTS]);
            return Ok(answer(self.store.run_program(&statement_of(
                &checked.sql,
                &given,
                &reach,
            ))?));
        };
        let timeouts = Timeouts {
            run: self.run,
            ..self.store.timeouts()
        };
        let tenant = self.store.tenant_by_id(id)?.with_timeouts(timeouts);
        let reach = reach(&TABLES);
        let with_extras = |now: Timestamp| {
            let extras = checked.extras.iter().map(|extra| match extra {
                Extra::Now => Stored::Integer(now.as_micros()),
                Extra::Tenant(column) => of_tenant(tenant.tenant(), column),
            });
            given.iter().cloned().chain(extras).collect::<Vec<_>>()
        };
        if !checked.writes {
            return tenant.read(|reader| {
                let params = with_extras(reader.now());
                let statement = statement_of(&checked.sql, &params, &reach);
                Ok(answer(reader.run_program(&statement)?))
            });
        }
        tenant.write(|writer| {
            let params = with_extras(writer.now());
            let statement = statement_of(&checked.sql, &params, &reach);
            let done = writer.run_program(&statement)?;
            if let Some(then) = checked.then.as_deref().filter(|_| done.affected > 0) {
                writer.run_program(&statement_of(then, &params, &reach))?;
            }
            Ok(answer(done))
        })
    }
}

fn reach(tables: &'static [&'static str]) -> Reach {
    Reach {
        tables,
        // What LIKE is written as.
        functions: functions(Side::Local).chain(["like"]).collect(),
    }
}

const fn statement_of<'a>(
    sql: &'a str,
    params: &'a [Stored],
    reach: &'a Reach,
) -> ProgramStatement<'a> {
    ProgramStatement {
        sql,
        params,
        reach,
        rows_max: ROWS_MAX,
    }
}

/// A parameter as SQLite keeps it.
fn stored(value: &Value) -> Stored {
    match value {
        Value::Null => Stored::Null,
        Value::Bool(truth) => Stored::Integer((*truth).into()),
        Value::Int(number) => Stored::Integer(*number),
        Value::Float(number) => Stored::Real(*number),
        Value::Text(text) => Stored::Text(text.clone()),
        Value::Uuid(id) => Stored::Blob(id.as_bytes().to_vec()),
        Value::Time(time) => Stored::Integer(time.as_micros()),
        Value::Json(json) => Stored::Text(json.to_string()),
        Value::Bytes(bytes) => Stored::Blob(bytes.clone()),
    }
}

fn answer(found: statement::Answer) -> Answer {
    let read = |value| match value {
        Stored::Null => Value::Null,
        Stored::Integer(number) => Value::Int(number),
        Stored::Real(number) => Value::Float(number),
        Stored::Text(text) => Value::Text(text),
        Stored::Blob(bytes) => Value::Bytes(bytes),
    };
    Answer {
        columns: found.columns.into(),
        rows: found
            .rows
            .into_iter()
            .map(|row| row.into_iter().map(read).collect())
            .collect(),
        affected: found.affected,
    }
}

/// A column of the tenant's row in the list.
fn of_tenant(tenant: &Tenant, column: &str) -> Stored {
    let text = |text: Option<&str>| text.map_or(Stored::Null, |text| Stored::Text(text.to_owned()));
    let json = |object: &JsonObject| {
        Stored::Text(serde_json::Value::Object(object.as_map().clone()).to_string())
    };
    match column {
        "id" => Stored::Blob(tenant.id.as_uuid().as_bytes().to_vec()),
        "name" => text(Some(tenant.name.as_str())),
        "domain" => text(Some(tenant.domain.as_str())),
        "schema_name" => text(Some(&tenant.schema_name)),
        "subscription_plan" => text(Some(tenant.subscription_plan.as_str())),
        "is_active" => Stored::Integer(tenant.is_active.into()),
        "metadata" => json(&tenant.metadata),
        "admin_email" => text(tenant.admin_email.as_deref()),
        "billing_email" => text(tenant.billing_email.as_deref()),
        "data_region" => text(tenant.data_region.as_ref().map(Text::as_str)),
        "compliance_settings" => json(&tenant.compliance_settings),
        "created_at" => Stored::Integer(tenant.created_at.as_micros()),
        "updated_at" => Stored::Integer(tenant.updated_at.as_micros()),
        _ => Stored::Null,
    }
}
