//! Joining later: a re-keying is whole or not begun, wherever it was cut.

use millpond::domain::ids::{CallId, TenantId, UserId};
use millpond::domain::tenant::Domain;
use millpond::domain::user::{Email, Role};
use millpond::store::{EnrolledUser, Enrolment, Error, HookStore, Store, TenantStore};
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

/// An enrolment under the tenant's own id, for these users.
fn for_users(tenant: &TenantStore, users: &[(UserId, &str)]) -> Enrolment {
    Enrolment {
        tenant_id: tenant.tenant().id,
        schema_name: tenant.tenant().schema_name.clone(),
        users: users
            .iter()
            .map(|(id, email)| EnrolledUser {
                id: *id,
                email: (*email).into(),
                role: Role::Developer,
            })
            .collect(),
        ..enrolment()
    }
}

fn users(tenant: &TenantStore) -> Vec<(UserId, String)> {
    tenant
        .read(|r| r.users().list())
        .unwrap()
        .into_iter()
        .map(|user| (user.id, user.email.to_string()))
        .collect()
}

#[test]
fn a_user_whose_address_changed_centrally_keeps_id_and_work() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let old = user(&tenant, "ada@old.dev").id;
    let bob = user(&tenant, "bob@acme.dev").id;
    let work = session(old, "s", 0);
    tenant.write(|w| w.sessions().record(&work)).unwrap();
    // Bob has Ada's old address now, and the document does not write addresses as this machine does.
    let joined = for_users(&tenant, &[(bob, "ada@old.dev"), (old, "Ada@Acme.dev")]);
    fixture.store.enrol(&acme(), &joined, "secret").unwrap();
    assert_eq!(
        users(&tenant),
        [(old, "ada@acme.dev".into()), (bob, "ada@old.dev".into())]
    );
    assert_eq!(
        tenant.read(|r| r.sessions().find(work.id)).unwrap(),
        Some(work)
    );
}

#[test]
fn two_users_who_are_one_person_centrally_become_one_and_lose_nothing() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let old = user(&tenant, "ada@old.dev").id;
    let new = user(&tenant, "ada@acme.dev");
    for (who, name) in [(old, "before"), (new.id, "after")] {
        let work = session(who, name, 0);
        tenant
            .write(|w| {
                w.sessions().record(&work)?;
                w.tool_metrics().record(&call(&work, name, 1))
            })
            .unwrap();
    }
    tenant.write(|w| w.users().set_default(&new.email)).unwrap();
    let joined = for_users(&tenant, &[(old, "ada@acme.dev")]);
    fixture.store.enrol(&acme(), &joined, "secret").unwrap();
    let tenant = fixture.store.tenant(&acme()).unwrap();
    assert_eq!(users(&tenant), [(old, "ada@acme.dev".into())]);
    assert_eq!(tenant.read(|r| r.users().default()).unwrap().id, old);
    for name in ["before", "after"] {
        // As if it had been recorded under the one id from the start.
        let work = session(old, name, 0);
        let calls = tenant
            .read(|r| r.tool_metrics().of_session(work.id))
            .unwrap();
        assert_eq!(calls, [call(&work, name, 1)], "{name}");
    }
    assert_eq!(tenant.read(|r| r.outbox().status()).unwrap().pending, 4);
}

#[test]
fn an_address_that_changed_before_joining_does_not_make_a_second_person() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let joined = enrolment();
    // The central id is the one that her old address derives under the central tenant's id.
    let id = UserId::derive(joined.tenant_id, &Email::parse("ada@old.dev").unwrap());
    for email in ["ada@old.dev", "ada@acme.dev"] {
        let who = user(&tenant, email).id;
        tenant
            .write(|w| w.sessions().record(&session(who, email, 0)))
            .unwrap();
    }
    let joined = Enrolment {
        users: for_users(&tenant, &[(id, "ada@acme.dev")]).users,
        ..joined
    };
    fixture.store.enrol(&acme(), &joined, "secret").unwrap();
    let tenant = fixture.store.tenant(&acme()).unwrap();
    assert_eq!(users(&tenant), [(id, "ada@acme.dev".into())]);
    for name in ["ada@old.dev", "ada@acme.dev"] {
        let work = session(id, name, 0);
        let found = tenant.read(|r| r.sessions().find(work.id)).unwrap();
        assert_eq!(found, Some(work));
    }
}

/// Two users of one person who both recorded the same session: merging them would lose one of the two.
fn recorded_twice() -> (Fixture, TenantStore, Enrolment) {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let old = user(&tenant, "ada@old.dev").id;
    let new = user(&tenant, "ada@acme.dev").id;
    for who in [old, new] {
        tenant
            .write(|w| w.sessions().record(&session(who, "same", 0)))
            .unwrap();
    }
    let joined = for_users(&tenant, &[(old, "ada@acme.dev")]);
    (fixture, tenant, joined)
}

#[test]
fn an_enrolment_that_cannot_be_applied_leaves_the_tenant_as_it_was() {
    let (fixture, tenant, joined) = recorded_twice();
    let before = users(&tenant);
    let refused = fixture.store.enrol(&acme(), &joined, "secret").unwrap_err();
    assert!(matches!(refused, Error::RecordedTwice { .. }), "{refused}");
    let tenant = fixture.store.tenant(&acme()).unwrap();
    assert_eq!(users(&tenant), before);
    assert_eq!(tenant.read(|r| r.sessions().count()).unwrap(), 2);
    assert_eq!(fixture.store.enrolment(&acme()).unwrap(), None);

    // One that names a person twice, and one whose schema another tenant of this machine has.
    let twice = for_users(
        &tenant,
        &[(before[0].0, "ada@x.dev"), (before[0].0, "ada@y.dev")],
    );
    let refused = fixture.store.enrol(&acme(), &twice, "secret").unwrap_err();
    assert!(matches!(refused, Error::Invalid(_)), "{refused}");
    let taken = Enrolment {
        schema_name: fixture.tenant("umbra").tenant().schema_name.clone(),
        ..enrolment()
    };
    let refused = fixture.store.enrol(&acme(), &taken, "secret").unwrap_err();
    assert!(
        matches!(refused, Error::UniqueViolation { .. }),
        "{refused}"
    );
    assert_eq!(users(&fixture.store.tenant(&acme()).unwrap()), before);
}

#[test]
fn a_re_keying_that_can_never_be_finished_is_given_up_by_the_next_opening() {
    let (fixture, tenant, joined) = recorded_twice();
    let before = users(&tenant);
    record_intent(&fixture.store, tenant.tenant().id, &joined);
    drop(tenant);
    let tenant = fixture.store.tenant(&acme()).unwrap();
    assert_eq!(users(&tenant), before);
    let mut store = HookStore::open(fixture.store.home().clone()).unwrap();
    assert!(store.tenant(&acme()).is_ok());
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

#[test]
fn an_enrolment_never_re_keys_under_a_running_sync() {
    let (fixture, tenant) = fixture();
    let own = tenant.tenant().id;
    let running = fixture.store.lock_sync(&acme()).unwrap();
    let refused = fixture
        .store
        .enrol(&acme(), &enrolment(), "secret")
        .unwrap_err();
    assert!(matches!(refused, Error::Busy { .. }), "{refused}");
    assert_eq!(fixture.store.find_tenant(&acme()).unwrap().id, own);
    drop(running);
    let joined = enrolment();
    fixture.store.enrol(&acme(), &joined, "secret").unwrap();
    assert_rekeyed(&fixture.store, &joined);
}

#[test]
fn an_enrolment_for_two_does_not_change_whose_work_is_recorded() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev");
    let bob = UserId::from_uuid(Uuid::new_v4());
    let joined = for_users(&tenant, &[(bob, "bob@acme.dev"), (ada.id, "ada@acme.dev")]);
    fixture.store.enrol(&acme(), &joined, "secret").unwrap();
    assert_eq!(tenant.read(|r| r.users().default()).unwrap(), ada);
}
