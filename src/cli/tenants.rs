//! `millpond tenant`: the tenants of this machine.

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use millpond::domain::ids::TenantId;
use millpond::domain::tenant::{
    DataRegion, Domain, NewTenant, Plan, Tenant, TenantChange, TenantName,
};
use millpond::domain::user::Email;
use millpond::store::{Error, Store};
use serde::Serialize;

use super::context::Context;
use super::failure::{ErrorView, Failure};
use super::output::{known, table, with_errors};

#[derive(Debug, Subcommand)]
pub(super) enum TenantCommand {
    /// Make a tenant with a file of its own
    Create {
        /// Its domain, as acme or acme.dev
        domain: String,
        /// Its name for people
        #[arg(long)]
        name: String,
        /// basic, professional, enterprise or custom
        #[arg(long, default_value = "basic")]
        plan: String,
        /// Whom to write to
        #[arg(long, value_name = "EMAIL")]
        admin_email: Option<String>,
    },
    /// List the tenants
    List,
    /// Show one tenant
    Show {
        /// Its domain
        domain: String,
    },
    /// Change what is said of a tenant; what is not named stays
    Update {
        /// Its domain
        domain: String,
        /// Its name for people
        #[arg(long)]
        name: Option<String>,
        /// basic, professional, enterprise or custom
        #[arg(long)]
        plan: Option<String>,
        /// Whom to write to
        #[arg(long, value_name = "EMAIL")]
        admin_email: Option<String>,
        /// Whom to send bills to
        #[arg(long, value_name = "EMAIL")]
        billing_email: Option<String>,
        /// Where its rows may lie, as eu-central
        #[arg(long, value_name = "REGION")]
        data_region: Option<String>,
    },
    /// Let a tenant take rows again
    Activate {
        /// Its domain
        domain: String,
    },
    /// Let a tenant take no more rows; what it has stays, and still travels
    Deactivate {
        /// Its domain
        domain: String,
    },
}

/// A tenant as it is printed.
#[derive(Debug, Serialize)]
pub(super) struct TenantView {
    pub(super) id: TenantId,
    pub(super) name: String,
    pub(super) domain: String,
    pub(super) path: String,
    pub(super) schema_name: String,
    pub(super) subscription_plan: Plan,
    pub(super) is_active: bool,
    pub(super) sessions: Option<u64>,
    pub(super) tool_metrics: Option<u64>,
    pub(super) pending: Option<u64>,
    pub(super) size_bytes: Option<u64>,
    /// Why the file cannot be read; the numbers are not known then.
    pub(super) error: Option<ErrorView>,
}

#[derive(Debug, Serialize)]
struct Tenants {
    tenants: Vec<TenantView>,
}

pub(super) fn run(command: TenantCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        TenantCommand::Create {
            domain,
            name,
            plan,
            admin_email,
        } => {
            let new = NewTenant {
                id: TenantId::generate(),
                domain: Domain::parse(&domain)?,
                name: TenantName::parse("name", &name)?,
                plan: Plan::parse(&plan)?,
                admin_email: admin_email.as_deref().map(Email::parse).transpose()?,
            };
            let store = context.store()?;
            let tenant = store.create_tenant(&new).map_err(|error| match error {
                Error::UniqueViolation { .. } => {
                    Failure::from(error).with_hint("see it with: millpond tenant show DOMAIN")
                }
                other => other.into(),
            })?;
            context.output.data(&view(&store, &tenant)?, show)?;
        }
        TenantCommand::List => {
            let store = context.store()?;
            let tenants = store
                .tenants()?
                .iter()
                .map(|tenant| {
                    // One tenant's damage is not another's: the rest of the list stands.
                    view(&store, tenant).or_else(|failure| unread(&store, tenant, &failure))
                })
                .collect::<Result<Vec<_>, _>>()?;
            context
                .output
                .data(&Tenants { tenants }, |all| list(&all.tenants))?;
        }
        TenantCommand::Show { domain } => {
            let store = context.store()?;
            let tenant = store.find_tenant(&Domain::parse(&domain)?)?;
            context.output.data(&view(&store, &tenant)?, show)?;
        }
        TenantCommand::Update {
            domain,
            name,
            plan,
            admin_email,
            billing_email,
            data_region,
        } => {
            let email = |raw: Option<String>| raw.map(|raw| Email::parse(&raw)).transpose();
            let change = TenantChange {
                name: (name.map(|raw| TenantName::parse("name", &raw))).transpose()?,
                plan: plan.map(|raw| Plan::parse(&raw)).transpose()?,
                admin_email: email(admin_email)?.map(Some),
                billing_email: email(billing_email)?.map(Some),
                data_region: (data_region.map(|raw| DataRegion::parse("data region", &raw)))
                    .transpose()?
                    .map(Some),
                ..TenantChange::default()
            };
            let store = context.store()?;
            let tenant = store.update_tenant(&Domain::parse(&domain)?, &change)?;
            context.output.data(&view(&store, &tenant)?, show)?;
        }
        TenantCommand::Activate { domain } => set_active(context, &domain, true)?,
        TenantCommand::Deactivate { domain } => set_active(context, &domain, false)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Lets a tenant take rows, or no longer, and prints it.
fn set_active(context: &Context, domain: &str, is_active: bool) -> Result<(), Failure> {
    let store = context.store()?;
    let tenant = store.set_tenant_active(&Domain::parse(domain)?, is_active)?;
    context.output.data(&view(&store, &tenant)?, show)
}

/// A tenant with what its file holds.
pub(super) fn view(store: &Store, tenant: &Tenant) -> Result<TenantView, Failure> {
    let handle = store.tenant(&tenant.domain)?;
    let (sessions, tool_metrics, pending) = handle.read(|r| {
        Ok::<_, Error>((
            r.sessions().count()?,
            r.tool_metrics().count()?,
            r.outbox().status()?.pending,
        ))
    })?;
    Ok(TenantView {
        sessions: Some(sessions),
        tool_metrics: Some(tool_metrics),
        pending: Some(pending),
        size_bytes: Some(handle.size_bytes()?),
        ..TenantView::registered(handle.tenant(), handle.path())
    })
}

/// A tenant whose file cannot be read, with what the registry knows.
fn unread(store: &Store, tenant: &Tenant, failure: &Failure) -> Result<TenantView, Failure> {
    let path = store.tenant_path(&tenant.domain)?;
    Ok(TenantView {
        error: Some(ErrorView::of(failure, None)),
        ..TenantView::registered(tenant, &path)
    })
}

impl TenantView {
    fn registered(tenant: &Tenant, path: &Path) -> Self {
        Self {
            id: tenant.id,
            name: tenant.name.to_string(),
            domain: tenant.domain.to_string(),
            path: path.display().to_string(),
            schema_name: tenant.schema_name.clone(),
            subscription_plan: tenant.subscription_plan,
            is_active: tenant.is_active,
            sessions: None,
            tool_metrics: None,
            pending: None,
            size_bytes: None,
            error: None,
        }
    }
}

fn list(tenants: &[TenantView]) -> String {
    if tenants.is_empty() {
        return "no tenants yet: make one with millpond tenant create DOMAIN --name NAME".into();
    }
    let listed = table(
        [
            "domain", "name", "plan", "sessions", "calls", "pending", "bytes",
        ],
        tenants.iter().map(|tenant| {
            [
                tenant.domain.clone(),
                tenant.name.clone(),
                tenant.subscription_plan.as_str().to_owned(),
                known(tenant.sessions),
                known(tenant.tool_metrics),
                known(tenant.pending),
                known(tenant.size_bytes),
            ]
        }),
    );
    let errors = tenants
        .iter()
        .map(|tenant| (tenant.domain.as_str(), tenant.error.as_ref()));
    with_errors(listed, errors)
}

fn show(tenant: &TenantView) -> String {
    format!(
        "{} ({})\n  id        {}\n  file      {} ({} bytes)\n  schema    {}\n  plan      {}{}\n  \
         sessions  {}\n  calls     {}\n  pending   {}",
        tenant.name,
        tenant.domain,
        tenant.id,
        tenant.path,
        known(tenant.size_bytes),
        tenant.schema_name,
        tenant.subscription_plan.as_str(),
        if tenant.is_active { "" } else { ", inactive" },
        known(tenant.sessions),
        known(tenant.tool_metrics),
        known(tenant.pending),
    )
}
