//! Seeds: the same every time, and like the work of people.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use millpond::domain::session::Session;
use millpond::domain::tool_metric::{DurationSource, Outcome, ToolMetric};
use millpond::domain::units::Timestamp;
use millpond::domain::user::Role;
use millpond::seed::{SeedOptions, SeedReport, seed};
use millpond::store::{Error, SessionFilter, SessionSort, Store, TenantStore};
use rusqlite::types::ValueRef;

use crate::fixture::Fixture;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;

/// Monday, so that the month before it has four whole weeks and a Saturday and Sunday.
fn options(rng: u64) -> SeedOptions {
    SeedOptions::new(rng, Timestamp::parse("2026-11-02T00:00:00Z").unwrap()).unwrap()
}

fn short(rng: u64) -> SeedOptions {
    options(rng).with_days(4).unwrap()
}

fn seeded(store: &Store, options: &SeedOptions) -> SeedReport {
    seed(store, options, |_| {}).unwrap()
}

fn tenants(store: &Store) -> Vec<TenantStore> {
    let tenants = store.tenants().unwrap();
    tenants
        .iter()
        .map(|tenant| store.tenant(&tenant.domain).unwrap())
        .collect()
}

/// BLAKE3 over every row of every tenant: its id, rev, digest of the payload, and the times that are no payload.
fn fingerprint(store: &Store) -> String {
    let mut hasher = blake3::Hasher::new();
    for tenant in tenants(store) {
        let about = tenant.tenant();
        hasher.update(
            format!(
                "{} {} {:?}",
                about.id, about.domain, about.subscription_plan
            )
            .as_bytes(),
        );
        #[allow(clippy::disallowed_methods)]
        let file = rusqlite::Connection::open(tenant.path()).unwrap();
        for sql in [
            "SELECT id, rev, email, first_name, last_name, role, timezone, created_at FROM users ORDER BY id",
            "SELECT id, rev, digest, created_at FROM metrics_sessions ORDER BY id",
            "SELECT id, rev, digest, provenance, created_at FROM tool_metrics ORDER BY id",
            "SELECT id, rev, digest, created_at, updated_at FROM dashboard_configs ORDER BY id",
        ] {
            let mut statement = file.prepare(sql).unwrap();
            let columns = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                for column in 0..columns {
                    match row.get_ref(column).unwrap() {
                        ValueRef::Blob(bytes) | ValueRef::Text(bytes) => hasher.update(bytes),
                        ValueRef::Integer(number) => hasher.update(&number.to_le_bytes()),
                        other => panic!("{other:?} in {sql}"),
                    };
                }
            }
        }
    }
    hasher.finalize().to_string()
}

fn pending(store: &Store) -> u64 {
    let pending = |tenant: &TenantStore| tenant.read(|r| r.outbox().status()).unwrap().pending;
    tenants(store).iter().map(pending).sum()
}

fn sessions(tenant: &TenantStore) -> Vec<Session> {
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let filter = SessionFilter::default();
        let page = tenant
            .read(|r| {
                r.sessions()
                    .list(&filter, SessionSort::Oldest, 1_000, after)
            })
            .unwrap();
        rows.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return rows;
        }
    }
}

fn calls(tenant: &TenantStore, session: &Session) -> Vec<ToolMetric> {
    tenant
        .read(|r| r.tool_metrics().of_session(session.id))
        .unwrap()
}

#[test]
fn the_seed_is_the_one_that_it_always_was() {
    let fixture = Fixture::new();
    let report = seeded(&fixture.store, &options(1));
    let counts: Vec<_> = report
        .tenants
        .iter()
        .map(|t| {
            (
                t.tenant.domain.as_str(),
                t.users,
                t.dashboards,
                t.sessions,
                t.tool_metrics,
            )
        })
        .collect();
    assert_eq!(
        counts,
        [
            ("alder", 5, 6, 239, 5_226),
            ("north", 5, 6, 310, 6_939),
            ("umbra", 5, 6, 323, 6_724)
        ]
    );
    // Whoever changes this changes every home that was ever seeded: seeding it again would then add rows.
    assert_eq!(
        fingerprint(&fixture.store),
        "74c4e0bd67a4a7780844566b9dfb17a7337d75dd683743e1d1076373ac7e0f5f"
    );
}

#[test]
fn seeding_again_changes_nothing() {
    let fixture = Fixture::new();
    let first = seeded(&fixture.store, &short(1));
    let (rows, waiting) = (fingerprint(&fixture.store), pending(&fixture.store));
    let again = seeded(&fixture.store, &short(1));
    assert_eq!(
        (fingerprint(&fixture.store), pending(&fixture.store)),
        (rows, waiting)
    );
    for (before, after) in first.tenants.iter().zip(&again.tenants) {
        assert_eq!(
            before.inserted,
            before.users + before.dashboards + before.sessions + before.tool_metrics
        );
        assert_eq!(after.inserted, 0);
        assert_eq!(before.tool_metrics, after.tool_metrics);
    }
}

#[test]
fn a_seed_that_was_cut_short_goes_on_to_the_same_end() {
    let whole = Fixture::new();
    seeded(&whole.store, &short(1));
    let fixture = Fixture::new();
    let mut transactions = 0;
    let cut = catch_unwind(AssertUnwindSafe(|| {
        seed(&fixture.store, &short(1), |_| {
            transactions += 1;
            assert!(transactions < 2, "enough");
        })
    }));
    assert!(cut.is_err());
    assert_ne!(fingerprint(&fixture.store), fingerprint(&whole.store));
    seeded(&fixture.store, &short(1));
    assert_eq!(fingerprint(&fixture.store), fingerprint(&whole.store));
}

#[test]
fn another_seed_makes_other_rows() {
    let (one, two) = (Fixture::new(), Fixture::new());
    seeded(&one.store, &short(1));
    seeded(&two.store, &short(2));
    assert_ne!(
        one.store.tenants().unwrap()[0].id,
        two.store.tenants().unwrap()[0].id
    );
    assert_ne!(fingerprint(&one.store), fingerprint(&two.store));
}

#[test]
fn a_name_that_a_real_tenant_has_is_refused_and_nothing_is_written() {
    let fixture = Fixture::new();
    fixture.tenant("umbra");
    let refused = seed(&fixture.store, &short(1), |_| panic!("nothing to write")).unwrap_err();
    assert!(
        matches!(&refused, Error::UniqueViolation { table, columns }
            if table == "tenants" && columns == &["domain"]),
        "{refused}"
    );
    assert_eq!(fixture.store.tenants().unwrap().len(), 1);
}

#[test]
fn a_transaction_holds_at_most_a_thousand_sightings_and_progress_ends_at_its_total() {
    let fixture = Fixture::new();
    let many = short(1).with_sessions_per_day(40).unwrap();
    let mut steps = Vec::new();
    seed(&fixture.store, &many, |progress| steps.push(progress)).unwrap();
    let mut before = 0;
    for step in &steps {
        assert!(step.rows - before <= 1_000, "{}", step.rows - before);
        before = step.rows;
    }
    assert!(before > 5_000, "{before}");
    let last = steps.last().unwrap();
    assert_eq!(last.done, last.total);
}

#[test]
fn no_work_lies_outside_the_seeded_days_in_any_zone() {
    let fixture = Fixture::new();
    // A Thursday: its midnight is the middle of a working day in the Americas and in the far east.
    let midnight = Timestamp::parse("2026-11-05T00:00:00Z").unwrap();
    let busy = SeedOptions::new(3, midnight)
        .and_then(|options| options.with_days(1))
        .and_then(|options| options.with_sessions_per_day(200))
        .unwrap();
    seeded(&fixture.store, &busy);
    let (mut first, mut last) = (busy.until(), busy.from());
    for tenant in tenants(&fixture.store) {
        for session in sessions(&tenant) {
            first = first.min(session.session_start);
            last = last.max(session.session_end.unwrap());
        }
    }
    assert!(
        first >= busy.from() && last <= busy.until(),
        "{first} to {last}"
    );
    assert!(first.millis_since(busy.from()) < 3_600_000, "{first}");
    assert!(busy.until().millis_since(last) < 3_600_000, "{last}");
}

#[test]
fn five_people_of_all_roles_and_one_default_dashboard_for_some() {
    let fixture = Fixture::new();
    seeded(&fixture.store, &short(1));
    let mut plans = BTreeSet::new();
    for tenant in tenants(&fixture.store) {
        plans.insert(tenant.tenant().subscription_plan.as_str());
        let users = tenant.read(|r| r.users().list()).unwrap();
        assert_eq!(users.len(), 5);
        let roles: BTreeSet<&str> = users.iter().map(|user| user.role.as_str()).collect();
        assert_eq!(roles.len(), Role::ALL.len());
        let mut defaults = 0;
        for user in &users {
            assert_ne!(user.timezone.as_str(), "");
            let boards = tenant.read(|r| r.dashboards().list(user.id)).unwrap();
            let of_user = boards.iter().filter(|board| board.is_default).count();
            assert!(of_user <= 1);
            defaults += of_user;
        }
        assert!((1..5).contains(&defaults), "{defaults}");
    }
    assert_eq!(
        plans,
        BTreeSet::from(["basic", "enterprise", "professional"])
    );
}

#[test]
fn the_work_is_like_that_of_people() {
    let offsets = BTreeMap::from([
        ("America/Bogota", -5 * HOUR),
        ("America/Phoenix", -7 * HOUR),
        ("Atlantic/Reykjavik", 0),
        ("Africa/Lagos", HOUR),
        ("Africa/Nairobi", 3 * HOUR),
        ("Asia/Kolkata", 5 * HOUR + HOUR / 2),
        ("Asia/Tokyo", 9 * HOUR),
    ]);
    let fixture = Fixture::new();
    seeded(&fixture.store, &options(1));
    let (mut all, mut in_hours, mut on_weekends) = (0, 0, 0);
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    let mut durations: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    let mut projects = BTreeSet::new();
    let mut children = 0;
    for tenant in tenants(&fixture.store) {
        let users = tenant.read(|r| r.users().list()).unwrap();
        for session in sessions(&tenant) {
            let user = users
                .iter()
                .find(|user| user.id == session.user_id)
                .unwrap();
            let end = session.session_end.unwrap();
            assert!(session.session_start >= options(1).from() && end <= options(1).until());
            let local = session.session_start.as_micros() + offsets[user.timezone.as_str()];
            all += 1;
            in_hours += usize::from((8 * HOUR..19 * HOUR).contains(&local.rem_euclid(DAY)));
            on_weekends += usize::from((local.div_euclid(DAY) + 3) % 7 >= 5);
            projects.extend(session.project_id.clone());
            let calls = calls(&tenant, &session);
            assert!((5..=60).contains(&calls.len()), "{}", calls.len());
            let tools: BTreeSet<String> = calls
                .iter()
                .map(|call| call.tool_name.to_string())
                .collect();
            assert_eq!(tools, session.tools_used);
            for call in &calls {
                assert!(call.started_at >= session.session_start && call.started_at <= end);
                assert_eq!(
                    call.total_duration_ms.is_none(),
                    call.duration_source == DurationSource::None
                );
                *outcomes.entry(call.outcome.as_str()).or_default() += 1;
                let known = durations.entry(call.tool_category.to_string()).or_default();
                known.extend(call.total_duration_ms);
                if let Some(parent) = call.parent_id {
                    let parent = calls.iter().find(|other| other.id == parent).unwrap();
                    assert_eq!(parent.tool_name.as_str(), "Task");
                    assert!(parent.started_at <= call.started_at);
                    children += 1;
                }
            }
        }
    }
    assert!(
        in_hours * 100 / all >= 85,
        "{in_hours} of {all} in business hours"
    );
    assert!(
        on_weekends > 0 && on_weekends * 100 / all <= 10,
        "{on_weekends} on weekends"
    );
    assert_eq!(projects.len(), 12);
    assert!(children > 100);
    let total: usize = outcomes.values().sum();
    for outcome in Outcome::ALL {
        assert!(
            outcomes[outcome.as_str()] * 1_000 / total >= 1,
            "{outcomes:?}"
        );
    }
    assert!(
        (3..12).contains(&(outcomes["error"] * 100 / total)),
        "{outcomes:?}"
    );
    let mut median = |category: &str| {
        let of = durations.get_mut(category).unwrap();
        of.sort_unstable();
        of[of.len() / 2]
    };
    assert!(median("file") < median("search"));
    assert!(median("search") < median("shell"));
    assert!(median("shell") < median("web"));
    assert!(median("web") < median("agent"));
}

#[test]
fn more_tenants_users_and_calls_can_be_asked_for_and_the_first_tenants_stay_themselves() {
    let usual = Fixture::new();
    let of_usual = seeded(&usual.store, &short(1));
    let two = Fixture::new();
    let of_two = seeded(&two.store, &short(1).with_tenants(2).unwrap());
    for (first, same) in of_two.tenants.iter().zip(&of_usual.tenants) {
        assert_eq!(first.tenant.id, same.tenant.id);
        assert_eq!(first.tool_metrics, same.tool_metrics);
    }
    assert_eq!((of_two.tenants.len(), of_usual.tenants.len()), (2, 3));

    let many = options(1)
        .with_tenants(5)
        .and_then(|options| options.with_users(12)?.with_calls(20_000))
        .unwrap();
    let fixture = Fixture::new();
    let report = seeded(&fixture.store, &many);
    let calls: u64 = report
        .tenants
        .iter()
        .map(|seeded| seeded.tool_metrics)
        .sum();
    assert!((18_000..22_000).contains(&calls), "{calls}");
    let tenants = tenants(&fixture.store);
    assert_eq!(tenants.len(), 5);
    for tenant in &tenants {
        assert_eq!(tenant.read(|r| r.users().list()).unwrap().len(), 12);
        assert!(tenant.read(|r| r.tool_metrics().count()).unwrap() > 1_000);
    }
    // A number of calls is met whether sessions are many or few, and a seed goes on where it stopped.
    let few = seeded(
        &Fixture::new().store,
        &options(1).with_calls(3_000).unwrap(),
    );
    let calls: u64 = few.tenants.iter().map(|seeded| seeded.tool_metrics).sum();
    assert!((2_200..3_800).contains(&calls), "{calls}");
    let again = seeded(&fixture.store, &many);
    assert!(again.tenants.iter().all(|seeded| seeded.inserted == 0));
    for wrong in [
        options(1).with_tenants(0),
        options(1).with_users(0),
        options(1).with_calls(0),
        options(1).with_tenants(10_001),
    ] {
        assert!(wrong.is_err());
    }
}

#[test]
fn a_home_that_was_seeded_on_another_day_says_so_and_how_to_go_on() {
    let workstation = crate::workstation::Workstation::new();
    let seed = |day: &str| workstation.run(&["seed", "--days", "1", "--until", day]);
    seed("2026-11-04").json();
    let refused = seed("2026-11-05");
    assert_eq!(refused.refused(1), "unique_violation");
    assert!(refused.stdout.contains("seed, date and number of days"));
    assert!(refused.stdout.contains("--until") && refused.stdout.contains("--home"));
    seed("2026-11-04").json();
}
