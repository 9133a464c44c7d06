//! What to do next, decided without a clock or I/O: the engine carries it out.

use std::time::Duration;

use uuid::Uuid;

use crate::change::Link;
use crate::fault::{Fault, RemoteError};
use crate::port::{Limits, Offer, Receipt};

/// The step that follows an offer that was answered.
#[derive(Debug, PartialEq)]
pub enum Step {
    /// Journal the receipt, commit, acknowledge.
    Commit(Receipt),
    /// The acknowledgement was lost: mark the batch.
    Acknowledge,
    /// The server stands at this batch: go back to it if the journal knows it, else begin anew.
    Rewind(Uuid),
    /// The server does not know the stream: begin anew.
    BeginAnew,
}

/// The step that follows the server's answer.
#[must_use]
pub fn after_offer(offer: Offer) -> Step {
    match offer {
        Offer::Applied(receipt) => Step::Commit(receipt),
        Offer::AlreadyApplied => Step::Acknowledge,
        Offer::At(batch) => Step::Rewind(batch),
        Offer::NoStream => Step::BeginAnew,
    }
}

/// What becomes of a batch that an earlier attempt left open, now that the server has said where its stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The server has it: mark it.
    Acknowledge,
    /// The server stands before it: its rows wait again.
    Unseal,
    /// The server stands at this batch: go back to it if the journal knows it, else begin anew.
    Rewind(Uuid),
    /// The server does not know the stream: begin anew.
    BeginAnew,
}

/// What becomes of an open batch, where its stream stands at `position`.
#[must_use]
pub fn of_open_batch(open: Link, position: Option<Uuid>) -> Verdict {
    match position {
        Some(at) if at == open.batch_id => Verdict::Acknowledge,
        at if at == open.prev_batch_id => Verdict::Unseal,
        Some(at) => Verdict::Rewind(at),
        None => Verdict::BeginAnew,
    }
}

/// How often a failure that will pass is tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// For ever: a daemon's.
    Endless,
    /// So many failures in a row: a command's. A server that no one has heard from is not waited for at all.
    Attempts(u32),
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Wait, then offer the same batch again.
    Retry,
    /// Stop and say so.
    Stop,
}

/// What follows the `failures`th failure in a row; `heard` tells whether the server has answered before.
#[must_use]
pub fn after_failure(
    error: &RemoteError,
    failures: u32,
    heard: bool,
    patience: Patience,
) -> Recovery {
    let answered = heard || error.sqlstate.is_some();
    match (error.fault, patience) {
        (Fault::Transient, Patience::Endless) => Recovery::Retry,
        (Fault::Transient, Patience::Attempts(most)) if failures < most && answered => {
            Recovery::Retry
        }
        _ => Recovery::Stop,
    }
}

/// The smallest batch that slowness shrinks to.
const LEAST: Limits = Limits {
    rows: 50,
    bytes: 64 << 10,
};
/// Where a stream begins.
pub const FIRST: Limits = Limits {
    rows: 500,
    bytes: 1 << 20,
};
/// Bounds what one batch holds in memory and what one transaction holds on the server.
pub const MOST: Limits = Limits {
    rows: 8_192,
    bytes: 8 << 20,
};

/// The limits after a batch of `rows` took `elapsed`: doubled when a full batch was fast (under 250 ms), halved when
/// one was slow (over 2 s).
#[must_use]
pub fn resize(limits: Limits, rows: usize, elapsed: Duration) -> Limits {
    if elapsed > Duration::from_secs(2) {
        shrink(limits)
    } else if elapsed < Duration::from_millis(250) && rows >= limits.rows {
        Limits {
            rows: limits.rows.saturating_mul(2).min(MOST.rows),
            bytes: limits.bytes.saturating_mul(2).min(MOST.bytes),
        }
    } else {
        limits
    }
}

/// Half the limits, but not below 50 rows and 64 KiB.
#[must_use]
pub fn shrink(limits: Limits) -> Limits {
    Limits {
        rows: (limits.rows / 2).max(LEAST.rows),
        bytes: (limits.bytes / 2).max(LEAST.bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(fault: Fault, sqlstate: Option<&str>) -> RemoteError {
        let mut error = RemoteError::new("offer batch", fault, "x");
        error.sqlstate = sqlstate.map(str::to_owned);
        error
    }

    #[test]
    fn only_what_will_pass_is_tried_again() {
        for fault in [Fault::Row, Fault::Login, Fault::Systemic, Fault::Unclear] {
            let recovery = after_failure(&error(fault, Some("42501")), 1, true, Patience::Endless);
            assert_eq!(recovery, Recovery::Stop, "{fault:?}");
        }
    }

    #[test]
    fn an_open_batch_s_fate_is_told_by_where_the_server_stands() {
        let id = |n| Uuid::from_u128(n);
        let link = |prev| Link {
            stream_id: id(1),
            batch_id: id(3),
            prev_batch_id: prev,
        };
        assert_eq!(
            of_open_batch(link(Some(id(2))), Some(id(3))),
            Verdict::Acknowledge
        );
        assert_eq!(
            of_open_batch(link(Some(id(2))), Some(id(2))),
            Verdict::Unseal
        );
        assert_eq!(of_open_batch(link(None), None), Verdict::Unseal);
        assert_eq!(of_open_batch(link(Some(id(2))), None), Verdict::BeginAnew);
        assert_eq!(
            of_open_batch(link(None), Some(id(9))),
            Verdict::Rewind(id(9))
        );
    }

    #[test]
    fn a_command_does_not_wait_for_a_server_that_never_answered() {
        let refused = error(Fault::Transient, None);
        let command = Patience::Attempts(5);
        assert_eq!(after_failure(&refused, 1, false, command), Recovery::Stop);
        assert_eq!(after_failure(&refused, 1, true, command), Recovery::Retry);
        assert_eq!(after_failure(&refused, 5, true, command), Recovery::Stop);
        assert_eq!(
            after_failure(&refused, 5_000, false, Patience::Endless),
            Recovery::Retry
        );
    }

    #[test]
    fn batches_grow_while_fast_and_full_and_shrink_when_slow() {
        let fast = Duration::from_millis(20);
        assert_eq!(
            resize(FIRST, 500, fast),
            Limits {
                rows: 1_000,
                bytes: 2 << 20
            }
        );
        assert_eq!(
            resize(FIRST, 499, fast),
            FIRST,
            "a batch that was not full tells nothing"
        );
        assert_eq!(resize(MOST, MOST.rows, fast), MOST);
        assert_eq!(resize(LEAST, 50, Duration::from_secs(9)), LEAST);
    }
}
