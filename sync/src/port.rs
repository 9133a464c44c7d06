//! The two sides that the engine stands between: an [`Outbox`] that holds changes and a [`Remote`] that takes them.
//!
//! Purpose: the engine sees nothing else, so that it runs against a model in simulation and against SQLite and
//! PostgreSQL in life. Depends on [`crate::change`] and [`crate::fault`].

use std::future::Future;

use uuid::Uuid;

use crate::change::{Batch, Link, Table};
use crate::fault::RemoteError;

/// How far a batch may grow. The engine adapts it to what the connection carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Rows in a batch.
    pub rows: usize,
    /// Bytes of payload in a batch.
    pub bytes: usize,
}

/// A row that the server refused, told apart from its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// The row's table.
    pub table: Table,
    /// The row's id.
    pub id: Uuid,
    /// The version that was refused.
    pub rev: i64,
    /// Why, as the server's code.
    pub sqlstate: String,
    /// Why, in the server's words, without the row's values.
    pub message: String,
}

/// A row that the server holds at the same rev with other content.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The row's table.
    pub table: Table,
    /// The row's id.
    pub id: Uuid,
    /// The rev that both sides gave to different content.
    pub rev: i64,
    /// The digest on the server.
    pub remote_digest: [u8; 16],
    /// The server's row, column by column.
    pub remote_row: serde_json::Value,
}

/// What became of a batch's rows. Every row is in exactly one of the five.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Receipt {
    /// Rows inserted or raised.
    pub applied: usize,
    /// Rows that the server had with the same digest.
    pub same: usize,
    /// Rows that the server had at a higher rev.
    pub newer: usize,
    /// Rows at the same rev with other content.
    pub conflicts: Vec<Conflict>,
    /// Rows refused.
    pub rejects: Vec<Reject>,
}

impl Receipt {
    /// Takes in what became of further rows.
    pub fn add(&mut self, other: Self) {
        let Self {
            applied,
            same,
            newer,
            conflicts,
            rejects,
        } = other;
        self.applied += applied;
        self.same += same;
        self.newer += newer;
        self.conflicts.extend(conflicts);
        self.rejects.extend(rejects);
    }
}

/// The server's answer to a batch.
#[derive(Debug, Clone, PartialEq)]
pub enum Offer {
    /// It stood at the batch's predecessor: the rows are written, and wait for [`Remote::commit`].
    Applied(Receipt),
    /// It stood at this batch already: an acknowledgement was lost. Nothing is open.
    AlreadyApplied,
    /// It stands at another batch. Nothing is open.
    At(Uuid),
    /// It does not know the stream. Nothing is open.
    NoStream,
}

/// The side that takes batches.
pub trait Remote: Send {
    /// The batch that a stream stands at; `None` where it is not known. Waits for a transaction that is moving it.
    ///
    /// # Errors
    /// Classed by [`RemoteError::fault`].
    fn position(
        &mut self,
        stream_id: Uuid,
    ) -> impl Future<Output = Result<Option<Uuid>, RemoteError>> + Send;

    /// Offers a batch inside one transaction, which stays open when the answer is [`Offer::Applied`].
    ///
    /// # Errors
    /// Classed by [`RemoteError::fault`]; nothing is kept, and no transaction is left open.
    fn offer(&mut self, batch: &Batch) -> impl Future<Output = Result<Offer, RemoteError>> + Send;

    /// Commits what [`Remote::offer`] applied.
    ///
    /// # Errors
    /// The connection may fail on either side of the commit: the caller offers the same batch again to learn which.
    fn commit(&mut self) -> impl Future<Output = Result<(), RemoteError>> + Send;
}

/// What was acknowledged with a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// The batch's rows.
    pub rows: u64,
    /// Those of them that the server had refused.
    pub rejected: u64,
}

/// The side that holds changes until they are taken.
pub trait Outbox: Send {
    /// What can go wrong on this side.
    type Error: std::error::Error + Send + Sync + 'static;

    /// The first batch of the stream that was sealed and not acknowledged, if there is one.
    ///
    /// # Errors
    /// The outbox's own.
    fn unacknowledged(&mut self) -> impl Future<Output = Result<Option<Link>, Self::Error>> + Send;

    /// Lets the rows of a batch wait again, and of the one sealed after it, since the server does not have them: the
    /// next is sealed anew, with the limits, the users and the rows of then.
    ///
    /// # Errors
    /// The outbox's own.
    fn unseal(&mut self, batch: Link) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Marks the batch that was taken, if one is named, and seals the next onto the stream's last, acknowledged or
    /// not, with its rows as they are now; no batch when nothing waits. All in one step, since the server works
    /// meanwhile.
    ///
    /// # Errors
    /// The outbox's own; nothing is marked or sealed then.
    fn turn(
        &mut self,
        taken: Option<Link>,
        limits: Limits,
    ) -> impl Future<Output = Result<(Acknowledged, Option<Batch>), Self::Error>> + Send;

    /// Writes down rejects and conflicts before the remote's commit, replacing what an earlier offer of the same
    /// batch found. They count once the batch is acknowledged.
    ///
    /// # Errors
    /// The outbox's own.
    fn journal(
        &mut self,
        batch: &Batch,
        receipt: &Receipt,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Marks a batch as taken.
    ///
    /// # Errors
    /// The outbox's own.
    fn acknowledge(
        &mut self,
        batch: Link,
    ) -> impl Future<Output = Result<Acknowledged, Self::Error>> + Send;

    /// Goes back to an older batch of the stream, so that what came after waits again; false where the journal does
    /// not know it.
    ///
    /// # Errors
    /// The outbox's own.
    fn rewind(
        &mut self,
        batch: Link,
        to: Uuid,
    ) -> impl Future<Output = Result<bool, Self::Error>> + Send;

    /// Begins a new stream in which every row waits again.
    ///
    /// # Errors
    /// The outbox's own.
    fn begin_anew(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
}
