//! Asks with raw SQL, as programs of the predecessor do: a store in a temporary folder, and the central database too
//! where `DATABASE_URL` names one (it is only read from).
#![allow(clippy::print_stdout)]

use std::sync::Arc;

use anyhow::{Context as _, Result};
use millpond::config::DatabaseSettings;
use millpond::domain::units::Timestamp;
use millpond::legacy::{Legacy, Organization};
use millpond::seed::{SeedOptions, seed};
use millpond::store::{Home, Store};
use uuid::Uuid;

const TOP: &str = "SELECT tool_name, count(*) AS calls FROM tool_metrics \
                   GROUP BY tool_name ORDER BY calls DESC, tool_name LIMIT 5";

/// Prints the same of either side; a handle of its first tenant.
async fn report(side: &str, db: &Legacy) -> Result<Organization> {
    let tenants = db
        .query("SELECT id, domain FROM tenants ORDER BY domain", &[])
        .await?;
    let first = tenants.first().context("there is no tenant")?;
    let (count, domain) = (tenants.len(), first.get::<String>("domain")?);
    println!("{side}: the first tenant of {count} is {domain}");
    // `db` stays as it is: the context is the handle, and no other task can change it.
    let tenant = db
        .set_organization_context(first.get::<Uuid>("id")?)
        .await?;
    for row in tenant.query(TOP, &[]).await? {
        let (calls, tool) = (row.get::<i64>("calls")?, row.get::<String>("tool_name")?);
        println!("{calls} calls of {tool}");
    }
    Ok(tenant)
}

/// Changes a row by parameters, and shows that a statement beyond the context is refused before it runs.
async fn change(tenant: &Organization) -> Result<()> {
    let users = tenant.query("SELECT email FROM users LIMIT 1", &[]).await?;
    let email: String = users.first().context("there is no user")?.get("email")?;
    let sql = "UPDATE users SET timezone = $1 WHERE email = $2";
    let touched = tenant.execute(sql, &["UTC".into(), email.into()]).await?;
    println!("{touched} user moved to UTC");
    match tenant.query("SELECT * FROM sqlite_schema", &[]).await {
        Ok(_) => anyhow::bail!("a table that is not the tenant's was read"),
        Err(error) => println!("{}: {error}", error.kind()),
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let settings = DatabaseSettings::of(|name| std::env::var(name).ok())?;
    let folder = tempfile::tempdir()?;
    let home = Home::at(folder.path().join("home"));
    // SQLite blocks: not on the threads that serve.
    let store = tokio::task::spawn_blocking(move || -> Result<Store> {
        let store = Store::init(home)?;
        let until = Timestamp::parse("2026-01-31T00:00:00Z")?;
        seed(&store, &SeedOptions::new(1, until)?.with_days(3)?, |_| ())?;
        Ok(store)
    })
    .await??;
    let local = Legacy::local(Arc::new(store), &settings);
    change(&report("this machine", &local).await?).await?;
    if settings.url.is_some() {
        report("the central database", &Legacy::central(&settings).await?).await?;
    }
    Ok(())
}
