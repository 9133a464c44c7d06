//! A work session: from its first event to its last.

use std::collections::BTreeSet;

use serde::Serialize;

use super::ids::{SessionId, UserId};
use super::units::{InvalidValue, Text, Timestamp};

/// Where rows come from: the tool, never the channel, as `claude`, `codex`, `manual`.
pub type Source = Text<40>;
/// What the source itself calls a session or call.
pub type SourceId = Text<200>;
/// The kind of work, as `agent`, `editor`, `manual`.
pub type SessionType = Text<50>;
/// What the work belonged to: the last part of the working directory, unless told otherwise.
pub type ProjectId = Text<255>;
/// A word to find a session by.
pub type Tag = Text<64>;
/// Words for people.
pub type Description = Text<2000>;

/// A productivity score: 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Score(f64);

impl Score {
    /// Takes a score.
    ///
    /// # Errors
    /// When it is not within 0 to 100.
    pub fn parse(raw: f64) -> Result<Self, InvalidValue> {
        if (0.0..=100.0).contains(&raw) {
            Ok(Self(raw))
        } else {
            Err(InvalidValue::new("productivity score", "must be 0 to 100"))
        }
    }

    /// The score as a number.
    #[must_use]
    pub const fn as_f64(self) -> f64 {
        self.0
    }
}

/// A work session of one user.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Session {
    /// The id, derived from user, source and the source's own id.
    pub id: SessionId,
    /// Whose work it was.
    pub user_id: UserId,
    /// The first event.
    pub session_start: Timestamp,
    /// The end as told, or the last event seen; never before the start.
    pub session_end: Option<Timestamp>,
    /// Whether the end is the last event seen, not an end that was told.
    pub end_inferred: bool,
    /// The distinct names of the tools that the session's calls used, in order.
    pub tools_used: BTreeSet<String>,
    /// 0 to 100, where something gives a score.
    pub productivity_score: Option<Score>,
    /// The kind of work.
    pub session_type: SessionType,
    /// What it belonged to.
    pub project_id: Option<ProjectId>,
    /// Words to find it by.
    pub tags: Vec<Tag>,
    /// How often the user broke in.
    pub interruptions_count: i64,
    /// Time in focus, where something measures it.
    pub focus_time_ms: Option<i64>,
    /// Words for people.
    pub description: Option<Description>,
    /// The tool that the session belongs to.
    pub source: Source,
    /// What the tool calls it.
    pub source_id: Option<SourceId>,
    /// When this machine recorded it.
    pub created_at: Timestamp,
}

impl Session {
    /// A session that has just been seen for the first time.
    #[must_use]
    pub fn begun(
        id: SessionId,
        user_id: UserId,
        source: Source,
        source_id: Option<SourceId>,
        session_type: SessionType,
        start: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            id,
            user_id,
            session_start: start,
            session_end: None,
            end_inferred: false,
            tools_used: BTreeSet::new(),
            productivity_score: None,
            session_type,
            project_id: None,
            tags: Vec::new(),
            interruptions_count: 0,
            focus_time_ms: None,
            description: None,
            source,
            source_id,
            created_at: now,
        }
    }

    /// Ends the session at a time that was told.
    ///
    /// # Errors
    /// When that lies before its start.
    pub fn end_at(&mut self, end: Timestamp) -> Result<(), InvalidValue> {
        if end < self.session_start {
            return Err(InvalidValue::new("session end", "lies before its start"));
        }
        self.session_end = Some(end);
        self.end_inferred = false;
        Ok(())
    }

    /// Whole milliseconds from start to end, where there is an end.
    #[must_use]
    pub fn total_duration_ms(&self) -> Option<i64> {
        self.session_end
            .map(|end| end.millis_since(self.session_start))
    }

    /// Whether another sighting would teach this session nothing but an inferred end less than `slack_ms` after the
    /// inferred end that it has.
    #[must_use]
    pub fn differs_by_less_than(&self, other: &Self, slack_ms: i64) -> bool {
        let (Some(own), Some(end)) = (self.session_end, other.session_end) else {
            return false;
        };
        if !(self.end_inferred && other.end_inferred) || end.millis_since(own) >= slack_ms {
            return false;
        }
        let mut learned = self.clone();
        learned.absorb(other);
        learned.session_end = self.session_end;
        learned == *self
    }

    /// Widens the session to take in what `other` saw of it; true if anything changed.
    ///
    /// The result does not depend on the order of sightings: the earliest start, the latest end (told if any end
    /// that late was told), all tools, the most interruptions, and the first value of what only one of them knows.
    pub fn absorb(&mut self, other: &Self) -> bool {
        let before = self.clone();
        self.session_start = self.session_start.min(other.session_start);
        if let Some(end) = other.session_end {
            match self.session_end {
                Some(own) if own > end => {}
                Some(own) if own == end => self.end_inferred &= other.end_inferred,
                _ => {
                    self.session_end = Some(end);
                    self.end_inferred = other.end_inferred;
                }
            }
        }
        self.tools_used.extend(other.tools_used.iter().cloned());
        self.interruptions_count = self.interruptions_count.max(other.interruptions_count);
        if self.project_id.is_none() {
            self.project_id.clone_from(&other.project_id);
        }
        *self != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn session(start: i64, end: Option<i64>, inferred: bool) -> Session {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000).unwrap();
        let mut session = Session::begun(
            SessionId::from_uuid(Uuid::from_u128(1)),
            UserId::from_uuid(Uuid::from_u128(2)),
            Source::parse("source", "claude").unwrap(),
            None,
            SessionType::parse("type", "agent").unwrap(),
            at(start),
            at(0),
        );
        session.session_end = end.map(at);
        session.end_inferred = inferred;
        session
    }

    #[test]
    fn sightings_in_any_order_make_the_same_session() {
        let sightings = [
            session(5, Some(9), true),
            session(3, Some(9), false),
            session(7, None, false),
        ];
        let absorbed = |order: [usize; 3]| {
            let mut whole = sightings[order[0]].clone();
            whole.absorb(&sightings[order[1]]);
            whole.absorb(&sightings[order[2]]);
            whole
        };
        let expected = session(3, Some(9), false);
        for order in [
            [0, 1, 2],
            [0, 2, 1],
            [1, 0, 2],
            [1, 2, 0],
            [2, 0, 1],
            [2, 1, 0],
        ] {
            assert_eq!(absorbed(order), expected);
        }
    }

    #[test]
    fn an_end_before_the_start_and_a_score_of_101_are_refused() {
        let mut open = session(5, None, false);
        let before = Timestamp::from_micros(4_999_999).unwrap();
        assert!(open.end_at(before).is_err());
        assert_eq!(open.session_end, None);
        for bad in [101.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(Score::parse(bad).is_err(), "{bad} was taken");
        }
    }

    #[test]
    fn a_session_that_goes_on_after_its_end_has_an_inferred_end() {
        let mut whole = session(1, Some(4), false);
        assert!(whole.absorb(&session(1, Some(8), true)));
        assert!(whole.end_inferred);
        assert!(
            !whole.clone().absorb(&session(1, Some(6), false)),
            "an earlier end changes nothing"
        );
    }
}
