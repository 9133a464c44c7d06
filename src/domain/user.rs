//! A user of a tenant. No password is kept.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::UserId;
use super::json::JsonObject;
use super::units::{InvalidValue, Text, Timestamp};

/// A first or last name.
pub type PersonName = Text<100>;
/// A time zone's name in the IANA database, as `Europe/Vienna`. That there is such a zone is not checked.
pub type ZoneName = Text<64>;

/// Who vouches for a user, as `okta` or `https://accounts.google.com`.
pub type SsoProvider = Text<100>;
/// What that one calls the user.
pub type SsoUserId = Text<255>;

/// A user as an identity provider knows it; unique in the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SsoIdentity {
    /// Who vouches for the user.
    pub provider: SsoProvider,
    /// What that one calls the user.
    pub user_id: SsoUserId,
}

/// An email address, lower-cased, of at most 320 characters: one `@` with something on both sides, no spaces.
/// Nothing more is checked, since only a message sent tells whether an address exists.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Email(String);

impl Email {
    /// Takes an address, lower-casing it.
    ///
    /// # Errors
    /// When it is not of the form above.
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        let email = raw.trim().to_lowercase();
        let invalid = |problem: &str| InvalidValue::new("email", problem);
        if email.chars().count() > 320 {
            return Err(invalid("is longer than 320 characters"));
        }
        if email.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(invalid("contains a space or control character"));
        }
        match email.split_once('@') {
            Some((local, host)) if !local.is_empty() && !host.is_empty() && !host.contains('@') => {
                Ok(Self(email))
            }
            _ => Err(invalid("is not of the form name@host")),
        }
    }

    /// The address as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Email {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything in the tenant.
    Admin,
    /// Reads the whole tenant.
    Manager,
    /// Reads and writes its own.
    Developer,
    /// Reads shared dashboards.
    Viewer,
}

impl Role {
    /// Every role, the most powerful first.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Manager, Self::Developer, Self::Viewer];

    /// The role's name in commands and databases.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Manager => "manager",
            Self::Developer => "developer",
            Self::Viewer => "viewer",
        }
    }

    /// Reads a role's name.
    ///
    /// # Errors
    /// When there is no such role.
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == raw)
            .ok_or_else(|| InvalidValue::new("role", "is not admin, manager, developer or viewer"))
    }
}

/// What a new user is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// The id: [`UserId::derive`], or an enrolment's.
    pub id: UserId,
    /// The address.
    pub email: Email,
    /// The first name.
    pub first_name: Option<PersonName>,
    /// The last name.
    pub last_name: Option<PersonName>,
    /// The role.
    pub role: Role,
}

/// What the central database says of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CentralUser {
    /// The id, the same on both sides.
    pub id: UserId,
    /// The address.
    pub email: Email,
    /// The first name.
    pub first_name: Option<PersonName>,
    /// The last name.
    pub last_name: Option<PersonName>,
    /// The role.
    pub role: Role,
    /// The time zone that the user's days are cut in.
    pub timezone: ZoneName,
    /// Whether the user may work.
    pub is_active: bool,
}

/// A user of a tenant.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct User {
    /// The id, the same on both sides.
    pub id: UserId,
    /// The address, unique in the tenant.
    pub email: Email,
    /// The first name.
    pub first_name: Option<PersonName>,
    /// The last name.
    pub last_name: Option<PersonName>,
    /// The role.
    pub role: Role,
    /// The user as an identity provider knows it, where one does.
    pub sso: Option<SsoIdentity>,
    /// When the user last logged in.
    pub last_login: Option<Timestamp>,
    /// How often the user has logged in.
    pub login_count: i64,
    /// The IANA time zone that the user's days are cut in.
    pub timezone: ZoneName,
    /// What the user likes, as programs understand it.
    pub preferences: JsonObject,
    /// Whether the user may work.
    pub is_active: bool,
    /// When the user was made here.
    pub created_at: Timestamp,
    /// When the user last changed.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_email_needs_exactly_one_at_sign() {
        for bad in [
            "ada",
            "@acme.dev",
            "ada@",
            "a@b@c",
            "a da@acme.dev",
            "ada\0@x",
        ] {
            assert!(Email::parse(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(
            Email::parse(" Ada@Acme.dev ").unwrap().as_str(),
            "ada@acme.dev"
        );
    }
}
