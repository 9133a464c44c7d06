//! A tool call: one row per call, because aggregates cannot be deduplicated.

use serde::Serialize;

use super::ids::{CallId, SessionId, UserId};
use super::session::{Source, SourceId};
use super::units::{InvalidValue, Text, Timestamp};

/// The tool's own name, as `Bash` or `mcp__github__search`.
pub type ToolName = Text<200>;
/// What kind of tool it is: see [`category_of`].
pub type ToolCategory = Text<50>;
/// The program that a shell call ran, without its arguments.
pub type Program = Text<200>;
/// A whole command line; kept only where the tenant asked for it.
pub type CommandLine = Text<8192>;
/// Where a call ran; kept only where the tenant asked for it.
pub type WorkingDirectory = Text<4096>;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It did what it was asked.
    Success,
    /// Its result says that it failed.
    Error,
    /// The user refused it: an error too.
    Denied,
    /// The user broke in.
    Interrupted,
    /// No result was seen.
    Unknown,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 5] = [
        Self::Success,
        Self::Error,
        Self::Denied,
        Self::Interrupted,
        Self::Unknown,
    ];

    /// The outcome's name in databases.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Denied => "denied",
            Self::Interrupted => "interrupted",
            Self::Unknown => "unknown",
        }
    }

    /// Reads an outcome's name.
    ///
    /// # Errors
    /// When there is no such outcome.
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == raw)
            .ok_or_else(|| InvalidValue::new("outcome", "is not a known outcome"))
    }
}

/// Which clock a duration came from, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DurationSource {
    /// No clock: the duration is not known.
    None,
    /// From the line that asked to the line that answered: an upper bound.
    Transcript,
    /// From one hook to the next.
    HookPair,
    /// Measured around a process that we started.
    Process,
    /// Measured by the tool itself.
    Reported,
}

impl DurationSource {
    /// Every clock, the worst first.
    pub const ALL: [Self; 5] = [
        Self::None,
        Self::Transcript,
        Self::HookPair,
        Self::Process,
        Self::Reported,
    ];

    /// The clock's name in databases.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Transcript => "transcript",
            Self::HookPair => "hook_pair",
            Self::Process => "process",
            Self::Reported => "reported",
        }
    }

    /// Reads a clock's name.
    ///
    /// # Errors
    /// When there is no such clock.
    pub fn parse(raw: &str) -> Result<Self, InvalidValue> {
        Self::ALL
            .into_iter()
            .find(|clock| clock.as_str() == raw)
            .ok_or_else(|| InvalidValue::new("duration source", "is not a known clock"))
    }

    /// The rev that a row begins with when this clock timed it: 1 for none up to 5 for the tool's own.
    ///
    /// Two machines that saw the same call by different clocks thereby agree which row is the better one: the
    /// server keeps the higher rev, whichever arrives first.
    #[must_use]
    pub const fn first_rev(self) -> i64 {
        match self {
            Self::None => 1,
            Self::Transcript => 2,
            Self::HookPair => 3,
            Self::Process => 4,
            Self::Reported => 5,
        }
    }
}

/// One tool call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolMetric {
    /// The id, derived from user, source and the source's own id.
    pub id: CallId,
    /// The session that it belongs to.
    pub session_id: SessionId,
    /// Whose work it was: the session's user.
    pub user_id: UserId,
    /// The call that started the subagent which made this one.
    pub parent_id: Option<CallId>,
    /// The tool's name.
    pub tool_name: ToolName,
    /// The tool's kind.
    pub tool_category: ToolCategory,
    /// When it began.
    pub started_at: Timestamp,
    /// How many executions the row stands for: 1 for every collector.
    pub execution_count: i64,
    /// How long they took in all, where a clock saw it.
    pub total_duration_ms: Option<i64>,
    /// How many of them failed, refusals included; at most `execution_count`.
    pub error_count: i64,
    /// How it ended.
    pub outcome: Outcome,
    /// Peak memory of the process.
    pub memory_usage_mb: Option<f64>,
    /// CPU time of the process.
    pub cpu_time_ms: Option<i64>,
    /// The call's parameters as JSON; kept only where the tenant asked for them.
    pub parameters: Option<String>,
    /// The size of the result in bytes; its content is never kept.
    pub output_size_bytes: Option<i64>,
    /// The program that a shell call ran.
    pub program: Option<Program>,
    /// The whole command line.
    pub command_line: Option<CommandLine>,
    /// Where it ran.
    pub working_directory: Option<WorkingDirectory>,
    /// The tool that the call belongs to.
    pub source: Source,
    /// What the tool calls it.
    pub source_id: Option<SourceId>,
    /// The clock that `total_duration_ms` came from.
    pub duration_source: DurationSource,
    /// Where this row was read, as JSON; never leaves the machine.
    pub provenance: Option<String>,
    /// When this machine recorded it.
    pub created_at: Timestamp,
}

impl ToolMetric {
    /// The mean duration of an execution.
    #[must_use]
    pub fn average_duration_ms(&self) -> Option<f64> {
        self.total_duration_ms
            .map(|total| to_f64(total) / to_f64(self.execution_count.max(1)))
    }

    /// The part of the executions that succeeded, 0 to 1; `None` while no result was seen.
    #[must_use]
    pub fn success_rate(&self) -> Option<f64> {
        (self.outcome != Outcome::Unknown)
            .then(|| 1.0 - to_f64(self.error_count) / to_f64(self.execution_count.max(1)))
    }

    /// Raises the call by what another sighting of it knows better; true if anything changed.
    ///
    /// A better clock replaces the duration, a known outcome an unknown one, and a value fills a gap. What is known
    /// already stays, so that a repeat changes nothing. Session and start stay those of the first sighting.
    pub fn absorb(&mut self, other: &Self) -> bool {
        let before = self.clone();
        if other.duration_source > self.duration_source {
            self.duration_source = other.duration_source;
            self.total_duration_ms = other.total_duration_ms;
        }
        if self.outcome == Outcome::Unknown {
            self.outcome = other.outcome;
            self.error_count = other.error_count;
        }
        fill(&mut self.parent_id, other.parent_id.as_ref());
        fill(&mut self.memory_usage_mb, other.memory_usage_mb.as_ref());
        fill(&mut self.cpu_time_ms, other.cpu_time_ms.as_ref());
        fill(&mut self.parameters, other.parameters.as_ref());
        fill(
            &mut self.output_size_bytes,
            other.output_size_bytes.as_ref(),
        );
        fill(&mut self.program, other.program.as_ref());
        fill(&mut self.command_line, other.command_line.as_ref());
        fill(
            &mut self.working_directory,
            other.working_directory.as_ref(),
        );
        *self != before
    }
}

fn fill<T: Clone>(gap: &mut Option<T>, value: Option<&T>) {
    if gap.is_none() {
        *gap = value.cloned();
    }
}

/// A count or a number of milliseconds as a float: exact up to 2^53.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "std has no other way; exact to 2^53"
)]
pub(crate) const fn to_f64(value: i64) -> f64 {
    value as f64
}

/// The category of a tool by its name: one of `file`, `search`, `shell`, `web`, `agent`, `planning`, `mcp`, `other`.
///
/// The names are those of Claude Code's tool reference; a name that begins with `mcp__` is an MCP server's.
#[must_use]
pub fn category_of(tool: &str) -> &'static str {
    match tool {
        "Read" | "Write" | "Edit" | "MultiEdit" | "NotebookEdit" | "NotebookRead" | "LS" => "file",
        "Glob" | "Grep" | "LSP" | "ToolSearch" => "search",
        "Bash" | "BashOutput" | "KillBash" | "KillShell" | "PowerShell" | "Monitor" => "shell",
        "WebFetch" | "WebSearch" => "web",
        "Task" | "Agent" | "TaskOutput" | "TaskStop" | "Skill" | "SendMessage" => "agent",
        "TodoWrite" | "TodoRead" | "TaskCreate" | "TaskGet" | "TaskList" | "TaskUpdate"
        | "EnterPlanMode" | "ExitPlanMode" | "AskUserQuestion" => "planning",
        name if name.starts_with("mcp__") => "mcp",
        _ => "other",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use uuid::Uuid;

    pub(crate) fn call(clock: DurationSource, millis: Option<i64>, outcome: Outcome) -> ToolMetric {
        ToolMetric {
            id: CallId::from_uuid(Uuid::from_u128(1)),
            session_id: SessionId::from_uuid(Uuid::from_u128(2)),
            user_id: UserId::from_uuid(Uuid::from_u128(3)),
            parent_id: None,
            tool_name: ToolName::parse("tool name", "Bash").unwrap(),
            tool_category: ToolCategory::parse("category", "shell").unwrap(),
            started_at: Timestamp::from_micros(5).unwrap(),
            execution_count: 1,
            total_duration_ms: millis,
            error_count: i64::from(outcome == Outcome::Error),
            outcome,
            memory_usage_mb: None,
            cpu_time_ms: None,
            parameters: None,
            output_size_bytes: None,
            program: None,
            command_line: None,
            working_directory: None,
            source: Source::parse("source", "claude").unwrap(),
            source_id: None,
            duration_source: clock,
            provenance: None,
            created_at: Timestamp::from_micros(9).unwrap(),
        }
    }

    #[test]
    fn a_better_clock_raises_a_call_and_a_worse_one_does_not() {
        let mut row = call(DurationSource::Transcript, Some(50), Outcome::Success);
        assert!(row.absorb(&call(DurationSource::Reported, Some(41), Outcome::Success)));
        assert_eq!(
            (row.total_duration_ms, row.duration_source),
            (Some(41), DurationSource::Reported)
        );
        assert!(!row.absorb(&call(
            DurationSource::Transcript,
            Some(50),
            Outcome::Success
        )));
        assert!(!row.absorb(&call(DurationSource::Reported, Some(40), Outcome::Success)));
    }

    #[test]
    fn a_result_that_comes_late_settles_an_open_call_once() {
        let mut row = call(DurationSource::None, None, Outcome::Unknown);
        assert_eq!(row.success_rate(), None);
        assert!(row.absorb(&call(DurationSource::HookPair, Some(7), Outcome::Error)));
        assert_eq!((row.error_count, row.success_rate()), (1, Some(0.0)));
        assert!(!row.absorb(&call(DurationSource::None, None, Outcome::Success)));
    }
}
