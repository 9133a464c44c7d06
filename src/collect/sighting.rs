//! What a reader saw, handed to whoever keeps it.
//!
//! Purpose: readers know no store. Depends on `domain` only. Invariants of what a [`Sink`] is given: a call's
//! session was given before the call; the same session or call may be given again, and then widens or raises what
//! was given before (`Session::absorb`, `ToolMetric::absorb`); nothing given holds a value that a store refuses.

use crate::domain::ids::{CallId, SessionId};
use crate::domain::session::{Session, SourceId};
use crate::domain::tool_metric::{DurationSource, Outcome, ToolMetric};
use crate::domain::units::Timestamp;

/// What the source calls a subagent.
pub type AgentId = SourceId;

/// How a call ended, as its result tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ending {
    /// When the result was seen.
    pub at: Timestamp,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether it counts as an error: refusals do, and interruptions that the tool calls errors.
    pub is_error: bool,
    /// How long the tool itself says that it took.
    pub reported_ms: Option<i64>,
    /// Whether the result's time is the call's end: a background agent's launch returns at once.
    pub is_end: bool,
    /// The size of the result's text.
    pub output_size_bytes: Option<i64>,
}

impl Ending {
    /// Ends a call: its outcome, and the best clock that there is.
    pub fn settle(&self, call: &mut ToolMetric) {
        call.outcome = self.outcome;
        call.error_count = i64::from(self.is_error);
        call.output_size_bytes = self.output_size_bytes;
        (call.total_duration_ms, call.duration_source) = match self.reported_ms {
            Some(millis) => (Some(millis), DurationSource::Reported),
            // A result before its call: clocks disagree, and no duration is better than one of nothing.
            None if self.is_end && self.at >= call.started_at => (
                Some(self.at.millis_since(call.started_at)),
                DurationSource::Transcript,
            ),
            None => (None, DurationSource::None),
        };
    }
}

/// A result whose call was not seen in the same file, or was handed over before its result came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LateResult {
    /// The call that it ends.
    pub call: CallId,
    /// The session of the line that it stood in.
    pub session: SessionId,
    /// The subagent that it tells of, where it is a result of starting one.
    pub agent: Option<AgentId>,
    /// How the call ended.
    pub ending: Ending,
}

/// Takes what a reader sees, in the order of the file.
pub trait Sink {
    /// Why something could not be taken.
    type Error;

    /// Takes a session, as far as it has been seen.
    ///
    /// # Errors
    /// When it cannot be kept; the reading ends there.
    fn session(&mut self, session: &Session) -> Result<(), Self::Error>;

    /// Takes a call of a session; `agent` is the subagent that made it, whose own call may not be known yet.
    ///
    /// # Errors
    /// When it cannot be kept; the reading ends there.
    fn call(&mut self, call: ToolMetric, agent: Option<AgentId>) -> Result<(), Self::Error>;

    /// Takes a result without its call.
    ///
    /// # Errors
    /// When it cannot be kept; the reading ends there.
    fn result(&mut self, result: LateResult) -> Result<(), Self::Error>;

    /// Takes the call that started a subagent of a session.
    ///
    /// # Errors
    /// When it cannot be kept; the reading ends there.
    fn agent(
        &mut self,
        session: SessionId,
        agent: AgentId,
        call: CallId,
    ) -> Result<(), Self::Error>;
}
