//! Ids that both sides, and two machines of one person, agree on without asking.
//!
//! A tenant's id is a UUIDv7. A user's is the UUIDv5 of the tenant's id and the lower-cased email. A session's and a
//! call's are the UUIDv5 of the user's id, the source (the tool, never the channel) and the source's own id, so that
//! a hook, a transcript and a second machine make the same row; a UUIDv7 where the source gives no id (RFC 9562).
//! A dashboard that a program makes for a user is the UUIDv5 of the user's id and its name.

use std::fmt;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::dashboard::DashboardName;
use super::session::{Source, SourceId};
use super::units::Timestamp;
use super::user::Email;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Takes an id that was made elsewhere.
            #[must_use]
            pub const fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// The id as a UUID.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}

id! {
    /// A tenant: UUIDv7.
    TenantId
}
id! {
    /// A user of a tenant.
    UserId
}
id! {
    /// A work session of a user.
    SessionId
}
id! {
    /// One tool call of a session.
    CallId
}
id! {
    /// A dashboard of a user.
    DashboardId
}

impl TenantId {
    /// Makes a new tenant's id.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }

    /// Makes an id of a given moment and given chance: for data that has to come out the same again.
    #[must_use]
    pub fn fixed(made_at: Timestamp, chance: [u8; 10]) -> Self {
        let millis = u64::try_from(made_at.as_micros() / 1_000).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &chance).into_uuid())
    }

    /// The tenant's schema in the central database: opaque, so that its name tells no one who the tenant is.
    #[must_use]
    pub fn schema_name(self) -> String {
        format!("t_{}", self.0.simple())
    }
}

impl UserId {
    /// The id of the tenant's user with that email.
    #[must_use]
    pub fn derive(tenant: TenantId, email: &Email) -> Self {
        Self(Uuid::new_v5(&tenant.0, email.as_str().as_bytes()))
    }
}

impl SessionId {
    /// The id of the session that `source` calls `source_id`, or a new one where the source gives none.
    #[must_use]
    pub fn derive(user: UserId, source: &Source, source_id: Option<&SourceId>) -> Self {
        Self(derive(user, "session", source, source_id))
    }
}

impl CallId {
    /// The id of the call that `source` calls `source_id`, or a new one where the source gives none.
    #[must_use]
    pub fn derive(user: UserId, source: &Source, source_id: Option<&SourceId>) -> Self {
        Self(derive(user, "call", source, source_id))
    }
}

impl DashboardId {
    /// The id of the dashboard of that name that a program, not a person, makes for the user: made again, it is the
    /// same one.
    #[must_use]
    pub fn derive(user: UserId, name: &DashboardName) -> Self {
        Self(Uuid::new_v5(
            &user.0,
            format!("dashboard\u{1f}{name}").as_bytes(),
        ))
    }
}

fn derive(user: UserId, noun: &str, source: &Source, source_id: Option<&SourceId>) -> Uuid {
    match source_id {
        // 0x1F, the unit separator: a source's own id may hold any printable character, and colons are common.
        Some(id) => Uuid::new_v5(
            &user.0,
            format!("{noun}\u{1f}{source}\u{1f}{id}").as_bytes(),
        ),
        None => Uuid::now_v7(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> UserId {
        let tenant = TenantId::from_uuid(Uuid::from_u128(7));
        UserId::derive(tenant, &Email::parse("Ada@Acme.dev").unwrap())
    }

    #[test]
    fn the_same_person_on_two_machines_makes_the_same_ids() {
        let source = Source::parse("source", "claude").unwrap();
        let own = SourceId::parse("source id", "toolu_1").unwrap();
        let there = UserId::derive(
            TenantId::from_uuid(Uuid::from_u128(7)),
            &Email::parse("ada@acme.dev").unwrap(),
        );
        assert_eq!(user(), there);
        assert_eq!(
            CallId::derive(user(), &source, Some(&own)),
            CallId::derive(there, &source, Some(&own))
        );
    }

    #[test]
    fn a_session_and_a_call_of_one_name_differ() {
        let source = Source::parse("source", "claude").unwrap();
        let own = SourceId::parse("source id", "x").unwrap();
        assert_ne!(
            SessionId::derive(user(), &source, Some(&own)).as_uuid(),
            CallId::derive(user(), &source, Some(&own)).as_uuid()
        );
    }

    #[test]
    fn two_rows_without_a_source_id_differ() {
        let source = Source::parse("source", "manual").unwrap();
        assert_ne!(
            CallId::derive(user(), &source, None),
            CallId::derive(user(), &source, None)
        );
    }
}
