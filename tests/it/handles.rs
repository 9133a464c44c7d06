//! Handles: what fails, panics or takes too long leaves no trace, and many threads over two tenants never meet.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use millpond::domain::session::ProjectId;
use millpond::domain::tenant::Domain;
use millpond::store::{
    Direction, Error, PageRequest, SessionFilter, SessionOrder, SessionSort, Timeouts,
};

use crate::fixture::{Fixture, call, session, user};

#[test]
fn a_panic_rolls_back_and_the_next_writer_goes_on() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let broken = catch_unwind(AssertUnwindSafe(|| {
        tenant.write(|w| -> Result<(), Error> {
            w.sessions().insert(&session(ada, "s", 0))?;
            panic!("on purpose");
        })
    }));
    assert!(broken.is_err());
    assert_eq!(tenant.read(|r| r.sessions().count()).unwrap(), 0);
    tenant
        .write(|w| w.sessions().insert(&session(ada, "s", 0)))
        .unwrap();
    assert_eq!(tenant.read(|r| r.sessions().count()).unwrap(), 1);
}

#[test]
fn nested_work_that_fails_or_panics_is_undone_alone() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let add = |name| session(ada, name, 0);
    tenant
        .write(|w| {
            w.sessions().insert(&add("kept"))?;
            let failed: Result<(), Error> = w.nested(|w| {
                w.sessions().insert(&add("undone"))?;
                w.nested(|w| w.sessions().insert(&add("undone with it")))?;
                w.sessions().insert(&add("kept"))
            });
            assert_eq!(failed.unwrap_err().kind(), "unique_violation");
            let broken = catch_unwind(AssertUnwindSafe(|| {
                w.nested(|w| -> Result<(), Error> {
                    w.sessions().insert(&add("broken"))?;
                    panic!("on purpose");
                })
            }));
            assert!(broken.is_err());
            w.nested(|w| w.sessions().insert(&add("kept too")))
        })
        .unwrap();
    let filter = SessionFilter::default();
    let page = tenant
        .read(|r| r.sessions().list(&filter, SessionSort::Oldest, 10, None))
        .unwrap();
    let mut names: Vec<_> = page
        .rows
        .into_iter()
        .map(|s| s.source_id.unwrap().to_string())
        .collect();
    names.sort();
    assert_eq!(names, ["kept", "kept too"]);
}

#[test]
fn work_that_runs_too_long_is_interrupted_and_undone() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let hasty = tenant.with_timeouts(Timeouts {
        run: Some(Duration::ZERO),
        ..Timeouts::default()
    });
    let whole = session(ada, "s", 0);
    let stopped = hasty
        .write(|w| {
            w.sessions().insert(&whole)?;
            for n in 0..100_000 {
                w.tool_metrics()
                    .insert(&call(&whole, &format!("c{n}"), n))?;
            }
            Ok::<_, Error>(())
        })
        .unwrap_err();
    assert_eq!((stopped.kind(), stopped.code()), ("timed_out", "P1008"));
    assert_eq!(tenant.read(|r| r.sessions().count()).unwrap(), 0);
    // The connection comes back from the pool without its limit.
    tenant
        .write(|w| {
            w.sessions().insert(&whole)?;
            for n in 0..2_000 {
                w.tool_metrics()
                    .insert(&call(&whole, &format!("c{n}"), n))?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
}

#[test]
fn a_writer_that_waits_too_long_is_told_busy() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let hasty = tenant.with_timeouts(Timeouts {
        wait: Duration::from_millis(20),
        run: None,
    });
    let refused = tenant
        .write(|_| Ok::<_, Error>(hasty.write(|w| w.sessions().insert(&session(ada, "s", 0)))))
        .unwrap();
    assert_eq!(refused.unwrap_err().kind(), "busy");
    // Another process, here a connection of its own, is waited for by SQLite.
    #[allow(clippy::disallowed_methods)]
    let other = rusqlite::Connection::open(tenant.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = hasty
        .write(|w| w.sessions().insert(&session(ada, "s", 0)))
        .unwrap_err();
    assert_eq!((refused.kind(), refused.code()), ("busy", "P2034"));
}

#[test]
fn a_scope_works_in_its_tenant_and_in_no_other() {
    let fixture = Fixture::new();
    let (acme, umbra) = (fixture.tenant("acme"), fixture.tenant("umbra"));
    let ada = user(&acme, "ada@acme.dev").id;
    let domain = Domain::parse("acme").unwrap();
    let name = fixture
        .store
        .with_tenant(&domain, |tenant| {
            tenant.write(|w| w.sessions().insert(&session(ada, "s", 0)))?;
            Ok::<_, Error>(tenant.tenant().name.to_string())
        })
        .unwrap();
    assert_eq!(name, "acme");
    assert_eq!(acme.read(|r| r.sessions().count()).unwrap(), 1);
    assert_eq!(umbra.read(|r| r.sessions().count()).unwrap(), 0);
}

/// 3 s in the suite; `MILLPOND_STRESS_SECONDS=60` for the minute.
#[test]
fn sixty_four_threads_over_two_tenants_see_no_foreign_row_and_no_lock() {
    let seconds = std::env::var("MILLPOND_STRESS_SECONDS")
        .ok()
        .map_or(3, |raw| raw.parse().unwrap());
    let fixture = Fixture::new();
    let tenants = ["acme", "umbra"].map(|domain| {
        let tenant = fixture.tenant(domain);
        let user = user(&tenant, &format!("ada@{domain}.dev")).id;
        (domain, user)
    });
    let (reads, writes) = (AtomicU64::new(0), AtomicU64::new(0));
    let begun = Instant::now();
    std::thread::scope(|threads| {
        for thread in 0..64_usize {
            let (store, reads, writes) = (&fixture.store, &reads, &writes);
            threads.spawn(move || {
                let mut round = thread;
                while begun.elapsed() < Duration::from_secs(seconds) {
                    // Each thread goes to and fro between the tenants, over one set of pools.
                    let (name, user) = tenants[round % 2];
                    let project = ProjectId::parse("project", name).unwrap();
                    let tenant = store.tenant(&Domain::parse(name).unwrap()).unwrap();
                    if round % 3 == 0 {
                        let own = format!("{thread}-{round}");
                        let mut row = session(user, &own, i64::try_from(round).unwrap());
                        row.project_id = Some(project);
                        tenant
                            .write(|w| {
                                w.sessions().insert(&row)?;
                                w.tool_metrics().insert(&call(&row, &own, 1))
                            })
                            .unwrap();
                        writes.fetch_add(1, Ordering::Relaxed);
                    } else {
                        let request = PageRequest::new(1, 20).unwrap();
                        let order = (SessionOrder::Start, Direction::Descending);
                        let page = tenant
                            .read(|r| r.sessions().page(&SessionFilter::default(), order, request))
                            .unwrap();
                        for row in page.data {
                            assert_eq!(
                                (row.user_id, row.project_id.as_ref()),
                                (user, Some(&project))
                            );
                        }
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                    round += 1;
                }
            });
        }
    });
    let (reads, writes) = (reads.into_inner(), writes.into_inner());
    let mut stored = 0;
    for (name, _) in tenants {
        let tenant = fixture.store.tenant(&Domain::parse(name).unwrap()).unwrap();
        stored += tenant.read(|r| r.sessions().count()).unwrap();
    }
    assert_eq!(stored, writes);
    assert!(reads > 64 && writes > 64, "{reads} reads, {writes} writes");
}
