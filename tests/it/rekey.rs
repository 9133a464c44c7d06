//! Joining later: a re-keying is whole or not begun, wherever it was cut.

use millpond::domain::ids::{CallId, TenantId, UserId};
use millpond::domain::tenant::Domain;
use millpond::domain::user::{Email, Role};
use millpond::store::{EnrolledUser, Enrolment, Error, Store, TenantStore};
use rusqlite::Connection;
use uuid::Uuid;

use crate::fixture::{Fixture, call, session, user};

fn acme() -> Domain {
    Domain::parse("acme").unwrap()
}

fn ada() -> Email {
    Email::parse("ada@acme.dev").unwrap()
}

/// An enrolment under another tenant id, with an id of Ada's own choosing as after a change of address.
fn enrolment() -> Enrolment {
    let tenant_id = TenantId::generate();
    Enrolment {
        tenant_id,
        device_id: Uuid::new_v4(),
        schema_name: tenant_id.schema_name(),
        url: "postgresql://dv_x@127.0.0.1:5432/db".into(),
        users: vec![EnrolledUser {
            id: UserId::from_uuid(Uuid::new_v4()),
            email: "ada@acme.dev".into(),
            role: Role::Developer,
        }],
    }
}

/// A tenant with two users; one of Ada's calls hangs on another.
fn fixture() -> (Fixture, TenantStore) {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    for email in ["ada@acme.dev", "bob@acme.dev"] {
        let who = user(&tenant, email);
        let work = session(who.id, email, 0);
        let parent = call(&work, &format!("{email} parent"), 1);
        let mut child = call(&work, &format!("{email} child"), 2);
        child.parent_id = Some(parent.id);
        tenant
            .write(|w| {
                w.sessions().record(&work)?;
                w.tool_metrics().record(&parent)?;
                w.tool_metrics().record(&child)
            })
            .unwrap();
    }
    (fixture, tenant)
}

/// Everything is as if it had been recorded under the enrolment's ids from the start.
fn assert_rekeyed(store: &Store, enrolment: &Enrolment) {
    let tenant = store.tenant(&acme()).unwrap();
    assert_eq!(tenant.tenant().id, enrolment.tenant_id);
    assert_eq!(tenant.tenant().schema_name, enrolment.schema_name);
    let bob = UserId::derive(enrolment.tenant_id, &Email::parse("bob@acme.dev").unwrap());
    for (email, id) in [
        ("ada@acme.dev", enrolment.users[0].id),
        ("bob@acme.dev", bob),
    ] {
        let work = session(id, email, 0);
        let calls = tenant
            .read(|r| r.tool_metrics().of_session(work.id))
            .unwrap();
        let parent = call(&work, &format!("{email} parent"), 1);
        let child = call(&work, &format!("{email} child"), 2);
        let told: Vec<(CallId, UserId, Option<CallId>)> = calls
            .iter()
            .map(|row| (row.id, row.user_id, row.parent_id))
            .collect();
        assert_eq!(
            told,
            [(parent.id, id, None), (child.id, id, Some(parent.id))],
            "{email}"
        );
    }
    let status = tenant.read(|r| r.outbox().status()).unwrap();
    assert_eq!(status.pending, 6, "every row waits once");
}

#[allow(clippy::disallowed_methods)]
fn registry(store: &Store) -> Connection {
    Connection::open(store.home().registry_file()).unwrap()
}

fn record_intent(store: &Store, of: TenantId, enrolment: &Enrolment) {
    let users = serde_json::to_string(&enrolment.users).unwrap();
    registry(store)
        .execute(
            "INSERT INTO rekeyings (tenant_id, new_id, new_schema, users, started_at) VALUES (?1, ?2, ?3, ?4, 0)",
            rusqlite::params![of.as_uuid(), enrolment.tenant_id.as_uuid(), enrolment.schema_name, users],
        )
        .unwrap();
}

#[test]
fn a_re_keying_cut_anywhere_is_finished_by_the_next_opening() {
    // Cut after the intent was recorded, before the file changed.
    let (fixture, tenant) = fixture();
    let joined = enrolment();
    record_intent(&fixture.store, tenant.tenant().id, &joined);
    drop(tenant);
    assert_rekeyed(&fixture.store, &joined);

    // Cut after the file changed, before the registry followed.
    let (fixture, tenant) = self::fixture();
    let (old, joined) = (tenant.tenant().clone(), enrolment());
    drop(tenant);
    fixture.store.enrol(&acme(), &joined, "secret").unwrap();
    registry(&fixture.store)
        .execute(
            "UPDATE tenants SET id = ?1, schema_name = ?2",
            rusqlite::params![old.id.as_uuid(), old.schema_name],
        )
        .unwrap();
    record_intent(&fixture.store, old.id, &joined);
    let store = Store::open(fixture.store.home().clone()).unwrap();
    assert_rekeyed(&store, &joined);
    let left: i64 = registry(&store)
        .query_row("SELECT count(*) FROM rekeyings", [], |row| row.get(0))
        .unwrap();
    assert_eq!(left, 0);
}

#[test]
fn an_enrolment_under_the_same_ids_changes_no_row() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let who = user(&tenant, "ada@acme.dev");
    tenant
        .write(|w| w.sessions().record(&session(who.id, "s", 0)))
        .unwrap();
    let batch = tenant
        .write(|w| {
            let limits = millpond::store::outbox::SealLimits {
                rows: 10,
                bytes: 1 << 20,
            };
            w.outbox().seal(limits, &[who.id])
        })
        .unwrap()
        .unwrap();
    tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
    let same = Enrolment {
        tenant_id: tenant.tenant().id,
        users: vec![EnrolledUser {
            id: who.id,
            email: ada().to_string(),
            role: Role::Developer,
        }],
        ..enrolment()
    };
    fixture.store.enrol(&acme(), &same, "secret").unwrap();
    assert_eq!(tenant.read(|r| r.outbox().status()).unwrap().pending, 0);
    // Other ids are refused now: something has been synchronised under these.
    let refused = fixture
        .store
        .enrol(&acme(), &enrolment(), "secret")
        .unwrap_err();
    assert!(matches!(refused, Error::AlreadySynced { .. }), "{refused}");
}

#[test]
fn an_id_that_another_tenant_of_this_machine_has_is_refused() {
    let (fixture, tenant) = fixture();
    let other = fixture.tenant("umbra");
    let taken = Enrolment {
        tenant_id: other.tenant().id,
        ..enrolment()
    };
    let refused = fixture.store.enrol(&acme(), &taken, "secret").unwrap_err();
    assert!(
        matches!(refused, Error::UniqueViolation { .. }),
        "{refused}"
    );
    assert_eq!(
        fixture.store.tenant(&acme()).unwrap().tenant().id,
        tenant.tenant().id
    );
}

#[test]
fn a_file_of_another_tenant_is_not_re_keyed() {
    let (fixture, tenant) = fixture();
    let umbra = fixture.tenant("umbra");
    record_intent(&fixture.store, tenant.tenant().id, &enrolment());
    let (own, other) = (tenant.path().to_owned(), umbra.path().to_owned());
    let home = fixture.store.home().clone();
    drop((tenant, umbra));
    drop(fixture.store);
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", own.display()));
    }
    std::fs::copy(other, own).unwrap();
    let store = Store::open(home).unwrap();
    let refused = store.tenant(&acme()).unwrap_err();
    assert!(matches!(refused, Error::WrongTenant { .. }), "{refused}");
}
