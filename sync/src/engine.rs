//! The engine: takes batches from an outbox to a remote until nothing waits.
//!
//! Decisions are [`crate::plan`]'s; this carries them out. Invariants: what an offer found is journalled before the
//! remote's commit; a batch is acknowledged only after it; after any failure, and at the start of each run, the server
//! is asked what became of the open batch before anything else is offered, so a repeat is possible and a loss is not.

use tokio::time::Instant;

use crate::backoff;
use crate::change::{Batch, Link};
use crate::fault::{Fault, RemoteError};
use crate::plan::{self, Patience, Recovery, Step, Verdict};
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
    /// Rows that the server holds in a newer version, from another machine of the same person.
    pub newer: u64,
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
                newer: 0,
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
        // An earlier run, or a failure in this one, may have left a batch of which only the server knows the fate.
        let mut in_doubt = true;
        loop {
            match self.step(in_doubt).await {
                Ok(Done::Nothing) => return Ok(()),
                Ok(Done::Batch) => {
                    failures = 0;
                    in_doubt = false;
                    report(self.progress);
                }
                Err(Error::Remote(error)) => {
                    failures += 1;
                    in_doubt = true;
                    self.limits = plan::shrink(self.limits);
                    let heard = self.progress != Progress::default();
                    if plan::after_failure(&error, failures, heard, self.patience) == Recovery::Stop
                    {
                        return Err(Error::Remote(error));
                    }
                    let wait = backoff::wait(failures, &mut rand::rng());
                    tracing::info!(failures, wait_ms = wait.as_millis(), error = %error, "retrying a batch");
                    tokio::time::sleep(wait).await;
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Settles one batch, after the one that is in doubt.
    async fn step(&mut self, in_doubt: bool) -> Result<Done, Error<O::Error>> {
        if in_doubt {
            self.resolve_doubt().await?;
        }
        let Some(batch) = self
            .outbox
            .next_batch(self.limits)
            .await
            .map_err(Error::Outbox)?
        else {
            return Ok(Done::Nothing);
        };
        let begun = Instant::now();
        self.settle(&batch).await?;
        self.limits = plan::resize(self.limits, batch.changes.len(), begun.elapsed());
        Ok(Done::Batch)
    }

    /// Asks the server about a batch that was left open: it is marked, or re-made, so that a batch which was sealed
    /// too large, or for users who are no longer enrolled, or with rows that have changed, never stands in the way.
    async fn resolve_doubt(&mut self) -> Result<(), Error<O::Error>> {
        let Some(open) = self.outbox.unacknowledged().await.map_err(Error::Outbox)? else {
            return Ok(());
        };
        let position = self
            .remote
            .position(open.stream_id)
            .await
            .map_err(Error::Remote)?;
        match plan::of_open_batch(open, position) {
            Verdict::Acknowledge => self.recover(open).await,
            Verdict::Unseal => self.outbox.unseal(open).await.map_err(Error::Outbox),
            Verdict::Offer => Ok(()),
        }
    }

    /// Offers one batch and carries out what follows.
    async fn settle(&mut self, batch: &Batch) -> Result<(), Error<O::Error>> {
        let offer = self.remote.offer(batch).await.map_err(Error::Remote)?;
        match plan::after_offer(offer) {
            Step::Commit(receipt) => self.commit(batch, &receipt).await,
            Step::Acknowledge => self.recover(batch.link()).await,
            Step::Rewind(to) => {
                if self
                    .outbox
                    .rewind(batch.link(), to)
                    .await
                    .map_err(Error::Outbox)?
                {
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
        self.acknowledge(batch.link()).await?;
        self.progress.conflicts += count(receipt.conflicts.len());
        self.progress.newer += count(receipt.newer);
        Ok(())
    }

    async fn recover(&mut self, batch: Link) -> Result<(), Error<O::Error>> {
        self.progress.recovered += 1;
        self.acknowledge(batch).await
    }

    async fn acknowledge(&mut self, batch: Link) -> Result<(), Error<O::Error>> {
        let taken = self
            .outbox
            .acknowledge(batch)
            .await
            .map_err(Error::Outbox)?;
        self.progress.batches += 1;
        self.progress.rejected += taken.rejected;
        self.progress.pushed += taken.rows.saturating_sub(taken.rejected);
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
}

/// What a step came to.
enum Done {
    /// Nothing waits.
    Nothing,
    /// A batch was settled.
    Batch,
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
