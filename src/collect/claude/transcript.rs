//! Pairs a transcript's calls with their results, and gathers its sessions.
//!
//! Depends on the line reader and `domain`. Invariants: see [`super`]; a call is handed on once its result is known,
//! or at the end, or when too many wait; a session is handed on before its first call and again, whole, at the end.

use std::collections::HashMap;

use crate::collect::program::program_of;
use crate::collect::sighting::{AgentId, LateResult, Sink};
use crate::domain::ids::{CallId, SessionId};
use crate::domain::session::SourceId;
use crate::domain::tool_metric::{
    DurationSource, Outcome, ToolCategory, ToolMetric, ToolName, category_of,
};
use crate::domain::units::Timestamp;

use super::ending::{ending, is_refusal};
use super::line::{Block, Content, RawLine, ToolUseResult};
use super::sessions::Sessions;
use super::{MAX_OPEN_CALLS, Origin, starts_agents};

/// A call that waits for its result.
struct OpenCall {
    call: ToolMetric,
    agent: Option<AgentId>,
    order: u64,
}

/// Which line a message stands in, and whose it is.
struct Place<'a> {
    session: SessionId,
    at: Timestamp,
    uuid: Option<&'a str>,
    agent: Option<AgentId>,
    parent: Option<CallId>,
}

/// A transcript that is being read.
pub(super) struct Transcript<'o, S> {
    origin: &'o Origin,
    sink: &'o mut S,
    number: u64,
    order: u64,
    sessions: Sessions,
    calls: HashMap<CallId, OpenCall>,
    results: HashMap<CallId, LateResult>,
}

impl<'o, S: Sink> Transcript<'o, S> {
    pub(super) fn new(origin: &'o Origin, sink: &'o mut S) -> Self {
        Self {
            origin,
            sink,
            number: 0,
            order: 0,
            sessions: Sessions::default(),
            calls: HashMap::new(),
            results: HashMap::new(),
        }
    }

    /// Takes a line; false if it could not be used, or not wholly.
    pub(super) fn line(&mut self, number: u64, line: &RawLine<'_>) -> Result<bool, S::Error> {
        self.number = number;
        let Some(kind) = line.kind.as_deref() else {
            return Ok(false);
        };
        match kind {
            "user" | "assistant" => {
                let Some(message) = &line.message.0 else {
                    return Ok(false);
                };
                let Some(place) = self.place(line, line.timestamp.as_deref(), None)? else {
                    return Ok(false);
                };
                if message.content.is_interruption
                    && kind == "user"
                    && !line.is_sidechain.is_true()
                    && let Some(open) = self.sessions.get_mut(&place.session)
                {
                    open.session.interruptions_count += 1;
                }
                let denied = line.tool_denial_kind.as_deref().is_some_and(is_refusal);
                self.message(&message.content, &place, &line.tool_use_result, denied)
            }
            "progress" => match &line.data.0 {
                Some(data) if data.kind.as_deref() == Some("agent_progress") => {
                    let Some(inner) = &data.message.0 else {
                        return Ok(false);
                    };
                    let Some(message) = &inner.message.0 else {
                        return Ok(false);
                    };
                    let time = inner.timestamp.as_deref().or(line.timestamp.as_deref());
                    let Some(mut place) = self.place(line, time, data.agent_id.as_deref())? else {
                        return Ok(false);
                    };
                    place.uuid = inner.uuid.as_deref().or(place.uuid);
                    if let (Some(agent), Some(parent)) = (&place.agent, place.parent) {
                        self.sink.agent(place.session, agent.clone(), parent)?;
                    }
                    self.message(&message.content, &place, &inner.tool_use_result, false)
                }
                _ => self.event(line),
            },
            kind if KNOWN_LINES.contains(&kind) => self.event(line),
            _ => Ok(false),
        }
    }

    /// A line that tells nothing but that the session was going on.
    fn event(&mut self, line: &RawLine<'_>) -> Result<bool, S::Error> {
        if let (Some(name), Some(Ok(at))) = (
            session_name(line),
            line.timestamp.as_deref().map(Timestamp::parse),
        ) {
            self.session(name, at, line.cwd.as_deref())?;
        }
        Ok(true)
    }

    /// Where a message stands; `None` if its time, session or agent cannot be used.
    fn place<'a>(
        &mut self,
        line: &'a RawLine<'_>,
        time: Option<&str>,
        agent: Option<&str>,
    ) -> Result<Option<Place<'a>>, S::Error> {
        let Some(Ok(at)) = time.map(Timestamp::parse) else {
            return Ok(None);
        };
        let own = self.origin.file_session.as_ref().map(SourceId::as_str);
        let Some(name) = session_name(line).or(own) else {
            return Ok(None);
        };
        let Some(session) = self.session(name, at, line.cwd.as_deref())? else {
            return Ok(None);
        };
        if let Some(open) = self.sessions.get_mut(&session) {
            open.has_message = true;
        }
        let agent = agent.or(line.agent_id.as_deref());
        let parent = line.parent_tool_use_id.as_deref();
        Ok(Some(Place {
            session,
            at,
            uuid: line.uuid.as_deref(),
            agent: agent.and_then(|agent| AgentId::parse("agent id", agent).ok()),
            parent: parent.and_then(|id| Some(self.call_id(&SourceId::parse("call id", id).ok()?))),
        }))
    }

    /// Widens the session of that name; `None` if it has no usable name.
    fn session(
        &mut self,
        name: &str,
        at: Timestamp,
        cwd: Option<&str>,
    ) -> Result<Option<SessionId>, S::Error> {
        if self.sessions.is_full_for(name) {
            self.flush_sessions()?;
        }
        Ok(self.sessions.see(self.origin, name, at, cwd))
    }

    fn call_id(&self, source_id: &SourceId) -> CallId {
        CallId::derive(self.origin.user, &self.origin.source, Some(source_id))
    }

    /// Takes a message's calls and results; false if one of them had to be refused.
    fn message(
        &mut self,
        content: &Content<'_>,
        place: &Place<'_>,
        record: &ToolUseResult<'_>,
        denied: bool,
    ) -> Result<bool, S::Error> {
        let mut usable = content.is_known && !content.overflows;
        // The record belongs to the line's one result; with two there is no telling whose it is.
        let results = content
            .blocks
            .iter()
            .filter(|(_, block)| block.is_result())
            .count();
        let absent = ToolUseResult::Absent;
        let record = if results == 1 { record } else { &absent };
        for (index, block) in &content.blocks {
            usable &= if block.is_call() {
                self.call(*index, block, place)?
            } else {
                self.result(block, place, record, denied && results == 1)?
            };
        }
        Ok(usable)
    }

    fn call(
        &mut self,
        index: usize,
        block: &Block<'_>,
        place: &Place<'_>,
    ) -> Result<bool, S::Error> {
        let id = match (block.id.as_deref(), place.uuid) {
            (Some(id), _) => SourceId::parse("call id", id),
            (None, Some(uuid)) => SourceId::parse("call id", &format!("{uuid}#{index}")),
            (None, None) => return Ok(false),
        };
        let name = ToolName::parse("tool name", block.name.as_deref().unwrap_or_default());
        let (Ok(source_id), Ok(tool_name)) = (id, name) else {
            return Ok(false);
        };
        let Ok(tool_category) = ToolCategory::parse("category", category_of(tool_name.as_str()))
        else {
            return Ok(false);
        };
        let id = self.call_id(&source_id);
        let command = block
            .input
            .0
            .as_ref()
            .and_then(|input| input.command.as_deref());
        let is_shell = tool_category.as_str() == "shell";
        let call = ToolMetric {
            id,
            session_id: place.session,
            user_id: self.origin.user,
            parent_id: place.parent.filter(|parent| *parent != id),
            program: command.filter(|_| is_shell).and_then(program_of),
            tool_name,
            tool_category,
            started_at: place.at,
            execution_count: 1,
            total_duration_ms: None,
            error_count: 0,
            outcome: Outcome::Unknown,
            memory_usage_mb: None,
            cpu_time_ms: None,
            parameters: None,
            output_size_bytes: None,
            command_line: None,
            working_directory: None,
            source: self.origin.source.clone(),
            source_id: Some(source_id),
            duration_source: DurationSource::None,
            provenance: Some(format!(
                r#"{{"file":{},"line":{},"channel":"transcript"}}"#,
                self.origin.file, self.number
            )),
            created_at: self.origin.now,
        };
        let mut open = OpenCall {
            call,
            agent: place.agent.clone(),
            order: self.order,
        };
        self.order += 1;
        if let Some(result) = self.results.remove(&id) {
            self.settle(open, result)?;
        } else {
            if let Some(seen) = self.calls.remove(&id) {
                // The same line again: the first stays, and the earlier time counts.
                let again = std::mem::replace(&mut open, seen);
                open.call.started_at = open.call.started_at.min(again.call.started_at);
                open.call.absorb(&again.call);
            } else if self.calls.len() >= MAX_OPEN_CALLS {
                self.flush_calls()?;
            }
            self.calls.insert(id, open);
        }
        Ok(true)
    }

    fn result(
        &mut self,
        block: &Block<'_>,
        place: &Place<'_>,
        record: &ToolUseResult<'_>,
        denied: bool,
    ) -> Result<bool, S::Error> {
        let id = SourceId::parse("call id", block.tool_use_id.as_deref().unwrap_or_default());
        let Ok(id) = id else { return Ok(false) };
        let call = self.call_id(&id);
        let agent = match record {
            ToolUseResult::Record(record) => record.agent_id.as_deref(),
            _ => None,
        };
        let result = LateResult {
            call,
            session: place.session,
            agent: agent.and_then(|agent| AgentId::parse("agent id", agent).ok()),
            ending: ending(block, place.at, record, denied),
        };
        if let Some(open) = self.calls.remove(&call) {
            self.settle(open, result)?;
        } else {
            if self.results.len() >= MAX_OPEN_CALLS && !self.results.contains_key(&call) {
                self.flush_results()?;
            }
            self.results.entry(call).or_insert(result);
        }
        Ok(true)
    }

    /// Hands on a call with its result.
    fn settle(&mut self, mut open: OpenCall, result: LateResult) -> Result<(), S::Error> {
        result.ending.settle(&mut open.call);
        let launched = result.agent.filter(|_| starts_agents(&open.call));
        let (id, session) = (open.call.id, open.call.session_id);
        self.give(open)?;
        match launched {
            Some(agent) => self.sink.agent(session, agent, id),
            None => Ok(()),
        }
    }

    fn give(&mut self, open: OpenCall) -> Result<(), S::Error> {
        if let Some(session) = self.sessions.get_mut(&open.call.session_id)
            && !session.is_given
        {
            session.is_given = true;
            self.sink.session(&session.session)?;
        }
        self.sink.call(open.call, open.agent)
    }

    fn flush_calls(&mut self) -> Result<(), S::Error> {
        let mut calls: Vec<OpenCall> = self.calls.drain().map(|(_, open)| open).collect();
        calls.sort_unstable_by_key(|open| open.order);
        calls.into_iter().try_for_each(|open| self.give(open))
    }

    fn flush_results(&mut self) -> Result<(), S::Error> {
        let mut results: Vec<LateResult> = self.results.drain().map(|(_, result)| result).collect();
        results.sort_unstable_by_key(|result| (result.ending.at, result.call));
        results
            .into_iter()
            .try_for_each(|result| self.sink.result(result))
    }

    /// Hands on the sessions as far as they were seen; their calls first, which need them.
    fn flush_sessions(&mut self) -> Result<(), S::Error> {
        self.flush_calls()?;
        let sessions = self.sessions.take();
        sessions
            .iter()
            .try_for_each(|session| self.sink.session(session))
    }

    /// Hands on what is open.
    pub(super) fn finish(mut self) -> Result<(), S::Error> {
        self.flush_sessions()?;
        self.flush_results()
    }
}

fn session_name<'a>(line: &'a RawLine<'_>) -> Option<&'a str> {
    let forked = line
        .forked_from
        .0
        .as_ref()
        .and_then(|fork| fork.session_id.as_deref());
    forked.or(line.session_id.as_deref())
}

/// Line types that are known and tell nothing of calls.
const KNOWN_LINES: [&str; 22] = [
    "agent-name",
    "ai-title",
    "atis-latch",
    "attachment",
    "bridge-session",
    "custom-title",
    "file-history-delta",
    "file-history-snapshot",
    "frame-link",
    "last-prompt",
    "mode",
    "permission-mode",
    "pr-link",
    "queue-operation",
    "relocated",
    "result",
    "saved_hook_context",
    "started",
    "summary",
    "system",
    "tag",
    "worktree-state",
];
