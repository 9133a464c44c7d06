//! The outbox's bookkeeping: what waits, what goes together, what is held back, and that nothing is dropped.

use millpond::domain::ids::UserId;
use millpond::store::outbox::{FoundConflict, FoundReject, SealLimits, SealedBatch};
use millpond::store::{Error, Reader, TenantStore};
use uuid::Uuid;

use crate::fixture::{Fixture, call, session, user};
use crate::outbox_trouble::other_program;

const WIDE: SealLimits = SealLimits {
    rows: 500,
    bytes: 1 << 20,
};

fn seal(tenant: &TenantStore, limits: SealLimits, users: &[UserId]) -> Option<SealedBatch> {
    tenant
        .write(|w| {
            w.outbox().release(users)?;
            w.outbox().seal(limits, users)
        })
        .unwrap()
}

fn acknowledge(tenant: &TenantStore, limits: SealLimits, users: &[UserId]) -> Vec<u64> {
    let mut sizes = Vec::new();
    while let Some(batch) = seal(tenant, limits, users) {
        sizes.push(batch.rows);
        tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
    }
    sizes
}

fn ids(r: &Reader<'_>, batch: &SealedBatch, table: &'static str) -> Result<Vec<Uuid>, Error> {
    Ok(r.outbox()
        .rows(batch, table, &[])?
        .into_iter()
        .map(|row| row.id)
        .collect())
}

fn revs(tenant: &TenantStore, batch: &SealedBatch) -> Vec<i64> {
    let rows = tenant
        .read(|r| r.outbox().rows(batch, "metrics_sessions", &[]))
        .unwrap();
    rows.into_iter().map(|row| row.rev).collect()
}

fn pending(tenant: &TenantStore) -> u64 {
    tenant.read(|r| r.outbox().status()).unwrap().pending
}

#[test]
fn a_batch_is_sealed_onto_the_one_before_it_acknowledged_or_not() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let work = session(ada, "s", 0);
    tenant
        .write(|w| {
            w.sessions().record(&work)?;
            w.tool_metrics().record(&call(&work, "c", 1))
        })
        .unwrap();
    let first = seal(&tenant, WIDE, &[ada]).unwrap();
    assert_eq!((first.rows, first.prev_batch_id), (2, None));
    assert_eq!(seal(&tenant, WIDE, &[ada]), None, "its rows wait no more");
    let record = |name: &str, minute| {
        let call = call(&work, name, minute);
        tenant.write(|w| w.tool_metrics().record(&call)).unwrap();
    };
    record("c2", 2);
    let second = seal(&tenant, WIDE, &[ada]).unwrap();
    let follows = |next: &SealedBatch, last: &SealedBatch| {
        assert_eq!(
            (next.rows, next.prev_batch_id, next.stream_id),
            (1, Some(last.batch_id), last.stream_id)
        );
    };
    follows(&second, &first);
    let open = || tenant.read(|r| r.outbox().unacknowledged()).unwrap();
    assert_eq!(open(), [first, second]);
    for taken in [&first, &second] {
        tenant.write(|w| w.outbox().acknowledge(taken)).unwrap();
    }
    assert_eq!(open(), []);
    record("c3", 3);
    follows(&seal(&tenant, WIDE, &[ada]).unwrap(), &second);
}

#[test]
fn the_rows_of_a_batch_and_of_the_one_sealed_onto_it_wait_again_together() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let work = session(ada, "s", 0);
    tenant.write(|w| w.sessions().record(&work)).unwrap();
    let first = seal(&tenant, WIDE, &[ada]).unwrap();
    tenant
        .write(|w| w.tool_metrics().record(&call(&work, "c", 1)))
        .unwrap();
    assert!(seal(&tenant, WIDE, &[ada]).is_some());
    tenant.write(|w| w.outbox().unseal(&first)).unwrap();
    let again = seal(&tenant, WIDE, &[ada]).unwrap();
    assert_eq!((again.rows, again.prev_batch_id), (2, None));
}

#[test]
fn a_row_that_was_moved_in_its_table_is_found_and_sent() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let work = session(ada, "s", 0);
    let calls = ["a", "b", "c"].map(|name| call(&work, name, 1));
    tenant
        .write(|w| {
            w.sessions().record(&work)?;
            calls
                .iter()
                .try_for_each(|call| w.tool_metrics().record(call).map(drop))
        })
        .unwrap();
    // As VACUUM and REPLACE may move rows: the first one away, and another one to where it was.
    other_program(&tenant)
        .execute_batch(
            "UPDATE tool_metrics SET rowid = 100 WHERE rowid = 1;
             UPDATE tool_metrics SET rowid = 1 WHERE rowid = 3;
             UPDATE metrics_sessions SET rowid = 7;",
        )
        .unwrap();
    let batch = seal(&tenant, WIDE, &[ada]).unwrap();
    let sent = tenant.read(|r| ids(r, &batch, "tool_metrics")).unwrap();
    assert_eq!(sent, calls.map(|call| call.id.as_uuid()));
    let sessions = tenant.read(|r| ids(r, &batch, "metrics_sessions")).unwrap();
    assert_eq!(sessions, [work.id.as_uuid()]);
}

#[test]
fn a_row_that_changed_many_times_waits_once_and_goes_once() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let mut work = session(ada, "s", 0);
    for tool in ["Read", "Edit", "Bash", "Grep"] {
        work.tools_used.insert(tool.into());
        tenant.write(|w| w.sessions().record(&work)).unwrap();
    }
    assert_eq!(pending(&tenant), 1);
    assert_eq!(acknowledge(&tenant, WIDE, &[ada]), [1]);
    assert_eq!(pending(&tenant), 0);
}

#[test]
fn a_new_call_takes_its_waiting_session_along_past_a_backlog() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    // The session and its first call wait at the far end of a backlog; its newest call is the newest change of all.
    let middle = session(ada, "middle", 50);
    tenant
        .write(|w| {
            for n in 0..40 {
                w.sessions().record(&session(ada, &format!("old{n}"), n))?;
            }
            w.sessions().record(&middle)?;
            for n in 0..40 {
                w.sessions()
                    .record(&session(ada, &format!("new{n}"), 60 + n))?;
            }
            w.tool_metrics().record(&call(&middle, "latest", 200))
        })
        .unwrap();
    let batch = seal(
        &tenant,
        SealLimits {
            rows: 8,
            bytes: 1 << 20,
        },
        &[ada],
    )
    .unwrap();
    let (sessions, calls) = tenant
        .read(|r| {
            Ok::<_, Error>((
                ids(r, &batch, "metrics_sessions")?,
                ids(r, &batch, "tool_metrics")?,
            ))
        })
        .unwrap();
    assert_eq!(calls, [call(&middle, "latest", 200).id.as_uuid()]);
    assert!(
        sessions.contains(&middle.id.as_uuid()),
        "the call went without its session"
    );
    tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
    acknowledge(
        &tenant,
        SealLimits {
            rows: 8,
            bytes: 1 << 20,
        },
        &[ada],
    );
    assert_eq!(pending(&tenant), 0);
}

#[test]
fn rows_of_a_user_who_is_not_enrolled_wait_in_quarantine_and_enrolment_frees_them() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let bob = user(&tenant, "bob@acme.dev").id;
    for (who, name) in [(ada, "a"), (bob, "b")] {
        let work = session(who, name, 0);
        tenant
            .write(|w| {
                w.sessions().record(&work)?;
                w.tool_metrics().record(&call(&work, name, 1))
            })
            .unwrap();
    }
    assert_eq!(acknowledge(&tenant, WIDE, &[ada]), [2]);
    let status = tenant.read(|r| r.outbox().status()).unwrap();
    assert_eq!((status.pending, status.quarantined), (0, 2));
    assert_eq!(acknowledge(&tenant, WIDE, &[ada, bob]), [2]);
    let status = tenant.read(|r| r.outbox().status()).unwrap();
    assert_eq!((status.pending, status.quarantined), (0, 0));
}

#[test]
fn a_reject_counts_only_once_its_batch_is_acknowledged_and_an_edit_frees_the_row() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let mut work = session(ada, "s", 0);
    tenant
        .write(|w| {
            w.sessions().record(&work)?;
            w.tool_metrics().record(&call(&work, "c", 1))
        })
        .unwrap();
    let batch = seal(&tenant, WIDE, &[ada]).unwrap();
    let rejects = [
        FoundReject {
            table: "metrics_sessions",
            id: work.id.as_uuid(),
            rev: 1,
            sqlstate: "22021".into(),
            message: "no".into(),
        },
        FoundReject {
            table: "tool_metrics",
            id: call(&work, "c", 1).id.as_uuid(),
            rev: 2,
            sqlstate: "23503".into(),
            message: "no".into(),
        },
    ];
    tenant
        .write(|w| w.outbox().journal(&batch, &rejects, &[]))
        .unwrap();
    assert_eq!(tenant.read(|r| r.outbox().status()).unwrap().quarantined, 0);
    tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
    let held = tenant.read(|r| r.outbox().quarantined()).unwrap();
    let reasons: Vec<_> = held
        .iter()
        .map(|row| (row.table.as_str(), row.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [("metrics_sessions", "rejected"), ("tool_metrics", "parent")]
    );
    assert_eq!(pending(&tenant), 0);

    // A further call of that session waits with it; an edit of the session frees them all.
    tenant
        .write(|w| w.tool_metrics().record(&call(&work, "c2", 2)))
        .unwrap();
    assert_eq!(seal(&tenant, WIDE, &[ada]), None);
    assert_eq!(tenant.read(|r| r.outbox().status()).unwrap().quarantined, 3);
    work.tools_used.insert("Bash".into());
    tenant.write(|w| w.sessions().record(&work)).unwrap();
    assert_eq!(acknowledge(&tenant, WIDE, &[ada]), [3]);
    assert_eq!(tenant.read(|r| r.outbox().status()).unwrap().quarantined, 0);
}

#[test]
fn a_conflict_is_kept_and_the_local_row_waits_again_above_both_revs() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let work = session(ada, "s", 0);
    tenant.write(|w| w.sessions().record(&work)).unwrap();
    let batch = seal(&tenant, WIDE, &[ada]).unwrap();
    let conflict = FoundConflict {
        table: "metrics_sessions",
        id: work.id.as_uuid(),
        rev: 1,
        local_digest: [1; 16],
        remote_digest: [2; 16],
        local_row: "{}".into(),
        remote_row: "{}".into(),
    };
    tenant
        .write(|w| {
            w.outbox()
                .journal(&batch, &[], std::slice::from_ref(&conflict))
        })
        .unwrap();
    tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
    let status = tenant.read(|r| r.outbox().status()).unwrap();
    assert_eq!((status.pending, status.conflicts), (1, 1));
    let again = seal(&tenant, WIDE, &[ada]).unwrap();
    assert_eq!(revs(&tenant, &again), [2]);
}

#[test]
fn going_back_in_the_journal_offers_what_came_after_and_an_unknown_batch_is_told() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let mut batches = Vec::new();
    for name in ["one", "two", "three"] {
        tenant
            .write(|w| w.sessions().record(&session(ada, name, 0)))
            .unwrap();
        let batch = seal(&tenant, WIDE, &[ada]).unwrap();
        tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
        batches.push(batch);
    }
    let stream = batches[0].stream_id;
    assert!(
        !tenant
            .write(|w| w.outbox().rewind(stream, Uuid::from_u128(9)))
            .unwrap()
    );
    assert!(
        tenant
            .write(|w| w.outbox().rewind(stream, batches[0].batch_id))
            .unwrap()
    );
    assert_eq!(pending(&tenant), 2);
    assert_eq!(
        seal(&tenant, WIDE, &[ada]).unwrap().prev_batch_id,
        Some(batches[0].batch_id)
    );

    let new = tenant.write(|w| w.outbox().begin_anew()).unwrap();
    assert_ne!(new, stream);
    assert_eq!(pending(&tenant), 3);
    assert_eq!(seal(&tenant, WIDE, &[ada]).unwrap().prev_batch_id, None);
}

#[test]
fn a_write_by_another_program_is_captured_and_gets_its_digest_when_sealed() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let work = session(ada, "s", 0);
    tenant.write(|w| w.sessions().record(&work)).unwrap();
    acknowledge(&tenant, WIDE, &[ada]);
    #[allow(clippy::disallowed_methods)]
    let other = rusqlite::Connection::open(tenant.path()).unwrap();
    other
        .execute("UPDATE metrics_sessions SET description = 'by hand'", [])
        .unwrap();
    assert_eq!(pending(&tenant), 1);
    let batch = seal(&tenant, WIDE, &[ada]).unwrap();
    assert_eq!(revs(&tenant, &batch), [2]);
    let digest: Option<Vec<u8>> = other
        .query_row("SELECT digest FROM metrics_sessions", [], |row| row.get(0))
        .unwrap();
    assert_eq!(digest.map(|bytes| bytes.len()), Some(16));
}
