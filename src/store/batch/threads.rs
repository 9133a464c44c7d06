//! Chunks that threads prepare, handed back in the order of the input.
//!
//! Depends on [`super::tally`]. Invariants: never more than so many chunks are begun and not finished, which bounds
//! what is held; a thread ends when there is no more, when the batch has ended, or when nobody waits for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Mutex, PoisonError};

use super::ChunkError;
use super::tally::contained;

/// A chunk on its way to be prepared: its number and its items.
type Job<N> = (usize, Vec<N>);
/// A chunk that was prepared: its number, and what that came to.
type Arrival<P, E> = (usize, Result<P, ChunkError<E>>);

/// What a thread does until there is no more.
pub(super) fn prepare_from<N, P, E>(
    line: &Mutex<Receiver<Job<N>>>,
    ready: &Sender<Arrival<P, E>>,
    ended: &AtomicBool,
    prepare: &impl Fn(Vec<N>) -> Result<P, E>,
) {
    loop {
        let job = line.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((index, chunk)) = job else { return };
        if ended.load(Ordering::Acquire) {
            return;
        }
        if ready.send((index, contained(|| prepare(chunk)))).is_err() {
            return;
        }
    }
}

/// The chunks under way: begun and not yet finished, never more than `most`.
pub(super) struct Window<P, E> {
    most: usize,
    begun: usize,
    finished: usize,
    is_input_left: bool,
    sizes: BTreeMap<usize, usize>,
    arrived: BTreeMap<usize, Result<P, ChunkError<E>>>,
}

impl<P, E> Window<P, E> {
    pub(super) const fn new(most: usize) -> Self {
        Self {
            most,
            begun: 0,
            finished: 0,
            is_input_left: true,
            sizes: BTreeMap::new(),
            arrived: BTreeMap::new(),
        }
    }

    /// Sends chunks off until the window is full or the input ends.
    pub(super) fn fill<N>(
        &mut self,
        jobs: &Sender<Job<N>>,
        mut take: impl FnMut() -> Option<Vec<N>>,
    ) {
        while self.is_input_left && self.begun - self.finished < self.most {
            let Some(chunk) = take() else {
                self.is_input_left = false;
                return;
            };
            self.sizes.insert(self.begun, chunk.len());
            if jobs.send((self.begun, chunk)).is_err() {
                return;
            }
            self.begun += 1;
        }
    }

    /// Waits for the next chunk in the order of the input: how many items it has, and what preparing it came to.
    pub(super) fn next(
        &mut self,
        arrivals: &Receiver<Arrival<P, E>>,
    ) -> Option<(usize, Result<P, ChunkError<E>>)> {
        if self.finished == self.begun {
            return None;
        }
        let prepared = loop {
            if let Some(prepared) = self.arrived.remove(&self.finished) {
                break prepared;
            }
            let Ok((index, prepared)) = arrivals.recv() else {
                break Err(ChunkError::Panicked("the threads are gone".to_owned()));
            };
            self.arrived.insert(index, prepared);
        };
        let items = self.sizes.remove(&self.finished).unwrap_or_default();
        self.finished += 1;
        Some((items, prepared))
    }
}

/// Tells the threads that no more is wanted, however the batch ends.
pub(super) struct EndOnDrop<'e>(pub(super) &'e AtomicBool);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}
