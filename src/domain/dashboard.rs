//! A dashboard of a user: at most one default each, shared with roles or public.

use serde::Serialize;

use super::ids::{DashboardId, UserId};
use super::json::JsonObject;
use super::session::Description;
use super::units::{InvalidValue, Text, Timestamp};
use super::user::Role;

/// A dashboard's name.
pub type DashboardName = Text<200>;

/// How often a dashboard reads its figures again: 5 to 3600 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RefreshInterval(i64);

impl RefreshInterval {
    /// Takes an interval in seconds.
    ///
    /// # Errors
    /// When it is not within 5..=3600.
    pub fn parse(seconds: i64) -> Result<Self, InvalidValue> {
        if (5..=3600).contains(&seconds) {
            Ok(Self(seconds))
        } else {
            Err(InvalidValue::new(
                "refresh interval",
                "must be 5 to 3600 seconds",
            ))
        }
    }

    /// The interval in seconds.
    #[must_use]
    pub const fn as_seconds(self) -> i64 {
        self.0
    }
}

/// A dashboard of one user.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dashboard {
    /// The id.
    pub id: DashboardId,
    /// Whose it is.
    pub user_id: UserId,
    /// Its name.
    pub dashboard_name: DashboardName,
    /// Words for people.
    pub description: Option<Description>,
    /// Its widgets and where they stand.
    pub widget_layout: JsonObject,
    /// Whether it is the one that its user sees first.
    pub is_default: bool,
    /// Whether everyone in the tenant sees it.
    pub is_public: bool,
    /// How often it reads its figures again.
    pub refresh_interval: RefreshInterval,
    /// The roles that see it.
    pub shared_with_roles: Vec<Role>,
    /// Counts edits: an update names the version that it saw.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Dashboard {
    /// Whether a user of that role sees it: its own user, everyone where it is public, and the roles it is shared
    /// with. An admin and a manager see every one.
    #[must_use]
    pub fn is_seen_by(&self, user: UserId, role: Role) -> bool {
        self.user_id == user
            || self.is_public
            || self.shared_with_roles.contains(&role)
            || matches!(role, Role::Admin | Role::Manager)
    }
}

/// What a dashboard was like before an edit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DashboardVersion {
    /// The version that was replaced.
    pub version: i64,
    /// When it had come to be.
    pub updated_at: Timestamp,
    /// The name that it had.
    pub dashboard_name: DashboardName,
    /// The words that it had.
    pub description: Option<Description>,
    /// Its widgets and where they stood.
    pub widget_layout: JsonObject,
    /// Whether everyone saw it.
    pub is_public: bool,
    /// How often it read its figures again.
    pub refresh_interval: RefreshInterval,
    /// The roles that saw it.
    pub shared_with_roles: Vec<Role>,
}
