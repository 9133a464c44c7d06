//! `millpond init`: the home, the registry and a first tenant. Running it again changes nothing.

use std::process::ExitCode;

use clap::Args;
use millpond::domain::ids::{TenantId, UserId};
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::domain::user::{Email, NewUser, Role};
use millpond::store::{Error, Store};
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::output::lines;
use super::tenants::{TenantView, view};

#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// The first tenant's domain, as acme or acme.dev
    #[arg(long, value_name = "DOMAIN")]
    tenant: Option<String>,
    /// The first tenant's name for people; its domain where none is given
    #[arg(long, requires = "tenant")]
    name: Option<String>,
    /// The person whose work is recorded
    #[arg(long, value_name = "EMAIL", requires = "tenant")]
    user: Option<String>,
    /// Mark a new home for development: drafts may be pushed, and files reset without a question
    #[arg(long)]
    development: bool,
}

#[derive(Debug, Serialize)]
struct Initialised {
    home: String,
    tenants: Vec<TenantView>,
}

pub(super) fn run(args: &InitArgs, context: &Context) -> Result<ExitCode, Failure> {
    // Everything is checked before anything is made.
    let domain = args.tenant.as_deref().map(Domain::parse).transpose()?;
    let email = args.user.as_deref().map(Email::parse).transpose()?;
    let name = match (&args.name, &domain) {
        (Some(name), _) => Some(TenantName::parse("name", name)?),
        (None, Some(domain)) => Some(TenantName::parse("name", domain.as_str())?),
        (None, None) => None,
    };
    let store = Store::init(context.home()?)?;
    if args.development && !store.home().is_development() {
        mark_development(&store)?;
    }
    let mut tenants = Vec::new();
    if let (Some(domain), Some(name)) = (domain, name) {
        first_tenant(&store, &domain, name)?;
        if let Some(email) = email {
            first_user(&store, &domain, &email)?;
        }
        tenants.push(view(&store, &store.find_tenant(&domain)?)?);
    }
    let initialised = Initialised {
        home: store.home().root().display().to_string(),
        tenants,
    };
    context.output.data(&initialised, |done| {
        let head = format!("Millpond keeps its files in {}", done.home);
        lines(
            head,
            done.tenants
                .iter()
                .map(|tenant| format!("tenant {}: {}", tenant.domain, tenant.path)),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Marks the home, unless there is work in it already that may count.
fn mark_development(store: &Store) -> Result<(), Failure> {
    if !store.tenants()?.is_empty() {
        return Err(
            Failure::refused("not_development", "this home holds tenants already").with_hint(
                "choose another with --home DIR, or empty this one: millpond db reset --development",
            ),
        );
    }
    Ok(store.home().mark_development()?)
}

fn first_tenant(store: &Store, domain: &Domain, name: TenantName) -> Result<(), Failure> {
    match store.find_tenant(domain) {
        Ok(_) => return Ok(()),
        Err(Error::NotFound { .. }) => {}
        Err(other) => return Err(other.into()),
    }
    let id = TenantId::generate();
    let new = NewTenant {
        id,
        domain: domain.clone(),
        name,
        plan: Plan::Basic,
        admin_email: None,
    };
    match store.create_tenant(&new) {
        // Another process was faster: the tenant is there, which is what was asked for.
        Ok(_) | Err(Error::UniqueViolation { .. }) => Ok(()),
        Err(other) => Err(other.into()),
    }
}

fn first_user(store: &Store, domain: &Domain, email: &Email) -> Result<(), Failure> {
    let tenant = store.tenant(domain)?;
    let new = NewUser {
        id: UserId::derive(tenant.tenant().id, email),
        email: email.clone(),
        first_name: None,
        last_name: None,
        role: Role::Developer,
    };
    tenant.write(|w| {
        match w.users().find_by_email(email) {
            Ok(_) => return Ok(()),
            Err(Error::NotFound { .. }) => {}
            Err(other) => return Err(other),
        }
        w.users().add(&new).map(drop)
    })?;
    Ok(())
}
