//! The seeded sessions of one person on one day of their own calendar.
//!
//! Work happens in business hours of the person's zone, in two humps about lunch and now and then in the evening, on
//! weekdays and seldom on weekends. A session has 5 to 60 calls.

use crate::domain::InvalidValue;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::session::{ProjectId, Session, SessionType, Source, SourceId, Tag};
use crate::domain::tool_metric::{Outcome, ToolMetric};
use crate::domain::units::Timestamp;
use uuid::Uuid;

use super::draw::Draw;
use super::tenants::{Cast, Person};
use super::tool_metrics::{self, Of};
use super::{DAY, SeedOptions};

const MINUTE: i64 = 60_000_000;

/// Weekdays in a thousand on which a person does not work.
const AWAY: u64 = 60;
/// What is done on a day of a weekend, in percent of a working day.
const WEEKEND: u64 = 7;
/// Calls in a thousand sessions, on average: the middle of their number is 17, and it is skewed.
const CALLS: u64 = 21_500;

/// A session and its calls.
pub(super) type Work = (Session, Vec<ToolMetric>);

/// One person's day to be made.
#[derive(Debug)]
pub(super) struct PersonDay<'c> {
    pub(super) tenant: &'c Cast,
    pub(super) person: &'c Person,
    pub(super) user: UserId,
    /// The day of the person's own calendar, counted from 1970-01-01.
    pub(super) day: i64,
}

impl PersonDay<'_> {
    /// The day's sessions, by their start; only those that lie whole within the options' time. Each is made when it
    /// is asked for, since a day may have thousands.
    pub(super) fn work(
        &self,
        options: &SeedOptions,
    ) -> Result<impl Iterator<Item = Result<Work, InvalidValue>>, InvalidValue> {
        let source = Source::parse("source", "claude")?;
        let mut draw = options.draw(&[
            b"day",
            self.user.as_uuid().as_bytes(),
            &self.day.to_le_bytes(),
        ]);
        let midnight = self.day * DAY - self.person.model.offset * MINUTE;
        let mut day: Vec<(i64, SessionId, Uuid)> = Vec::new();
        for _ in 0..self.count(&mut draw, options) {
            let start = midnight + time_of_day(&mut draw);
            let own = draw.uuid();
            if start < options.from().as_micros() || start >= options.until().as_micros() {
                continue;
            }
            let source_id = SourceId::parse("source id", &own.to_string())?;
            day.push((
                start,
                SessionId::derive(self.user, &source, Some(&source_id)),
                own,
            ));
        }
        day.sort_unstable();
        Ok(day.into_iter().filter_map(move |(start, _, own)| {
            // A stream of its own: what one session is like changes no other.
            let mut draw = options.draw(&[b"session", own.as_bytes()]);
            let work = self.session(&mut draw, &own.to_string(), start, options);
            let ends_later = |(session, _): &Work| session.session_end > Some(options.until());
            (!work.as_ref().is_ok_and(ends_later)).then_some(work)
        }))
    }

    /// How many sessions the day has: so many tosses, each won half the time on a full working day of a developer of
    /// the busiest tenant.
    fn count(&self, draw: &mut Draw, options: &SeedOptions) -> usize {
        // 1970-01-01 was a Thursday.
        let weekend = (self.day + 3).rem_euclid(7) >= 5;
        let away = draw.chance(AWAY);
        let share = match (weekend, away) {
            (true, _) => WEEKEND,
            (false, true) => 0,
            (false, false) => 100,
        };
        let (tosses, won) = options.tosses();
        let per_mille = won * self.person.share() * self.tenant.model.activity * share / 1_000_000;
        (0..tosses).filter(|_| draw.chance(per_mille)).count()
    }

    fn session(
        &self,
        draw: &mut Draw,
        id: &str,
        start: i64,
        options: &SeedOptions,
    ) -> Result<Work, InvalidValue> {
        let source = Source::parse("source", "claude")?;
        let own = SourceId::parse("source id", id)?;
        let id = SessionId::derive(self.user, &source, Some(&own));
        let provenance = format!(r#"{{"seed":{}}}"#, options.rng());
        let of = Of {
            user: self.user,
            session: id,
            source: &source,
            provenance: &provenance,
        };
        // The first call waits for the prompt to be written and read.
        let first_call = start + draw.skewed(12_000, 900).clamp(500, 240_000) * 1_000;
        let count = usize::try_from(draw.skewed(17, 950).clamp(5, 60)).unwrap_or(5);
        let calls = tool_metrics::calls(draw, &of, first_call, count)?;
        let last = calls
            .iter()
            .map(tool_metrics::end)
            .max()
            .unwrap_or(first_call);
        let end_inferred = draw.chance(150);
        let closing = if end_inferred {
            0
        } else {
            draw.skewed(20_000, 1_000).clamp(100, 300_000) * 1_000
        };
        let end = Timestamp::from_micros(last + closing)?;
        let kind = SessionType::parse("session type", "agent")?;
        let start = Timestamp::from_micros(start)?;
        let mut session = Session::begun(id, self.user, source, Some(own), kind, start, end);
        session.session_end = Some(end);
        session.end_inferred = end_inferred;
        session.tools_used = calls
            .iter()
            .map(|call| call.tool_name.to_string())
            .collect();
        session.project_id = draw
            .pick(&self.projects(), |(_, weight)| *weight)
            .map(|(project, _)| ProjectId::parse("project", project))
            .transpose()?;
        let broken_in =
            |call: &&ToolMetric| matches!(call.outcome, Outcome::Denied | Outcome::Interrupted);
        session.interruptions_count =
            i64::try_from(calls.iter().filter(broken_in).count()).unwrap_or(0);
        if draw.chance(300) {
            let words = ["feature", "bugfix", "refactoring", "review"];
            if let Some(word) = draw.pick(&words, |_| 1) {
                session.tags.push(Tag::parse("tag", word)?);
            }
        }
        Ok((session, calls))
    }

    /// The tenant's projects, with how often this person works on each: everyone has a favourite.
    fn projects(&self) -> [(&'static str, u64); 4] {
        let favourite =
            usize::from(self.user.as_uuid().as_bytes().last().copied().unwrap_or(0) % 4);
        let mut place = 0;
        self.tenant.model.projects.map(|project| {
            let weight = if place == favourite {
                60
            } else {
                40 - 10 * u64::from(place > 1)
            };
            place += 1;
            (project, weight)
        })
    }
}

/// Microseconds after midnight, by the person's own clock.
fn time_of_day(draw: &mut Draw) -> i64 {
    let (mean, deviation) = match draw.below(100) {
        0..42 => (10 * 60 + 15, 50),
        42..93 => (14 * 60 + 50, 70),
        _ => (20 * 60 + 30, 45),
    };
    let minutes = mean * MINUTE + draw.normal() * (deviation * MINUTE / 65_536);
    // To the millisecond, as transcripts have it.
    minutes.clamp(0, DAY - MINUTE) / 1_000 * 1_000
}

/// About how many calls the options' people make if a full working day of a developer of the busiest tenant has one
/// session.
pub(super) fn calls_of_one(options: &SeedOptions, cast: &[Cast]) -> u64 {
    let last = options.until().as_micros() / DAY;
    let first = options.from().as_micros() / DAY;
    // In thousandths of a day.
    let days: u64 = (first..last)
        .map(|day| match (day + 3).rem_euclid(7) {
            0..5 => 1_000 - AWAY,
            _ => WEEKEND * 10,
        })
        .sum();
    // In ten-thousandths of a person.
    let people: u64 = cast
        .iter()
        .map(|tenant| {
            let shares: u64 = tenant.people.iter().map(Person::share).sum();
            shares * tenant.model.activity
        })
        .sum();
    let calls = u128::from(days) * u128::from(people) * u128::from(CALLS) / 10_000_000_000;
    u64::try_from(calls).unwrap_or(u64::MAX).max(1)
}
