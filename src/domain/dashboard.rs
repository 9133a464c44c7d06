//! A dashboard of a user: at most one default each, shared with roles or public.

use serde::Serialize;

use super::ids::{DashboardId, UserId};
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
    pub widget_layout: serde_json::Map<String, serde_json::Value>,
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
