//! The engine: takes batches from an outbox to a remote until nothing waits.
//!
//! Decisions are [`crate::plan`]'s; this carries them out. Invariants: what an offer found is journalled before the
//! remote's commit; a batch is acknowledged only after it; after any failure the same batch is offered again, so a
//! repeat is possible and a loss is not.

use tokio::time::Instant;

use crate::backoff;
use crate::change::Batch;
use crate::fault::{Fault, RemoteError};
use crate::plan::{self, Patience, Recovery, Step};
use crate::port::{Limits, Outbox, Receipt, Remote};

/// A server that forgets a new stream this often in one run is not one to go on with.
const NEW_STREAMS: u32 = 3;

/// What a run has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows that the server now holds, new there or not.
    pub pushed: u64,
    /// Batches acknowledged.
    pub batches: u64,
    /// Rows that the server refused.
    pub rejected: u64,
    /// Rows that both sides had changed.
    pub conflicts: u64,
    /// Batches that the server had already taken.
    pub recovered: u64,
    /// How often the server was found at an older batch.
    pub rewinds: u64,
    /// How often a new stream was begun.
    pub new_streams: u32,
}

/// Why a run ended early. What it did until then stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E: std::error::Error + Send + Sync + 'static> {
    /// The outbox failed.
    #[error(transparent)]
    Outbox(E),
    /// The remote failed, and trying again does not help or has not helped.
    #[error(transparent)]
    Remote(RemoteError),
}

/// An outbox, a remote, and what is known of the way between them.
#[derive(Debug)]
pub struct Engine<O, R> {
    outbox: O,
    remote: R,
    limits: Limits,
    patience: Patience,
    progress: Progress,
}

impl<O: Outbox, R: Remote> Engine<O, R> {
    /// Joins the two sides.
    pub const fn new(outbox: O, remote: R, patience: Patience) -> Self {
        Self {
            outbox,
            remote,
            limits: plan::FIRST,
            patience,
            progress: Progress {
                pushed: 0,
                batches: 0,
                rejected: 0,
                conflicts: 0,
                recovered: 0,
                rewinds: 0,
                new_streams: 0,
            },
        }
    }

    /// The remote, for what is not a batch.
    pub const fn remote_mut(&mut self) -> &mut R {
        &mut self.remote
    }

    /// What has been done so far, across runs.
    pub const fn progress(&self) -> Progress {
        self.progress
    }

    /// Offers batches until nothing waits. `report` hears of each batch that was settled.
    ///
    /// # Errors
    /// [`Error`]; everything settled before stands, and the next run goes on from there.
    pub async fn drain(&mut self, mut report: impl FnMut(Progress)) -> Result<(), Error<O::Error>> {
        let mut failures = 0;
        while let Some(batch) = self
            .outbox
            .next_batch(self.limits)
            .await
            .map_err(Error::Outbox)?
        {
            let begun = Instant::now();
            match self.settle(&batch).await {
                Ok(()) => {
                    failures = 0;
                    self.limits = plan::resize(self.limits, batch.changes.len(), begun.elapsed());
                    report(self.progress);
                }
                Err(Error::Remote(error)) => {
                    failures += 1;
                    let heard = self.progress != Progress::default();
                    if plan::after_failure(&error, failures, heard, self.patience) == Recovery::Stop
                    {
                        return Err(Error::Remote(error));
                    }
                    let wait = backoff::wait(failures, &mut rand::rng());
                    tracing::info!(failures, wait_ms = wait.as_millis(), error = %error, "retrying a batch");
                    self.limits = plan::shrink(self.limits);
                    tokio::time::sleep(wait).await;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Offers one batch and carries out what follows.
    async fn settle(&mut self, batch: &Batch) -> Result<(), Error<O::Error>> {
        let offer = self.remote.offer(batch).await.map_err(Error::Remote)?;
        match plan::after_offer(offer) {
            Step::Commit(receipt) => self.commit(batch, &receipt).await,
            Step::Acknowledge => {
                self.outbox
                    .acknowledge(batch)
                    .await
                    .map_err(Error::Outbox)?;
                self.progress.recovered += 1;
                self.count(batch, 0);
                Ok(())
            }
            Step::Rewind(to) => {
                if self.outbox.rewind(batch, to).await.map_err(Error::Outbox)? {
                    tracing::warn!(
                        "the server stands at an older batch: offering again from there"
                    );
                    self.progress.rewinds += 1;
                    Ok(())
                } else {
                    self.begin_anew().await
                }
            }
            Step::BeginAnew => self.begin_anew().await,
        }
    }

    async fn commit(&mut self, batch: &Batch, receipt: &Receipt) -> Result<(), Error<O::Error>> {
        // Before the commit: if its answer is lost, the journal is all that tells what was left out.
        self.outbox
            .journal(batch, receipt)
            .await
            .map_err(Error::Outbox)?;
        self.remote.commit().await.map_err(Error::Remote)?;
        // After the commit: a repeat is harmless, a loss is not.
        self.outbox
            .acknowledge(batch)
            .await
            .map_err(Error::Outbox)?;
        self.progress.conflicts += count(receipt.conflicts.len());
        self.progress.rejected += count(receipt.rejects.len());
        self.count(batch, receipt.rejects.len());
        Ok(())
    }

    async fn begin_anew(&mut self) -> Result<(), Error<O::Error>> {
        if self.progress.new_streams >= NEW_STREAMS {
            let message = "the server does not keep this device's stream";
            return Err(Error::Remote(RemoteError::new(
                "begin a stream",
                Fault::Systemic,
                message,
            )));
        }
        tracing::warn!(
            "the server does not know this file's stream: offering every row in a new one"
        );
        self.progress.new_streams += 1;
        self.outbox.begin_anew().await.map_err(Error::Outbox)
    }

    fn count(&mut self, batch: &Batch, rejected: usize) {
        self.progress.batches += 1;
        self.progress.pushed += count(batch.changes.len().saturating_sub(rejected));
    }
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
