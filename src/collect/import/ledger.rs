//! What an import has seen: counts each call once, and decides which rows to write.
//!
//! Depends on `domain` and [`Recorder`]. Invariants: a call is counted at its first sighting, and its session
//! is the one of its first sighting, in this import or in the store before; a session whose every call belongs to
//! other sessions (a fork that only repeats) adds no row, one without any call does. A session's row is written
//! before its calls. Held per distinct call: about 64 bytes; per session: about 100, and the session itself until it
//! is written; at most [`MAX_WAITING`] results without their call, and as many calls and subagents whose parents are
//! sought.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::collect::claude::starts_agents;
use crate::collect::sighting::{AgentId, LateResult};
use crate::domain::ids::{CallId, SessionId};
use crate::domain::session::Session;
use crate::domain::tool_metric::ToolMetric;
use crate::store::Error;

use super::ToolTally;
use super::recorder::Recorder;

/// The most results that wait for their call, and the most links between subagents and their calls.
pub(super) const MAX_WAITING: usize = 65_536;

/// A call as it was handed over, or a result without its call.
#[derive(Debug)]
pub(super) enum Sighted {
    Call(Box<ToolMetric>, Option<AgentId>),
    Result(LateResult),
}

#[derive(Debug)]
struct Known {
    session: SessionId,
    tool: usize,
    is_error: bool,
}

#[derive(Debug, Default)]
struct SessionState {
    /// What was seen and is not written yet.
    unwritten: Option<Session>,
    /// Tools of the session's own calls that its row may not name yet.
    tools: BTreeSet<String>,
    has_own_call: bool,
    has_foreign_call: bool,
}

impl SessionState {
    /// Whether the session adds something: a fork that only repeats does not.
    fn deserves_row(&self) -> bool {
        self.has_own_call || !self.has_foreign_call
    }

    fn write(&mut self, recorder: &Recorder<'_>) -> Result<(), Error> {
        let Some(mut session) = self.unwritten.take() else {
            return Ok(());
        };
        session.tools_used.extend(self.tools.iter().cloned());
        recorder.session(&session)
    }
}

/// What is left to write when all files have been read.
#[derive(Debug)]
pub(super) enum Rest {
    Session(SessionId),
    Result(LateResult),
    Child(SessionId, AgentId, CallId),
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    calls: HashMap<CallId, Known>,
    sessions: HashMap<SessionId, SessionState>,
    /// Sessions that may have something to write since the last batch.
    touched: BTreeSet<SessionId>,
    tools: Vec<(String, ToolTally)>,
    tool_indices: HashMap<String, usize>,
    agents: HashMap<(SessionId, AgentId), CallId>,
    children: Vec<(SessionId, AgentId, CallId)>,
    results: Vec<LateResult>,
    duplicates: u64,
    unmatched: u64,
}

impl Ledger {
    pub(super) fn see_session(&mut self, seen: &Session) {
        self.touched.insert(seen.id);
        let state = self.sessions.entry(seen.id).or_default();
        match &mut state.unwritten {
            Some(session) => {
                session.absorb(seen);
            }
            None => state.unwritten = Some(seen.clone()),
        }
    }

    pub(super) fn see_agent(&mut self, session: SessionId, agent: AgentId, call: CallId) {
        if self.agents.len() < MAX_WAITING {
            self.agents.entry((session, agent)).or_insert(call);
        }
    }

    /// Writes a batch: sessions first, then calls, then what late results settle.
    pub(super) fn keep(&mut self, batch: &[Sighted], recorder: &Recorder<'_>) -> Result<(), Error> {
        for sighted in batch {
            if let Sighted::Call(call, _) = sighted {
                self.count(call, recorder)?;
            }
        }
        for id in std::mem::take(&mut self.touched) {
            if let Some(state) = self
                .sessions
                .get_mut(&id)
                .filter(|state| state.has_own_call)
            {
                state.write(recorder)?;
            }
        }
        for sighted in batch {
            if let Sighted::Call(call, agent) = sighted {
                self.write_call(call, agent.as_ref(), recorder)?;
            }
        }
        // After all calls: a result may stand before its call.
        for sighted in batch {
            if let Sighted::Result(result) = sighted
                && !self.settle(result, recorder)?
            {
                if self.results.len() < MAX_WAITING {
                    self.results.push(result.clone());
                } else {
                    self.unmatched += 1;
                }
            }
        }
        Ok(())
    }

    /// What only the whole import tells: sessions without calls, late results, subagents' parents.
    pub(super) fn rest(&mut self) -> Vec<Rest> {
        self.touched.clear();
        let sessions = self
            .sessions
            .iter()
            .filter(|(_, state)| state.unwritten.is_some() && state.deserves_row())
            .map(|(id, _)| Rest::Session(*id));
        let mut rest: Vec<Rest> = sessions.collect();
        rest.extend(
            std::mem::take(&mut self.results)
                .into_iter()
                .map(Rest::Result),
        );
        // Parents last: a late result may name one.
        let children = std::mem::take(&mut self.children).into_iter();
        rest.extend(children.map(|(session, agent, call)| Rest::Child(session, agent, call)));
        rest
    }

    /// Writes some of the rest.
    pub(super) fn keep_rest(
        &mut self,
        rest: Vec<Rest>,
        recorder: &Recorder<'_>,
    ) -> Result<(), Error> {
        for one in rest {
            match one {
                Rest::Session(id) => {
                    if let Some(state) = self.sessions.get_mut(&id) {
                        state.write(recorder)?;
                    }
                }
                Rest::Result(result) => {
                    if !self.settle(&result, recorder)? {
                        self.unmatched += 1;
                    }
                }
                Rest::Child(session, agent, child) => {
                    let parent = self.agents.get(&(session, agent)).copied();
                    let Some(parent) = parent.filter(|parent| *parent != child) else {
                        continue;
                    };
                    if let Some(mut call) = recorder.find_call(child)? {
                        call.parent_id.get_or_insert(parent);
                        recorder.call(&call)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Counts a call at its first sighting, and its error at the first sighting that tells one.
    fn count(&mut self, call: &ToolMetric, recorder: &Recorder<'_>) -> Result<(), Error> {
        if !self.calls.contains_key(&call.id) {
            let held = recorder.find_call(call.id)?;
            self.duplicates += u64::from(held.is_some());
            let tool = self.tool(call.tool_name.as_str());
            if let Some((_, tally)) = self.tools.get_mut(tool) {
                tally.calls += 1;
            }
            let session = held.map_or(call.session_id, |held| held.session_id);
            self.calls.insert(
                call.id,
                Known {
                    session,
                    tool,
                    is_error: false,
                },
            );
        }
        if call.error_count > 0 {
            self.count_error(call.id);
        }
        let is_own = self
            .calls
            .get(&call.id)
            .is_some_and(|known| known.session == call.session_id);
        let state = self.sessions.entry(call.session_id).or_default();
        if is_own {
            state.has_own_call = true;
            if !state.tools.contains(call.tool_name.as_str()) {
                state.tools.insert(call.tool_name.as_str().to_owned());
            }
        } else {
            state.has_foreign_call = true;
        }
        Ok(())
    }

    fn count_error(&mut self, call: CallId) {
        let Some(known) = self.calls.get_mut(&call) else {
            return;
        };
        if !std::mem::replace(&mut known.is_error, true)
            && let Some((_, tally)) = self.tools.get_mut(known.tool)
        {
            tally.errors += 1;
        }
    }

    fn tool(&mut self, name: &str) -> usize {
        if let Some(index) = self.tool_indices.get(name) {
            return *index;
        }
        let index = self.tools.len();
        self.tools.push((name.to_owned(), ToolTally::default()));
        self.tool_indices.insert(name.to_owned(), index);
        index
    }

    fn write_call(
        &mut self,
        call: &ToolMetric,
        agent: Option<&AgentId>,
        recorder: &Recorder<'_>,
    ) -> Result<(), Error> {
        let Some(agent) = agent.filter(|_| call.parent_id.is_none()) else {
            return recorder.call(call);
        };
        let key = (call.session_id, agent.clone());
        if let Some(parent) = self.agents.get(&key).filter(|parent| **parent != call.id) {
            let parent_id = Some(*parent);
            return recorder.call(&ToolMetric {
                parent_id,
                ..call.clone()
            });
        }
        if self.children.len() < MAX_WAITING {
            self.children.push((key.0, key.1, call.id));
        }
        recorder.call(call)
    }

    /// Settles a call that is known by its late result; false if the call is not known.
    fn settle(&mut self, result: &LateResult, recorder: &Recorder<'_>) -> Result<bool, Error> {
        let row = recorder.find_call(result.call)?;
        if result.ending.is_error {
            self.count_error(result.call);
        }
        let Some(mut call) = row else {
            return Ok(self.calls.contains_key(&result.call));
        };
        if let Some(agent) = result.agent.clone().filter(|_| starts_agents(&call)) {
            self.see_agent(result.session, agent, call.id);
        }
        result.ending.settle(&mut call);
        recorder.call(&call)?;
        Ok(true)
    }

    pub(super) fn duplicates(&self) -> u64 {
        self.duplicates
    }

    pub(super) fn unmatched(&self) -> u64 {
        self.unmatched
    }

    /// How many sessions have a row by this import's sightings.
    pub(super) fn sessions(&self) -> u64 {
        let rows = self.sessions.values().filter(|state| state.deserves_row());
        u64::try_from(rows.count()).unwrap_or(u64::MAX)
    }

    pub(super) fn per_tool(&self) -> BTreeMap<String, ToolTally> {
        self.tools.iter().cloned().collect()
    }
}
