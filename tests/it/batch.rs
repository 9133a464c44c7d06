//! Batches: chunks in order, each committed or not, and the outcome says which.

use std::cell::Cell;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use millpond::domain::ids::UserId;
use millpond::domain::session::Session;
use millpond::store::{
    BatchEnd, BatchOutcome, Cancel, ChunkError, Error, OnFailure, SessionFilter, SessionSort,
    TenantStore, Writer,
};

use crate::fixture::{Fixture, session, user};

fn acme() -> (Fixture, TenantStore, UserId) {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    (fixture, tenant, ada)
}

fn insert(w: &Writer<'_>, user: UserId, numbers: &[usize]) -> Result<Vec<usize>, Error> {
    for n in numbers {
        let second = i64::try_from(*n).unwrap();
        w.sessions()
            .insert(&session(user, &format!("{n}"), second))?;
    }
    Ok(numbers.to_vec())
}

/// The numbers of the sessions that are in the file.
fn held(tenant: &TenantStore) -> Vec<usize> {
    let filter = SessionFilter::default();
    let page = tenant
        .read(|r| r.sessions().list(&filter, SessionSort::Oldest, 1_000, None))
        .unwrap();
    page.rows
        .into_iter()
        .map(|session: Session| session.source_id.unwrap().as_str().parse().unwrap())
        .collect()
}

fn indexes<T, E>(outcome: &BatchOutcome<T, E>) -> (Vec<usize>, Vec<usize>) {
    (
        outcome.done.iter().map(|chunk| chunk.index).collect(),
        outcome.failed.iter().map(|chunk| chunk.index).collect(),
    )
}

fn refused() -> Error {
    Error::Busy {
        action: "do this on purpose",
    }
}

#[test]
fn chunks_that_are_prepared_in_reverse_are_written_in_the_order_of_the_input() {
    let (_fixture, tenant, ada) = acme();
    // Chunk n is prepared only after chunk n + 1, five by five: with fewer than five threads this would never end.
    let signals: Vec<(Sender<()>, Mutex<Receiver<()>>)> = (0..5)
        .map(|_| {
            let (sender, receiver) = channel();
            (sender, Mutex::new(receiver))
        })
        .collect();
    let order = Mutex::new(Vec::new());
    let told = Cell::new(0);
    let outcome = tenant
        .batch(0..50)
        .size(10)
        .unwrap()
        .concurrency(5)
        .unwrap()
        .progress(|p| {
            told.set(told.get() + 10);
            assert_eq!((p.done, p.failed, p.total), (told.get(), 0, Some(50)));
        })
        .run_prepared(
            |chunk| {
                let n = chunk[0] / 10;
                if n < 4 {
                    signals[n].1.lock().unwrap().recv().unwrap();
                }
                order.lock().unwrap().push(n);
                if n > 0 {
                    signals[n - 1].0.send(()).unwrap();
                }
                Ok::<_, Error>(chunk)
            },
            |w, chunk| insert(w, ada, &chunk),
        );
    assert_eq!(*order.lock().unwrap(), [4, 3, 2, 1, 0]);
    assert_eq!(outcome.end, BatchEnd::Finished);
    let values = outcome.all().unwrap().unwrap();
    assert_eq!(values.concat(), (0..50).collect::<Vec<_>>());
    assert_eq!(held(&tenant), (0..50).collect::<Vec<_>>());
    assert_eq!(told.get(), 50);
}

#[test]
fn the_first_failure_ends_a_batch_and_the_chunks_before_it_stay() {
    for threads in [1, 5] {
        let (_fixture, tenant, ada) = acme();
        let outcome = tenant
            .batch(0..100)
            .size(10)
            .unwrap()
            .concurrency(threads)
            .unwrap()
            .run_prepared(Ok::<_, Error>, |w, chunk| {
                let inserted = insert(w, ada, &chunk)?;
                if chunk.contains(&35) {
                    Err(refused())
                } else {
                    Ok(inserted)
                }
            });
        assert_eq!(outcome.end, BatchEnd::Stopped);
        assert_eq!(indexes(&outcome), (vec![0, 1, 2], vec![3]));
        assert_eq!(held(&tenant), (0..30).collect::<Vec<_>>());
        let first = outcome.all().unwrap_err();
        assert!(matches!(
            first.error,
            ChunkError::Failed(Error::Busy { .. })
        ));
    }
}

#[test]
fn a_batch_that_goes_on_lists_each_failed_chunk_with_its_error() {
    for threads in [1, 5] {
        let (_fixture, tenant, ada) = acme();
        let last = Cell::new(None);
        let outcome = tenant
            .batch(0..95)
            .size(10)
            .unwrap()
            .concurrency(threads)
            .unwrap()
            .on_failure(OnFailure::GoOn)
            .progress(|p| last.set(Some((p.done, p.failed))))
            .run_prepared(
                // One fails while it is prepared, one while it is written.
                |chunk| {
                    if chunk.contains(&25) {
                        Err(refused())
                    } else {
                        Ok(chunk)
                    }
                },
                |w, chunk| {
                    insert(w, ada, &chunk)?;
                    w.sessions().insert(&session(ada, "5", 5)).or_else(|error| {
                        if chunk.contains(&72) {
                            Err(error)
                        } else {
                            Ok(())
                        }
                    })
                },
            );
        assert_eq!(outcome.end, BatchEnd::Finished);
        assert_eq!(
            indexes(&outcome),
            (vec![0, 1, 3, 4, 5, 6, 8, 9], vec![2, 7])
        );
        let kinds: Vec<_> = outcome
            .failed
            .iter()
            .map(|failed| match &failed.error {
                ChunkError::Failed(error) => error.kind(),
                ChunkError::Panicked(_) => "panicked",
            })
            .collect();
        assert_eq!(kinds, ["busy", "unique_violation"]);
        assert_eq!(last.get(), Some((75, 20)));
        assert_eq!(held(&tenant).len(), 75);
    }
}

#[test]
fn a_batch_that_is_cancelled_ends_between_two_chunks() {
    for threads in [1, 5] {
        let (_fixture, tenant, ada) = acme();
        let cancel = Cancel::new();
        let outcome = tenant
            .batch(0..1_000)
            .size(10)
            .unwrap()
            .concurrency(threads)
            .unwrap()
            .cancelled_by(&cancel)
            .run_prepared(Ok::<_, Error>, |w, chunk| {
                if chunk[0] == 30 {
                    // In the middle of a chunk: it is finished, and no other is begun.
                    cancel.cancel();
                }
                insert(w, ada, &chunk)
            });
        assert_eq!(outcome.end, BatchEnd::Cancelled);
        assert_eq!(indexes(&outcome), (vec![0, 1, 2, 3], vec![]));
        assert_eq!(held(&tenant), (0..40).collect::<Vec<_>>());
        assert!(outcome.all().unwrap().is_none());
    }
}

#[test]
fn a_chunk_that_panics_leaves_no_trace_and_the_others_are_written() {
    let (_fixture, tenant, ada) = acme();
    let outcome = tenant
        .batch(0..50)
        .size(10)
        .unwrap()
        .concurrency(3)
        .unwrap()
        .on_failure(OnFailure::GoOn)
        .run_prepared(
            |chunk| {
                assert!(!chunk.contains(&15), "while preparing");
                Ok::<_, Error>(chunk)
            },
            |w, chunk| {
                let inserted = insert(w, ada, &chunk)?;
                assert!(!chunk.contains(&35), "while writing");
                Ok(inserted)
            },
        );
    let told: Vec<_> = outcome
        .failed
        .iter()
        .map(|failed| (failed.index, failed.error.to_string()))
        .collect();
    let panicked = |what| format!("the work on a chunk panicked: {what}");
    assert_eq!(
        told,
        [
            (1, panicked("while preparing")),
            (3, panicked("while writing"))
        ]
    );
    let expected: Vec<usize> = (0..10).chain(20..30).chain(40..50).collect();
    assert_eq!(held(&tenant), expected);
    assert_eq!(outcome.end, BatchEnd::Finished);
    tenant.write(|w| insert(w, ada, &[99])).unwrap();
}

#[test]
fn an_empty_input_is_a_finished_batch_of_no_chunks() {
    let (_fixture, tenant, _) = acme();
    for threads in [1, 5] {
        let outcome = tenant
            .batch(Vec::<usize>::new())
            .concurrency(threads)
            .unwrap()
            .progress(|_| panic!("there is nothing to tell"))
            .run_prepared(Ok::<_, Error>, |_, _| -> Result<(), Error> {
                panic!("there is nothing to do")
            });
        assert_eq!(outcome.end, BatchEnd::Finished);
        assert_eq!(outcome.all().unwrap(), Some(vec![]));
    }
}

#[test]
fn sizes_and_threads_out_of_range_are_refused() {
    let (_fixture, tenant, _) = acme();
    for bad in [0, 100_001, usize::MAX] {
        assert!(tenant.batch(0..1).size(bad).is_err(), "size {bad}");
    }
    for bad in [0, 65, usize::MAX] {
        assert!(
            tenant.batch(0..1).concurrency(bad).is_err(),
            "{bad} threads"
        );
    }
}

#[test]
fn an_input_is_taken_as_it_is_needed_and_never_as_a_whole() {
    let (_fixture, tenant, _) = acme();
    for (threads, most) in [(1, 10), (4, 80)] {
        let (taken, done) = (Cell::new(0_usize), Cell::new(0_usize));
        // An input that does not end: only the batch's own end can end it.
        let endless = std::iter::from_fn(|| {
            taken.set(taken.get() + 1);
            assert!(taken.get() - done.get() <= most, "{} taken", taken.get());
            Some(taken.get())
        });
        let cancel = Cancel::new();
        let outcome = tenant
            .batch(endless)
            .size(10)
            .unwrap()
            .concurrency(threads)
            .unwrap()
            .cancelled_by(&cancel)
            .progress(|p| {
                assert_eq!(p.total, None);
                done.set(usize::try_from(p.done).unwrap());
                if done.get() == 500 {
                    cancel.cancel();
                }
            })
            .run_prepared(Ok::<_, Error>, |w, _| w.sessions().count());
        assert_eq!((outcome.end, outcome.done.len()), (BatchEnd::Cancelled, 50));
    }
}

#[test]
fn chunks_are_read_side_by_side_and_told_in_order() {
    let (_fixture, tenant, ada) = acme();
    tenant
        .write(|w| insert(w, ada, &(0..50).collect::<Vec<_>>()))
        .unwrap();
    let inside = AtomicUsize::new(0);
    let outcome = tenant
        .batch(0..3)
        .size(1)
        .unwrap()
        .concurrency(3)
        .unwrap()
        .read(|r, chunk| {
            // Nobody leaves a snapshot before three are in one.
            inside.fetch_add(1, Ordering::SeqCst);
            while inside.load(Ordering::SeqCst) < 3 {
                std::thread::yield_now();
            }
            Ok::<_, Error>((chunk[0], r.sessions().count()?))
        });
    assert_eq!(outcome.all().unwrap().unwrap(), [(0, 50), (1, 50), (2, 50)]);
}

#[test]
fn a_panic_of_the_input_ends_the_threads_and_reaches_the_caller() {
    let (_fixture, tenant, ada) = acme();
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let input = (0..100).inspect(|n| assert!(*n < 95, "the input broke"));
        tenant
            .batch(input)
            .size(10)
            .unwrap()
            .concurrency(2)
            .unwrap()
            .run_prepared(Ok::<_, Error>, |w, chunk| insert(w, ada, &chunk))
    }));
    assert!(broken.is_err());
    let whole = held(&tenant);
    assert_eq!(whole.len() % 10, 0, "{whole:?}");
    tenant.write(|w| insert(w, ada, &[99])).unwrap();
}
