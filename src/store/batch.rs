//! Many items in chunks, a transaction each.
//!
//! Depends on the tenant's handle. Not the batches of synchronisation, which are [`super::outbox`]'s.
//!
//! Invariants: a chunk is committed whole or leaves no trace; chunks are written one after the other in the order of
//! the input, so that after a stop exactly the chunks before it are committed (less those that failed, where the run
//! goes on past failures); what a chunk came to is told under its number. Items are taken from the input as they are
//! needed: at most one chunk is held where nothing is prepared, and two for each thread otherwise. A panic in the
//! caller's work fails its chunk alone.
//!
//! SQLite has one writer, so threads do not make writing faster. They prepare chunks while an earlier one is written
//! ([`Batch::run_prepared`]), or read ([`Batch::read`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;

use super::error::Error;
use super::tenant::{Reader, TenantStore, Writer};
use crate::domain::InvalidValue;
use tally::{Tally, contained};
use threads::{EndOnDrop, Window, prepare_from};

mod tally;
mod threads;

/// Bounds the memory of a chunk and the time that other writers wait for it.
const LARGEST_CHUNK: usize = 100_000;
/// More threads than that wait for one writer or for the tenant's connections.
const MOST_THREADS: usize = 64;

/// Stops a batch from another thread, or from its own callbacks. Clones stop the same batch.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// One that has not been cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the batch to end before its next chunk. The chunk that is being written is finished.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the batch was asked to end.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What a batch does about a chunk that fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Ends: nothing after it is done.
    #[default]
    Stop,
    /// Goes on with the next one.
    GoOn,
}

/// How far a batch is, in items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchProgress {
    /// Of chunks that are done.
    pub done: u64,
    /// Of chunks that failed.
    pub failed: u64,
    /// In all, where the input knows how many it has.
    pub total: Option<u64>,
}

/// Why a chunk left no trace.
#[derive(Debug, thiserror::Error)]
pub enum ChunkError<E> {
    /// The work, or the transaction, said so.
    #[error(transparent)]
    Failed(E),
    /// The work panicked, with this message.
    #[error("the work on a chunk panicked: {0}")]
    Panicked(String),
}

/// A chunk that is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkDone<T> {
    /// Which chunk of the input, counted from 0.
    pub index: usize,
    /// What its work returned.
    pub value: T,
}

/// A chunk that left no trace.
#[derive(Debug)]
pub struct ChunkFailed<E> {
    /// Which chunk of the input, counted from 0.
    pub index: usize,
    /// Why.
    pub error: ChunkError<E>,
}

/// How a batch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchEnd {
    /// Every chunk was tried.
    Finished,
    /// At the first failure.
    Stopped,
    /// It was cancelled.
    Cancelled,
}

/// What a batch came to. A chunk that is in neither list was not begun, and left no trace.
#[derive(Debug)]
#[must_use = "a batch that failed says so here alone"]
pub struct BatchOutcome<T, E> {
    /// The chunks that are done (committed, where they wrote), in the order of the input.
    pub done: Vec<ChunkDone<T>>,
    /// The chunks that failed, in the order of the input.
    pub failed: Vec<ChunkFailed<E>>,
    /// How it ended.
    pub end: BatchEnd,
}

impl<T, E> BatchOutcome<T, E> {
    /// What each chunk's work returned, in the order of the input; `None` where the batch was cancelled.
    ///
    /// # Errors
    /// The first chunk that failed.
    pub fn all(self) -> Result<Option<Vec<T>>, ChunkFailed<E>> {
        if let Some(first) = self.failed.into_iter().next() {
            return Err(first);
        }
        let values = self.done.into_iter().map(|chunk| chunk.value).collect();
        Ok((self.end == BatchEnd::Finished).then_some(values))
    }
}

/// Items that are to be worked on in chunks. Made by [`TenantStore::batch`].
pub struct Batch<'b, I> {
    tenant: &'b TenantStore,
    items: I,
    total: Option<u64>,
    size: usize,
    threads: usize,
    on_failure: OnFailure,
    cancel: Cancel,
    progress: Box<dyn FnMut(BatchProgress) + 'b>,
}

impl<I> std::fmt::Debug for Batch<'_, I> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Batch")
            .field("size", &self.size)
            .field("threads", &self.threads)
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}

impl TenantStore {
    /// Works on many items in chunks of 100, a transaction each, until one fails.
    ///
    /// ```
    /// # use millpond::store::{ChunkFailed, Error, OnDuplicate, TenantStore};
    /// # use millpond::domain::session::Session;
    /// # fn f(tenant: &TenantStore, sessions: Vec<Session>) -> Result<(), Error> {
    /// let outcome = tenant
    ///     .batch(sessions)
    ///     .size(1_000)?
    ///     .progress(|p| println!("{} of {:?}", p.done, p.total))
    ///     .run(|w, chunk| w.sessions().insert_all(&chunk, OnDuplicate::Skip));
    /// for failed in &outcome.failed {
    ///     println!("chunk {} was not written: {}", failed.index, failed.error);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn batch<N: IntoIterator>(&self, items: N) -> Batch<'_, N::IntoIter> {
        let items = items.into_iter();
        let total = match items.size_hint() {
            (least, Some(most)) if least == most => u64::try_from(most).ok(),
            _ => None,
        };
        Batch {
            tenant: self,
            items,
            total,
            size: 100,
            threads: 1,
            on_failure: OnFailure::default(),
            cancel: Cancel::new(),
            progress: Box::new(|_| ()),
        }
    }
}

impl<'b, I: Iterator> Batch<'b, I> {
    /// How many items a chunk has; the last one may have fewer.
    ///
    /// # Errors
    /// When it is not 1 to 100,000.
    pub fn size(mut self, items: usize) -> Result<Self, InvalidValue> {
        if !(1..=LARGEST_CHUNK).contains(&items) {
            return Err(InvalidValue::new("batch size", "must be 1 to 100000"));
        }
        self.size = items;
        Ok(self)
    }

    /// How many threads prepare or read. [`Batch::run`] has nothing for them to do.
    ///
    /// # Errors
    /// When it is not 1 to 64.
    pub fn concurrency(mut self, threads: usize) -> Result<Self, InvalidValue> {
        if !(1..=MOST_THREADS).contains(&threads) {
            return Err(InvalidValue::new("concurrency", "must be 1 to 64"));
        }
        self.threads = threads;
        Ok(self)
    }

    /// What to do about a chunk that fails.
    #[must_use]
    pub const fn on_failure(mut self, what: OnFailure) -> Self {
        self.on_failure = what;
        self
    }

    /// Ends the batch before its next chunk once `cancel` says so.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: &Cancel) -> Self {
        self.cancel = cancel.clone();
        self
    }

    /// Told after each chunk, on the calling thread and outside of any transaction.
    #[must_use]
    pub fn progress(mut self, told: impl FnMut(BatchProgress) + 'b) -> Self {
        self.progress = Box::new(told);
        self
    }

    /// Writes each chunk in a transaction, on the calling thread.
    ///
    /// State that `work` shares with its caller may be half changed after a panic in it; the tenant's file is not.
    pub fn run<T, E: From<Error>>(
        self,
        mut work: impl FnMut(&Writer<'_>, Vec<I::Item>) -> Result<T, E>,
    ) -> BatchOutcome<T, E> {
        let tenant = self.tenant;
        self.alone(|chunk| tenant.write(|w| work(w, chunk)))
    }

    /// Prepares chunks on as many threads as [`Batch::concurrency`] says, and writes each in a transaction on the
    /// calling thread meanwhile, in the order of the input: for work that costs more than the writing, as reading
    /// files or parsing.
    ///
    /// ```
    /// # use millpond::store::{Error, OnDuplicate, TenantStore};
    /// # use millpond::domain::session::Session;
    /// # fn parse(line: &str) -> Result<Session, Error> { unimplemented!() }
    /// # fn f(tenant: &TenantStore, lines: Vec<String>) -> Result<(), Error> {
    /// let outcome = tenant.batch(lines).concurrency(4)?.run_prepared(
    ///     |chunk| chunk.iter().map(|line| parse(line)).collect::<Result<Vec<_>, Error>>(),
    ///     |w, sessions| w.sessions().insert_all(&sessions, OnDuplicate::Skip),
    /// );
    /// # Ok(())
    /// # }
    /// ```
    pub fn run_prepared<P, T, E>(
        self,
        prepare: impl Fn(Vec<I::Item>) -> Result<P, E> + Sync,
        mut work: impl FnMut(&Writer<'_>, P) -> Result<T, E>,
    ) -> BatchOutcome<T, E>
    where
        I::Item: Send,
        P: Send,
        E: From<Error> + Send,
    {
        let tenant = self.tenant;
        self.with_threads(&prepare, |prepared| tenant.write(|w| work(w, prepared)))
    }

    /// Reads for each chunk in a snapshot of its own, on as many threads as [`Batch::concurrency`] says.
    pub fn read<T, E>(
        self,
        work: impl Fn(&Reader<'_>, Vec<I::Item>) -> Result<T, E> + Sync,
    ) -> BatchOutcome<T, E>
    where
        I::Item: Send,
        T: Send,
        E: From<Error> + Send,
    {
        let tenant = self.tenant;
        self.with_threads(&|chunk| tenant.read(|r| work(r, chunk)), Ok)
    }

    /// Each chunk from beginning to end before the next is taken.
    fn alone<T, E>(
        mut self,
        mut work: impl FnMut(Vec<I::Item>) -> Result<T, E>,
    ) -> BatchOutcome<T, E> {
        let mut tally = Tally::new(self.on_failure, self.total);
        while tally.goes_on(&self.cancel) {
            let Some(chunk) = take(&mut self.items, self.size) else {
                return tally.ended(BatchEnd::Finished);
            };
            let items = chunk.len();
            let came_to = contained(|| work(chunk));
            (self.progress)(tally.settle(items, came_to));
        }
        tally.cut_short()
    }

    /// Chunks prepared on threads, and finished here in the order of the input.
    fn with_threads<P, T, E>(
        mut self,
        prepare: &(impl Fn(Vec<I::Item>) -> Result<P, E> + Sync),
        mut finish: impl FnMut(P) -> Result<T, E>,
    ) -> BatchOutcome<T, E>
    where
        I::Item: Send,
        P: Send,
        E: Send,
    {
        if self.threads == 1 {
            return self.alone(|chunk| finish(prepare(chunk)?));
        }
        let ended = AtomicBool::new(false);
        thread::scope(|threads| {
            // Dropped first, by a panic of the input too: threads that find a chunk in the line then leave it.
            let (jobs, line) = channel();
            let (ready, arrivals) = channel();
            let line = Arc::new(Mutex::new(line));
            let mut started = 0;
            for _ in 0..self.threads {
                let (line, ready, ended) = (Arc::clone(&line), ready.clone(), &ended);
                let thread = thread::Builder::new();
                let work = move || prepare_from(&line, &ready, ended, prepare);
                started += usize::from(thread.spawn_scoped(threads, work).is_ok());
            }
            drop(ready);
            if started == 0 {
                // The system gives no threads: slower, and the same.
                return self.alone(|chunk| finish(prepare(chunk)?));
            }
            let _end = EndOnDrop(&ended);
            let mut tally = Tally::new(self.on_failure, self.total);
            let mut window = Window::new(2 * self.threads);
            while tally.goes_on(&self.cancel) {
                window.fill(&jobs, || take(&mut self.items, self.size));
                let Some((items, prepared)) = window.next(&arrivals) else {
                    return tally.ended(BatchEnd::Finished);
                };
                // Whoever waited for a chunk that took long may have been cancelled meanwhile.
                if self.cancel.is_cancelled() {
                    break;
                }
                let came_to = match prepared {
                    Ok(prepared) => contained(|| finish(prepared)),
                    Err(error) => Err(error),
                };
                (self.progress)(tally.settle(items, came_to));
            }
            tally.cut_short()
        })
    }
}

/// The next items, at most `size`; `None` at the end of the input.
fn take<I: Iterator>(items: &mut I, size: usize) -> Option<Vec<I::Item>> {
    let chunk: Vec<_> = items.by_ref().take(size).collect();
    (!chunk.is_empty()).then_some(chunk)
}
