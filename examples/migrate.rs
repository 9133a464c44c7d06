//! Brings the files of a home up to date with a migration of the caller's, and shows what one that fails leaves.
#![allow(clippy::print_stdout)]

use anyhow::Result;
use millpond::domain::ids::TenantId;
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::store::schema::Schemas;
use millpond::store::{FileKind, Home, Migrations, Store};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let home = Home::at(folder.path().join("home"));
    let store = Store::init(home.clone())?;
    for domain in ["acme", "umbra"] {
        store.create_tenant(&NewTenant {
            id: TenantId::generate(),
            domain: Domain::parse(domain)?,
            name: TenantName::parse("name", domain)?,
            plan: Plan::Basic,
            admin_email: None,
        })?;
    }
    drop(store);

    let now = Migrations::embedded();
    let next = now.latest(FileKind::Tenant) + 1;
    let notes = format!(
        "PRAGMA user_version = {next};
         CREATE TABLE notes (text TEXT NOT NULL) STRICT;"
    );
    let more = now.with(FileKind::Tenant, &format!("V{next}__add_notes"), &notes)?;
    let schemas = Schemas::with(home.clone(), more.clone())?;
    // The canary goes first: where its file fails, no other is touched.
    let canary = Domain::parse("acme")?;
    let deployed = schemas.deploy(Some(&canary), |p| println!("{} of {}", p.done, p.total))?;
    for file in &deployed.upgraded {
        let whose = file.domain.as_ref().map_or("registry", Domain::as_str);
        let kept = if file.copy.is_some() {
            "kept"
        } else {
            "not kept"
        };
        println!(
            "{whose}: {} more, a copy of what it was is {kept}",
            file.to - file.from
        );
    }

    let broken = format!(
        "PRAGMA user_version = {}; CREATE TABLE users (a);",
        next + 1
    );
    let more = more.with(FileKind::Tenant, &format!("V{}__broken", next + 1), &broken)?;
    let deployed = Schemas::with(home.clone(), more)?.deploy(None, |_| ())?;
    for failed in &deployed.failed {
        println!("{}: {}", failed.domain, failed.error.kind());
    }
    let status = schemas.tenant_status(&canary)?;
    println!("acme is as it was: {}", status.version == next);
    Ok(())
}
