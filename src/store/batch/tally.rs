//! What the chunks of a batch came to, one after the other.
//!
//! Invariant: a chunk is counted once, under the number that it has in the input, as done or as failed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{
    BatchEnd, BatchOutcome, BatchProgress, Cancel, ChunkDone, ChunkError, ChunkFailed, OnFailure,
};

/// What has been done so far.
pub(super) struct Tally<T, E> {
    on_failure: OnFailure,
    chunks: usize,
    progress: BatchProgress,
    outcome: BatchOutcome<T, E>,
}

impl<T, E> Tally<T, E> {
    pub(super) const fn new(on_failure: OnFailure, total: Option<u64>) -> Self {
        Self {
            on_failure,
            chunks: 0,
            progress: BatchProgress {
                done: 0,
                failed: 0,
                total,
            },
            outcome: BatchOutcome {
                done: Vec::new(),
                failed: Vec::new(),
                end: BatchEnd::Finished,
            },
        }
    }

    fn is_stopped(&self) -> bool {
        self.on_failure == OnFailure::Stop && !self.outcome.failed.is_empty()
    }

    pub(super) fn goes_on(&self, cancel: &Cancel) -> bool {
        !self.is_stopped() && !cancel.is_cancelled()
    }

    /// Takes down what the next chunk came to.
    pub(super) fn settle(
        &mut self,
        items: usize,
        came_to: Result<T, ChunkError<E>>,
    ) -> BatchProgress {
        let index = self.chunks;
        self.chunks += 1;
        let items = u64::try_from(items).unwrap_or(u64::MAX);
        match came_to {
            Ok(value) => {
                self.progress.done += items;
                self.outcome.done.push(ChunkDone { index, value });
            }
            Err(error) => {
                self.progress.failed += items;
                self.outcome.failed.push(ChunkFailed { index, error });
            }
        }
        self.progress
    }

    pub(super) fn ended(mut self, end: BatchEnd) -> BatchOutcome<T, E> {
        self.outcome.end = end;
        self.outcome
    }

    pub(super) fn cut_short(self) -> BatchOutcome<T, E> {
        let end = if self.is_stopped() {
            BatchEnd::Stopped
        } else {
            BatchEnd::Cancelled
        };
        self.ended(end)
    }
}

/// Does work, and turns a panic in it into an error. What the work wrote is rolled back by then.
pub(super) fn contained<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<T, ChunkError<E>> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(came_to) => came_to.map_err(ChunkError::Failed),
        Err(thrown) => {
            let told = thrown
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| thrown.downcast_ref::<String>().cloned());
            Err(ChunkError::Panicked(
                told.unwrap_or_else(|| "no message".to_owned()),
            ))
        }
    }
}
