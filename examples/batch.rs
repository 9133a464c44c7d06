//! Writes many sessions in chunks, prepared on four threads: a transaction each, and the outcome says which failed.
#![allow(clippy::print_stdout)]

use anyhow::Result;
use millpond::domain::ids::{SessionId, TenantId, UserId};
use millpond::domain::session::{Session, SessionType, Source, SourceId};
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::domain::units::Timestamp;
use millpond::domain::user::{Email, NewUser, Role};
use millpond::store::{Error, Home, OnDuplicate, OnFailure, Store};

/// What is to be brought in: a name and a time, as another program wrote them. Every 400th is broken.
fn line(n: u32) -> String {
    let minute = if n % 400 == 399 { 60 } else { n % 60 };
    format!("session-{n} 2026-01-05T09:{minute:02}:00Z")
}

fn parse(user: UserId, line: &str) -> Result<Session, Error> {
    let (name, start) = line.split_once(' ').unwrap_or((line, ""));
    let source = Source::parse("source", "example")?;
    let own = SourceId::parse("source id", name)?;
    let id = SessionId::derive(user, &source, Some(&own));
    let kind = SessionType::parse("session type", "agent")?;
    let start = Timestamp::parse(start)?;
    Ok(Session::begun(
        id,
        user,
        source,
        Some(own),
        kind,
        start,
        start,
    ))
}

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::init(Home::at(folder.path().join("home")))?;
    let acme = store.create_tenant(&NewTenant {
        id: TenantId::generate(),
        domain: Domain::parse("acme")?,
        name: TenantName::parse("name", "Acme")?,
        plan: Plan::Basic,
        admin_email: None,
    })?;
    let email = Email::parse("ada@acme.dev")?;
    let ada = UserId::derive(acme.id, &email);
    let new = NewUser {
        id: ada,
        email,
        first_name: None,
        last_name: None,
        role: Role::Developer,
    };
    let tenant = store.tenant(&acme.domain)?;
    tenant.write(|w| w.users().insert(&new))?;

    let outcome = tenant
        .batch((0..1_000).map(line))
        .size(100)?
        .concurrency(4)?
        .on_failure(OnFailure::GoOn)
        .progress(|p| println!("{} of {:?}, {} failed", p.done, p.total, p.failed))
        .run_prepared(
            |lines| {
                lines
                    .iter()
                    .map(|line| parse(ada, line))
                    .collect::<Result<Vec<_>, Error>>()
            },
            |w, sessions| w.sessions().insert_all(&sessions, OnDuplicate::Skip),
        );
    for failed in &outcome.failed {
        println!("chunk {} was not written: {}", failed.index, failed.error);
    }
    println!("{} sessions", tenant.read(|r| r.sessions().count())?);
    Ok(())
}
