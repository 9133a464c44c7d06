//! The seeded dashboards: a default for those who look at figures, one shared with roles, one for everyone.

use serde_json::{Map, Value, json};

use crate::domain::InvalidValue;
use crate::domain::dashboard::{Dashboard, DashboardName, RefreshInterval};
use crate::domain::ids::{DashboardId, UserId};
use crate::domain::json::JsonObject;
use crate::domain::session::Description;
use crate::domain::units::Timestamp;
use crate::domain::user::Role;

/// A dashboard to be.
struct Plan {
    name: &'static str,
    description: &'static str,
    widgets: &'static [&'static str],
    is_default: bool,
    is_public: bool,
    refresh: i64,
    shared_with: &'static [Role],
}

const MY_WEEK: Plan = Plan {
    name: "My week",
    description: "Own sessions and the tools that they used.",
    widgets: &["sessions_by_day", "top_tools", "slowest_tools"],
    is_default: true,
    is_public: false,
    refresh: 60,
    shared_with: &[],
};
const TEAM: Plan = Plan {
    name: "Team overview",
    description: "Sessions and errors of everyone, by day and project.",
    widgets: &["sessions_by_user", "errors_by_tool", "calls_by_project"],
    is_default: true,
    is_public: false,
    refresh: 300,
    shared_with: &[Role::Admin, Role::Manager],
};
const ERRORS: Plan = Plan {
    name: "Failing tools",
    description: "What fails, how often, and since when.",
    widgets: &["errors_by_tool", "errors_by_day"],
    is_default: false,
    is_public: false,
    refresh: 30,
    shared_with: &[Role::Developer],
};
const WALL: Plan = Plan {
    name: "Wall screen",
    description: "The month in large figures.",
    widgets: &["calls_by_day", "top_tools", "active_users", "error_rate"],
    is_default: false,
    is_public: true,
    refresh: 3_600,
    shared_with: &[],
};

/// The dashboards of a user by role, made at `at`.
pub(super) fn of(role: Role, user: UserId, at: Timestamp) -> Result<Vec<Dashboard>, InvalidValue> {
    let plans: &[Plan] = match role {
        Role::Admin => &[TEAM, ERRORS],
        Role::Manager => &[TEAM, WALL],
        Role::Developer => &[MY_WEEK],
        // A viewer reads what others share.
        Role::Viewer => &[],
    };
    plans.iter().map(|plan| plan.dashboard(user, at)).collect()
}

impl Plan {
    fn dashboard(&self, user: UserId, at: Timestamp) -> Result<Dashboard, InvalidValue> {
        let name = DashboardName::parse("dashboard name", self.name)?;
        Ok(Dashboard {
            id: DashboardId::derive(user, &name),
            user_id: user,
            dashboard_name: name,
            description: Some(Description::parse("description", self.description)?),
            widget_layout: JsonObject::of("layout", self.layout())?,
            is_default: self.is_default,
            is_public: self.is_public,
            refresh_interval: RefreshInterval::parse(self.refresh)?,
            shared_with_roles: self.shared_with.to_vec(),
            version: 1,
            created_at: at,
            updated_at: at,
        })
    }

    /// Two widgets a row on a grid of twelve columns.
    fn layout(&self) -> Map<String, Value> {
        let widgets: Vec<Value> = (0..)
            .zip(self.widgets)
            .map(|(place, kind)| {
                json!({"kind": kind, "x": place % 2 * 6, "y": place / 2 * 4, "w": 6, "h": 4})
            })
            .collect();
        Map::from_iter([
            ("columns".to_owned(), json!(12)),
            ("widgets".to_owned(), Value::Array(widgets)),
        ])
    }
}
