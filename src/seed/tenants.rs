//! Who is seeded: three tenants and five people each, none of whom exists.
//!
//! The tenants are not called `acme`, which the guides make by hand. Emails lie under `.example` (RFC 2606). Every
//! zone keeps one offset all year, so that business hours need no table of time zones and never shift.

use crate::domain::InvalidValue;
use crate::domain::ids::TenantId;
use crate::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use crate::domain::user::{Email, NewUser, PersonName, Role, ZoneName};

use super::SeedOptions;
use crate::domain::ids::UserId;

/// A tenant to be.
#[derive(Debug)]
pub(super) struct TenantCast {
    pub(super) domain: &'static str,
    name: &'static str,
    plan: Plan,
    /// How much its people work with tools, in percent of the busiest tenant's.
    pub(super) activity: u64,
    /// What they work on, the busiest first.
    pub(super) projects: [&'static str; 4],
    pub(super) people: [Person; 5],
}

/// A user to be.
#[derive(Debug)]
pub(super) struct Person {
    first_name: &'static str,
    last_name: &'static str,
    pub(super) role: Role,
    zone: &'static str,
    /// Minutes that the zone's clocks are ahead of UTC, all year.
    pub(super) offset: i64,
}

const fn person(
    first_name: &'static str,
    last_name: &'static str,
    role: Role,
    (zone, offset): (&'static str, i64),
) -> Person {
    Person {
        first_name,
        last_name,
        role,
        zone,
        offset,
    }
}

const BOGOTA: (&str, i64) = ("America/Bogota", -300);
const BRISBANE: (&str, i64) = ("Australia/Brisbane", 600);
const KOLKATA: (&str, i64) = ("Asia/Kolkata", 330);
const LAGOS: (&str, i64) = ("Africa/Lagos", 60);
const NAIROBI: (&str, i64) = ("Africa/Nairobi", 180);
const PHOENIX: (&str, i64) = ("America/Phoenix", -420);
const REYKJAVIK: (&str, i64) = ("Atlantic/Reykjavik", 0);
const TOKYO: (&str, i64) = ("Asia/Tokyo", 540);

/// Everyone, in the order of their plans.
pub(super) const CAST: [TenantCast; 3] = [
    TenantCast {
        domain: "alder",
        name: "Alder Workshop",
        plan: Plan::Basic,
        activity: 60,
        projects: ["storefront", "inventory", "website", "notes"],
        people: [
            person("Marta", "Quiroga", Role::Admin, BOGOTA),
            person("Wendell", "Ash", Role::Manager, PHOENIX),
            person("Inés", "Barrera", Role::Developer, BOGOTA),
            person("Toby", "Larkspur", Role::Developer, PHOENIX),
            person("June", "Okafor", Role::Viewer, BOGOTA),
        ],
    },
    TenantCast {
        domain: "north",
        name: "North Reach Logistics",
        plan: Plan::Professional,
        activity: 85,
        projects: ["routing", "fleet-api", "driver-app", "terraform"],
        people: [
            person("Sigrún", "Hallsdóttir", Role::Admin, REYKJAVIK),
            person("Ayo", "Balogun", Role::Manager, LAGOS),
            person("Einar", "Stefánsson", Role::Developer, REYKJAVIK),
            person("Wanjiru", "Kamau", Role::Developer, NAIROBI),
            person("Femi", "Adeyemi", Role::Viewer, LAGOS),
        ],
    },
    TenantCast {
        domain: "umbra",
        name: "Umbra Systems",
        plan: Plan::Enterprise,
        activity: 100,
        projects: ["ledger", "gateway", "risk-models", "console"],
        people: [
            person("Kaveri", "Raman", Role::Admin, KOLKATA),
            person("Hiroshi", "Tanabe", Role::Manager, TOKYO),
            person("Asha", "Pillai", Role::Developer, KOLKATA),
            person("Mio", "Kuroda", Role::Developer, TOKYO),
            person("Bruce", "Waratah", Role::Viewer, BRISBANE),
        ],
    },
];

impl TenantCast {
    /// The tenant, with the id that this seed and date give it.
    pub(super) fn tenant(&self, options: &SeedOptions) -> Result<NewTenant, InvalidValue> {
        let chance = options.draw(&[b"tenant", self.domain.as_bytes()]).bytes();
        let admin = self.people.iter().find(|person| person.role == Role::Admin);
        Ok(NewTenant {
            id: TenantId::fixed(options.from(), chance),
            domain: Domain::parse(self.domain)?,
            name: TenantName::parse("tenant name", self.name)?,
            plan: self.plan,
            admin_email: admin.map(|admin| admin.email(self)).transpose()?,
        })
    }
}

impl Person {
    fn email(&self, tenant: &TenantCast) -> Result<Email, InvalidValue> {
        // Addresses stay within ASCII: not every mail system, or reader of a table, takes more.
        let plain: String = self
            .first_name
            .to_lowercase()
            .chars()
            .map(|letter| match letter {
                'é' => 'e',
                'ú' => 'u',
                other => other,
            })
            .collect();
        Email::parse(&format!("{plain}@{}.example", tenant.domain))
    }

    /// The user, with the id that the tenant gives such an address.
    pub(super) fn user(
        &self,
        tenant: &TenantCast,
        id: TenantId,
    ) -> Result<(NewUser, ZoneName), InvalidValue> {
        let email = self.email(tenant)?;
        let user = NewUser {
            id: UserId::derive(id, &email),
            email,
            first_name: Some(PersonName::parse("first name", self.first_name)?),
            last_name: Some(PersonName::parse("last name", self.last_name)?),
            role: self.role,
        };
        Ok((user, ZoneName::parse("time zone", self.zone)?))
    }
}
