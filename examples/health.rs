//! How a program looks after its store: figures of what it did, a health check, and what to do about what is found.
//!
//! `cargo run --example health` works in a temporary home and leaves nothing behind.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use millpond::domain::ids::TenantId;
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::store::health::{HealthLimits, HealthStatus, IntegrityDepth};
use millpond::store::{Home, Store};

fn main() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::init(Home::at(folder.path().join("home")))?;
    let domain = Domain::parse("acme")?;
    store.create_tenant(&NewTenant {
        id: TenantId::generate(),
        domain: domain.clone(),
        name: TenantName::parse("name", "Acme")?,
        plan: Plan::Basic,
        admin_email: None,
    })?;
    let acme = store.tenant(&domain)?;

    // Whatever takes this long is slow: counted, logged by `tracing`, and named by the report.
    store.watch().set_slow_threshold(Duration::from_millis(250));
    for _ in 0..100 {
        acme.read(|r| r.sessions().count())?;
    }
    let statistics = store.statistics()?;
    for statement in statistics.all.statements.iter().take(3) {
        let times = &statement.times;
        println!(
            "{} times, {:?} mostly: {}",
            times.count, times.p50, statement.sql
        );
    }

    // Does every file answer? And are they whole?
    let check = store.health_check(None)?;
    println!("{}, within {:?}", check.status().as_str(), check.response);
    let integrity = acme.check_integrity(IntegrityDepth::Full)?;
    anyhow::ensure!(integrity.problems == 0, "damaged: {:?}", integrity.found);

    // What ought to be done?
    let report = store.health_report(None, &HealthLimits::default())?;
    for recommendation in report.recommendations() {
        println!("{recommendation}\n  {}", recommendation.fix());
    }
    anyhow::ensure!(report.status() != HealthStatus::Unhealthy, "unhealthy");

    // For a scraper; and from here on counted anew.
    println!(
        "{} lines for Prometheus",
        report.to_prometheus().lines().count()
    );
    store.reset_statistics();
    Ok(())
}
