//! Claude Code's transcripts: `~/.claude/projects/<folder>/<session>.jsonl` and subagents' `agent-<id>.jsonl`.
//!
//! Depends on `domain` and on this folder's readers; does no I/O but reading lines. What is counted how:
//! - A **call** is one distinct `tool_use` id; without an id, its line's `uuid`, `#` and the block's place. A call
//!   without a result is a call, with the outcome `unknown`.
//! - An **error** is a call whose result says `is_error`, and every refusal by the user (outcome `denied`).
//! - A **malformed** line is no JSON object. A line is **skipped** when it is longer than 16 MiB; when its `type` is
//!   missing or not known; when it is a message without a readable time, session or content; or when it held a call
//!   or result that had to be refused (no id, no name, a value that the domain does not take), in which case its
//!   other calls are taken all the same. Known lines that tell nothing of calls are neither.
//! - A **session** is what `forkedFrom.sessionId` or `sessionId` names, or the file's own name where lines give none
//!   (subagents' lines name their parent's session). It needs a message; its end is its last line's time.
//!
//! Invariants: at most [`MAX_OPEN_CALLS`] calls wait for their result and as many results for their call; beyond
//! that they are handed on as they are, and a result that comes later settles its call through
//! [`Sink::result`]. At most [`MAX_OPEN_SESSIONS`] sessions of one file are held. Memory stays below 128 MiB
//! whatever the file holds.

use std::io::{self, BufRead};

use crate::collect::lines::{Line, Lines};
use crate::collect::sighting::Sink;
use crate::domain::ids::UserId;
use crate::domain::session::{ProjectId, SessionType, Source, SourceId};
use crate::domain::tool_metric::ToolMetric;
use crate::domain::units::{InvalidValue, Timestamp};

mod ending;
mod line;
#[cfg(test)]
mod samples;
mod sessions;
#[cfg(test)]
mod tests;
mod transcript;

use line::Parsed;
pub(super) use line::{Mark, ResultContent, says_launched, whole_millis};
use transcript::Transcript;

/// The most calls that wait for their result, and the most results that wait for their call.
pub const MAX_OPEN_CALLS: usize = 4_096;

/// The most sessions of one file that are held at once; a file ordinarily has one.
pub const MAX_OPEN_SESSIONS: usize = 256;

/// How much of a file's name a row remembers, counted from the end.
const MAX_FILE_CHARS: usize = 300;

/// What the rows of a file have in common.
#[derive(Debug, Clone)]
pub struct Origin {
    user: UserId,
    now: Timestamp,
    source: Source,
    session_type: SessionType,
    file: String,
    file_session: Option<SourceId>,
}

impl Origin {
    /// Rows of `user`, recorded at `now`, out of the file of that path.
    ///
    /// # Errors
    /// When a name that all rows share does not fit its type; a test rules that out.
    pub fn new(user: UserId, now: Timestamp, path: &str) -> Result<Self, InvalidValue> {
        let from = path
            .char_indices()
            .rev()
            .nth(MAX_FILE_CHARS - 1)
            .map_or(0, |(index, _)| index);
        let shown = path.get(from..).unwrap_or_default();
        let stem = path.rsplit(['/', '\\']).next().unwrap_or(path);
        let stem = stem.rsplit_once('.').map_or(stem, |(stem, _)| stem);
        Ok(Self {
            user,
            now,
            source: source()?,
            session_type: SessionType::parse("session type", "agent")?,
            file: serde_json::Value::from(shown).to_string(),
            file_session: SourceId::parse("session id", stem).ok(),
        })
    }
}

/// The source of Claude Code's rows, whichever channel they came by.
pub(super) fn source() -> Result<Source, InvalidValue> {
    Source::parse("source", "claude")
}

/// What the lines of a file were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines that are not blank.
    pub lines: u64,
    /// Lines that are no JSON object.
    pub malformed: u64,
    /// Lines that could not be used, or not wholly: see the module.
    pub skipped: u64,
}

/// Why a file was not read to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError<E> {
    /// The file could not be read.
    #[error("cannot read the transcript")]
    Read(#[source] io::Error),
    /// What was read could not be kept.
    #[error("cannot keep what the transcript tells")]
    Sink(#[source] E),
}

/// Reads a transcript and hands on its sessions and calls; `progress` is told how many bytes have been read.
///
/// # Errors
/// [`ReadError::Read`] where the reader fails; what was handed on before stays valid. [`ReadError::Sink`] where the
/// sink fails.
pub fn read<R: BufRead, S: Sink>(
    reader: R,
    origin: &Origin,
    sink: &mut S,
    mut progress: impl FnMut(u64),
) -> Result<Tally, ReadError<S::Error>> {
    let mut lines = Lines::new(reader);
    let mut transcript = Transcript::new(origin, sink);
    let mut tally = Tally::default();
    let ended = loop {
        let (number, parsed) = match lines.next_line() {
            Ok(None) => break Ok(()),
            Err(error) => break Err(ReadError::Read(error)),
            Ok(Some((number, Line::TooLong))) => (number, Parsed::Unusable),
            Ok(Some((number, Line::Whole(bytes)))) => (number, line::parse(bytes)),
        };
        tally.lines += 1;
        match parsed {
            Parsed::Malformed => tally.malformed += 1,
            Parsed::Unusable => tally.skipped += 1,
            Parsed::Line(line) => {
                let usable = transcript.line(number, &line).map_err(ReadError::Sink)?;
                tally.skipped += u64::from(!usable);
            }
        }
        progress(lines.bytes());
    };
    // Also when the file could not be read to its end: what is open is true as it is.
    transcript.finish().map_err(ReadError::Sink)?;
    ended.map(|()| tally)
}

/// Whether a call's tool starts subagents: `Task`, which newer versions call `Agent`.
pub(super) fn starts_agents(call: &ToolMetric) -> bool {
    matches!(call.tool_name.as_str(), "Task" | "Agent")
}

/// The last part of a working directory, on any system: `/home/ada/mill` and `C:\work\mill` give `mill`.
pub(super) fn project_of(cwd: &str) -> Option<ProjectId> {
    let last = cwd.rsplit(['/', '\\']).find(|part| !part.is_empty())?;
    ProjectId::parse("project", last)
        .ok()
        .filter(|_| !last.ends_with(':'))
}
