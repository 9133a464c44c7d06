//! One event of Claude Code's hooks, as far as it is read.
//!
//! The events and their fields are those of Claude Code's hook reference. A hook's process may be left with an open
//! standard input: exactly one JSON value is read, not to the end of the file. Invariants: at most
//! [`MAX_EVENT_BYTES`] are read; prompts, inputs and responses are passed over, but for a shell command's program
//! and the length of what a tool answered.

use std::io::BufRead;
use std::path::PathBuf;

use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::collect::claude::{Mark, ResultContent, project_of, says_launched, whole_millis};
use crate::collect::lenient::{Flag, Number, Object, OwnedStr, scalars};
use crate::collect::program::program_of;
use crate::collect::sighting::AgentId;
use crate::domain::session::{ProjectId, SourceId};
use crate::domain::tool_metric::{Program, ToolName, category_of};
use crate::domain::units::InvalidValue;

/// The largest event that is read: 32 MiB. A tool's response is part of it.
pub const MAX_EVENT_BYTES: u64 = 32 * 1024 * 1024;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// A session began or was resumed.
    SessionStart,
    /// The user asked for something.
    UserPromptSubmit,
    /// A tool is about to be called.
    PreToolUse,
    /// A tool's call succeeded.
    PostToolUse,
    /// A tool's call failed.
    PostToolUseFailure,
    /// A subagent began.
    SubagentStart,
    /// A subagent finished.
    SubagentStop,
    /// The agent finished its answer.
    Stop,
    /// The session ended.
    SessionEnd,
}

impl EventKind {
    /// Every kind that is recorded.
    pub const ALL: [Self; 9] = [
        Self::SessionStart,
        Self::UserPromptSubmit,
        Self::PreToolUse,
        Self::PostToolUse,
        Self::PostToolUseFailure,
        Self::SubagentStart,
        Self::SubagentStop,
        Self::Stop,
        Self::SessionEnd,
    ];

    /// The event's name in Claude Code's settings.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SessionStart => "SessionStart",
            Self::UserPromptSubmit => "UserPromptSubmit",
            Self::PreToolUse => "PreToolUse",
            Self::PostToolUse => "PostToolUse",
            Self::PostToolUseFailure => "PostToolUseFailure",
            Self::SubagentStart => "SubagentStart",
            Self::SubagentStop => "SubagentStop",
            Self::Stop => "Stop",
            Self::SessionEnd => "SessionEnd",
        }
    }
}

/// An event that is recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookEvent {
    /// What happened.
    pub kind: EventKind,
    /// What Claude Code calls the session.
    pub session: SourceId,
    /// The project that it works in.
    pub project: Option<ProjectId>,
    /// The folder that it works in: tells which tenant is meant, and is not recorded.
    pub folder: Option<PathBuf>,
    /// The subagent that it happened in.
    pub agent: Option<AgentId>,
    /// The call that it is of. Versions that gave no `tool_use_id` have none: their calls come by the transcript,
    /// since a row without the call's own id would be counted again there.
    pub call: Option<HookCall>,
}

/// A call as an event tells of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HookCall {
    /// What Claude Code calls it.
    pub id: SourceId,
    /// The tool.
    pub tool: ToolName,
    /// The program that a shell call runs.
    pub program: Option<Program>,
    /// How long the tool says that it took.
    pub duration_ms: Option<i64>,
    /// Whether the answer is only that of a launch: the work goes on after it.
    pub is_launch: bool,
    /// Whether the user broke in.
    pub is_interrupted: bool,
    /// Whether the user refused it.
    pub is_denied: bool,
    /// The length of the answer's text.
    pub output_size_bytes: Option<i64>,
}

/// Why no event could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HookError {
    /// The input is no JSON object, ends early, is too large or cannot be read.
    #[error("cannot read the hook's event")]
    Read(#[from] serde_json::Error),
    /// A value of it cannot be recorded.
    #[error("the hook's event cannot be recorded")]
    Value(#[from] InvalidValue),
}

/// Reads one event; `None` if it is of a kind that is not recorded.
///
/// # Errors
/// [`HookError::Read`] where there is no JSON object of at most [`MAX_EVENT_BYTES`]; [`HookError::Value`] where the
/// session, or the call of a tool event, has an id or name that no row can have.
pub fn read(reader: impl BufRead) -> Result<Option<HookEvent>, HookError> {
    let mut input = serde_json::Deserializer::from_reader(reader.take(MAX_EVENT_BYTES));
    let Object(raw) = Object::<RawEvent>::deserialize(&mut input)?;
    let raw = raw.ok_or_else(|| serde_json::Error::custom("not a JSON object"))?;
    let name = raw.hook_event_name.as_deref();
    let Some(kind) = EventKind::ALL
        .into_iter()
        .find(|kind| Some(kind.as_str()) == name)
    else {
        return Ok(None);
    };
    let session = SourceId::parse("session id", raw.session_id.as_deref().unwrap_or_default())?;
    let is_tool_event = matches!(
        kind,
        EventKind::PreToolUse | EventKind::PostToolUse | EventKind::PostToolUseFailure
    );
    Ok(Some(HookEvent {
        kind,
        session,
        project: raw.cwd.as_deref().and_then(project_of),
        folder: raw.cwd.as_deref().map(PathBuf::from),
        agent: raw
            .agent_id
            .as_deref()
            .and_then(|id| AgentId::parse("agent id", id).ok()),
        call: if is_tool_event { raw.call()? } else { None },
    }))
}

#[derive(Debug, Deserialize)]
struct RawEvent {
    #[serde(default)]
    hook_event_name: OwnedStr,
    #[serde(default)]
    session_id: OwnedStr,
    #[serde(default)]
    cwd: OwnedStr,
    #[serde(default)]
    agent_id: OwnedStr,
    #[serde(default)]
    tool_name: OwnedStr,
    #[serde(default)]
    tool_use_id: OwnedStr,
    #[serde(default)]
    tool_input: Object<Input>,
    #[serde(default)]
    tool_response: Response,
    #[serde(default)]
    duration_ms: Number,
    #[serde(default)]
    is_interrupt: Flag,
    #[serde(default)]
    error: ResultContent,
}

#[derive(Debug, Deserialize)]
struct Input {
    #[serde(default)]
    command: OwnedStr,
}

impl RawEvent {
    fn call(&self) -> Result<Option<HookCall>, InvalidValue> {
        let Some(id) = self.tool_use_id.as_deref() else {
            return Ok(None);
        };
        let tool = self.tool_name.as_deref().unwrap_or_default();
        let command = self
            .tool_input
            .0
            .as_ref()
            .and_then(|input| input.command.as_deref());
        let mark = self.error.mark;
        let is_launch = self.tool_response.is_launch;
        Ok(Some(HookCall {
            id: SourceId::parse("call id", id)?,
            tool: ToolName::parse("tool name", tool)?,
            program: command
                .filter(|_| category_of(tool) == "shell")
                .and_then(program_of),
            duration_ms: self.duration_ms.0.and_then(whole_millis),
            is_launch,
            is_interrupted: self.is_interrupt.is_true()
                || self.tool_response.is_interrupted
                || mark == Some(Mark::Interrupted),
            is_denied: mark == Some(Mark::Denied),
            output_size_bytes: self
                .tool_response
                .size
                .and_then(|size| i64::try_from(size).ok()),
        }))
    }
}

/// What of a tool's response is looked at. Its shape is each tool's own.
#[derive(Debug, Default)]
struct Response {
    is_launch: bool,
    is_interrupted: bool,
    /// The length of a text, of `stdout` and `stderr`, or of an MCP server's content; other shapes have none.
    size: Option<u64>,
}

impl Response {
    fn measure(&mut self, content: ResultContent) {
        self.size = Some(self.size.unwrap_or_default().saturating_add(content.size));
    }
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ResponseVisitor;
        impl<'de> Visitor<'de> for ResponseVisitor {
            type Value = Response;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("any value")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Response, E> {
                Ok(Response {
                    size: u64::try_from(text.len()).ok(),
                    ..Response::default()
                })
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Response, A::Error> {
                let mut response = Response::default();
                while let Some(content) = seq.next_element()? {
                    response.measure(content);
                }
                Ok(response)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Response, A::Error> {
                let mut response = Response::default();
                while let Some(OwnedStr(key)) = map.next_key()? {
                    match key.as_deref() {
                        Some("stdout" | "stderr" | "content") => {
                            response.measure(map.next_value()?);
                        }
                        Some("interrupted") => {
                            response.is_interrupted = map.next_value::<Flag>()?.is_true();
                        }
                        Some("isAsync") => {
                            response.is_launch |= map.next_value::<Flag>()?.is_true();
                        }
                        Some("status") => {
                            let status = map.next_value::<OwnedStr>()?;
                            response.is_launch |= status.as_deref().is_some_and(says_launched);
                        }
                        Some("backgroundTaskId") => {
                            let task = map.next_value::<OwnedStr>()?;
                            response.is_launch |= task.as_deref().is_some_and(|id| !id.is_empty());
                        }
                        _ => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(response)
            }
            scalars!(Response::default(); visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64);
        }
        deserializer.deserialize_any(ResponseVisitor)
    }
}
