//! The calls of a seeded session: which tools, how long, how they end.
//!
//! Each tool has its own weight, median time, spread, error rate and size of result; a shell call takes the time of
//! the program that it runs. About 15 calls in a thousand are refused, broken off or never answered, as in life; a
//! subagent's calls lie within the call that started it.

use crate::domain::InvalidValue;
use crate::domain::ids::{CallId, SessionId, UserId};
use crate::domain::session::{Source, SourceId};
use crate::domain::tool_metric::{
    DurationSource, Outcome, Program, ToolCategory, ToolMetric, ToolName, category_of,
};
use crate::domain::units::Timestamp;

use super::draw::Draw;

/// How something that runs behaves.
struct Habit {
    name: &'static str,
    /// How often it is chosen, relative to the others.
    weight: u64,
    /// Milliseconds that half of its calls stay under.
    median_ms: i64,
    /// Thousandths of an octave that two thirds stay within.
    spread: i64,
    /// Errors in a thousand calls.
    errors: u64,
    /// Bytes that half of its results stay under.
    output: i64,
}

const fn habit(
    name: &'static str,
    weight: u64,
    (median_ms, spread): (i64, i64),
    errors: u64,
    output: i64,
) -> Habit {
    Habit {
        name,
        weight,
        median_ms,
        spread,
        errors,
        output,
    }
}

const TOOLS: [Habit; 13] = [
    habit("Read", 260, (14, 1_200), 15, 5_200),
    habit("Bash", 210, (1_400, 2_000), 60, 1_800),
    habit("Edit", 170, (38, 1_100), 40, 900),
    habit("Grep", 110, (90, 1_600), 12, 1_400),
    habit("TodoWrite", 60, (8, 800), 2, 160),
    habit("Glob", 55, (60, 1_500), 8, 700),
    habit("Write", 45, (30, 1_000), 12, 300),
    habit("MultiEdit", 25, (55, 1_200), 50, 1_300),
    habit("WebFetch", 14, (3_200, 1_100), 80, 4_000),
    habit("mcp__postgres__query", 14, (240, 1_800), 90, 2_400),
    habit("Task", 12, (6_000, 1_300), 25, 3_500),
    habit("mcp__github__search_code", 12, (900, 1_100), 45, 2_800),
    habit("WebSearch", 10, (5_200, 800), 20, 3_000),
];

/// What a shell call runs.
const PROGRAMS: [Habit; 10] = [
    habit("git", 270, (70, 1_300), 25, 700),
    habit("cargo", 190, (9_500, 1_900), 190, 2_600),
    habit("npm", 120, (7_200, 1_600), 150, 2_900),
    habit("rg", 110, (45, 1_200), 70, 1_500),
    habit("ls", 90, (9, 700), 15, 400),
    habit("python3", 80, (620, 2_100), 130, 900),
    habit("curl", 50, (380, 1_400), 90, 1_100),
    habit("docker", 40, (4_800, 2_000), 110, 1_200),
    habit("psql", 30, (160, 1_500), 80, 800),
    habit("make", 20, (5_500, 1_900), 160, 1_700),
];

/// What a subagent does: it looks and does not touch.
const SUBAGENT_TOOLS: [&str; 4] = ["Read", "Grep", "Glob", "Bash"];

/// Who made the calls, and in what.
#[derive(Debug)]
pub(super) struct Of<'s> {
    pub(super) user: UserId,
    pub(super) session: SessionId,
    pub(super) source: &'s Source,
    /// Where the rows are said to have been read: stays on the machine, and tells them from real ones.
    pub(super) provenance: &'s str,
}

/// Makes `count` calls, the first of which begins at `start` (microseconds), in order of their start.
pub(super) fn calls(
    draw: &mut Draw,
    of: &Of<'_>,
    start: i64,
    count: usize,
) -> Result<Vec<ToolMetric>, InvalidValue> {
    let mut calls = Vec::with_capacity(count);
    let mut at = start;
    while calls.len() < count {
        let Some(tool) = draw.pick(&TOOLS, |tool| tool.weight) else {
            break;
        };
        let mut call = one(draw, of, tool, at)?;
        if tool.name != "Task" {
            at = end(&call) + pause(draw);
            calls.push(call);
            continue;
        }
        let room = i64::try_from(count - calls.len() - 1).unwrap_or(0);
        let mut inner = at + millis(draw.skewed(2_500, 700));
        let mut children = Vec::new();
        for _ in 0..draw.between(2, 9).min(room) {
            let tools = TOOLS
                .iter()
                .filter(|tool| SUBAGENT_TOOLS.contains(&tool.name));
            let tools: Vec<&Habit> = tools.collect();
            let Some(tool) = draw.pick(&tools, |tool| tool.weight) else {
                break;
            };
            let mut child = one(draw, of, tool, inner)?;
            child.parent_id = Some(call.id);
            inner = end(&child) + millis(draw.skewed(2_500, 900));
            children.push(child);
        }
        if let Some(total) = &mut call.total_duration_ms {
            // It ends after the last of its own calls, when it has written its answer.
            *total += (inner - at) / 1_000;
        }
        at = end(&call).max(inner) + pause(draw);
        calls.push(call);
        calls.append(&mut children);
    }
    Ok(calls)
}

/// When a call ended, in microseconds; its start where no clock saw it.
pub(super) fn end(call: &ToolMetric) -> i64 {
    call.started_at.as_micros() + millis(call.total_duration_ms.unwrap_or(0))
}

fn one(draw: &mut Draw, of: &Of<'_>, tool: &Habit, at: i64) -> Result<ToolMetric, InvalidValue> {
    let program = if tool.name == "Bash" {
        draw.pick(&PROGRAMS, |program| program.weight)
    } else {
        None
    };
    let habit = program.unwrap_or(tool);
    let outcome = outcome(draw, tool.name, habit.errors);
    let (clock, duration) = match outcome {
        Outcome::Denied | Outcome::Unknown => (DurationSource::None, None),
        _ => (
            clock(draw),
            Some(draw.skewed(habit.median_ms, habit.spread).clamp(1, 600_000)),
        ),
    };
    let output = draw.skewed(habit.output, 1_400).clamp(1, 400_000);
    let own = source_id(draw)?;
    let started_at = Timestamp::from_micros(at)?;
    let created_at = Timestamp::from_micros(at + millis(duration.unwrap_or(0)))?;
    Ok(ToolMetric {
        id: CallId::derive(of.user, of.source, Some(&own)),
        session_id: of.session,
        user_id: of.user,
        parent_id: None,
        tool_name: ToolName::parse("tool name", tool.name)?,
        tool_category: ToolCategory::parse("tool category", category_of(tool.name))?,
        started_at,
        execution_count: 1,
        total_duration_ms: duration,
        error_count: i64::from(!matches!(outcome, Outcome::Success | Outcome::Unknown)),
        outcome,
        memory_usage_mb: None,
        cpu_time_ms: None,
        parameters: None,
        output_size_bytes: (outcome != Outcome::Unknown).then_some(output),
        program: program
            .map(|program| Program::parse("program", program.name))
            .transpose()?,
        command_line: None,
        working_directory: None,
        source: of.source.clone(),
        source_id: Some(own),
        duration_source: clock,
        provenance: Some(of.provenance.to_owned()),
        created_at,
    })
}

fn outcome(draw: &mut Draw, tool: &str, errors: u64) -> Outcome {
    // Only what changes or reaches something is asked about, and so can be refused.
    let asks = matches!(tool, "Bash" | "Edit" | "Write" | "MultiEdit" | "WebFetch");
    let fate = draw.below(1_000);
    match fate {
        0..4 => Outcome::Interrupted,
        4..7 => Outcome::Unknown,
        7..17 if asks => Outcome::Denied,
        _ if draw.chance(errors) => Outcome::Error,
        _ => Outcome::Success,
    }
}

fn clock(draw: &mut Draw) -> DurationSource {
    match draw.below(100) {
        0..55 => DurationSource::HookPair,
        55..80 => DurationSource::Transcript,
        _ => DurationSource::Reported,
    }
}

/// Time in which the model writes, or the user does: seconds, now and then minutes.
fn pause(draw: &mut Draw) -> i64 {
    let longer = draw.chance(90);
    let (median, spread) = if longer {
        (150_000, 900)
    } else {
        (9_000, 1_200)
    };
    millis(draw.skewed(median, spread).clamp(200, 900_000))
}

/// An id as Claude Code gives its calls.
fn source_id(draw: &mut Draw) -> Result<SourceId, InvalidValue> {
    const LETTERS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut id = String::from("toolu_01");
    for _ in 0..22 {
        id.extend(draw.pick(LETTERS, |_| 1).map(|letter| char::from(*letter)));
    }
    SourceId::parse("source id", &id)
}

const fn millis(millis: i64) -> i64 {
    millis * 1_000
}
