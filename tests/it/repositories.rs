//! The repositories of users, sessions, calls and tenants: what they find, change, delete and bring back, and that
//! every change is captured with the digest that sealing would make.

use millpond::domain::json::JsonObject;
use millpond::domain::session::{Description, ProjectId, Session, Tag};
use millpond::domain::tenant::{DataRegion, Domain, NewTenant, Plan, TenantChange, TenantName};
use millpond::domain::user::{Email, Role, SsoIdentity, SsoProvider, SsoUserId, User};
use millpond::store::outbox::SealLimits;
use millpond::store::{
    Bulk, Deleted, Direction, Error, OnDuplicate, PageRequest, SearchText, SessionFilter,
    SessionOrder, SessionSort, Sighting, TenantFilter, TenantOrder, TenantStore, ToolMetricFilter,
    UserFilter, UserOrder,
};

use crate::fixture::{Fixture, at, call, session, user};

fn sessions(tenant: &TenantStore, filter: &SessionFilter) -> Vec<String> {
    let (page, total) = tenant
        .read(|r| {
            let page = (r.sessions()).list(filter, SessionSort::Oldest, 100, None)?;
            Ok::<_, Error>((page, r.sessions().count_matching(filter)?))
        })
        .unwrap();
    assert_eq!(total, page.rows.len() as u64);
    page.rows
        .into_iter()
        .map(|session| session.source_id.unwrap().to_string())
        .collect()
}

fn text(raw: &str) -> SessionFilter {
    SessionFilter {
        text: Some(SearchText::parse("search", raw).unwrap()),
        ..SessionFilter::default()
    }
}

#[test]
fn sessions_are_found_by_user_time_text_and_tags() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let (ada, bob) = (
        user(&tenant, "ada@acme.dev").id,
        user(&tenant, "bob@acme.dev").id,
    );
    let mut a = session(ada, "a", 10);
    a.description = Some(Description::parse("description", "Saved 50% of the_time").unwrap());
    a.tags = ["review", "slow"]
        .map(|tag| Tag::parse("tag", tag).unwrap())
        .to_vec();
    let mut b = session(bob, "b", 20);
    b.project_id = Some(ProjectId::parse("project", "Mill").unwrap());
    b.tags = vec![Tag::parse("tag", "review").unwrap()];
    let bulk = tenant
        .write(|w| w.sessions().insert_all([&a, &b], OnDuplicate::Skip))
        .unwrap();
    assert_eq!(
        bulk,
        Bulk {
            inserted: 2,
            updated: 0,
            skipped: 0
        }
    );
    let filter = |change: fn(&mut SessionFilter)| {
        let mut filter = SessionFilter::default();
        change(&mut filter);
        sessions(&tenant, &filter)
    };
    let of_bob = SessionFilter {
        user: Some(bob),
        ..SessionFilter::default()
    };
    assert_eq!(sessions(&tenant, &of_bob), ["b"]);
    assert_eq!(filter(|f| f.since = Some(at(11))), ["b"]);
    assert_eq!(filter(|f| f.until = Some(at(20))), ["a"]);
    assert_eq!(
        filter(|f| f.tags = vec![Tag::parse("tag", "review").unwrap()]),
        ["a", "b"]
    );
    assert_eq!(
        filter(|f| f.tags = ["review", "slow"]
            .map(|tag| Tag::parse("tag", tag).unwrap())
            .to_vec()),
        ["a"]
    );
    assert_eq!(sessions(&tenant, &text("mill")), ["b"]);
    assert_eq!(sessions(&tenant, &text("slo")), ["a"], "a part of a tag");
    assert_eq!(sessions(&tenant, &text("50%")), ["a"]);
    assert_eq!(sessions(&tenant, &text("e_t")), ["a"]);
    assert_eq!(
        sessions(&tenant, &text("%")),
        ["a"],
        "a wildcard means itself"
    );
    assert!(sessions(&tenant, &text("50_")).is_empty());
    assert!(
        sessions(&tenant, &text("\",\"")).is_empty(),
        "JSON's own signs are no text"
    );
}

#[test]
fn a_deleted_session_is_gone_with_its_calls_and_comes_back_with_them() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let whole = session(ada, "s", 0);
    let first = call(&whole, "c1", 1);
    tenant
        .write(|w| {
            w.sessions().insert(&whole)?;
            w.tool_metrics().insert(&first)?;
            w.tool_metrics().insert(&call(&whole, "c2", 2))
        })
        .unwrap();
    let counts = || {
        tenant
            .read(|r| Ok::<_, Error>((r.sessions().count()?, r.tool_metrics().count()?)))
            .unwrap()
    };
    tenant.write(|w| w.sessions().delete(whole.id)).unwrap();
    assert_eq!(counts(), (0, 0));
    assert_eq!(tenant.read(|r| r.sessions().find(whole.id)).unwrap(), None);
    let deleted = SessionFilter {
        deleted: Deleted::Only,
        ..SessionFilter::default()
    };
    assert_eq!(sessions(&tenant, &deleted), ["s"]);
    let again = tenant.write(|w| w.sessions().delete(whole.id)).unwrap_err();
    assert_eq!(again.code(), "P2025");
    let changed = tenant.write(|w| w.sessions().update(&whole)).unwrap_err();
    assert_eq!(changed.kind(), "not_found");
    assert_eq!(
        tenant.write(|w| w.sessions().record(&whole)).unwrap(),
        Sighting::Unchanged,
        "what was deleted stays deleted, whatever is seen of it"
    );
    tenant.write(|w| w.sessions().restore(whole.id)).unwrap();
    assert_eq!(counts(), (1, 2));
    assert_eq!(
        tenant.read(|r| r.sessions().find(whole.id)).unwrap(),
        Some(whole)
    );
    tenant.write(|w| w.tool_metrics().delete(first.id)).unwrap();
    assert_eq!(counts(), (1, 1));
    tenant
        .write(|w| w.tool_metrics().restore(first.id))
        .unwrap();
    assert_eq!(counts(), (1, 2));
}

#[test]
fn every_change_waits_to_travel_and_gets_the_digest_that_sealing_would_make() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let mut whole = session(ada, "s", 0);
    let mut one = call(&whole, "c", 1);
    tenant
        .write(|w| {
            w.sessions().insert(&whole)?;
            w.tool_metrics().insert(&one)
        })
        .unwrap();
    let limits = SealLimits {
        rows: 500,
        bytes: 1 << 20,
    };
    let seal = || {
        let batch = tenant.write(|w| w.outbox().seal(limits, &[ada])).unwrap();
        let batch = batch.expect("nothing waits");
        tenant.write(|w| w.outbox().acknowledge(&batch)).unwrap();
        batch.rows
    };
    #[allow(clippy::disallowed_methods)]
    let other = rusqlite::Connection::open(tenant.path()).unwrap();
    let digest = |table: &str| -> Option<Vec<u8>> {
        other
            .query_row(&format!("SELECT digest FROM {table}"), [], |row| row.get(0))
            .unwrap()
    };
    assert_eq!(seal(), 2);
    whole.end_at(at(9)).unwrap();
    one.total_duration_ms = Some(41);
    tenant
        .write(|w| {
            assert_eq!(w.sessions().upsert(&whole)?, Sighting::Raised);
            assert_eq!(w.sessions().upsert(&whole)?, Sighting::Unchanged);
            w.tool_metrics().update(&one)?;
            assert_eq!(w.tool_metrics().upsert(&one)?, Sighting::Unchanged);
            Ok::<_, Error>(())
        })
        .unwrap();
    let written = (digest("metrics_sessions"), digest("tool_metrics"));
    assert!(written.0.is_some() && written.1.is_some());
    other
        .execute_batch(
            "UPDATE metrics_sessions SET digest = NULL; UPDATE tool_metrics SET digest = NULL;",
        )
        .unwrap();
    assert_eq!(seal(), 2);
    assert_eq!(
        (digest("metrics_sessions"), digest("tool_metrics")),
        written
    );
    tenant.write(|w| w.sessions().delete(whole.id)).unwrap();
    assert_eq!(
        seal(),
        2,
        "the deletion of the session and of its call travel"
    );
    let gone = digest("metrics_sessions");
    assert!(gone.is_some() && gone != written.0);
    tenant.write(|w| w.sessions().restore(whole.id)).unwrap();
    assert_eq!(
        tenant.write(|w| w.sessions().upsert(&whole)).unwrap(),
        Sighting::Unchanged,
        "before its digest is known, too"
    );
    assert_eq!(seal(), 2);
    assert_eq!(
        (digest("metrics_sessions"), digest("tool_metrics")),
        written
    );
}

#[test]
fn a_bulk_insert_skips_or_updates_what_is_there() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let whole = session(ada, "s", 0);
    let calls: Vec<_> = (0..5).map(|n| call(&whole, &format!("c{n}"), n)).collect();
    tenant
        .write(|w| {
            w.sessions().insert(&whole)?;
            w.tool_metrics().insert_all(&calls[..3], OnDuplicate::Skip)
        })
        .unwrap();
    let mut later = calls.clone();
    later[0].total_duration_ms = Some(77);
    let insert = |on| {
        tenant
            .write(|w| w.tool_metrics().insert_all(&later, on))
            .unwrap()
    };
    assert_eq!(
        insert(OnDuplicate::Skip),
        Bulk {
            inserted: 2,
            updated: 0,
            skipped: 3
        }
    );
    assert_eq!(
        insert(OnDuplicate::Update),
        Bulk {
            inserted: 0,
            updated: 1,
            skipped: 4
        }
    );
    let found = tenant.read(|r| r.tool_metrics().find(calls[0].id)).unwrap();
    assert_eq!(found.unwrap().total_duration_ms, Some(77));
    let taken = tenant
        .write(|w| w.tool_metrics().insert(&calls[0]))
        .unwrap_err();
    assert!(matches!(&taken, Error::UniqueViolation { table, columns }
        if table == "tool_metrics" && columns == &["id"]));
    let of = ToolMetricFilter {
        session: Some(whole.id),
        since: Some(at(3)),
        ..Default::default()
    };
    assert_eq!(
        tenant
            .read(|r| r.tool_metrics().count_matching(&of))
            .unwrap(),
        2
    );
}

#[test]
fn numbered_pages_follow_the_order_and_know_where_they_stand() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    let all: Vec<Session> = (0..25)
        .map(|n| {
            let mut one = session(ada, &format!("s{n}"), n);
            one.end_at(at(n + (n * 7) % 25)).unwrap();
            one
        })
        .collect();
    tenant
        .write(|w| w.sessions().insert_all(&all, OnDuplicate::Skip))
        .unwrap();
    let page = |n, order, direction| {
        let request = PageRequest::new(n, 10).unwrap();
        tenant
            .read(|r| {
                r.sessions()
                    .page(&SessionFilter::default(), (order, direction), request)
            })
            .unwrap()
    };
    for order in [
        SessionOrder::Start,
        SessionOrder::End,
        SessionOrder::Duration,
        SessionOrder::Score,
        SessionOrder::Recorded,
    ] {
        let seen: Vec<_> = (1..=4)
            .flat_map(|n| page(n, order, Direction::Ascending).data)
            .map(|session| session.id)
            .collect();
        let back: Vec<_> = (1..=3)
            .flat_map(|n| page(n, order, Direction::Descending).data)
            .map(|session| session.id)
            .collect();
        assert_eq!(seen.len(), 25, "{order:?}");
        assert!(seen.iter().eq(back.iter().rev()), "{order:?}");
    }
    let longest = page(1, SessionOrder::Duration, Direction::Descending);
    let durations: Vec<_> = longest
        .data
        .iter()
        .map(Session::total_duration_ms)
        .collect();
    assert!(durations.windows(2).all(|pair| pair[0] >= pair[1]));
    let last = page(3, SessionOrder::Start, Direction::Ascending).meta;
    let shape = serde_json::to_value(last).unwrap();
    let expected = serde_json::json!({
        "page": 3, "limit": 10, "total": 25, "total_pages": 3, "has_next": false, "has_prev": true
    });
    assert_eq!(shape, expected);
}

#[test]
fn a_user_is_found_by_email_and_identity_and_its_logins_are_counted() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev");
    let bob = user(&tenant, "bob@acme.dev");
    let identity = SsoIdentity {
        provider: SsoProvider::parse("provider", "okta").unwrap(),
        user_id: SsoUserId::parse("id", "00u1").unwrap(),
    };
    tenant
        .write(|w| w.users().set_sso(ada.id, Some(identity.clone())))
        .unwrap();
    assert_eq!(
        tenant
            .read(|r| r.users().find_by_sso(&identity))
            .unwrap()
            .id,
        ada.id
    );
    let taken = tenant
        .write(|w| w.users().set_sso(bob.id, Some(identity.clone())))
        .unwrap_err();
    assert!(
        matches!(&taken, Error::UniqueViolation { columns, .. }
        if columns == &["sso_provider", "sso_user_id"]),
        "{taken}"
    );
    tenant.write(|w| w.users().record_login(ada.id)).unwrap();
    let seen = tenant.write(|w| w.users().record_login(ada.id)).unwrap();
    assert_eq!((seen.login_count, seen.last_login), (2, Some(at(0))));
    let changed = User {
        role: Role::Manager,
        preferences: JsonObject::parse("preferences", r#"{"theme":"dark"}"#).unwrap(),
        ..seen
    };
    assert_eq!(
        tenant.write(|w| w.users().update(&changed)).unwrap(),
        changed
    );
    tenant
        .write(|w| w.users().set_active(ada.id, false))
        .unwrap();
    let refused = tenant
        .write(|w| w.users().record_login(ada.id))
        .unwrap_err();
    assert_eq!(refused.kind(), "denied");
    let count = |filter: &UserFilter| tenant.read(|r| r.users().count_matching(filter)).unwrap();
    assert_eq!(
        count(&UserFilter {
            active: Some(false),
            ..UserFilter::default()
        }),
        1
    );
    assert_eq!(
        count(&UserFilter {
            role: Some(Role::Manager),
            ..UserFilter::default()
        }),
        1
    );
    let search = SearchText::parse("search", "BOB@").unwrap();
    assert_eq!(
        count(&UserFilter {
            text: Some(search),
            ..UserFilter::default()
        }),
        1
    );
}

#[test]
fn a_deleted_user_keeps_its_address_and_comes_back() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev");
    tenant.write(|w| w.users().delete(ada.id)).unwrap();
    assert_eq!(
        tenant.read(|r| r.users().get(ada.id)).unwrap_err().kind(),
        "not_found"
    );
    assert!(tenant.read(|r| r.users().list()).unwrap().is_empty());
    tenant.write(|w| w.users().restore(ada.id)).unwrap();
    assert_eq!(tenant.read(|r| r.users().get(ada.id)).unwrap(), ada);
    let request = PageRequest::new(1, 10).unwrap();
    for order in [
        UserOrder::Email,
        UserOrder::Name,
        UserOrder::LastLogin,
        UserOrder::Created,
    ] {
        let page = tenant
            .read(|r| {
                r.users().page(
                    &UserFilter::default(),
                    (order, Direction::Ascending),
                    request,
                )
            })
            .unwrap();
        assert_eq!(page.data, std::slice::from_ref(&ada));
    }
}

#[test]
fn an_inactive_tenant_takes_no_rows_and_gives_what_it_has() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = user(&tenant, "ada@acme.dev").id;
    tenant
        .write(|w| w.sessions().insert(&session(ada, "s", 0)))
        .unwrap();
    let domain = Domain::parse("acme").unwrap();
    fixture.store.set_tenant_active(&domain, false).unwrap();
    let tenant = fixture.store.tenant(&domain).unwrap();
    let refused = tenant
        .write(|w| w.sessions().insert(&session(ada, "t", 0)))
        .unwrap_err();
    assert_eq!((refused.kind(), refused.code()), ("denied", "P1010"));
    assert_eq!(tenant.read(|r| r.sessions().count()).unwrap(), 1);
    let limits = SealLimits {
        rows: 5,
        bytes: 1 << 20,
    };
    let sealed = tenant.write(|w| w.outbox().seal(limits, &[ada])).unwrap();
    assert_eq!(sealed.unwrap().rows, 1, "what it had still travels");
    fixture.store.set_tenant_active(&domain, true).unwrap();
    let tenant = fixture.store.tenant(&domain).unwrap();
    tenant
        .write(|w| w.sessions().insert(&session(ada, "t", 0)))
        .unwrap();
}

#[test]
fn tenants_are_changed_listed_and_counted() {
    let fixture = Fixture::new();
    for domain in ["acme", "umbra", "zeta"] {
        fixture.tenant(domain);
    }
    let store = &fixture.store;
    let domain = Domain::parse("umbra").unwrap();
    let change = TenantChange {
        plan: Some(Plan::Enterprise),
        billing_email: Some(Some(Email::parse("bills@umbra.dev").unwrap())),
        data_region: Some(Some(DataRegion::parse("region", "eu-central").unwrap())),
        metadata: Some(JsonObject::parse("metadata", r#"{"crm": 7}"#).unwrap()),
        ..TenantChange::default()
    };
    let changed = store.update_tenant(&domain, &change).unwrap();
    assert_eq!(changed.billing_email.as_deref(), Some("bills@umbra.dev"));
    assert_eq!(changed.metadata.as_map()["crm"], 7);
    assert_eq!(changed.name.as_str(), "umbra", "what was not named stays");
    let enterprise = TenantFilter {
        plan: Some(Plan::Enterprise),
        ..TenantFilter::default()
    };
    assert_eq!(store.tenants_matching(&enterprise).unwrap(), [changed]);
    assert_eq!(store.count_tenants(&TenantFilter::default()).unwrap(), 3);
    let request = PageRequest::new(2, 2).unwrap();
    let page = store
        .tenants_page(
            &TenantFilter::default(),
            (TenantOrder::Domain, Direction::Ascending),
            request,
        )
        .unwrap();
    assert_eq!(
        (page.data.len(), page.meta.total, page.meta.has_next),
        (1, 3, false)
    );
    let new = NewTenant {
        id: page.data[0].id,
        domain: Domain::parse("zeta").unwrap(),
        name: TenantName::parse("name", "Zeta").unwrap(),
        plan: Plan::Basic,
        admin_email: None,
    };
    let (zeta, done) = store.upsert_tenant(&new).unwrap();
    assert_eq!((zeta.name.as_str(), done), ("Zeta", Sighting::Raised));
    assert_eq!(store.upsert_tenant(&new).unwrap().1, Sighting::Unchanged);
    let missing = store
        .update_tenant(&Domain::parse("nobody").unwrap(), &change)
        .unwrap_err();
    assert_eq!(missing.kind(), "not_found");
}

#[test]
fn a_session_is_not_given_to_another_user() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let (ada, bob) = (
        user(&tenant, "ada@acme.dev").id,
        user(&tenant, "bob@acme.dev").id,
    );
    let whole = session(ada, "s", 0);
    tenant.write(|w| w.sessions().insert(&whole)).unwrap();
    let given = Session {
        user_id: bob,
        ..whole.clone()
    };
    for refused in [
        tenant.write(|w| w.sessions().update(&given)),
        tenant.write(|w| w.sessions().upsert(&given)).map(drop),
    ] {
        assert_eq!(refused.unwrap_err().kind(), "invalid");
    }
}
