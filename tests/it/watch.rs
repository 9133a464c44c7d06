//! What the store sees of the work on its tenants: statements, waits, connections.

use std::sync::mpsc;
use std::time::Duration;

use millpond::store::watch::{Figures, StatementFigures, Statistics};
use millpond::store::{Error, MetricsFilter, MetricsKey, Timeouts, Writer};

use crate::fixture::{Fixture, call, session, user};
use crate::health::nested;

fn of<'s>(statistics: &'s Statistics, domain: &str) -> &'s Figures {
    let tenants = &statistics.tenants;
    let found = tenants.iter().find(|tenant| {
        tenant
            .domain
            .as_ref()
            .is_some_and(|own| own.as_str() == domain)
    });
    &found.unwrap_or_else(|| panic!("no {domain}")).figures
}

fn starting<'f>(figures: &'f Figures, sql: &str) -> Option<&'f StatementFigures> {
    figures
        .statements
        .iter()
        .find(|each| each.sql.starts_with(sql))
}

#[test]
fn each_statement_is_counted_once_for_its_tenant_and_in_all() {
    let fixture = Fixture::new();
    let (acme, umbra) = (fixture.tenant("acme"), fixture.tenant("umbra"));
    let ada = user(&acme, "ada@acme.dev");
    user(&umbra, "eve@umbra.dev");
    fixture.store.reset_statistics();
    let session = session(ada.id, "s", 0);
    acme.write(|w| {
        w.sessions().record(&session)?;
        for n in 0..2_500 {
            w.tool_metrics()
                .record(&call(&session, &n.to_string(), n))?;
        }
        // One statement, which fires a trigger for each of the calls.
        w.sessions().delete(session.id)
    })
    .unwrap();
    umbra.read(|r| r.sessions().count()).unwrap();

    let statistics = fixture.store.statistics().unwrap();
    let (in_acme, in_umbra) = (of(&statistics, "acme"), of(&statistics, "umbra"));
    let inserted = starting(in_acme, "INSERT INTO tool_metrics").unwrap();
    assert_eq!(inserted.times.count, 2_500);
    assert!(inserted.times.p50 > Duration::ZERO);
    assert!(inserted.times.p50 <= inserted.times.p95 && inserted.times.p95 <= inserted.times.p99);
    assert!(inserted.times.p99 <= inserted.times.max && inserted.times.max <= inserted.times.total);
    let deleted = starting(in_acme, "UPDATE tool_metrics SET deleted_at").unwrap();
    assert_eq!(deleted.times.count, 1);
    assert!(starting(in_acme, "BEGIN").is_some() && starting(in_acme, "COMMIT").is_some());
    assert!(starting(in_umbra, "INSERT").is_none());
    assert_eq!((in_acme.transactions, in_umbra.transactions), (1, 1));
    let sum = in_acme.times.count + in_umbra.times.count;
    assert_eq!(statistics.all.times.count, sum);
    let each: u64 = in_acme.statements.iter().map(|of| of.times.count).sum();
    assert_eq!(in_acme.times.count, each);
}

#[test]
fn no_value_reaches_what_is_told_of_a_statement() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    let ada = user(&acme, "ada@acme.dev");
    acme.write(|w| w.sessions().record(&session(ada.id, "quite-secret", 0)))
        .unwrap();
    acme.read(|r| r.metrics(MetricsKey::Day, MetricsFilter::default()))
        .unwrap();
    let told = format!("{:?}", fixture.store.statistics().unwrap().all.statements);
    assert!(told.contains("INSERT INTO metrics_sessions"), "{told}");
    for value in ["ada@acme.dev", "quite-secret", "unixepoch"] {
        let shown = fixture.store.statistics().unwrap();
        for statement in &shown.all.statements {
            assert!(!statement.sql.contains(value), "{}", statement.sql);
        }
    }
    assert!(!told.contains("ada@acme.dev") && !told.contains("quite-secret"));
}

#[test]
fn work_on_one_tenant_inside_work_on_another_is_counted_for_its_own() {
    let fixture = Fixture::new();
    let (acme, umbra) = (fixture.tenant("acme"), fixture.tenant("umbra"));
    user(&acme, "ada@acme.dev");
    fixture.store.reset_statistics();
    acme.read(|outer| {
        umbra.read(|inner| {
            inner.sessions().count()?;
            // The outer work goes on while the inner is watched.
            outer.tool_metrics().count()
        })
    })
    .unwrap();
    let statistics = fixture.store.statistics().unwrap();
    let count = |domain, table: &str| {
        let statements = &of(&statistics, domain).statements;
        statements
            .iter()
            .filter(|each| each.sql.contains(table))
            .count()
    };
    assert_eq!(
        (
            count("acme", "tool_metrics"),
            count("acme", "metrics_sessions")
        ),
        (1, 0)
    );
    assert_eq!(
        (
            count("umbra", "tool_metrics"),
            count("umbra", "metrics_sessions")
        ),
        (0, 1)
    );
}

#[test]
fn failed_and_panicking_work_is_counted_and_what_follows_is_watched() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    fixture.store.reset_statistics();
    acme.write(|_| Err::<(), Error>(Error::Busy { action: "fail" }))
        .unwrap_err();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        acme.read(|_| -> Result<(), Error> { panic!("on purpose") })
    }));
    assert!(panicked.is_err());
    acme.read(|r| r.sessions().count()).unwrap();
    let all = fixture.store.statistics().unwrap().all;
    assert_eq!((all.transactions, all.failed), (3, 2));
    assert!(starting(&all, "SELECT count(*)").is_some());
}

#[test]
fn a_statement_is_slow_from_the_threshold_on_and_a_reset_forgets_all() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    acme.read(|r| r.sessions().count()).unwrap();
    assert_eq!(fixture.store.statistics().unwrap().all.times.slow, 0);
    fixture.store.watch().set_slow_threshold(Duration::ZERO);
    fixture.store.reset_statistics();
    acme.read(|r| r.sessions().count()).unwrap();
    let all = fixture.store.statistics().unwrap().all;
    assert!(all.times.count > 0);
    assert_eq!(all.times.slow, all.times.count);
    fixture.store.reset_statistics();
    assert_eq!(fixture.store.statistics().unwrap().all.times.count, 0);
    fixture.store.watch().set_on(false);
    acme.read(|r| r.sessions().count()).unwrap();
    assert_eq!(fixture.store.statistics().unwrap().all.transactions, 0);
}

#[test]
fn work_that_waits_for_its_turn_or_a_connection_is_counted_and_so_is_giving_up() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    fixture.store.reset_statistics();
    let hasty = acme.with_timeouts(Timeouts {
        wait: Duration::from_millis(1),
        run: None,
    });
    let (held, holding) = mpsc::channel();
    let (finish, finished) = mpsc::channel::<()>();
    std::thread::scope(|threads| {
        let writer = &acme;
        threads.spawn(move || {
            let work = |_: &Writer<'_>| {
                held.send(()).unwrap();
                let _ = finished.recv();
                Ok::<(), Error>(())
            };
            writer.write(work).unwrap();
        });
        holding.recv().unwrap();
        let refused = hasty.write(|_| Ok::<(), Error>(())).unwrap_err();
        assert_eq!(refused.kind(), "busy");
        // The writer holds one of eight connections: seven readers, and there is none left.
        let refused = nested(7, &acme, &|| hasty.read(|r| r.sessions().count()).map(drop));
        assert_eq!(refused.unwrap_err().kind(), "pool");
        let pool = fixture.store.statistics().unwrap().tenants[0].pool;
        assert_eq!((pool.open, pool.idle), (8, 7));
        drop(finish);
    });
    let all = fixture.store.statistics().unwrap().all;
    let waits = |waits: millpond::store::watch::Waits| (waits.times.count, waits.timeouts);
    assert_eq!(waits(all.writer_waits), (1, 1));
    assert_eq!(waits(all.connection_waits), (1, 1));
    assert!(all.writer_waits.times.max >= Duration::from_millis(1));
}

#[test]
fn of_more_tenants_than_are_told_apart_nothing_is_lost_in_all() {
    let fixture = Fixture::new();
    let tenants: Vec<_> = (0..20).map(|n| fixture.tenant(&format!("t{n}"))).collect();
    fixture.store.reset_statistics();
    for tenant in &tenants {
        tenant.read(|r| r.sessions().count()).unwrap();
    }
    let statistics = fixture.store.statistics().unwrap();
    assert_eq!(statistics.tenants.len(), 16);
    assert_eq!(statistics.all.transactions, 20);
    let counted = starting(&statistics.all, "SELECT count(*)").unwrap();
    assert_eq!(counted.times.count, 20);
}

/// Keeps the text of every event: its level and all of its fields.
#[derive(Debug, Default)]
struct Kept(std::sync::Mutex<Vec<String>>);

impl tracing::Subscriber for Kept {
    fn enabled(&self, about: &tracing::Metadata<'_>) -> bool {
        about.target().starts_with("millpond::store::watch")
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, event: &tracing::Event<'_>) {
        let level = event.metadata().level();
        self.0.lock().unwrap().push(format!("{level} {event:?}"));
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[test]
fn every_statement_is_logged_and_a_slow_one_as_a_warning_without_a_value() {
    let fixture = Fixture::new();
    let acme = fixture.tenant("acme");
    let ada = user(&acme, "ada@acme.dev");
    let logged = |session_name: &str| {
        let kept = std::sync::Arc::new(Kept::default());
        let work = session(ada.id, session_name, 0);
        tracing::subscriber::with_default(std::sync::Arc::clone(&kept), || {
            acme.write(|w| w.sessions().record(&work)).unwrap();
        });
        kept.0.lock().unwrap().join("\n")
    };
    let all = logged("quite-secret");
    assert!(all.contains("DEBUG") && !all.contains("WARN"), "{all}");
    fixture.store.watch().set_slow_threshold(Duration::ZERO);
    let slow = logged("no-less-secret");
    assert!(slow.contains("WARN") && !slow.contains("DEBUG"), "{slow}");
    for text in [all, slow] {
        assert!(text.contains("INSERT INTO metrics_sessions"), "{text}");
        let tenant = acme.tenant().id.to_string();
        assert!(text.contains(&tenant), "{text}");
        for value in ["secret", "ada@acme.dev", "tenant.db"] {
            assert!(!text.contains(value), "{text}");
        }
    }
}
