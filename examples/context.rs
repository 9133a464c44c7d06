//! Reaches a tenant three ways: by a handle, by its id, and for one piece of work that the handle does not outlive.
#![allow(clippy::print_stdout)]

use anyhow::Result;
use millpond::domain::units::Timestamp;
use millpond::seed::{SeedOptions, seed};
use millpond::store::{Home, Store};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::init(Home::at(folder.path().join("home")))?;
    let until = Timestamp::parse("2026-01-31T00:00:00Z")?;
    seed(&store, &SeedOptions::new(1, until)?.with_days(1)?, |_| ())?;

    for tenant in store.tenants()? {
        // A handle carries its tenant: it can be cloned and kept, and reaches no other tenant's file.
        let by_domain = store.tenant(&tenant.domain)?;
        let by_id = store.tenant_by_id(tenant.id)?;
        anyhow::ensure!(by_domain.path() == by_id.path(), "two files of one tenant");
        let users = by_id.read(|r| r.users().list())?.len();
        // What is handed to the work ends with it: nothing can be kept by mistake.
        let calls = store.with_tenant(&tenant.domain, |scope| {
            scope.read(|r| r.tool_metrics().count())
        })?;
        println!("{}: {users} users, {calls} calls", tenant.domain);
    }
    Ok(())
}
