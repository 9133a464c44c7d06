//! Who may do what, as one table: role × action × subject, each none, one's own, or everyone's.
//!
//! It says the same as the central database's row policies (`sync/migrations/tenant`): managers and admins read the
//! tenant, developers their own, viewers what is shared with them. Beside the table stand two rules that depend on a
//! row: a dashboard that is public or shared with a role is read by it, and only who may write everyone's users
//! changes a role, an address, or whether a user is active.

use super::ids::UserId;
use super::user::Role;

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Find, list, count.
    Read,
    /// Create and change.
    Write,
    /// Delete and restore.
    Delete,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Delete];
}

/// What it is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// Users; one's own is oneself.
    Users,
    /// Sessions.
    Sessions,
    /// Tool calls.
    ToolMetrics,
    /// Dashboards.
    Dashboards,
}

impl Subject {
    /// Every subject.
    pub const ALL: [Self; 4] = [
        Self::Users,
        Self::Sessions,
        Self::ToolMetrics,
        Self::Dashboards,
    ];
}

/// Whose rows an action may touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Nobody's.
    None,
    /// One's own.
    Own,
    /// Everyone's in the tenant.
    All,
}

/// The table.
///
/// | | read | write | delete |
/// |---|---|---|---|
/// | admin | all | all | all |
/// | manager | all | own | own; no user |
/// | developer | own | own | own; no user |
/// | viewer | itself, and dashboards shared with it | itself | nothing |
///
/// ```
/// use millpond::domain::permission::{Action, Scope, Subject, scope};
/// use millpond::domain::user::Role;
/// assert_eq!(scope(Role::Manager, Action::Read, Subject::Sessions), Scope::All);
/// assert_eq!(scope(Role::Manager, Action::Write, Subject::Sessions), Scope::Own);
/// assert_eq!(scope(Role::Viewer, Action::Read, Subject::Sessions), Scope::None);
/// ```
#[must_use]
pub const fn scope(role: Role, action: Action, subject: Subject) -> Scope {
    match (role, action, subject) {
        (Role::Admin, _, _) | (Role::Manager, Action::Read, _) => Scope::All,
        (Role::Manager | Role::Developer, Action::Delete, Subject::Users) => Scope::None,
        (Role::Manager | Role::Developer, _, _)
        | (Role::Viewer, Action::Read | Action::Write, Subject::Users)
        | (Role::Viewer, Action::Read, Subject::Dashboards) => Scope::Own,
        (Role::Viewer, _, _) => Scope::None,
    }
}

/// The user as whom work is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Actor {
    /// Who.
    pub id: UserId,
    /// As what.
    pub role: Role,
}

impl Actor {
    /// Whether the actor may do this to a row of `owner`.
    #[must_use]
    pub fn may(&self, action: Action, subject: Subject, owner: UserId) -> bool {
        match scope(self.role, action, subject) {
            Scope::None => false,
            Scope::Own => owner == self.id,
            Scope::All => true,
        }
    }
}

impl Role {
    /// The role in a sentence, as "a viewer".
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Admin => "an admin",
            Self::Manager => "a manager",
            Self::Developer => "a developer",
            Self::Viewer => "a viewer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_more_powerful_role_may_all_that_a_lesser_one_may() {
        for action in Action::ALL {
            for subject in Subject::ALL {
                for pair in Role::ALL.windows(2) {
                    assert!(
                        scope(pair[0], action, subject) >= scope(pair[1], action, subject),
                        "{pair:?} {action:?} {subject:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn only_an_admin_touches_what_is_others() {
        for role in Role::ALL {
            for action in [Action::Write, Action::Delete] {
                for subject in Subject::ALL {
                    let all = scope(role, action, subject) == Scope::All;
                    assert_eq!(all, role == Role::Admin, "{role:?} {action:?} {subject:?}");
                }
            }
        }
    }
}
