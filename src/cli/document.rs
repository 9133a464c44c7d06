//! The enrolment document: what `central enroll` prints and `enroll` reads. TOML, version 1.

use millpond::domain::ids::{TenantId, UserId};
use millpond::domain::tenant::Domain;
use millpond::domain::user::{Email, Role};
use millpond::store::{EnrolledUser, Enrolment};
use millpond_sync::postgres::central;
use millpond_sync::postgres::endpoint::{Endpoint, Secret};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::failure::Failure;

const VERSION: u32 = 1;

/// All that a workstation needs to join. The URL holds the device's secret.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    v: u32,
    domain: String,
    schema_name: String,
    tenant_id: Uuid,
    device_id: Uuid,
    url: String,
    users: Vec<DocumentUser>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentUser {
    id: Uuid,
    email: String,
    role: String,
}

/// A document that was found to be whole.
pub(super) struct Checked {
    pub(super) domain: Domain,
    pub(super) enrolment: Enrolment,
    pub(super) url: Secret,
}

impl From<central::Enrolment> for Document {
    fn from(made: central::Enrolment) -> Self {
        let users = made.users.into_iter();
        Self {
            v: VERSION,
            domain: made.domain,
            schema_name: made.schema_name,
            tenant_id: made.tenant_id,
            device_id: made.device_id,
            url: made.url,
            users: users
                .map(|user| DocumentUser {
                    id: user.id,
                    email: user.email,
                    role: user.role,
                })
                .collect(),
        }
    }
}

impl Document {
    pub(super) fn to_toml(&self) -> Result<String, Failure> {
        toml::to_string(self)
            .map_err(|_| Failure::new("internal", "the document cannot be written"))
    }

    /// Reads a document. No message repeats any of it: it holds a secret.
    pub(super) fn parse(raw: &str) -> Result<Checked, Failure> {
        let document: Self = toml::from_str(raw).map_err(|_| unreadable())?;
        document.check()
    }

    /// Finds out whether the document is whole. No message repeats any of it.
    pub(super) fn check(self) -> Result<Checked, Failure> {
        if self.v != VERSION {
            return Err(Failure::configuration(format!(
                "the enrolment document has version {}; this program reads version {VERSION}",
                self.v
            ))
            .with_hint("use the same millpond on both sides"));
        }
        let endpoint = Endpoint::parse(&self.url).map_err(|error| {
            Failure::configuration(error.to_string())
                .with_hint("use the file as `millpond central enroll` printed it")
        })?;
        let users = self.users.iter().map(|user| {
            Ok(EnrolledUser {
                id: UserId::from_uuid(user.id),
                email: Email::parse(&user.email)?.to_string(),
                role: Role::parse(&user.role)?,
            })
        });
        let enrolment = Enrolment {
            tenant_id: TenantId::from_uuid(self.tenant_id),
            device_id: self.device_id,
            schema_name: self.schema_name,
            url: format!(
                "postgresql://{}@{}/{}",
                endpoint.user(),
                endpoint.host_and_port(),
                endpoint.database()
            ),
            users: users.collect::<Result<_, Failure>>()?,
        };
        if enrolment.users.is_empty() {
            return Err(unreadable());
        }
        Ok(Checked {
            domain: Domain::parse(&self.domain)?,
            enrolment,
            url: Secret::new(self.url),
        })
    }
}

fn unreadable() -> Failure {
    Failure::configuration("this is no enrolment document")
        .with_hint("use the file as `millpond central enroll` printed it")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made() -> central::Enrolment {
        central::Enrolment {
            domain: "acme".to_owned(),
            schema_name: "t_1".to_owned(),
            tenant_id: Uuid::from_u128(1),
            device_id: Uuid::from_u128(2),
            users: vec![central::User {
                id: Uuid::from_u128(3),
                email: "ada@acme.dev".to_owned(),
                role: "developer".to_owned(),
            }],
            url: "postgresql://dv_2:hunter2@127.0.0.1:5432/millpond?sslmode=disable".to_owned(),
        }
    }

    #[test]
    fn an_enrolment_is_the_same_whether_it_was_printed_or_not() {
        let printed = Document::from(made()).to_toml().unwrap();
        let read = Document::parse(&printed).unwrap();
        let direct = Document::from(made()).check().unwrap();
        assert_eq!(read.enrolment, direct.enrolment);
        assert_eq!(
            direct.enrolment.url,
            "postgresql://dv_2@127.0.0.1:5432/millpond"
        );
        assert_eq!(direct.url.expose(), made().url);
    }
}
