//! Dashboards: kept whole, at most one default for each user, digested as sealing would.

use millpond::domain::dashboard::{Dashboard, DashboardName, RefreshInterval};
use millpond::domain::ids::{DashboardId, UserId};
use millpond::domain::json::JsonObject;
use millpond::domain::session::Description;
use millpond::domain::user::Role;
use millpond::store::outbox::SealLimits;
use millpond::store::{Error, OnDuplicate, TenantStore};
use serde_json::json;
use uuid::Uuid;

use crate::fixture::{Fixture, at, user};

fn dashboard(user: UserId, name: &str) -> Dashboard {
    Dashboard {
        id: DashboardId::from_uuid(Uuid::new_v5(&user.as_uuid(), name.as_bytes())),
        user_id: user,
        dashboard_name: DashboardName::parse("name", name).unwrap(),
        description: None,
        widget_layout: JsonObject::default(),
        is_default: false,
        is_public: false,
        refresh_interval: RefreshInterval::parse(60).unwrap(),
        shared_with_roles: Vec::new(),
        version: 1,
        created_at: at(0),
        updated_at: at(0),
    }
}

fn insert(tenant: &TenantStore, new: &Dashboard) -> Result<(), Error> {
    tenant.write(|w| w.dashboards().insert(new))
}

#[test]
fn a_dashboard_is_found_as_it_was_written() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let mut whole = dashboard(ada, "The team's week");
    whole.description = Some(Description::parse("description", "Calls by tool.").unwrap());
    let layout = json!({"widgets": [{"kind": "top_tools", "x": 0, "y": 0, "w": 6, "h": 4}]});
    whole.widget_layout = JsonObject::parse("layout", &layout.to_string()).unwrap();
    whole.is_default = true;
    whole.is_public = true;
    whole.refresh_interval = RefreshInterval::parse(5).unwrap();
    whole.shared_with_roles = vec![Role::Manager, Role::Viewer];
    whole.updated_at = at(7);
    insert(&tenant, &whole).unwrap();
    let found = tenant.read(|r| r.dashboards().find(whole.id)).unwrap();
    assert_eq!(found, Some(whole));
}

#[test]
fn a_user_has_one_default_and_as_many_others_as_wanted() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let bob = user(&tenant, "bob@acme.dev").id;
    let by_default = |user, name| Dashboard {
        is_default: true,
        ..dashboard(user, name)
    };
    insert(&tenant, &dashboard(ada, "a")).unwrap();
    insert(&tenant, &dashboard(ada, "b")).unwrap();
    insert(&tenant, &by_default(ada, "z")).unwrap();
    insert(&tenant, &by_default(bob, "z")).unwrap();
    let refused = insert(&tenant, &by_default(ada, "second")).unwrap_err();
    assert!(
        matches!(&refused, Error::UniqueViolation { table, columns }
            if table == "dashboard_configs" && columns == &["user_id"]),
        "{refused}"
    );
    let names: Vec<String> = tenant
        .read(|r| r.dashboards().list(ada))
        .unwrap()
        .into_iter()
        .map(|dashboard| dashboard.dashboard_name.to_string())
        .collect();
    assert_eq!(names, ["z", "a", "b"], "the default first, then by name");
}

#[test]
fn a_dashboard_of_nobody_and_a_taken_id_are_refused() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let nobody = UserId::from_uuid(Uuid::from_u128(1));
    let refused = insert(&tenant, &dashboard(nobody, "a")).unwrap_err();
    assert!(matches!(refused, Error::ForeignKey { .. }), "{refused}");
    insert(&tenant, &dashboard(ada, "a")).unwrap();
    let refused = insert(&tenant, &dashboard(ada, "a")).unwrap_err();
    assert!(
        matches!(&refused, Error::UniqueViolation { columns, .. } if columns == &["id"]),
        "{refused}"
    );
}

#[test]
fn a_dashboard_waits_to_travel_with_the_digest_that_sealing_would_make() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    insert(&tenant, &dashboard(ada, "a")).unwrap();
    #[allow(clippy::disallowed_methods)]
    let other = rusqlite::Connection::open(tenant.path()).unwrap();
    let digest = || -> Option<Vec<u8>> {
        let sql = "SELECT digest FROM dashboard_configs";
        other.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    let written = digest();
    assert!(written.is_some());
    other
        .execute("UPDATE dashboard_configs SET digest = NULL", [])
        .unwrap();
    let limits = SealLimits {
        rows: 500,
        bytes: 1 << 20,
    };
    let batch = tenant.write(|w| w.outbox().seal(limits, &[ada])).unwrap();
    assert_eq!(batch.unwrap().rows, 1);
    assert_eq!(digest(), written);
}

#[test]
fn an_update_names_the_version_that_it_saw_or_is_stale() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let first = dashboard(ada, "a");
    insert(&tenant, &first).unwrap();
    let renamed = Dashboard {
        dashboard_name: DashboardName::parse("name", "b").unwrap(),
        ..first.clone()
    };
    let second = tenant.write(|w| w.dashboards().update(&renamed)).unwrap();
    assert_eq!(second.version, 2);
    let found = tenant.read(|r| r.dashboards().find(first.id)).unwrap();
    assert_eq!(found.as_ref(), Some(&second));
    let refused = tenant.write(|w| w.dashboards().update(&first)).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Stale {
                seen: 1,
                found: 2,
                ..
            }
        ),
        "{refused}"
    );
    assert_eq!((refused.kind(), refused.code()), ("stale", "P2034"));
}

#[test]
fn a_default_is_switched_and_never_doubled() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let (a, b) = (dashboard(ada, "a"), dashboard(ada, "b"));
    tenant
        .write(|w| w.dashboards().insert_all([&a, &b], OnDuplicate::Skip))
        .unwrap();
    let default = || tenant.read(|r| r.dashboards().default_of(ada)).unwrap();
    assert_eq!(default(), None);
    for chosen in [a.id, b.id, b.id] {
        tenant
            .write(|w| w.dashboards().set_default(chosen))
            .unwrap();
        assert_eq!(default().unwrap().id, chosen);
    }
    tenant.write(|w| w.dashboards().delete(b.id)).unwrap();
    tenant.write(|w| w.dashboards().set_default(a.id)).unwrap();
    tenant.write(|w| w.dashboards().restore(b.id)).unwrap();
    assert_eq!(default().unwrap().id, a.id);
    assert_eq!(tenant.read(|r| r.dashboards().list(ada)).unwrap().len(), 2);
}

#[test]
fn the_history_keeps_what_every_edit_replaced_and_an_edit_can_be_undone() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let first = dashboard(ada, "a");
    insert(&tenant, &first).unwrap();
    tenant
        .write(|w| {
            let shared = w
                .dashboards()
                .share(first.id, 1, &[Role::Viewer, Role::Manager])?;
            assert_eq!(shared.shared_with_roles, [Role::Manager, Role::Viewer]);
            w.dashboards().set_public(first.id, 2, true)
        })
        .unwrap();
    // Another program's edit is history too.
    #[allow(clippy::disallowed_methods)]
    let other = rusqlite::Connection::open(tenant.path()).unwrap();
    let sql = "UPDATE dashboard_configs SET dashboard_name = 'theirs', version = 4";
    other.execute(sql, []).unwrap();
    let history = tenant.read(|r| r.dashboards().history(first.id)).unwrap();
    let seen: Vec<_> = history
        .iter()
        .map(|old| (old.version, old.is_public, old.shared_with_roles.len()))
        .collect();
    assert_eq!(seen, [(3, true, 2), (2, false, 2), (1, false, 0)]);
    let back = tenant
        .write(|w| w.dashboards().revert(first.id, 4, 1))
        .unwrap();
    assert_eq!(
        (back.version, back.is_public, back.dashboard_name.as_str()),
        (5, false, "a")
    );
    let missing = tenant
        .write(|w| w.dashboards().revert(first.id, 5, 9))
        .unwrap_err();
    assert_eq!(missing.kind(), "not_found");
    tenant
        .write(|w| {
            for version in 5..130 {
                w.dashboards().set_public(first.id, version, true)?;
            }
            Ok::<_, Error>(())
        })
        .unwrap();
    let history = tenant.read(|r| r.dashboards().history(first.id)).unwrap();
    assert_eq!(
        (history.len(), history[0].version),
        (100, 129),
        "the latest hundred"
    );
}
