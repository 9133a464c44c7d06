//! The seeded sessions of one person on one day of their own calendar.
//!
//! Work happens in business hours of the person's zone, in two humps about lunch and now and then in the evening, on
//! weekdays and seldom on weekends. A session has 5 to 60 calls.

use crate::domain::InvalidValue;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::session::{ProjectId, Session, SessionType, Source, SourceId, Tag};
use crate::domain::tool_metric::{Outcome, ToolMetric};
use crate::domain::units::Timestamp;
use crate::domain::user::Role;

use super::draw::Draw;
use super::tenants::{Person, TenantCast};
use super::tool_metrics::{self, Of};
use super::{DAY, SeedOptions};

const MINUTE: i64 = 60_000_000;

/// A session and its calls.
pub(super) type Work = (Session, Vec<ToolMetric>);

/// One person's day to be made.
#[derive(Debug)]
pub(super) struct PersonDay<'c> {
    pub(super) tenant: &'c TenantCast,
    pub(super) person: &'c Person,
    pub(super) user: UserId,
    /// The day of the person's own calendar, counted from 1970-01-01.
    pub(super) day: i64,
}

impl PersonDay<'_> {
    /// The day's sessions, by their start; only those that lie whole within the options' time.
    pub(super) fn work(&self, options: &SeedOptions) -> Result<Vec<Work>, InvalidValue> {
        let mut draw = options.draw(&[
            b"day",
            self.user.as_uuid().as_bytes(),
            &self.day.to_le_bytes(),
        ]);
        let midnight = self.day * DAY - self.person.offset * MINUTE;
        let mut day = Vec::new();
        for _ in 0..self.count(&mut draw, options.sessions_per_day()) {
            let start = midnight + time_of_day(&mut draw);
            let id = draw.uuid();
            // A stream of its own: what one session is like changes no other.
            let mut draw = options.draw(&[b"session", id.as_bytes()]);
            if start < options.from().as_micros() || start >= options.until().as_micros() {
                continue;
            }
            let work = self.session(&mut draw, &id.to_string(), start, options)?;
            if work.0.session_end.is_some_and(|end| end <= options.until()) {
                day.push(work);
            }
        }
        day.sort_by_key(|(session, _)| (session.session_start, session.id));
        Ok(day)
    }

    /// How many sessions the day has: as many tosses as twice the wanted mean, each won half the time on a full
    /// working day of a developer of the busiest tenant.
    fn count(&self, draw: &mut Draw, mean: u32) -> usize {
        let role = match self.person.role {
            Role::Developer => 100,
            Role::Admin => 55,
            Role::Manager => 25,
            // A viewer reads what others did.
            Role::Viewer => 0,
        };
        // 1970-01-01 was a Thursday.
        let weekend = (self.day + 3).rem_euclid(7) >= 5;
        let away = draw.chance(60);
        let share = match (weekend, away) {
            (true, _) => 7,
            (false, true) => 0,
            (false, false) => 100,
        };
        let per_mille = 500 * role * self.tenant.activity * share / 1_000_000;
        (0..u64::from(mean) * 2)
            .filter(|_| draw.chance(per_mille))
            .count()
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
        self.tenant.projects.map(|project| {
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
