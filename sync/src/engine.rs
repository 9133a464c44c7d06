//! The engine: takes batches from an outbox to a remote until nothing waits.
//!
//! Decisions are [`crate::plan`]'s; this carries them out. Invariants: what an offer found is journalled before the
//! remote's commit; a batch is acknowledged only after it; at most two batches are open, the one that is offered and the
//! one that is sealed ahead; after any failure, and at the start of each run, the server is asked what became of them
//! before anything else is offered, so a repeat is possible and a loss is not.

use tokio::time::Instant;
use uuid::Uuid;

use crate::backoff;
use crate::change::{Batch, Link};
use crate::fault::{Fault, RemoteError};
use crate::plan::{self, Patience, Recovery, Step, Verdict};
use crate::port::{Acknowledged, Limits, Offer, Outbox, Receipt, Remote};

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
        loop {
            let settled = self.progress.batches;
            match self.flow(&mut report).await {
                Err(Error::Remote(error)) => {
                    if self.progress.batches > settled {
                        failures = 0;
                    }
                    failures += 1;
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
                ended => return ended,
            }
        }
    }

    /// Settles batch after batch until nothing waits or something fails. While the server works on one batch, this
    /// side marks the one before it and seals the one after it.
    async fn flow(&mut self, report: &mut impl FnMut(Progress)) -> Result<(), Error<O::Error>> {
        self.resolve_doubt().await?;
        let mut taken = None;
        let mut next = self.turn(None).await?;
        loop {
            let Some(batch) = next.take() else {
                // The last one is marked alone; what came meanwhile goes on from there.
                let Some(last) = taken.take() else {
                    return Ok(());
                };
                next = self.turn(Some(last)).await?;
                report(self.progress);
                continue;
            };
            let begun = Instant::now();
            let before = taken.take();
            let (offered, turned) = tokio::join!(
                self.remote.offer(&batch),
                self.outbox.turn(before, self.limits)
            );
            // This side's work stands, whatever the network did.
            let (acknowledged, ahead) = turned.map_err(Error::Outbox)?;
            if before.is_some() {
                self.count(acknowledged);
                report(self.progress);
            }
            let whole = self.settle(&batch, offered.map_err(Error::Remote)?).await?;
            if whole {
                self.limits = plan::resize(self.limits, batch.changes.len(), begun.elapsed());
                taken = Some(batch.link());
                next = ahead;
            } else {
                // What was sealed ahead took for granted that all of this batch arrived.
                if let Some(ahead) = ahead {
                    self.withdraw(ahead.link()).await?;
                }
                report(self.progress);
                next = self.turn(None).await?;
            }
        }
    }

    async fn turn(&mut self, taken: Option<Link>) -> Result<Option<Batch>, Error<O::Error>> {
        let turned = self.outbox.turn(taken, self.limits).await;
        let (acknowledged, next) = turned.map_err(Error::Outbox)?;
        if taken.is_some() {
            self.count(acknowledged);
        }
        Ok(next)
    }

    /// Asks the server about the batches that were left open: each is marked or re-made, so that a batch which was
    /// sealed too large, or for users who are no longer enrolled, or with rows that have changed, never stands in the
    /// way.
    async fn resolve_doubt(&mut self) -> Result<(), Error<O::Error>> {
        while let Some(open) = self.outbox.unacknowledged().await.map_err(Error::Outbox)? {
            let position = self
                .remote
                .position(open.stream_id)
                .await
                .map_err(Error::Remote)?;
            match plan::of_open_batch(open, position) {
                Verdict::Acknowledge => self.recover(open).await?,
                Verdict::Unseal => self.unseal(open).await?,
                Verdict::Rewind(to) => self.rewind(open, to).await?,
                Verdict::BeginAnew => self.begin_anew().await?,
            }
        }
        Ok(())
    }

    /// Carries out what follows an offer. True where every row of the batch is on the server as it was offered, and
    /// all that is left is to mark it.
    async fn settle(&mut self, batch: &Batch, offer: Offer) -> Result<bool, Error<O::Error>> {
        match plan::after_offer(offer) {
            Step::Commit(receipt) => return self.commit(batch, &receipt).await,
            Step::Acknowledge => self.recover(batch.link()).await?,
            Step::Rewind(to) => self.rewind(batch.link(), to).await?,
            Step::BeginAnew => self.begin_anew().await?,
        }
        Ok(false)
    }

    async fn commit(&mut self, batch: &Batch, receipt: &Receipt) -> Result<bool, Error<O::Error>> {
        // Before the commit: if its answer is lost, the journal is all that tells what was left out.
        self.outbox
            .journal(batch, receipt)
            .await
            .map_err(Error::Outbox)?;
        self.remote.commit().await.map_err(Error::Remote)?;
        self.progress.conflicts += count(receipt.conflicts.len());
        self.progress.newer += count(receipt.newer);
        let whole = receipt.rejects.is_empty() && receipt.conflicts.is_empty();
        if !whole {
            // After the commit: a repeat is harmless, a loss is not.
            self.acknowledge(batch.link()).await?;
        }
        Ok(whole)
    }

    async fn recover(&mut self, batch: Link) -> Result<(), Error<O::Error>> {
        self.progress.recovered += 1;
        self.acknowledge(batch).await
    }

    async fn acknowledge(&mut self, batch: Link) -> Result<(), Error<O::Error>> {
        let acknowledged = self
            .outbox
            .acknowledge(batch)
            .await
            .map_err(Error::Outbox)?;
        self.count(acknowledged);
        Ok(())
    }

    fn count(&mut self, acknowledged: Acknowledged) {
        self.progress.batches += 1;
        self.progress.rejected += acknowledged.rejected;
        self.progress.pushed += acknowledged.rows.saturating_sub(acknowledged.rejected);
    }

    async fn unseal(&mut self, batch: Link) -> Result<(), Error<O::Error>> {
        self.outbox.unseal(batch).await.map_err(Error::Outbox)
    }

    /// Unseals a batch that was sealed ahead, unless going back took it along.
    async fn withdraw(&mut self, ahead: Link) -> Result<(), Error<O::Error>> {
        match self.outbox.unacknowledged().await.map_err(Error::Outbox)? {
            Some(open) if open == ahead => self.unseal(ahead).await,
            _ => Ok(()),
        }
    }

    /// Goes back to where the server stands, or begins anew where the journal does not know the place.
    async fn rewind(&mut self, batch: Link, to: Uuid) -> Result<(), Error<O::Error>> {
        if self.outbox.rewind(batch, to).await.map_err(Error::Outbox)? {
            tracing::warn!("the server stands at an older batch: offering again from there");
            self.progress.rewinds += 1;
            Ok(())
        } else {
            self.begin_anew().await
        }
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

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
