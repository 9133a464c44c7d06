//! Seeds: three made-up tenants with a month of work, for trying things out, demonstrations and tests; or more of all.
//!
//! Purpose: fill a home with rows that look like real ones. Depends on [`crate::store`] and [`crate::domain`]; knows
//! no terminal.
//! Invariants: the same seed and date make the same rows, ids and times of recording included, on every machine
//! (only a tenant's entry in the registry says when it was made here); seeding again changes nothing; every row lies
//! between [`SeedOptions::from`] and [`SeedOptions::until`]; at most 1,000 sightings a transaction, or 50,000 where a
//! number of calls is asked for; no more than these and the starts of one person's day is held in memory.

mod dashboards;
mod draw;
mod sessions;
mod tenants;
mod tool_metrics;

use serde::Serialize;

use crate::domain::InvalidValue;
use crate::domain::tenant::{NewTenant, Tenant};
use crate::domain::units::Timestamp;
use crate::domain::user::User;
use crate::store::{Error, Sighting, Store, TenantStore};
use draw::Draw;
use sessions::{PersonDay, Work};
use tenants::{Cast, Person};

/// A day in microseconds.
const DAY: i64 = 86_400_000_000;

/// Sightings in one transaction: bounds the log and how long another writer waits.
const BATCH: usize = 1_000;

/// The same where a number of calls is asked for: the more rows a transaction has, the more of them share a page of the
/// index of their ids. Bounds memory, to some 50 MB.
const BULK_BATCH: usize = 50_000;

/// What to seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedOptions {
    rng: u64,
    until: Timestamp,
    days: u32,
    sessions_per_day: u32,
    tenants: u32,
    users: u32,
    /// Tosses a day, and how often in a thousand one is won on a full day.
    tosses: Option<(u64, u64)>,
}

impl SeedOptions {
    /// Thirty days up to `until`, a midnight in UTC, with about six sessions a working day for each developer.
    ///
    /// ```
    /// use millpond::domain::units::Timestamp;
    /// use millpond::seed::SeedOptions;
    /// let midnight = Timestamp::parse("2026-11-02T00:00:00Z").unwrap();
    /// assert_eq!(SeedOptions::new(1, midnight).unwrap().from().to_string(), "2026-10-03T00:00:00Z");
    /// assert!(SeedOptions::new(1, Timestamp::parse("2026-11-02T09:00:00Z").unwrap()).is_err());
    /// ```
    ///
    /// # Errors
    /// When `until` is no midnight in UTC, or lies less than 30 days after 1970-01-02.
    pub fn new(rng: u64, until: Timestamp) -> Result<Self, InvalidValue> {
        if until.as_micros() % DAY != 0 {
            return Err(InvalidValue::new("last day", "must end at midnight UTC"));
        }
        let options = Self {
            rng,
            until,
            days: 30,
            sessions_per_day: 6,
            tenants: 3,
            users: 5,
            tosses: None,
        };
        options.with_days(30)
    }

    /// The same with another number of days, 1 to 3,660.
    ///
    /// # Errors
    /// When it lies outside these, or the first day would begin before 1970-01-02.
    pub fn with_days(self, days: u32) -> Result<Self, InvalidValue> {
        let first = self.until.as_micros() - i64::from(days) * DAY;
        if !(1..=3_660).contains(&days) || first < DAY {
            let problem = "must be 1 to 3,660 and begin after 1970-01-01";
            return Err(InvalidValue::new("number of days", problem));
        }
        Ok(Self { days, ..self })
    }

    /// The same with another mean number of sessions that a developer has on a working day, 1 to 1,000.
    ///
    /// # Errors
    /// When it lies outside these.
    pub fn with_sessions_per_day(self, sessions_per_day: u32) -> Result<Self, InvalidValue> {
        if !(1..=1_000).contains(&sessions_per_day) {
            return Err(InvalidValue::new("sessions a day", "must be 1 to 1,000"));
        }
        Ok(Self {
            sessions_per_day,
            ..self
        })
    }

    /// The same with another number of tenants, 1 to 10,000. The first three are those of every seed.
    ///
    /// # Errors
    /// When it lies outside these.
    pub fn with_tenants(self, tenants: u32) -> Result<Self, InvalidValue> {
        if !(1..=10_000).contains(&tenants) {
            return Err(InvalidValue::new(
                "number of tenants",
                "must be 1 to 10,000",
            ));
        }
        Ok(Self { tenants, ..self })
    }

    /// The same with another number of users in each tenant, 1 to 1,000.
    ///
    /// # Errors
    /// When it lies outside these.
    pub fn with_users(self, users: u32) -> Result<Self, InvalidValue> {
        if !(1..=1_000).contains(&users) {
            return Err(InvalidValue::new("number of users", "must be 1 to 1,000"));
        }
        Ok(Self { users, ..self })
    }

    /// The same with about so many calls over all tenants, users and days that were chosen before, 1 to 1,000,000,000:
    /// people work as much more or less as that takes. The more there are, the nearer it comes; a million is met
    /// within a few hundredths.
    ///
    /// ```
    /// use millpond::domain::units::Timestamp;
    /// use millpond::seed::{SeedOptions, seed};
    /// use millpond::store::{Error, Home, Store};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let home = folder.path().join("home");
    /// let midnight = Timestamp::parse("2026-11-02T00:00:00Z")?;
    /// let options = SeedOptions::new(1, midnight)?.with_tenants(2)?.with_users(8)?.with_calls(4_000)?;
    /// let store = Store::init(Home::at(home))?;
    /// let report = seed(&store, &options, |progress| eprintln!("{} rows", progress.rows))?;
    /// let calls: u64 = report.tenants.iter().map(|seeded| seeded.tool_metrics).sum();
    /// assert!((3_000..5_000).contains(&calls), "{calls}");
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// When it lies outside these.
    pub fn with_calls(self, calls: u64) -> Result<Self, InvalidValue> {
        if !(1..=1_000_000_000).contains(&calls) {
            let problem = "must be 1 to 1,000,000,000";
            return Err(InvalidValue::new("number of calls", problem));
        }
        let of_one = sessions::calls_of_one(&self, &tenants::cast(&self));
        // Two tosses for each session, as without this; then the odds are set to what is left by rounding.
        let tosses = (calls * 2).div_ceil(of_one);
        let won = (calls * 1_000 / of_one).div_ceil(tosses).clamp(1, 1_000);
        Ok(Self {
            tosses: Some((tosses, won)),
            ..self
        })
    }

    const fn batch(&self) -> usize {
        match self.tosses {
            None => BATCH,
            Some(_) => BULK_BATCH,
        }
    }

    const fn tenants(&self) -> u32 {
        self.tenants
    }

    const fn users(&self) -> u32 {
        self.users
    }

    /// How often a coin is tossed for a session of a day, and how often in a thousand it is won on a full working day
    /// of a developer of the busiest tenant.
    fn tosses(&self) -> (u64, u64) {
        self.tosses
            .unwrap_or((u64::from(self.sessions_per_day) * 2, 500))
    }

    /// The number that all chance is drawn from.
    #[must_use]
    pub const fn rng(&self) -> u64 {
        self.rng
    }

    /// When the first seeded day begins.
    #[must_use]
    pub fn from(&self) -> Timestamp {
        self.until
            .minus_millis(i64::from(self.days) * (DAY / 1_000))
    }

    /// When the last seeded day ends.
    #[must_use]
    pub const fn until(&self) -> Timestamp {
        self.until
    }

    /// The stream of draws for what `key` names, under this seed and date.
    fn draw(&self, key: &[&[u8]]) -> Draw {
        let (rng, until) = (self.rng.to_le_bytes(), self.until.as_micros().to_le_bytes());
        let mut whole: Vec<&[u8]> = vec![&rng, &until];
        whole.extend(key);
        Draw::of(&whole)
    }

    /// The days of any zone's calendar that share a moment with the seeded time: one more than asked for at each end,
    /// since zones begin their days up to 14 hours before UTC and up to 12 after.
    fn calendar(&self) -> std::ops::RangeInclusive<i64> {
        let last = self.until.as_micros() / DAY;
        last - i64::from(self.days) - 1..=last
    }
}

/// How far seeding has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeedProgress {
    /// Days of tenants that are written.
    pub done: u64,
    /// Days of tenants in all.
    pub total: u64,
    /// Sessions and calls so far, those that were there already included.
    pub rows: u64,
}

/// What a home holds after seeding.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedReport {
    /// The tenants, in the order of their plans.
    pub tenants: Vec<SeededTenant>,
}

/// What one tenant's seed is made of.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeededTenant {
    /// The tenant.
    pub tenant: Tenant,
    /// Its seeded users.
    pub users: u64,
    /// Its seeded dashboards.
    pub dashboards: u64,
    /// Its seeded sessions.
    pub sessions: u64,
    /// Its seeded calls.
    pub tool_metrics: u64,
    /// How many of these rows were not there before.
    pub inserted: u64,
}

/// Seeds tenants and reports what they hold; `progress` is called after each transaction.
///
/// A seed that was cut short goes on where it stopped. What was changed or deleted by hand since stays so.
///
/// # Errors
/// [`Error::UniqueViolation`] of a domain where the home has a tenant of that name which is not of this seed and
/// date; nothing is written then. Otherwise what the store says.
pub fn seed(
    store: &Store,
    options: &SeedOptions,
    progress: impl FnMut(SeedProgress),
) -> Result<SeedReport, Error> {
    let cast = tenants::cast(options);
    let planned: Vec<(&Cast, NewTenant)> = cast
        .iter()
        .map(|cast| Ok((cast, cast.tenant(options)?)))
        .collect::<Result<_, Error>>()?;
    let mut missing = Vec::new();
    for (_, new) in &planned {
        match store.find_tenant(&new.domain) {
            Ok(known) if known.id == new.id => {}
            Ok(_) => {
                return Err(Error::UniqueViolation {
                    table: "tenants".to_owned(),
                    columns: vec!["domain".to_owned()],
                });
            }
            Err(Error::NotFound { .. }) => missing.push(new),
            Err(other) => return Err(other),
        }
    }
    for new in missing {
        store.create_tenant(new)?;
    }
    let days = options.calendar().count() * cast.len();
    let mut seeding = Seeding {
        options,
        progress,
        shown: SeedProgress {
            done: 0,
            total: u64::try_from(days).unwrap_or(u64::MAX),
            rows: 0,
        },
    };
    let tenants = planned
        .iter()
        .map(|(cast, new)| {
            let tenant = match options.tosses {
                None => store.tenant(&new.domain)?,
                Some(_) => store.tenant_for_bulk(&new.domain)?,
            };
            seeding.tenant(cast, &tenant)
        })
        .collect::<Result<_, Error>>()?;
    Ok(SeedReport { tenants })
}

/// A seeding under way.
struct Seeding<'o, P> {
    options: &'o SeedOptions,
    progress: P,
    shown: SeedProgress,
}

impl<P: FnMut(SeedProgress)> Seeding<'_, P> {
    fn tenant(&mut self, cast: &Cast, tenant: &TenantStore) -> Result<SeededTenant, Error> {
        let mut seeded = SeededTenant {
            tenant: tenant.tenant().clone(),
            users: 0,
            dashboards: 0,
            sessions: 0,
            tool_metrics: 0,
            inserted: 0,
        };
        let people = self.people(cast, tenant, &mut seeded)?;
        let mut waiting: Vec<Work> = Vec::new();
        let mut size = 0;
        for day in self.options.calendar() {
            for (person, user) in &people {
                let person_day = PersonDay {
                    tenant: cast,
                    person,
                    user: user.id,
                    day,
                };
                for work in person_day.work(self.options)? {
                    let work = work?;
                    if size + work.1.len() + 1 > self.options.batch() {
                        self.write(tenant, &mut waiting, &mut seeded)?;
                        size = 0;
                    }
                    size += work.1.len() + 1;
                    waiting.push(work);
                }
            }
            self.shown.done += 1;
        }
        self.write(tenant, &mut waiting, &mut seeded)?;
        Ok(seeded)
    }

    /// Adds who is missing, and their dashboards; as of the first seeded day, when their work begins.
    fn people<'c>(
        &self,
        cast: &'c Cast,
        tenant: &TenantStore,
        seeded: &mut SeededTenant,
    ) -> Result<Vec<(&'c Person, User)>, Error> {
        let from = self.options.from();
        tenant.write_as_of(Some(from), |w| {
            let mut people = Vec::with_capacity(cast.people.len());
            for person in &cast.people {
                let (new, zone) = person.user(&cast.domain, tenant.tenant().id)?;
                let user = match w.users().find_by_email(&new.email) {
                    Ok(known) => known,
                    Err(Error::NotFound { .. }) => {
                        w.users().insert(&new)?;
                        w.users().set_timezone(&new.email, &zone)?;
                        seeded.inserted += 1;
                        w.users().find_by_email(&new.email)?
                    }
                    Err(other) => return Err(other),
                };
                seeded.users += 1;
                for dashboard in dashboards::of(person.role, user.id, from)? {
                    match w.dashboards().insert(&dashboard) {
                        Ok(()) => seeded.inserted += 1,
                        // It is there, or was deleted, or its user has chosen another default since.
                        Err(Error::UniqueViolation { .. }) => {}
                        Err(other) => return Err(other),
                    }
                    seeded.dashboards += 1;
                }
                people.push((person, user));
            }
            Ok(people)
        })
    }

    fn write(
        &mut self,
        tenant: &TenantStore,
        waiting: &mut Vec<Work>,
        seeded: &mut SeededTenant,
    ) -> Result<(), Error> {
        let mut count = |seen: Sighting| seeded.inserted += u64::from(seen == Sighting::Inserted);
        tenant.write(|w| {
            for (session, calls) in waiting.iter() {
                count(w.sessions().record(session)?);
                for call in calls {
                    count(w.tool_metrics().record(call)?);
                }
            }
            Ok::<_, Error>(())
        })?;
        for (_, calls) in waiting.drain(..) {
            let calls = u64::try_from(calls.len()).unwrap_or(u64::MAX);
            seeded.sessions += 1;
            seeded.tool_metrics += calls;
            self.shown.rows += 1 + calls;
        }
        (self.progress)(self.shown);
        Ok(())
    }
}
