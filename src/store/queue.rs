//! The writers of one tenant in this process, one at a time and in order of arrival.
//!
//! SQLite lets one connection write and answers the others with BUSY; waiting there is polling with growing sleeps, in
//! which a late comer may overtake for ever. Here they wait for their turn instead, and only other processes are left
//! for SQLite's own lock. Invariants: turns are taken in order; a turn ends when its guard is dropped, by a panic too;
//! one who gave up waiting holds up nobody.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::error::Error;

/// Who waits, the one whose turn it is first.
#[derive(Debug, Default)]
pub(super) struct WriteQueue {
    line: Mutex<Line>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Line {
    tickets: VecDeque<u64>,
    next: u64,
}

/// A turn to write.
#[derive(Debug)]
pub(super) struct Turn<'q> {
    queue: &'q WriteQueue,
    ticket: u64,
    waited: bool,
}

impl Turn<'_> {
    /// Whether others stood in the line before it.
    pub(super) const fn waited(&self) -> bool {
        self.waited
    }
}

impl WriteQueue {
    /// Waits for a turn, at most so long.
    pub(super) fn wait(&self, patience: Duration) -> Result<Turn<'_>, Error> {
        let mut line = self.line();
        let ticket = line.next;
        line.next += 1;
        line.tickets.push_back(ticket);
        let turn = Turn {
            queue: self,
            ticket,
            waited: line.tickets.front() != Some(&ticket),
        };
        let (line, _) = self
            .moved
            .wait_timeout_while(line, patience, |line| line.tickets.front() != Some(&ticket))
            .unwrap_or_else(PoisonError::into_inner);
        if line.tickets.front() == Some(&ticket) {
            return Ok(turn);
        }
        // Before the guard is dropped: it takes the lock to leave the line.
        drop(line);
        Err(Error::Busy {
            action: "begin to write",
        })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue
            .line()
            .tickets
            .retain(|waiting| *waiting != self.ticket);
        self.queue.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn turns_are_taken_in_order_of_arrival() {
        let queue = WriteQueue::default();
        let (done, order) = mpsc::channel();
        std::thread::scope(|threads| {
            let first = queue.wait(Duration::ZERO).unwrap();
            assert!(!first.waited());
            for n in 0..8 {
                let (queue, done) = (&queue, done.clone());
                threads.spawn(move || {
                    let turn = queue.wait(Duration::from_secs(60)).unwrap();
                    assert!(turn.waited());
                    done.send(n).unwrap();
                });
                while queue.line().tickets.len() < n + 2 {
                    std::thread::yield_now();
                }
            }
            drop(first);
        });
        drop(done);
        assert_eq!(order.iter().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
    }

    #[test]
    fn one_who_gave_up_holds_up_nobody() {
        let queue = WriteQueue::default();
        let first = queue.wait(Duration::ZERO).unwrap();
        let refused = queue.wait(Duration::from_millis(1)).unwrap_err();
        assert_eq!(refused.kind(), "busy");
        drop(first);
        queue.wait(Duration::ZERO).unwrap();
    }

    #[test]
    fn a_turn_ends_by_a_panic_too() {
        let queue = WriteQueue::default();
        let broken = std::panic::catch_unwind(|| {
            let _turn = queue.wait(Duration::ZERO);
            panic!("on purpose");
        });
        assert!(broken.is_err());
        queue.wait(Duration::ZERO).unwrap();
    }
}
