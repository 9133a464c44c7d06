//! Signs a user in by an identity of another system, and works as users of two roles.
#![allow(clippy::print_stdout)]

use anyhow::{Context as _, Result};
use millpond::domain::units::Timestamp;
use millpond::domain::user::{Role, SsoIdentity, SsoProvider, SsoUserId, User};
use millpond::seed::{SeedOptions, seed};
use millpond::store::{Home, SessionFilter, SessionSort, Store};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::init(Home::at(folder.path().join("home")))?;
    let until = Timestamp::parse("2026-01-31T00:00:00Z")?;
    let seeded = seed(&store, &SeedOptions::new(1, until)?.with_days(3)?, |_| ())?;
    let first = seeded.tenants.first().context("nothing was seeded")?;
    let tenant = store.tenant(&first.tenant.domain)?;
    let users = tenant.read(|r| r.users().list())?;
    let of = |role: Role| -> Result<&User> {
        let found = users.iter().find(|user| user.role == role);
        found.with_context(|| format!("nobody is {}", role.as_str()))
    };
    let (manager, viewer) = (of(Role::Manager)?, of(Role::Viewer)?);

    // The program has asked its identity provider who this is; the tenant knows the identity.
    let identity = SsoIdentity {
        provider: SsoProvider::parse("sso provider", "okta")?,
        user_id: SsoUserId::parse("sso user id", "00u-example")?,
    };
    tenant.write(|w| w.users().set_sso(viewer.id, Some(identity.clone())))?;
    let known = tenant.read(|r| r.users().find_by_sso(&identity))?;
    let signed_in = tenant.write(|w| w.users().record_login(known.id))?;
    println!("logins of the viewer: {}", signed_in.login_count);

    // As a manager all sessions are seen; as a viewer none, and nothing can be deleted.
    let all = SessionFilter::default();
    let seen = |user: &User| {
        let newest = SessionSort::Newest;
        tenant.read_as(user.id, |r| r.sessions().list(&all, newest, 1_000, None))
    };
    let sessions = seen(manager)?.rows;
    let session = sessions.first().context("no session was seeded")?;
    println!("the manager sees sessions: {}", !sessions.is_empty());
    match seen(viewer) {
        Ok(page) => println!("the viewer sees {} sessions", page.rows.len()),
        Err(refused) => println!("the viewer may not look: {}", refused.kind()),
    }
    let refused = tenant.write_as(viewer.id, |w| w.sessions().delete(session.id));
    println!(
        "the viewer deletes a session: {}",
        refused.err().map_or("done", |error| error.kind())
    );
    Ok(())
}
