//! What other programs, crashes and bad luck do to the outbox: nothing is lost, and nothing stands in the way for ever.

use millpond::domain::ids::{CallId, UserId};
use millpond::replication::TenantOutbox;
use millpond::store::outbox::{FoundReject, SealLimits, SealedBatch};
use millpond::store::{Error, TenantStore};
use millpond_sync::change::Batch;
use millpond_sync::engine::Engine;
use millpond_sync::fault::{Fault, RemoteError};
use millpond_sync::plan::Patience;
use millpond_sync::port::{Offer, Receipt, Remote};
use uuid::Uuid;

use crate::fixture::{Fixture, call, session, user};

const WIDE: SealLimits = SealLimits {
    rows: 500,
    bytes: 1 << 20,
};

fn seal(tenant: &TenantStore, users: &[UserId]) -> Option<SealedBatch> {
    tenant.write(|w| w.outbox().seal(WIDE, users)).unwrap()
}

#[allow(clippy::disallowed_methods)]
pub(crate) fn other_program(tenant: &TenantStore) -> rusqlite::Connection {
    rusqlite::Connection::open(tenant.path()).unwrap()
}

#[test]
fn an_edit_by_another_program_after_sealing_does_not_stall_the_batch() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    tenant
        .write(|w| w.sessions().record(&session(ada, "s", 0)))
        .unwrap();
    seal(&tenant, &[ada]).unwrap();
    other_program(&tenant)
        .execute("UPDATE metrics_sessions SET description = 'x'", [])
        .unwrap();
    let again = seal(&tenant, &[ada]).unwrap();
    let rows = tenant.read(|r| r.outbox().rows(&again, "metrics_sessions", &[]));
    assert!(rows.is_ok(), "{rows:?}");
}

#[test]
fn calls_of_a_session_that_was_refused_and_edited_in_flight_wait_with_it() {
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
    let batch = seal(&tenant, &[ada]).unwrap();
    let rejects: Vec<FoundReject> = [
        ("metrics_sessions", work.id.as_uuid(), 1, "22021"),
        ("tool_metrics", call(&work, "c", 1).id.as_uuid(), 2, "23503"),
    ]
    .into_iter()
    .map(|(table, id, rev, code)| FoundReject {
        table,
        id,
        rev,
        sqlstate: code.into(),
        message: "no".into(),
    })
    .collect();
    tenant
        .write(|w| w.outbox().journal(&batch, &rejects, &[]))
        .unwrap();
    work.tools_used.insert("Bash".into());
    tenant.write(|w| w.sessions().record(&work)).unwrap();
    tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
    // The session is fine now and goes.
    while let Some(batch) = tenant
        .write(|w| {
            w.outbox().release(&[ada])?;
            w.outbox().seal(WIDE, &[ada])
        })
        .unwrap()
    {
        tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
    }
    let held = tenant.read(|r| r.outbox().quarantined()).unwrap();
    assert!(held.is_empty(), "{held:?}");
}

#[test]
fn rows_of_two_tables_with_one_id_both_travel() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let work = session(ada, "s", 0);
    let mut twin = call(&work, "c", 1);
    twin.id = CallId::from_uuid(work.id.as_uuid());
    tenant
        .write(|w| {
            w.sessions().record(&work)?;
            w.tool_metrics().record(&twin)
        })
        .unwrap();
    let mut sent = 0;
    while let Some(batch) = seal(&tenant, &[ada]) {
        for table in ["metrics_sessions", "tool_metrics"] {
            sent += tenant
                .read(|r| r.outbox().rows(&batch, table, &[]))
                .unwrap()
                .len();
        }
        tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
    }
    assert_eq!(sent, 2);
}

#[test]
fn a_session_of_a_user_who_is_not_enrolled_is_not_taken_along() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let bob = user(&tenant, "bob@acme.dev").id;
    tenant
        .write(|w| w.sessions().record(&session(ada, "first", 0)))
        .unwrap();
    let work = session(bob, "bobs", 0);
    let mut theirs = call(&work, "c", 1);
    theirs.user_id = ada;
    // The call waits before its session's latest change.
    tenant
        .write(|w| {
            w.sessions().record(&work)?;
            w.tool_metrics().record(&theirs)?;
            let mut grown = work.clone();
            grown.tools_used.insert("Bash".into());
            w.sessions().record(&grown)
        })
        .unwrap();
    let batch = seal(&tenant, &[ada]).unwrap();
    let rows = tenant
        .read(|r| r.outbox().rows(&batch, "metrics_sessions", &[]))
        .unwrap();
    let status = tenant.read(|r| r.outbox().quarantined()).unwrap();
    assert!(
        !rows.iter().any(|row| row.id == work.id.as_uuid()),
        "bob's session is in ada's batch; quarantine: {status:?}"
    );
}

#[test]
fn a_quarantined_row_that_is_removed_is_no_longer_counted() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let bob = user(&tenant, "bob@acme.dev").id;
    tenant
        .write(|w| w.sessions().record(&session(bob, "s", 0)))
        .unwrap();
    assert_eq!(seal(&tenant, &[ada]), None);
    other_program(&tenant)
        .execute("DELETE FROM metrics_sessions", [])
        .unwrap();
    // The same transcript is imported again, Bob is enrolled, his session goes.
    tenant.write(|w| w.outbox().release(&[ada, bob])).unwrap();
    let status = tenant.read(|r| r.outbox().status()).unwrap();
    assert_eq!(status.quarantined, 0);
}

#[test]
fn one_row_with_a_broken_reference_does_not_stall_the_others() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    tenant
        .write(|w| {
            w.sessions().record(&session(ada, "s", 0))?;
            w.sessions().record(&session(ada, "t", 0))
        })
        .unwrap();
    other_program(&tenant)
        .execute_batch("PRAGMA foreign_keys = OFF; UPDATE metrics_sessions SET user_id = x'00' WHERE source_id = 's'")
        .unwrap();
    let sealed = tenant.write(|w| w.outbox().seal(WIDE, &[ada]));
    assert!(sealed.is_ok(), "{sealed:?}");
}

#[test]
fn beginning_anew_offers_every_row() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let work = session(ada, "s", 0);
    tenant.write(|w| w.sessions().record(&work)).unwrap();
    let batch = seal(&tenant, &[ada]).unwrap();
    let reject = FoundReject {
        table: "metrics_sessions",
        id: work.id.as_uuid(),
        rev: 1,
        sqlstate: "23514".into(),
        message: "no".into(),
    };
    tenant
        .write(|w| w.outbox().journal(&batch, &[reject], &[]))
        .unwrap();
    tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
    tenant.write(|w| w.outbox().begin_anew()).unwrap();
    assert_eq!(tenant.read(|r| r.outbox().status()).unwrap().pending, 1);
}

#[test]
fn sealing_ends_whatever_the_limits() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    tenant
        .write(|w| w.sessions().record(&session(ada, "s", 0)))
        .unwrap();
    let (done, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let _ = tenant.write(|w| w.outbox().seal(SealLimits { rows: 10, bytes: 0 }, &[ada]));
        done.send(()).unwrap();
    });
    ended
        .recv_timeout(std::time::Duration::from_secs(5))
        .expect("seal does not end");
}

#[test]
fn a_session_that_was_refused_removed_and_recorded_again_does_not_hold_its_calls() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let work = session(ada, "s", 0);
    tenant.write(|w| w.sessions().record(&work)).unwrap();
    let batch = seal(&tenant, &[ada]).unwrap();
    let reject = FoundReject {
        table: "metrics_sessions",
        id: work.id.as_uuid(),
        rev: 1,
        sqlstate: "22021".into(),
        message: "no".into(),
    };
    tenant
        .write(|w| w.outbox().journal(&batch, &[reject], &[]))
        .unwrap();
    tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
    other_program(&tenant)
        .execute("DELETE FROM metrics_sessions", [])
        .unwrap();
    tenant
        .write(|w| {
            w.sessions().record(&work)?;
            w.tool_metrics().record(&call(&work, "c", 1))
        })
        .unwrap();
    for _ in 0..3 {
        tenant.write(|w| w.outbox().release(&[ada])).unwrap();
        while let Some(batch) = seal(&tenant, &[ada]) {
            tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
        }
    }
    let held = tenant.read(|r| r.outbox().quarantined()).unwrap();
    assert!(held.is_empty(), "{held:?}");
}

#[test]
fn a_rev_raised_alone_does_not_lose_the_waiting_change() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    tenant
        .write(|w| w.sessions().record(&session(ada, "s", 0)))
        .unwrap();
    other_program(&tenant)
        .execute("UPDATE metrics_sessions SET rev = rev + 1", [])
        .unwrap();
    assert!(seal(&tenant, &[ada]).is_some(), "the row never travels");
}

/// A line that carries a hundred rows before the server's patience ends, and a server that keeps no rows.
#[derive(Default)]
struct Slow {
    at: Option<Uuid>,
    offered: Option<Uuid>,
}

impl Remote for Slow {
    async fn position(&mut self, _: Uuid) -> Result<Option<Uuid>, RemoteError> {
        Ok(self.at)
    }

    async fn offer(&mut self, batch: &Batch) -> Result<Offer, RemoteError> {
        if batch.changes.len() > 100 {
            let mut error = RemoteError::new("offer batch", Fault::Transient, "statement timeout");
            error.sqlstate = Some("57014".into());
            return Err(error);
        }
        self.offered = Some(batch.batch_id);
        Ok(Offer::Applied(Receipt {
            applied: batch.changes.len(),
            ..Receipt::default()
        }))
    }

    async fn commit(&mut self) -> Result<(), RemoteError> {
        self.at = self.offered.take();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_too_large_for_the_line_is_made_smaller() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    tenant
        .write(|w| {
            for n in 0..300 {
                w.sessions().record(&session(ada, &format!("s{n}"), n))?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    let outbox = TenantOutbox::open(tenant.clone(), vec![ada]).unwrap();
    let mut engine = Engine::new(outbox, Slow::default(), Patience::Attempts(1));
    for _ in 0..20 {
        let _ = engine.drain(|_| ()).await;
    }
    assert_eq!(tenant.read(|r| r.outbox().status()).unwrap().pending, 0);
}
