//! A tenant: a company or client whose data no other tenant may see.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ids::TenantId;
use super::json::JsonObject;
use super::units::{InvalidValue, Text, Timestamp};
use super::user::Email;

/// A tenant's name for people.
pub type TenantName = Text<100>;
/// Where a tenant's rows may lie.
pub type DataRegion = Text<100>;

/// A tenant's name for commands, as `acme` or `acme.dev`: 1 to 253 lower-case letters, digits, dots and hyphens, each
/// part between dots beginning and ending with a letter or digit (the form of RFC 1123's host names).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Domain(String);

impl Domain {
    /// Takes a domain, lower-casing it.
    ///
    /// # Errors
    /// When it is not of the form above: `../x`, spaces, an empty part, more than 253 characters.
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        let domain = raw.to_ascii_lowercase();
        if domain.is_empty() || domain.len() > 253 {
            return Err(InvalidValue::new("domain", "must have 1 to 253 characters"));
        }
        let whole = |part: &str| {
            let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
            part.len() <= 63
                && edge(part.chars().next())
                && edge(part.chars().next_back())
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        };
        if !domain.split('.').all(whole) {
            return Err(InvalidValue::new(
                "domain",
                "may hold letters, digits, dots and hyphens only, as in acme or acme.dev",
            ));
        }
        Ok(Self(domain))
    }

    /// The domain as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Domain {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = String::deserialize(from)?;
        Self::parse(&raw).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// What a tenant has subscribed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Plan {
    /// The plan that a new tenant has.
    Basic,
    /// The larger one.
    Professional,
    /// The largest.
    Enterprise,
    /// Agreed on by hand.
    Custom,
}

impl Plan {
    /// Every plan.
    pub const ALL: [Self; 4] = [
        Self::Basic,
        Self::Professional,
        Self::Enterprise,
        Self::Custom,
    ];

    /// The plan's name in commands and databases.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Professional => "professional",
            Self::Enterprise => "enterprise",
            Self::Custom => "custom",
        }
    }

    /// Reads a plan's name.
    ///
    /// # Errors
    /// When there is no such plan.
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|plan| plan.as_str() == raw)
            .ok_or_else(|| {
                InvalidValue::new("plan", "is not basic, professional, enterprise or custom")
            })
    }
}

/// What changes of a tenant; what is `None` stays. Its id and its domain never change by this.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TenantChange {
    /// The name for people.
    pub name: Option<TenantName>,
    /// The plan.
    pub plan: Option<Plan>,
    /// Whom to write to; `Some(None)` forgets the address.
    pub admin_email: Option<Option<Email>>,
    /// Whom to send bills to; `Some(None)` forgets the address.
    pub billing_email: Option<Option<Email>>,
    /// Where its rows may lie; `Some(None)` forgets it.
    pub data_region: Option<Option<DataRegion>>,
    /// What programs note of it.
    pub metadata: Option<JsonObject>,
    /// What it is held to.
    pub compliance_settings: Option<JsonObject>,
}

/// What a new tenant is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTenant {
    /// The id, where it is settled already.
    pub id: TenantId,
    /// The name for commands.
    pub domain: Domain,
    /// The name for people.
    pub name: TenantName,
    /// The plan.
    pub plan: Plan,
    /// Whom to write to.
    pub admin_email: Option<Email>,
}

/// A tenant as the registry lists it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tenant {
    /// Its id, the same on both sides.
    pub id: TenantId,
    /// Its name for people.
    pub name: TenantName,
    /// Its name for commands.
    pub domain: Domain,
    /// Its schema in the central database.
    pub schema_name: String,
    /// Its plan.
    pub subscription_plan: Plan,
    /// Whether it takes new rows.
    pub is_active: bool,
    /// Whom to write to.
    pub admin_email: Option<String>,
    /// Whom to send bills to.
    pub billing_email: Option<String>,
    /// Where its rows may lie, as `eu-central`.
    pub data_region: Option<DataRegion>,
    /// What programs note of it.
    pub metadata: JsonObject,
    /// What it is held to.
    pub compliance_settings: JsonObject,
    /// When it was made here.
    pub created_at: Timestamp,
    /// When its entry last changed.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_cannot_be_a_path() {
        for bad in [
            "../x",
            "a/b",
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a b",
            "ä",
            "a\0",
            &"x".repeat(300),
        ] {
            assert!(Domain::parse(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(Domain::parse("Acme.Dev").unwrap().as_str(), "acme.dev");
    }
}
