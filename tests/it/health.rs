//! What a health check and a report tell, and each recommendation provoked.

use std::time::Duration;

use millpond::store::health::{
    HealthLimits, HealthReport, HealthStatus, IntegrityDepth, MissingIndex, Recommendation,
};
use millpond::store::outbox::Stopped;
use millpond::store::{EnrolledUser, Enrolment, Error, TenantStore, Timeouts, ToolMetricFilter};
use uuid::Uuid;

use crate::fixture::{Fixture, at, call, session, user};

const DAY: i64 = 86_400;

fn report(fixture: &Fixture) -> HealthReport {
    report_within(fixture, &HealthLimits::default())
}

fn report_within(fixture: &Fixture, limits: &HealthLimits) -> HealthReport {
    fixture.store.health_report(None, limits).unwrap()
}

fn kinds(report: &HealthReport) -> Vec<&'static str> {
    let all: Vec<_> = report.recommendations().collect();
    for one in &all {
        assert!(one.to_string().contains(one.domain().as_str()), "{one}");
        assert!(!one.fix().is_empty());
    }
    all.into_iter().map(Recommendation::kind).collect()
}

/// Twelve calls, a second apart, in one session.
fn twelve_calls(tenant: &TenantStore) {
    let session = session(user(tenant, "ada@acme.dev").id, "s", 0);
    tenant
        .write(|w| {
            w.sessions().record(&session)?;
            for n in 0..12 {
                w.tool_metrics()
                    .record(&call(&session, &n.to_string(), n))?;
            }
            Ok::<(), Error>(())
        })
        .unwrap();
}

/// Another program's connection to the tenant's file.
#[allow(clippy::disallowed_methods)]
fn raw(tenant: &TenantStore) -> rusqlite::Connection {
    rusqlite::Connection::open(tenant.path()).unwrap()
}

#[test]
fn a_fresh_home_is_healthy_and_has_figures_of_its_own() {
    let fixture = Fixture::new();
    twelve_calls(&fixture.tenant("acme"));
    fixture.tenant("umbra");
    let check = fixture.store.health_check(None).unwrap();
    assert_eq!(check.status(), HealthStatus::Healthy);
    assert_eq!(check.answers.len(), 2);
    assert!(check.response > Duration::ZERO);
    let report = report(&fixture);
    assert_eq!(
        (report.status(), kinds(&report)),
        (HealthStatus::Healthy, vec![])
    );
    let facts = report.tenants[0].facts.as_ref().unwrap();
    assert!(facts.figures.times.count > 0 && facts.file_bytes > 0);
    assert_eq!(facts.outbox.pending, 13);
    let one = fixture
        .store
        .health_report(Some(&report.tenants[1].domain), &HealthLimits::default())
        .unwrap();
    assert_eq!(one.tenants.len(), 1);
}

#[test]
fn looking_at_the_health_changes_no_row() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    twelve_calls(&acme);
    // Differs as soon as anyone else has committed anything.
    let other = raw(&acme);
    let version = || {
        other
            .pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0))
            .unwrap()
    };
    let before = version();
    let limits = HealthLimits {
        scanned_rows: 1,
        ..HealthLimits::default()
    };
    report_within(&fixture, &limits);
    assert_eq!(version(), before);
    acme.check_integrity(IntegrityDepth::Quick).unwrap();
    assert_ne!(version(), before, "this test could not fail");
}

#[test]
fn a_slow_statement_is_named() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    fixture.store.watch().set_slow_threshold(Duration::ZERO);
    acme.read(|r| r.sessions().count()).unwrap();
    let report = report(&fixture);
    assert_eq!(report.status(), HealthStatus::Degraded);
    assert!(report.recommendations().any(|one| matches!(one,
        Recommendation::SlowStatement { statement: (_, sql), slow, .. }
            if sql.starts_with("SELECT count(*) FROM metrics_sessions") && *slow > 0)));
}

#[test]
fn an_index_is_named_where_it_would_serve_and_nowhere_else() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    twelve_calls(&acme);
    let since = ToolMetricFilter {
        since: Some(at(3)),
        ..ToolMetricFilter::default()
    };
    acme.read(|r| {
        r.tool_metrics().count_matching(&since)?;
        // An index that is there serves this one; none would serve the other, since no row is deleted.
        r.tool_metrics().count_matching(&ToolMetricFilter {
            tool: Some(call(&session(user_id(), "s", 0), "c", 0).tool_name),
            ..ToolMetricFilter::default()
        })?;
        r.tool_metrics().count()
    })
    .unwrap();
    let limits = |scanned_rows| HealthLimits {
        scanned_rows,
        ..HealthLimits::default()
    };
    let report = report_within(&fixture, &limits(12));
    let found: Vec<_> = report
        .recommendations()
        .map(|one| match one {
            Recommendation::MissingIndex {
                index,
                statement: (_, sql),
                ..
            } => (index.clone(), sql.as_str()),
            other => panic!("{other}"),
        })
        .collect();
    let index = MissingIndex {
        table: "tool_metrics".into(),
        column: "started_at".into(),
    };
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, index);
    assert!(found[0].1.contains("started_at >= ?"), "{found:?}");
    assert_eq!(report.status(), HealthStatus::Healthy);
    // A small table is read as a whole sooner than by an index.
    assert!(kinds(&report_within(&fixture, &limits(13))).is_empty());
}

fn user_id() -> millpond::domain::ids::UserId {
    millpond::domain::ids::UserId::from_uuid(Uuid::nil())
}

#[test]
fn a_large_log_is_told() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    twelve_calls(&acme);
    let log = std::fs::metadata(acme.path().with_extension("db-wal"))
        .unwrap()
        .len();
    assert!(log > 0);
    let limits = |log_bytes| HealthLimits {
        log_bytes,
        ..HealthLimits::default()
    };
    assert!(kinds(&report_within(&fixture, &limits(log))).is_empty());
    let report = report_within(&fixture, &limits(log - 1));
    assert_eq!(kinds(&report), ["large_log"]);
    assert_eq!(report.status(), HealthStatus::Degraded);
}

#[test]
fn work_that_gave_up_waiting_is_told() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    let hasty = acme.with_timeouts(Timeouts {
        wait: Duration::from_millis(1),
        run: None,
    });
    acme.write(|_| hasty.write(|_| Ok::<(), Error>(())))
        .unwrap_err();
    let report = report(&fixture);
    assert_eq!(kinds(&report), ["writer_waits"]);
    assert_eq!(report.status(), HealthStatus::Degraded);
    fixture.store.reset_statistics();
    nested(8, &acme, &|| hasty.read(|r| r.sessions().count()).map(drop)).unwrap_err();
    assert_eq!(kinds(&self::report(&fixture)), ["connection_waits"]);
}

/// Reads inside reads, each with a connection of its own.
pub fn nested(
    depth: usize,
    tenant: &TenantStore,
    work: &dyn Fn() -> Result<(), Error>,
) -> Result<(), Error> {
    match depth {
        0 => work(),
        _ => tenant.read(|_| nested(depth - 1, tenant, work)),
    }
}

#[test]
fn an_integrity_check_is_due_a_month_after_the_last_and_noted_in_the_file() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    fixture.clock.move_on(30 * DAY);
    assert!(kinds(&report(&fixture)).is_empty());
    fixture.clock.move_on(1);
    let due = report(&fixture);
    assert_eq!(kinds(&due), ["integrity_due"]);
    assert_eq!(due.status(), HealthStatus::Healthy);
    for depth in [IntegrityDepth::Quick, IntegrityDepth::Full] {
        assert_eq!(acme.check_integrity(depth).unwrap().found, [""; 0]);
    }
    let checked = report(&fixture);
    assert!(kinds(&checked).is_empty());
    let facts = checked.tenants[0].facts.as_ref().unwrap();
    let noted = facts.integrity.as_ref().unwrap();
    assert_eq!((noted.at, noted.problems), (at(30 * DAY + 1), 0));
    fixture.clock.move_on(30 * DAY + 1);
    assert_eq!(kinds(&report(&fixture)), ["integrity_due"]);
}

#[test]
fn damage_is_found_and_told_until_a_check_finds_none() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    twelve_calls(&acme);
    let file = raw(&acme);
    file.execute_batch(
        "PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF;
         UPDATE tool_metrics SET error_count = -1 WHERE source_id = '3';
         UPDATE tool_metrics SET session_id = zeroblob(16) WHERE source_id = '4';",
    )
    .unwrap();
    let check = acme.check_integrity(IntegrityDepth::Quick).unwrap();
    assert_eq!(check.problems, 2, "{:?}", check.found);
    assert!(check.found[0].contains("tool_metrics"), "{:?}", check.found);
    assert!(
        check.found[1].contains("metrics_sessions"),
        "{:?}",
        check.found
    );
    let report = report(&fixture);
    assert_eq!(kinds(&report), ["damaged"]);
    assert_eq!(report.status(), HealthStatus::Unhealthy);
    file.execute_batch(
        "UPDATE tool_metrics SET error_count = 0, session_id = (SELECT id FROM metrics_sessions);",
    )
    .unwrap();
    acme.check_integrity(IntegrityDepth::Full).unwrap();
    assert!(kinds(&self::report(&fixture)).is_empty());
}

#[test]
fn an_index_that_disagrees_with_its_table_is_found_by_the_full_check_alone() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    twelve_calls(&acme);
    // The index is told to be another one's: what it holds no longer fits its table.
    raw(&acme)
        .execute_batch(
            "PRAGMA writable_schema = ON;
             UPDATE sqlite_schema SET sql = replace(sql, 'tool_category, started_at', 'tool_name, started_at')
             WHERE name = 'tool_metrics_category_started';
             PRAGMA schema_version = 1000;",
        )
        .unwrap();
    let found = |depth| acme.check_integrity(depth).unwrap().problems;
    assert_eq!(found(IntegrityDepth::Quick), 0);
    assert!(found(IntegrityDepth::Full) > 0);
}

#[test]
fn rows_that_wait_long_are_told_where_there_is_somewhere_to_send_them() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    twelve_calls(&acme);
    // The waiting change's age is by the machine's clock: all that is sure of it is that it was before 2100.
    fixture.clock.move_on(75 * 365 * DAY);
    acme.check_integrity(IntegrityDepth::Quick).unwrap();
    assert!(kinds(&report(&fixture)).is_empty());
    let ada = acme.read(|r| r.users().default()).unwrap();
    let enrolment = Enrolment {
        tenant_id: acme.tenant().id,
        device_id: Uuid::nil(),
        schema_name: acme.tenant().schema_name.clone(),
        url: "postgresql://db.invalid/millpond".into(),
        users: vec![EnrolledUser {
            id: ada.id,
            email: "ada@acme.dev".into(),
            role: ada.role,
        }],
    };
    let domain = &acme.tenant().domain;
    fixture.store.enrol(domain, &enrolment, "secret").unwrap();
    let report = report(&fixture);
    assert_eq!(kinds(&report), ["pending_old"]);
    assert_eq!(report.status(), HealthStatus::Degraded);
}

#[test]
fn a_stopped_synchronisation_and_a_quarantine_are_told() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    let stop = |why| acme.write(|w| w.outbox().note_stop(why)).unwrap();
    stop(Some(Stopped::Offline));
    assert!(kinds(&report(&fixture)).is_empty());
    stop(Some(Stopped::Gone));
    assert_eq!(kinds(&report(&fixture)), ["sync_stopped"]);
    stop(None);
    raw(&acme)
        .execute_batch(
            "INSERT INTO quarantine (table_name, pk, rev, reason, message, since)
             VALUES ('tool_metrics', zeroblob(16), 1, 'rejected', 'refused', 0)",
        )
        .unwrap();
    let report = report(&fixture);
    assert_eq!(kinds(&report), ["quarantine"]);
    assert_eq!(report.status(), HealthStatus::Degraded);
}

#[test]
fn a_file_that_cannot_be_read_hides_nothing_of_the_others() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    fixture.tenant("umbra");
    let path = acme.path().to_owned();
    drop(acme);
    std::fs::write(&path, "no database").unwrap();
    let check = fixture.store.health_check(None).unwrap();
    assert_eq!(check.status(), HealthStatus::Unhealthy);
    assert!(check.answers[0].answered.is_err() && check.answers[1].answered.is_ok());
    let report = report(&fixture);
    assert_eq!(
        (report.status(), kinds(&report)),
        (HealthStatus::Unhealthy, vec!["unreadable"])
    );
    assert!(report.tenants[0].facts.is_err() && report.tenants[1].facts.is_ok());
}
