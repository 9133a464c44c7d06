//! A tenant's dashboards: at most one default for each user, which the schema's own index holds.

use std::ops::Deref;

use rusqlite::{OptionalExtension as _, Row, ToSql};

use super::columns::{json, some_text, some_time, text, unreadable};
use super::digest;
use super::error::{self, Error};
use super::tenant::{Reader, Writer};
use crate::domain::dashboard::{Dashboard, RefreshInterval};
use crate::domain::ids::{DashboardId, UserId};
use crate::domain::session::Description;
use crate::domain::units::InvalidValue;

/// What a dashboard's digest is made of, in this order.
pub(super) const PAYLOAD: &str = "id, user_id, dashboard_name, description, widget_layout, is_default, \
    is_public, refresh_interval_seconds, shared_with_roles, version, deleted_at";

const COLUMNS: &str = "id, user_id, dashboard_name, description, widget_layout, is_default, \
    is_public, refresh_interval_seconds, shared_with_roles, version, created_at, updated_at";

/// Reads dashboards.
#[derive(Debug)]
pub struct Dashboards<'r> {
    reader: &'r Reader<'r>,
}

/// Writes dashboards.
#[derive(Debug)]
pub struct DashboardsMut<'w> {
    dashboards: Dashboards<'w>,
    writer: &'w Writer<'w>,
}

impl<'c> Reader<'c> {
    /// The tenant's dashboards.
    #[must_use]
    pub fn dashboards(&'c self) -> Dashboards<'c> {
        Dashboards { reader: self }
    }
}

impl<'c> Writer<'c> {
    /// The tenant's dashboards, to write.
    #[must_use]
    pub fn dashboards(&'c self) -> DashboardsMut<'c> {
        DashboardsMut {
            dashboards: Dashboards { reader: self },
            writer: self,
        }
    }
}

impl<'w> Deref for DashboardsMut<'w> {
    type Target = Dashboards<'w>;

    fn deref(&self) -> &Self::Target {
        &self.dashboards
    }
}

impl Dashboards<'_> {
    /// The dashboard of that id, if there is one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn find(&self, id: DashboardId) -> Result<Option<Dashboard>, Error> {
        let sql =
            format!("SELECT {COLUMNS} FROM dashboard_configs WHERE id = ?1 AND deleted_at IS NULL");
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_row([id.as_uuid()], from_row).optional())
            .map_err(error::query("find a dashboard"))
    }

    /// A user's own dashboards, the default one first, then by name.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn list(&self, user: UserId) -> Result<Vec<Dashboard>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM dashboard_configs
             WHERE user_id = ?1 AND deleted_at IS NULL
             ORDER BY is_default DESC, dashboard_name, id"
        );
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| statement.query_map([user.as_uuid()], from_row)?.collect())
            .map_err(error::query("list dashboards"))
    }
}

impl DashboardsMut<'_> {
    /// Adds a dashboard.
    ///
    /// # Errors
    /// [`Error::UniqueViolation`] of `id` where the id is taken, of `user_id` where the dashboard is to be its user's
    /// default and another one is; [`Error::ForeignKey`] where there is no such user; [`Error::Check`] where its
    /// version is less than 1.
    pub fn insert(&self, new: &Dashboard) -> Result<(), Error> {
        const ACTION: &str = "add a dashboard";
        let (id, user_id) = (new.id.as_uuid(), new.user_id.as_uuid());
        let description = new.description.as_ref().map(Description::as_str);
        let widget_layout = json(&new.widget_layout).map_err(error::query(ACTION))?;
        let refresh_interval = new.refresh_interval.as_seconds();
        let shared_with_roles = json(&new.shared_with_roles).map_err(error::query(ACTION))?;
        let payload: [&dyn ToSql; 11] = [
            &id,
            &user_id,
            &new.dashboard_name.as_str(),
            &description,
            &widget_layout,
            &new.is_default,
            &new.is_public,
            &refresh_interval,
            &shared_with_roles,
            &new.version,
            &None::<i64>,
        ];
        let digest = digest::of_params(&payload).map_err(error::query(ACTION))?;
        let (created_at, updated_at) = (new.created_at.as_micros(), new.updated_at.as_micros());
        let rest: [&dyn ToSql; 3] = [&digest, &created_at, &updated_at];
        let mut all: Vec<&dyn ToSql> = Vec::with_capacity(14);
        all.extend(payload);
        all.extend(rest);
        self.writer
            .connection()
            .prepare_cached(
                "INSERT INTO dashboard_configs (id, user_id, dashboard_name, description, widget_layout,
                    is_default, is_public, refresh_interval_seconds, shared_with_roles, version,
                    deleted_at, digest, created_at, updated_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
            )
            .and_then(|mut insert| insert.execute(all.as_slice()))
            .map(drop)
            .map_err(error::query(ACTION))
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Dashboard> {
    let invalid = |at: usize, problem: &str| unreadable(at)(InvalidValue::new("value", problem));
    Ok(Dashboard {
        id: DashboardId::from_uuid(row.get(0)?),
        user_id: UserId::from_uuid(row.get(1)?),
        dashboard_name: some_text(row, 2)?,
        description: text(row, 3)?,
        widget_layout: serde_json::from_str(row.get_ref(4)?.as_str()?)
            .map_err(|_| invalid(4, "is no object"))?,
        is_default: row.get(5)?,
        is_public: row.get(6)?,
        refresh_interval: RefreshInterval::parse(row.get(7)?).map_err(unreadable(7))?,
        shared_with_roles: serde_json::from_str(row.get_ref(8)?.as_str()?)
            .map_err(|_| invalid(8, "is no list of roles"))?,
        version: row.get(9)?,
        created_at: some_time(row, 10)?,
        updated_at: some_time(row, 11)?,
    })
}
