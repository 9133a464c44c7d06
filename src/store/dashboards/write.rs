//! Writing dashboards: an update names the version that it saw, and raises it.

use rusqlite::ToSql;

use super::{DashboardsMut, TABLE};
use crate::domain::dashboard::Dashboard;
use crate::domain::ids::{DashboardId, UserId};
use crate::domain::permission::{Action, Subject};
use crate::domain::session::Description;
use crate::domain::user::Role;
use crate::store::Sighting;
use crate::store::columns::{Life, json};
use crate::store::digest;
use crate::store::error::{self, Error};
use crate::store::rows::{self, Bulk, OnDuplicate};

const INSERT: &str =
    "INSERT INTO dashboard_configs (id, user_id, dashboard_name, description, widget_layout,
        is_default, is_public, refresh_interval_seconds, shared_with_roles, version,
        deleted_at, digest, created_at, updated_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";

const UPDATE: &str = "UPDATE dashboard_configs
    SET user_id = ?2, dashboard_name = ?3, description = ?4, widget_layout = ?5, is_default = ?6,
        is_public = ?7, refresh_interval_seconds = ?8, shared_with_roles = ?9, version = ?10,
        deleted_at = ?11, digest = ?12, created_at = ?13, updated_at = ?14, rev = rev + 1
    WHERE id = ?1";

impl DashboardsMut<'_> {
    /// Adds a dashboard.
    ///
    /// # Errors
    /// [`Error::UniqueViolation`] of `id` where the id is taken, of `user_id` where the dashboard is to be its user's
    /// default and another one is; [`Error::ForeignKey`] where there is no such user; [`Error::Check`] where its
    /// version is less than 1.
    pub fn insert(&self, new: &Dashboard) -> Result<(), Error> {
        const ACTION: &str = "add a dashboard";
        self.may(Action::Write, new.user_id, ACTION)?;
        self.execute(new, INSERT, ACTION).map(drop)
    }

    /// Makes the dashboard of this id as given. `version` names the version that the caller saw; whether it is its
    /// user's default and whose it is stay. The dashboard as it is afterwards.
    ///
    /// # Errors
    /// [`Error::Stale`] where someone else changed it meanwhile; [`Error::NotFound`] where there is no such dashboard
    /// or it is deleted; [`Error::Denied`].
    pub fn update(&self, dashboard: &Dashboard) -> Result<Dashboard, Error> {
        const ACTION: &str = "change a dashboard";
        let known = self.seen(dashboard.id, dashboard.version, ACTION)?;
        let next = Dashboard {
            user_id: known.user_id,
            is_default: known.is_default,
            created_at: known.created_at,
            version: known.version + 1,
            updated_at: self.writer.now(),
            ..dashboard.clone()
        };
        self.execute(&next, UPDATE, ACTION)?;
        Ok(next)
    }

    /// Adds the dashboard where there is none of its id, else changes it as [`DashboardsMut::update`] does.
    ///
    /// # Errors
    /// Those of [`DashboardsMut::insert`] and [`DashboardsMut::update`].
    pub fn upsert(&self, dashboard: &Dashboard) -> Result<Dashboard, Error> {
        let id = dashboard.id.as_uuid();
        match rows::held(self.reader, TABLE, id, "look for a dashboard")? {
            None => self.insert(dashboard).map(|()| dashboard.clone()),
            Some(_) => self.update(dashboard),
        }
    }

    /// Adds many dashboards. [`OnDuplicate::Update`] changes those that are there as [`DashboardsMut::update`] does;
    /// the first error ends it, and the transaction's failure undoes all.
    ///
    /// # Errors
    /// Those of [`DashboardsMut::upsert`].
    pub fn insert_all<'d>(
        &self,
        dashboards: impl IntoIterator<Item = &'d Dashboard>,
        on_duplicate: OnDuplicate,
    ) -> Result<Bulk, Error> {
        let mut bulk = Bulk::default();
        for dashboard in dashboards {
            let id = dashboard.id.as_uuid();
            let held = rows::held(self.reader, TABLE, id, "look for a dashboard")?;
            bulk.count(match (held, on_duplicate) {
                (None, _) => self.insert(dashboard).map(|()| Sighting::Inserted)?,
                (Some(_), OnDuplicate::Skip) => Sighting::Unchanged,
                (Some(_), OnDuplicate::Update) => {
                    self.update(dashboard).map(|_| Sighting::Raised)?
                }
            });
        }
        Ok(bulk)
    }

    /// Makes a dashboard its user's default, and the one that was no longer.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such dashboard or it is deleted; [`Error::Denied`].
    pub fn set_default(&self, id: DashboardId) -> Result<Dashboard, Error> {
        const ACTION: &str = "choose a default dashboard";
        let known = self.writable(id, ACTION)?;
        if known.is_default {
            return Ok(known);
        }
        if let Some(before) = self.default_of(known.user_id)? {
            self.switch(before, false, ACTION)?;
        }
        self.switch(known, true, ACTION)
    }

    /// Shares a dashboard with roles, and with nobody else by role; `version` is the one that the caller saw.
    ///
    /// # Errors
    /// Those of [`DashboardsMut::update`].
    pub fn share(&self, id: DashboardId, version: i64, roles: &[Role]) -> Result<Dashboard, Error> {
        let mut known = self.seen(id, version, "share a dashboard")?;
        known.shared_with_roles = Role::ALL
            .into_iter()
            .filter(|role| roles.contains(role))
            .collect();
        self.update(&known)
    }

    /// Lets everyone in the tenant see a dashboard, or no longer; `version` is the one that the caller saw.
    ///
    /// # Errors
    /// Those of [`DashboardsMut::update`].
    pub fn set_public(
        &self,
        id: DashboardId,
        version: i64,
        is_public: bool,
    ) -> Result<Dashboard, Error> {
        let known = self.seen(id, version, "publish a dashboard")?;
        self.update(&Dashboard { is_public, ..known })
    }

    /// Makes a dashboard what it was at an older version, as a new version.
    ///
    /// # Errors
    /// [`Error::NotFound`] where its history holds no such version; those of [`DashboardsMut::update`].
    pub fn revert(&self, id: DashboardId, version: i64, to: i64) -> Result<Dashboard, Error> {
        let known = self.seen(id, version, "revert a dashboard")?;
        let old = self
            .history(id)?
            .into_iter()
            .find(|old| old.version == to)
            .ok_or_else(|| Error::not_found("version", &to))?;
        self.update(&Dashboard {
            dashboard_name: old.dashboard_name,
            description: old.description,
            widget_layout: old.widget_layout,
            is_public: old.is_public,
            refresh_interval: old.refresh_interval,
            shared_with_roles: old.shared_with_roles,
            ..known
        })
    }

    /// Deletes a dashboard: readers no longer see it, and the deletion travels. It is nobody's default any more, so
    /// that it can always be restored.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such dashboard or it is deleted; [`Error::Denied`].
    pub fn delete(&self, id: DashboardId) -> Result<(), Error> {
        const ACTION: &str = "delete a dashboard";
        let known = self.writable(id, ACTION)?;
        self.may(Action::Delete, known.user_id, ACTION)?;
        if known.is_default {
            self.switch(known, false, ACTION)?;
        }
        rows::delete(self.writer, TABLE, id.as_uuid(), ACTION).map(drop)
    }

    /// Brings a deleted dashboard back.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such deleted dashboard; [`Error::Denied`].
    pub fn restore(&self, id: DashboardId) -> Result<(), Error> {
        const ACTION: &str = "restore a dashboard";
        let held = rows::held(self.reader, TABLE, id.as_uuid(), ACTION)?
            .filter(|held| held.life == Life::Deleted)
            .ok_or_else(|| Error::not_found("dashboard", &id))?;
        self.may(Action::Delete, held.owner, ACTION)?;
        rows::restore(self.writer, TABLE, id.as_uuid(), ACTION).map(drop)
    }

    fn switch(
        &self,
        known: Dashboard,
        is_default: bool,
        action: &'static str,
    ) -> Result<Dashboard, Error> {
        let next = Dashboard {
            is_default,
            version: known.version + 1,
            updated_at: self.writer.now(),
            ..known
        };
        self.execute(&next, UPDATE, action)?;
        Ok(next)
    }

    /// The dashboard, where it is there and may be written.
    fn writable(&self, id: DashboardId, action: &'static str) -> Result<Dashboard, Error> {
        let known = self
            .find(id)?
            .ok_or_else(|| Error::not_found("dashboard", &id))?;
        self.may(Action::Write, known.user_id, action)?;
        Ok(known)
    }

    /// The dashboard, where it is writable and still has the version that the caller saw.
    fn seen(&self, id: DashboardId, seen: i64, action: &'static str) -> Result<Dashboard, Error> {
        let known = self.writable(id, action)?;
        if known.version != seen {
            return Err(Error::Stale {
                what: "dashboard",
                key: id.to_string(),
                seen,
                found: known.version,
            });
        }
        Ok(known)
    }

    fn may(&self, action: Action, owner: UserId, doing: &'static str) -> Result<(), Error> {
        self.reader.may(action, Subject::Dashboards, owner, doing)
    }

    fn execute(
        &self,
        new: &Dashboard,
        sql: &'static str,
        action: &'static str,
    ) -> Result<usize, Error> {
        let (id, user_id) = (new.id.as_uuid(), new.user_id.as_uuid());
        let description = new.description.as_ref().map(Description::as_str);
        let widget_layout = json(&new.widget_layout).map_err(error::query(action))?;
        let refresh_interval = new.refresh_interval.as_seconds();
        let shared_with_roles = json(&new.shared_with_roles).map_err(error::query(action))?;
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
        let digest = digest::of_params(&payload).map_err(error::query(action))?;
        let (created_at, updated_at) = (new.created_at.as_micros(), new.updated_at.as_micros());
        let rest: [&dyn ToSql; 3] = [&digest, &created_at, &updated_at];
        let mut all: Vec<&dyn ToSql> = Vec::with_capacity(14);
        all.extend(payload);
        all.extend(rest);
        self.writer
            .rows(action)?
            .prepare_cached(sql)
            .and_then(|mut statement| statement.execute(all.as_slice()))
            .map_err(error::query(action))
    }
}
