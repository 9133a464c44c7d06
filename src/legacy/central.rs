//! The central side: `public.tenants`, and a tenant's schema.
//!
//! Purpose: carries a checked statement to [`Programs`], and tells a slow one to the log. Depends on
//! [`millpond_sync::postgres`].

use std::time::{Duration, Instant};

use millpond_sync::fault::RemoteError;
use millpond_sync::postgres::answer as wire;
use millpond_sync::postgres::names::schema_name;
use millpond_sync::postgres::programs::{Access, BEGIN, Programs, Work};

use super::Answer;
use super::error::Error;
use super::place::Place;
use super::statement::Checked;
use super::value::Value;
use crate::domain::ids::TenantId;
use crate::domain::units::Timestamp;

/// The central database, as a program works in it. Cloning costs a counter.
#[derive(Debug, Clone)]
pub(super) struct Central {
    programs: Programs,
    slow: Duration,
}

impl Central {
    pub(super) const fn new(programs: Programs, slow: Duration) -> Self {
        Self { programs, slow }
    }

    pub(super) fn place(tenant: Option<TenantId>) -> Place {
        tenant.map_or(Place::CentralList, |id| {
            Place::Schema(schema_name(id.as_uuid()))
        })
    }

    pub(super) async fn run(
        &self,
        tenant: Option<TenantId>,
        checked: &Checked,
        params: &[Value],
    ) -> Result<Answer, Error> {
        let params: Vec<wire::Value> = params.iter().map(sent).collect();
        let work = Work {
            sql: &checked.sql,
            params: &params,
            then: checked.then.as_deref(),
        };
        let access = if checked.writes {
            Access::Write
        } else {
            Access::Read
        };
        let begun = Instant::now();
        let found = self
            .programs
            .run(tenant.map(TenantId::as_uuid), access, work)
            .await;
        let took = begun.elapsed();
        if took >= self.slow {
            tracing::warn!(
                statement = checked.shape,
                duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                "a statement was slow"
            );
        }
        answer(found.map_err(|error| not_allowed(error, tenant))?)
    }
}

/// Tells a role that is not there, or that the login may not become, from every other failure.
fn not_allowed(error: RemoteError, tenant: Option<TenantId>) -> Error {
    let hint = match error.sqlstate.as_deref() {
        Some("42501") => {
            "an administrator can GRANT it the role tp_<tenant's id>, or millpond_registry for the list of tenants"
        }
        Some("22023") if error.action == BEGIN => match tenant {
            Some(id) => return Error::NoTenant { id: id.to_string() },
            None => "the database was set up by an older Millpond: run millpond central init",
        },
        _ => return error.into(),
    };
    Error::NotAllowed {
        hint,
        source: error,
    }
}

fn sent(value: &Value) -> wire::Value {
    match value {
        Value::Null => wire::Value::Null,
        Value::Bool(truth) => wire::Value::Bool(*truth),
        Value::Int(number) => wire::Value::Int(*number),
        Value::Float(number) => wire::Value::Float(*number),
        Value::Text(text) => wire::Value::Text(text.clone()),
        Value::Uuid(id) => wire::Value::Uuid(*id),
        Value::Time(time) => wire::Value::Time(time.as_micros()),
        Value::Json(json) => wire::Value::Json(json.clone()),
        Value::Bytes(bytes) => wire::Value::Bytes(bytes.clone()),
    }
}

fn answer(found: wire::Answer) -> Result<Answer, Error> {
    let read = |value| {
        Ok(match value {
            wire::Value::Null => Value::Null,
            wire::Value::Bool(truth) => Value::Bool(truth),
            wire::Value::Int(number) => Value::Int(number),
            wire::Value::Float(number) => Value::Float(number),
            wire::Value::Text(text) => Value::Text(text),
            wire::Value::Uuid(id) => Value::Uuid(id),
            wire::Value::Time(micros) => {
                Value::Time(Timestamp::from_micros(micros).map_err(crate::store::Error::from)?)
            }
            wire::Value::Json(json) => Value::Json(json),
            wire::Value::Bytes(bytes) => Value::Bytes(bytes),
        })
    };
    let rows = found
        .rows
        .into_iter()
        .map(|row| row.into_iter().map(read).collect::<Result<_, Error>>())
        .collect::<Result<_, _>>()?;
    Ok(Answer {
        columns: found.columns.into(),
        rows,
        affected: found.affected,
    })
}
