//! The reader against lines of every shape.

use std::collections::BTreeMap;
use std::convert::Infallible;

use super::*;
use crate::collect::sighting::{AgentId, LateResult};
use crate::domain::ids::{CallId, SessionId};
use crate::domain::session::Session;
use crate::domain::tool_metric::{DurationSource, Outcome};
use crate::domain::units::Timestamp;
mod bad_lines;
mod calls;

/// Keeps rows as a store does.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rows {
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) calls: BTreeMap<CallId, ToolMetric>,
    pub(super) agents: BTreeMap<AgentId, CallId>,
    pub(super) late: Vec<LateResult>,
    /// How many results settled calls that had been handed on without them.
    pub(super) settled_late: usize,
}

impl Rows {
    pub(super) fn call(&self, own_id: &str) -> &ToolMetric {
        self.calls
            .values()
            .find(|call| {
                call.source_id
                    .as_ref()
                    .is_some_and(|id| id.as_str() == own_id)
            })
            .unwrap_or_else(|| panic!("no call {own_id}"))
    }

    pub(super) fn session(&self, own_id: &str) -> &Session {
        self.sessions
            .values()
            .find(|session| {
                session
                    .source_id
                    .as_ref()
                    .is_some_and(|id| id.as_str() == own_id)
            })
            .unwrap_or_else(|| panic!("no session {own_id}"))
    }
}

impl Sink for Rows {
    type Error = Infallible;

    fn session(&mut self, session: &Session) -> Result<(), Infallible> {
        let row = self
            .sessions
            .entry(session.id)
            .or_insert_with(|| session.clone());
        row.absorb(session);
        assert!(row.session_end.unwrap() >= row.session_start);
        Ok(())
    }

    fn call(&mut self, call: ToolMetric, _: Option<AgentId>) -> Result<(), Infallible> {
        assert!(
            self.sessions.contains_key(&call.session_id),
            "a session comes before its calls"
        );
        self.calls
            .entry(call.id)
            .or_insert_with(|| call.clone())
            .absorb(&call);
        Ok(())
    }

    fn result(&mut self, result: LateResult) -> Result<(), Infallible> {
        match self.calls.get_mut(&result.call) {
            Some(row) => {
                self.settled_late += 1;
                let mut settled = row.clone();
                result.ending.settle(&mut settled);
                row.absorb(&settled);
            }
            None => self.late.push(result),
        }
        Ok(())
    }

    fn agent(&mut self, _: SessionId, agent: AgentId, call: CallId) -> Result<(), Infallible> {
        self.agents.insert(agent, call);
        Ok(())
    }
}

pub(super) fn user() -> UserId {
    UserId::from_uuid(uuid::Uuid::from_u128(1))
}

pub(super) fn read_into(rows: &mut Rows, path: &str, text: &[u8]) -> Tally {
    let now = Timestamp::parse("2026-01-05T09:00:00Z").unwrap();
    let origin = Origin::new(user(), now, path).unwrap();
    read(text, &origin, rows, |_| {}).unwrap()
}

fn read_text(text: &str) -> (Rows, Tally) {
    let mut rows = Rows::default();
    let tally = read_into(&mut rows, "/t/s1.jsonl", text.as_bytes());
    (rows, tally)
}

/// A line that asks for a tool, at a second of a minute.
fn asks(second: u32, id: &str, tool: &str, input: &str) -> String {
    format!(
        r#"{{"type":"assistant","sessionId":"s1","uuid":"u{second}","cwd":"/home/ada/mill","timestamp":"2026-01-05T08:00:{second:02}.000Z","message":{{"role":"assistant","content":[{{"type":"text","text":"…"}},{{"type":"tool_use","id":"{id}","name":"{tool}","input":{input}}}]}}}}
"#
    )
}

/// A line that answers a call; `more` are further fields of the block, `record` the tool's own record.
fn answers(second: u32, id: &str, more: &str, record: &str) -> String {
    format!(
        r#"{{"type":"user","sessionId":"s1","uuid":"u{second}","timestamp":"2026-01-05T08:00:{second:02}.500Z","message":{{"role":"user","content":[{{"type":"tool_result","tool_use_id":"{id}"{more}}}]}},"toolUseResult":{record}}}
"#
    )
}
