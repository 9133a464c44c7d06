//! A tenant's dashboards: at most one default for each user, which the schema's own index holds.

use std::ops::Deref;

use rusqlite::{Row, params_from_iter};

use super::columns::{named, some_text, some_time, text, unreadable};
use super::error::{self, Error};
use super::export::{Column, Kind};
use super::filter::{self, Conditions, Deleted, SearchText};
use super::page::{self, Direction, NumberedPage, PageRequest};
use super::tenant::{Reader, Writer};
use crate::domain::dashboard::{Dashboard, DashboardVersion, RefreshInterval};
use crate::domain::ids::{DashboardId, UserId};
use crate::domain::json::JsonObject;
use crate::domain::permission::{self, Action, Scope, Subject};
use crate::domain::units::InvalidValue;
use crate::domain::user::Role;

mod write;

const TABLE: &str = "dashboard_configs";

/// What a dashboard's digest is made of, in this order.
pub(super) const PAYLOAD: &str = "id, user_id, dashboard_name, description, widget_layout, is_default, \
    is_public, refresh_interval_seconds, shared_with_roles, version, deleted_at";

const COLUMNS: &str = "id, user_id, dashboard_name, description, widget_layout, is_default, \
    is_public, refresh_interval_seconds, shared_with_roles, version, created_at, updated_at";

/// What an export of the table holds: see [`super::export`].
pub(super) const EXPORTED: &[Column] = &[
    ("id", Kind::Id),
    ("user_id", Kind::Id),
    ("dashboard_name", Kind::Plain),
    ("description", Kind::Plain),
    ("widget_layout", Kind::Json),
    ("is_default", Kind::Flag),
    ("is_public", Kind::Flag),
    ("refresh_interval_seconds", Kind::Plain),
    ("shared_with_roles", Kind::Json),
    ("version", Kind::Plain),
    ("created_at", Kind::Time),
    ("updated_at", Kind::Time),
];

/// Which dashboards are meant: those for which all of it holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DashboardFilter {
    /// Of one user only.
    pub user: Option<UserId>,
    /// That a user of this role sees: its own, public ones, and those shared with the role.
    pub seen_by: Option<(UserId, Role)>,
    /// Only public, or only others.
    pub public: Option<bool>,
    /// With this text, in letters of any case (ASCII), in name or description.
    pub text: Option<SearchText>,
    /// Whether deleted ones are among them.
    pub deleted: Deleted,
}

/// What pages of dashboards are ordered by; the id breaks ties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DashboardOrder {
    /// The name.
    #[default]
    Name,
    /// The last change.
    Updated,
    /// When it was made.
    Created,
}

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
        let mut of = self.conditions(&DashboardFilter::default())?;
        of.and("id = {}", Some(filter::id(id.as_uuid())));
        Ok(self.matching(&of, "find a dashboard")?.pop())
    }

    /// A user's own dashboards, the default one first, then by name.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn list(&self, user: UserId) -> Result<Vec<Dashboard>, Error> {
        let of = self.conditions(&DashboardFilter {
            user: Some(user),
            ..DashboardFilter::default()
        })?;
        self.matching(&of, "list dashboards")
    }

    /// A user's default dashboard, if there is one.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn default_of(&self, user: UserId) -> Result<Option<Dashboard>, Error> {
        let first = self.list(user)?.into_iter().next();
        Ok(first.filter(|dashboard| dashboard.is_default))
    }

    /// A numbered page of the dashboards that match.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn page(
        &self,
        filter: &DashboardFilter,
        (order, direction): (DashboardOrder, Direction),
        request: PageRequest,
    ) -> Result<NumberedPage<Dashboard>, Error> {
        let column = match order {
            DashboardOrder::Name => "dashboard_name",
            DashboardOrder::Updated => "updated_at",
            DashboardOrder::Created => "created_at",
        };
        let way = direction.sql();
        page::numbered(
            self.reader.connection(),
            (TABLE, COLUMNS, &format!("{column} {way}, id {way}")),
            &self.conditions(filter)?,
            request,
            "list dashboards",
            from_row,
        )
    }

    /// How many dashboards match.
    ///
    /// # Errors
    /// What SQLite says.
    pub fn count_matching(&self, filter: &DashboardFilter) -> Result<u64, Error> {
        let of = self.conditions(filter)?;
        page::count(self.reader.connection(), TABLE, &of, "count dashboards")
    }

    /// What a dashboard was like before each of its last 100 edits, the latest first. Kept on this machine only.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no such dashboard or it is deleted.
    pub fn history(&self, id: DashboardId) -> Result<Vec<DashboardVersion>, Error> {
        if self.find(id)?.is_none() {
            return Err(Error::not_found("dashboard", &id));
        }
        self.reader
            .connection()
            .prepare_cached(
                "SELECT version, updated_at, dashboard_name, description, widget_layout, is_public,
                        refresh_interval_seconds, shared_with_roles
                 FROM dashboard_versions WHERE dashboard_id = ?1 ORDER BY version DESC",
            )
            .and_then(|mut statement| {
                statement
                    .query_map([id.as_uuid()], version_from_row)?
                    .collect()
            })
            .map_err(error::query("read a dashboard's history"))
    }

    fn matching(&self, of: &Conditions, action: &'static str) -> Result<Vec<Dashboard>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM dashboard_configs WHERE {}
             ORDER BY is_default DESC, dashboard_name, id",
            of.sql()
        );
        self.reader
            .connection()
            .prepare_cached(&sql)
            .and_then(|mut statement| {
                statement
                    .query_map(params_from_iter(of.values()), from_row)?
                    .collect()
            })
            .map_err(error::query(action))
    }

    fn conditions(&self, filter: &DashboardFilter) -> Result<Conditions, Error> {
        self.reader
            .readable(Subject::Dashboards, "read dashboards")?;
        let mut all = Conditions::new(filter.deleted);
        all.and(
            "user_id = {}",
            filter.user.map(|user| filter::id(user.as_uuid())),
        );
        all.and("is_public = {}", filter.public);
        all.and(
            "(dashboard_name LIKE {} ESCAPE '\\' OR description LIKE {} ESCAPE '\\')",
            filter.text.as_ref().map(filter::containing),
        );
        let actor = self.reader.actor().map(|actor| (actor.id, actor.role));
        for (user, role) in [actor, filter.seen_by].into_iter().flatten() {
            if permission::scope(role, Action::Read, Subject::Dashboards) == Scope::All {
                continue;
            }
            all.and_seen_by(filter::id(user.as_uuid()), role.as_str().to_owned());
        }
        Ok(all)
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Dashboard> {
    Ok(Dashboard {
        id: DashboardId::from_uuid(row.get(0)?),
        user_id: UserId::from_uuid(row.get(1)?),
        dashboard_name: some_text(row, 2)?,
        description: text(row, 3)?,
        widget_layout: named(row, 4, layout)?,
        is_default: row.get(5)?,
        is_public: row.get(6)?,
        refresh_interval: RefreshInterval::parse(row.get(7)?).map_err(unreadable(7))?,
        shared_with_roles: named(row, 8, roles)?,
        version: row.get(9)?,
        created_at: some_time(row, 10)?,
        updated_at: some_time(row, 11)?,
    })
}

fn version_from_row(row: &Row<'_>) -> rusqlite::Result<DashboardVersion> {
    Ok(DashboardVersion {
        version: row.get(0)?,
        updated_at: some_time(row, 1)?,
        dashboard_name: some_text(row, 2)?,
        description: text(row, 3)?,
        widget_layout: named(row, 4, layout)?,
        is_public: row.get(5)?,
        refresh_interval: RefreshInterval::parse(row.get(6)?).map_err(unreadable(6))?,
        shared_with_roles: named(row, 7, roles)?,
    })
}

fn layout(raw: &str) -> Result<JsonObject, InvalidValue> {
    JsonObject::parse("widget layout", raw)
}

fn roles(raw: &str) -> Result<Vec<Role>, InvalidValue> {
    serde_json::from_str(raw).map_err(|_| InvalidValue::new("roles", "are no list of roles"))
}
