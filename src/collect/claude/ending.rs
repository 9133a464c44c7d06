//! How a call ended, by its result and the tool's own record of it.
//!
//! Depends on the line reader and `domain`. Invariant: a sentence of refusal or interruption counts only in a result
//! that is an error, so that a file which quotes it does not.

use crate::collect::sighting::Ending;
use crate::domain::tool_metric::Outcome;
use crate::domain::units::Timestamp;

use super::line::{Block, Mark, ToolUseResult};

/// What a result says of its call's end.
pub(super) fn ending(
    block: &Block<'_>,
    at: Timestamp,
    record: &ToolUseResult<'_>,
    denied: bool,
) -> Ending {
    let failed = block.is_error.is_true();
    let mut mark = block.content.mark.filter(|_| failed);
    let (mut reported_ms, mut is_end) = (None, true);
    match record {
        ToolUseResult::Absent => {}
        ToolUseResult::Text(told) => mark = mark.or(told.filter(|_| failed)),
        ToolUseResult::Record(record) => {
            reported_ms = record.reported_ms();
            is_end = !record.is_launch();
            if record.interrupted.is_true() {
                mark = mark.or(Some(Mark::Interrupted));
            }
        }
    }
    let outcome = match mark {
        _ if denied => Outcome::Denied,
        Some(Mark::Denied) => Outcome::Denied,
        Some(Mark::Interrupted) => Outcome::Interrupted,
        None if failed => Outcome::Error,
        None => Outcome::Success,
    };
    Ending {
        at,
        outcome,
        is_error: failed || outcome == Outcome::Denied,
        reported_ms,
        is_end,
        output_size_bytes: i64::try_from(block.content.size).ok(),
    }
}

/// Whether a `toolDenialKind` is the user's own refusal, as `user-rejected`.
pub(super) fn is_refusal(kind: &str) -> bool {
    kind.starts_with("user")
}
