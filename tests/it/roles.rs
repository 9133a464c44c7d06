//! Work done as a user: every cell of the permission table, tried against the repositories.

use millpond::domain::dashboard::{Dashboard, DashboardName, RefreshInterval};
use millpond::domain::ids::{DashboardId, UserId};
use millpond::domain::json::JsonObject;
use millpond::domain::permission::{Action, Scope, Subject, scope};
use millpond::domain::user::{Role, User};
use millpond::store::{
    DashboardFilter, Error, MetricsFilter, MetricsKey, SessionFilter, SessionSort, TenantStore,
    ToolMetricFilter,
};

use crate::fixture::{Fixture, at, call, session, user};

fn dashboard(user: UserId, name: &str) -> Dashboard {
    let name = DashboardName::parse("name", name).unwrap();
    Dashboard {
        id: DashboardId::derive(user, &name),
        user_id: user,
        dashboard_name: name,
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

fn with_role(tenant: &TenantStore, email: &str, role: Role) -> UserId {
    let made = user(tenant, email);
    tenant
        .write(|w| w.users().update(&User { role, ..made }))
        .unwrap()
        .id
}

fn denied<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    match result {
        Ok(_) => false,
        Err(Error::Denied { .. } | Error::NotFound { .. }) => true,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn each_role_writes_and_deletes_what_the_table_says_and_nothing_else() {
    for role in Role::ALL {
        let fixture = Fixture::new();
        let tenant = fixture.tenant("acme");
        let me = with_role(&tenant, "me@acme.dev", role);
        let other = with_role(&tenant, "other@acme.dev", Role::Developer);
        for (owner, least) in [(me, Scope::Own), (other, Scope::All)] {
            let may = |action, subject| scope(role, action, subject) >= least;
            let whole = session(owner, "s", 0);
            let board = dashboard(owner, "b");
            let context = format!("{role:?} {least:?}");
            let wrote = tenant.write_as(me, |w| w.sessions().insert(&whole));
            assert_eq!(
                !denied(wrote),
                may(Action::Write, Subject::Sessions),
                "{context}"
            );
            let _ = tenant.write(|w| w.sessions().upsert(&whole)).unwrap();
            let one = call(&whole, "c", 1);
            let wrote = tenant.write_as(me, |w| w.tool_metrics().record(&one));
            assert_eq!(
                !denied(wrote),
                may(Action::Write, Subject::ToolMetrics),
                "{context}"
            );
            let _ = tenant.write(|w| w.tool_metrics().upsert(&one)).unwrap();
            let wrote = tenant.write_as(me, |w| w.dashboards().insert(&board));
            if denied(wrote) {
                tenant.write(|w| w.dashboards().insert(&board)).unwrap();
                assert!(!may(Action::Write, Subject::Dashboards), "{context}");
            } else {
                assert!(may(Action::Write, Subject::Dashboards), "{context}");
            }
            let deletes = [
                (
                    Subject::Dashboards,
                    tenant.write_as(me, |w| w.dashboards().delete(board.id)),
                ),
                (
                    Subject::ToolMetrics,
                    tenant.write_as(me, |w| w.tool_metrics().delete(one.id)),
                ),
                (
                    Subject::Sessions,
                    tenant.write_as(me, |w| w.sessions().delete(whole.id)),
                ),
            ];
            for (subject, deleted) in deletes {
                assert_eq!(
                    !denied(deleted),
                    may(Action::Delete, subject),
                    "{context} {subject:?}"
                );
            }
            let known = tenant.read(|r| r.users().get(owner)).unwrap();
            let wrote = tenant.write_as(me, |w| w.users().update(&known));
            assert_eq!(
                !denied(wrote),
                may(Action::Write, Subject::Users),
                "{context}"
            );
        }
        let deleted = tenant.write_as(me, |w| w.users().delete(other));
        assert_eq!(!denied(deleted), role == Role::Admin);
    }
}

#[test]
fn each_role_reads_what_the_table_says_and_finds_nothing_else() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ids = Role::ALL.map(|role| {
        (
            role,
            with_role(&tenant, &format!("{}@acme.dev", role.as_str()), role),
        )
    });
    for (_, id) in ids {
        let whole = session(id, "s", 0);
        tenant
            .write(|w| {
                w.sessions().insert(&whole)?;
                w.tool_metrics().insert(&call(&whole, "c", 1))
            })
            .unwrap();
    }
    let expected = |role, subject| match scope(role, Action::Read, subject) {
        Scope::None => None,
        Scope::Own => Some(1),
        Scope::All => Some(4),
    };
    for (role, id) in ids {
        let read = |count: Result<u64, Error>| (!denied_ref(&count)).then(|| count.unwrap());
        let sessions = tenant.read_as(id, |r| {
            let filter = SessionFilter::default();
            let page = r.sessions().list(&filter, SessionSort::Newest, 10, None)?;
            assert_eq!(page.rows.len() as u64, r.sessions().count()?);
            Ok(page.rows.len() as u64)
        });
        assert_eq!(
            read(sessions),
            expected(role, Subject::Sessions),
            "{role:?}"
        );
        let calls = tenant.read_as(id, |r| {
            r.tool_metrics()
                .count_matching(&ToolMetricFilter::default())
        });
        assert_eq!(
            read(calls),
            expected(role, Subject::ToolMetrics),
            "{role:?}"
        );
        let figures = tenant.read_as(id, |r| {
            let rows = r.metrics(MetricsKey::Tool, MetricsFilter::default())?;
            Ok(rows
                .iter()
                .map(|row| u64::try_from(row.calls).unwrap())
                .sum())
        });
        assert_eq!(
            read(figures),
            expected(role, Subject::ToolMetrics),
            "{role:?}"
        );
        let users = tenant.read_as(id, |r| Ok(r.users().list()?.len() as u64));
        assert_eq!(read(users), expected(role, Subject::Users), "{role:?}");
        for (_, owner) in ids {
            let found = tenant.read_as(id, |r| r.sessions().find(session(owner, "s", 0).id));
            let seen = found.is_ok_and(|found| found.is_some());
            let least = if owner == id { Scope::Own } else { Scope::All };
            assert_eq!(
                seen,
                scope(role, Action::Read, Subject::Sessions) >= least,
                "{role:?}"
            );
        }
    }
}

fn denied_ref<T>(result: &Result<T, Error>) -> bool {
    matches!(result, Err(Error::Denied { .. }))
}

#[test]
fn a_dashboard_is_seen_by_its_user_by_the_roles_it_is_shared_with_and_by_all_once_public() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let ada = with_role(&tenant, "ada@acme.dev", Role::Developer);
    let bob = with_role(&tenant, "bob@acme.dev", Role::Developer);
    let eve = with_role(&tenant, "eve@acme.dev", Role::Viewer);
    let max = with_role(&tenant, "max@acme.dev", Role::Manager);
    let board = dashboard(ada, "week");
    tenant
        .write_as(ada, |w| w.dashboards().insert(&board))
        .unwrap();
    let sees = |who| {
        let found = tenant
            .read_as(who, |r| r.dashboards().find(board.id))
            .unwrap();
        let filter = DashboardFilter::default();
        let count = tenant
            .read_as(who, |r| r.dashboards().count_matching(&filter))
            .unwrap();
        assert_eq!(found.is_some(), count == 1);
        found.is_some()
    };
    assert_eq!([ada, bob, eve, max].map(sees), [true, false, false, true]);
    tenant
        .write_as(ada, |w| w.dashboards().share(board.id, 1, &[Role::Viewer]))
        .unwrap();
    assert_eq!([ada, bob, eve, max].map(sees), [true, false, true, true]);
    let denied = tenant
        .write_as(eve, |w| w.dashboards().set_public(board.id, 2, true))
        .unwrap_err();
    assert_eq!(
        (denied.kind(), denied.to_string().as_str()),
        ("denied", "a viewer may not publish a dashboard")
    );
    tenant
        .write_as(ada, |w| w.dashboards().set_public(board.id, 2, true))
        .unwrap();
    assert_eq!([ada, bob, eve, max].map(sees), [true, true, true, true]);
    let by_filter = DashboardFilter {
        seen_by: Some((bob, Role::Developer)),
        ..Default::default()
    };
    assert_eq!(
        tenant
            .read(|r| r.dashboards().count_matching(&by_filter))
            .unwrap(),
        1
    );
}

#[test]
fn nobody_raises_their_own_role_and_an_inactive_user_does_nothing() {
    let fixture = Fixture::new();
    let tenant = fixture.tenant("acme");
    let bob = with_role(&tenant, "bob@acme.dev", Role::Developer);
    let known = tenant.read(|r| r.users().get(bob)).unwrap();
    let raised = User {
        role: Role::Admin,
        ..known.clone()
    };
    let refused = tenant
        .write_as(bob, |w| w.users().update(&raised))
        .unwrap_err();
    assert_eq!(refused.kind(), "denied");
    tenant
        .write_as(bob, |w| w.users().record_login(bob))
        .unwrap();
    tenant.write(|w| w.users().set_active(bob, false)).unwrap();
    let refused = tenant.read_as(bob, |r| r.sessions().count()).unwrap_err();
    assert_eq!(refused.kind(), "denied");
}
