//! Who is seeded: three tenants and five people each, none of whom exists; and as many more as are asked for, made of
//! the same stuff.
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
pub(super) struct Cast {
    pub(super) domain: String,
    name: String,
    pub(super) people: Vec<Person>,
    pub(super) model: &'static TenantCast,
}

/// What a tenant is like: those of the first three, which the others take after.
#[derive(Debug)]
pub(super) struct TenantCast {
    domain: &'static str,
    name: &'static str,
    plan: Plan,
    /// How much its people work with tools, in percent of the busiest tenant's.
    pub(super) activity: u64,
    /// What they work on, the busiest first.
    pub(super) projects: [&'static str; 4],
    people: [Model; 5],
}

/// A user to be.
#[derive(Debug)]
pub(super) struct Person {
    /// Which of the tenant's people, counted from 1.
    number: u32,
    pub(super) model: &'static Model,
    pub(super) role: Role,
}

/// What a person is like.
#[derive(Debug)]
pub(super) struct Model {
    first_name: &'static str,
    last_name: &'static str,
    role: Role,
    zone: &'static str,
    /// Minutes that the zone's clocks are ahead of UTC, all year.
    pub(super) offset: i64,
}

const fn person(
    first_name: &'static str,
    last_name: &'static str,
    role: Role,
    (zone, offset): (&'static str, i64),
) -> Model {
    Model {
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

/// The first three, in the order of their plans.
static CAST: [TenantCast; 3] = [
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

/// What the tenants after the first three are called, with their numbers.
const NAMES: [(&str, &str); 8] = [
    ("harbour", "Harbour Freight Software"),
    ("meadow", "Meadow Analytics"),
    ("granite", "Granite Instruments"),
    ("lantern", "Lantern Publishing"),
    ("orchard", "Orchard Payments"),
    ("saddle", "Saddle Creek Studios"),
    ("tern", "Tern Aviation Data"),
    ("willow", "Willow Health Records"),
];

/// What the people after the first five of a tenant do: most of them develop.
const MORE_ROLES: [Role; 10] = [
    Role::Developer,
    Role::Developer,
    Role::Developer,
    Role::Manager,
    Role::Developer,
    Role::Developer,
    Role::Viewer,
    Role::Developer,
    Role::Developer,
    Role::Admin,
];

/// The tenants that the options ask for, the first three in the order of their plans.
pub(super) fn cast(options: &SeedOptions) -> Vec<Cast> {
    let users = options.users();
    let mut names = NAMES.iter().cycle();
    (1..=options.tenants())
        .zip(CAST.iter().cycle())
        .map(|(number, model)| {
            let (domain, name) = if number <= 3 {
                (model.domain.to_owned(), model.name.to_owned())
            } else {
                let (word, name) = names.next().copied().unwrap_or_default();
                (format!("{word}-{number}"), format!("{name} {number}"))
            };
            Cast {
                domain,
                name,
                people: people(model, users),
                model,
            }
        })
        .collect()
}

fn people(of: &'static TenantCast, count: u32) -> Vec<Person> {
    let models = of.people.iter().cycle();
    let mut more = MORE_ROLES.iter().cycle();
    (1..=count)
        .zip(models)
        .map(|(number, model)| Person {
            number,
            model,
            role: if number <= 5 {
                model.role
            } else {
                more.next().copied().unwrap_or(model.role)
            },
        })
        .collect()
}

impl Cast {
    /// The tenant, with the id that this seed and date give it.
    pub(super) fn tenant(&self, options: &SeedOptions) -> Result<NewTenant, InvalidValue> {
        let chance = options.draw(&[b"tenant", self.domain.as_bytes()]).bytes();
        let admin = self.people.iter().find(|person| person.role == Role::Admin);
        Ok(NewTenant {
            id: TenantId::fixed(options.from(), chance),
            domain: Domain::parse(&self.domain)?,
            name: TenantName::parse("tenant name", &self.name)?,
            plan: self.model.plan,
            admin_email: admin.map(|admin| admin.email(&self.domain)).transpose()?,
        })
    }
}

impl Person {
    fn email(&self, domain: &str) -> Result<Email, InvalidValue> {
        // Addresses stay within ASCII: not every mail system, or reader of a table, takes more.
        let plain: String = self
            .model
            .first_name
            .to_lowercase()
            .chars()
            .map(|letter| match letter {
                'é' => 'e',
                'ú' => 'u',
                other => other,
            })
            .collect();
        // Namesakes are told apart by their number.
        let number = match self.number {
            1..=5 => String::new(),
            namesake => namesake.to_string(),
        };
        Email::parse(&format!("{plain}{number}@{domain}.example"))
    }

    /// The user, with the id that the tenant gives such an address.
    pub(super) fn user(
        &self,
        domain: &str,
        id: TenantId,
    ) -> Result<(NewUser, ZoneName), InvalidValue> {
        let email = self.email(domain)?;
        let user = NewUser {
            id: UserId::derive(id, &email),
            email,
            first_name: Some(PersonName::parse("first name", self.model.first_name)?),
            last_name: Some(PersonName::parse("last name", self.model.last_name)?),
            role: self.role,
        };
        Ok((user, ZoneName::parse("time zone", self.model.zone)?))
    }

    /// How much this person works with tools, in percent of a developer.
    pub(super) const fn share(&self) -> u64 {
        match self.role {
            Role::Developer => 100,
            Role::Admin => 55,
            Role::Manager => 25,
            // A viewer reads what others did.
            Role::Viewer => 0,
        }
    }
}
