//! Claude Code's hooks: one event, one process, on every tool call.
//!
//! Depends on `domain`, this folder's readers, and on `store` only in [`record`]. No async, no large field kept.
//! What an event makes of the rows:
//! - Every event makes the session if it is missing and moves its end, as last seen (a call's event only once a minute,
//!   the agent's `Stop` always); `SessionStart` only begins it,
//!   `SessionEnd` tells its end. A session that goes on afterwards has an end as last seen again.
//! - `PreToolUse` opens a call: without a further event it stays one, with the outcome `unknown` and no duration.
//! - `PostToolUse` and `PostToolUseFailure` end it. Its duration is the tool's own (`duration_ms`), else the time
//!   since the call was opened, else unknown. Where nothing opened it, it began `duration_ms` before its end.
//! - A background agent's or command's answer is that of its launch: the call succeeded, its duration is not known.
//! - A failure is an error; `interrupted` where the user broke in, `denied` where the user refused.
//!
//! Invariant: ids are the transcript's for the same session and call, so that both make one row in either order.

use crate::domain::ids::{CallId, SessionId, UserId};
use crate::domain::session::{Session, SessionType};
use crate::domain::tool_metric::{DurationSource, Outcome, ToolCategory, ToolMetric, category_of};
use crate::domain::units::{InvalidValue, Timestamp};
use crate::store::{self, Writer};

use super::claude::source;

mod event;
#[cfg(test)]
mod tests;

pub use event::{EventKind, HookCall, HookError, HookEvent, MAX_EVENT_BYTES, read};

/// What an event tells of the rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Observation {
    /// The session, as far as this event tells.
    pub session: Session,
    /// The call, if it is a tool's event.
    pub call: Option<SeenCall>,
}

/// What an event tells of a call.
#[derive(Debug, Clone, PartialEq)]
pub enum SeenCall {
    /// It begins: a row as it is.
    Opened(Box<ToolMetric>),
    /// It ended: [`settle`] makes the row, which depends on the one that was opened.
    Ended(Box<EndedCall>),
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedCall {
    /// The call without a duration.
    call: ToolMetric,
    /// When its end was seen.
    at: Timestamp,
    /// How long the tool says that it took.
    reported_ms: Option<i64>,
    /// Whether only a launch ended.
    is_launch: bool,
}

impl EndedCall {
    /// The call that ended.
    #[must_use]
    pub const fn id(&self) -> CallId {
        self.call.id
    }
}

/// Says what an event of `user`'s work, seen at `now`, tells of the rows.
///
/// # Errors
/// When a name that all rows share does not fit its type; a test rules that out.
pub fn observe(
    event: &HookEvent,
    user: UserId,
    now: Timestamp,
) -> Result<Observation, InvalidValue> {
    let call = match &event.call {
        Some(call) => Some(observe_call(event, call, user, now)?),
        None => None,
    };
    let start = match &call {
        Some(SeenCall::Ended(ended)) => ended.call.started_at,
        _ => now,
    };
    let source = source()?;
    let mut session = Session::begun(
        SessionId::derive(user, &source, Some(&event.session)),
        user,
        source,
        Some(event.session.clone()),
        SessionType::parse("session type", "agent")?,
        start,
        now,
    );
    session.project_id.clone_from(&event.project);
    if event.kind != EventKind::SessionStart {
        session.session_end = Some(now);
        session.end_inferred = event.kind != EventKind::SessionEnd;
    }
    if let Some(call) = &event.call {
        session.tools_used.insert(call.tool.as_str().to_owned());
    }
    Ok(Observation { session, call })
}

fn observe_call(
    event: &HookEvent,
    seen: &HookCall,
    user: UserId,
    now: Timestamp,
) -> Result<SeenCall, InvalidValue> {
    let source = source()?;
    let outcome = match event.kind {
        EventKind::PreToolUse => Outcome::Unknown,
        _ if seen.is_denied => Outcome::Denied,
        _ if seen.is_interrupted => Outcome::Interrupted,
        EventKind::PostToolUseFailure => Outcome::Error,
        _ => Outcome::Success,
    };
    let is_end = event.kind != EventKind::PreToolUse;
    let call = ToolMetric {
        id: CallId::derive(user, &source, Some(&seen.id)),
        session_id: SessionId::derive(user, &source, Some(&event.session)),
        user_id: user,
        parent_id: None,
        tool_name: seen.tool.clone(),
        tool_category: ToolCategory::parse("category", category_of(seen.tool.as_str()))?,
        started_at: now.minus_millis(seen.duration_ms.filter(|_| is_end).unwrap_or_default()),
        execution_count: 1,
        total_duration_ms: None,
        error_count: i64::from(event.kind == EventKind::PostToolUseFailure),
        outcome,
        memory_usage_mb: None,
        cpu_time_ms: None,
        parameters: None,
        output_size_bytes: seen.output_size_bytes.filter(|_| is_end),
        program: seen.program.clone(),
        command_line: None,
        working_directory: None,
        source,
        source_id: Some(seen.id.clone()),
        duration_source: DurationSource::None,
        provenance: Some(PROVENANCE.to_owned()),
        created_at: now,
    };
    Ok(if is_end {
        SeenCall::Ended(Box::new(EndedCall {
            call,
            at: now,
            reported_ms: seen.duration_ms,
            is_launch: seen.is_launch,
        }))
    } else {
        SeenCall::Opened(Box::new(call))
    })
}

/// Where a hook's rows were read.
const PROVENANCE: &str = r#"{"channel":"hook"}"#;

/// Makes the sighting of a call that ended, given the row that is held of it.
#[must_use]
pub fn settle(held: Option<&ToolMetric>, ended: &EndedCall) -> ToolMetric {
    let mut call = ended.call.clone();
    if ended.is_launch {
        return call;
    }
    (call.total_duration_ms, call.duration_source) = match (ended.reported_ms, held) {
        (Some(millis), _) => (Some(millis), DurationSource::Reported),
        (None, Some(held)) if held.started_at <= ended.at => {
            // A transcript that was imported meanwhile may have opened it: then only one end is a hook's.
            let clock = match held.provenance.as_deref() {
                Some(PROVENANCE) => DurationSource::HookPair,
                _ => DurationSource::Transcript,
            };
            (Some(ended.at.millis_since(held.started_at)), clock)
        }
        (None, _) => (None, DurationSource::None),
    };
    call
}

/// How far a call may lie behind the inferred end of its session before that is moved: raising the session at every
/// call wrote more pages than the call did. Events that are of no call move it whatever they are: `Stop` ends each
/// answer.
const CALLS_SLACK_MS: i64 = 60_000;

/// Records what was observed, in one transaction.
///
/// # Errors
/// What the store says; then nothing of it is written.
pub fn record(writer: &Writer<'_>, seen: &Observation) -> Result<(), store::Error> {
    match seen.call {
        None => writer.sessions().record(&seen.session)?,
        Some(_) => writer
            .sessions()
            .record_with_slack(&seen.session, CALLS_SLACK_MS)?,
    };
    let calls = writer.tool_metrics();
    match &seen.call {
        None => {}
        Some(SeenCall::Opened(call)) => {
            calls.record(call)?;
        }
        Some(SeenCall::Ended(ended)) => {
            // The row that is held is looked up only where the tool gives no duration itself.
            let held = if ended.reported_ms.is_some() || ended.is_launch {
                None
            } else {
                calls.find(ended.id())?
            };
            calls.record(&settle(held.as_ref(), ended))?;
        }
    }
    Ok(())
}
