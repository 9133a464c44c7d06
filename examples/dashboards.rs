//! Edits a dashboard: the edit names the version that it saw, and what it replaced can be brought back.
#![allow(clippy::print_stdout)]

use anyhow::{Context as _, Result};
use millpond::domain::dashboard::{Dashboard, DashboardName};
use millpond::domain::units::Timestamp;
use millpond::domain::user::Role;
use millpond::seed::{SeedOptions, seed};
use millpond::store::{Home, Store};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::init(Home::at(folder.path().join("home")))?;
    let until = Timestamp::parse("2026-01-31T00:00:00Z")?;
    let seeded = seed(&store, &SeedOptions::new(1, until)?.with_days(1)?, |_| ())?;
    let first = seeded.tenants.first().context("nothing was seeded")?;
    let tenant = store.tenant(&first.tenant.domain)?;
    let users = tenant.read(|r| r.users().list())?;
    let mut dashboards = Vec::new();
    for user in &users {
        dashboards.extend(tenant.read(|r| r.dashboards().list(user.id))?);
    }
    let seen = dashboards.first().context("no dashboard was seeded")?;

    let renamed = Dashboard {
        dashboard_name: DashboardName::parse("name", "What took long")?,
        ..seen.clone()
    };
    let renamed = tenant.write(|w| w.dashboards().update(&renamed))?;
    println!("version {} became {}", seen.version, renamed.version);

    // Whoever still looks at the old version would undo the edit unseen: refused.
    let late = tenant.write(|w| w.dashboards().update(seen));
    println!(
        "an edit of the old version: {}",
        late.err().map_or("done", |error| error.kind())
    );

    let shared = tenant.write(|w| {
        w.dashboards()
            .share(renamed.id, renamed.version, &[Role::Viewer])
    })?;
    println!("shared with {:?}", shared.shared_with_roles);
    let back = tenant.write(|w| {
        w.dashboards()
            .revert(shared.id, shared.version, seen.version)
    })?;
    let history = tenant.read(|r| r.dashboards().history(seen.id))?;
    println!(
        "back to its name: {}, {} versions kept",
        back.dashboard_name == seen.dashboard_name,
        history.len()
    );
    Ok(())
}
