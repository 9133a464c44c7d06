//! `millpond central migrate|diff|reset`: the schemas of the central database's tenants.

use std::process::ExitCode;

use clap::Args;
use millpond::domain::tenant::Domain;
use millpond_sync::postgres::central::{Central, Difference, Drift, Shadow};
use millpond_sync::postgres::endpoint::Endpoint;
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::output::lines;
use super::progress::{Bar, Unit};

#[derive(Debug, Args)]
pub(super) struct MigrateArgs {
    /// The tenant to begin with: if it fails, no other is touched
    #[arg(long, value_name = "DOMAIN")]
    canary: Option<String>,
    /// Rehearse in the database of `SHADOW_DATABASE_URL` first, and hold the canary against it
    #[arg(long)]
    shadow: bool,
}

#[derive(Debug, Args)]
pub(super) struct DiffArgs {
    /// Only this tenant
    #[arg(long, value_name = "DOMAIN")]
    tenant: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct ResetArgs {
    /// The tenant whose schema is made anew
    domain: String,
    /// Instead of being asked: the tenant's domain once more
    #[arg(long, value_name = "DOMAIN")]
    confirm: Option<String>,
}

#[derive(Debug, Serialize)]
struct MigratedView {
    migrated: Vec<String>,
    failed: Vec<FailedView>,
    left: Vec<String>,
    stopped_at_canary: bool,
}

#[derive(Debug, Serialize)]
struct FailedView {
    domain: String,
    sqlstate: Option<String>,
    message: String,
}

#[derive(Debug, Serialize)]
struct DiffView {
    tenants: Vec<TenantView>,
}

#[derive(Debug, Serialize)]
struct TenantView {
    domain: String,
    version: i32,
    drift: &'static str,
    differences: Vec<DifferenceView>,
}

#[derive(Debug, Serialize)]
struct DifferenceView {
    object: String,
    name: String,
    expected: Option<String>,
    live: Option<String>,
}

#[derive(Debug, Serialize)]
struct ResetView {
    reset: String,
}

pub(super) async fn migrate(
    args: &MigrateArgs,
    central: &Central,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let canary = args.canary.as_deref().map(Domain::parse).transpose()?;
    let shadow = if args.shadow {
        Some(shadow().await?)
    } else {
        None
    };
    let bar = Bar::new(context.output, "migrating", Unit::Of("schemas"));
    let migrated = central
        .migrate_carefully(
            canary.as_ref().map(Domain::as_str),
            shadow.as_ref(),
            |progress| {
                bar.one_more(u64::try_from(progress.total).unwrap_or_default());
            },
        )
        .await;
    drop(bar);
    let migrated = migrated?;
    let view = MigratedView {
        migrated: migrated.done,
        failed: migrated
            .failed
            .into_iter()
            .map(|failed| FailedView {
                domain: failed.domain,
                sqlstate: failed.sqlstate,
                message: failed.message,
            })
            .collect(),
        left: migrated.left,
        stopped_at_canary: migrated.stopped_at_canary,
    };
    context.output.data(&view, |view| {
        let head = format!(
            "{} schemas migrated, {} failed, {} left to another administrator",
            view.migrated.len(),
            view.failed.len(),
            view.left.len()
        );
        let stop = view
            .stopped_at_canary
            .then(|| "stopped at the canary: no other tenant was touched".to_owned());
        let failed = view
            .failed
            .iter()
            .map(|failed| format!("{}: {}", failed.domain, failed.message));
        lines(head, failed.chain(stop))
    })?;
    Ok(exit(view.failed.is_empty() && !view.stopped_at_canary))
}

pub(super) async fn diff(
    args: &DiffArgs,
    central: &Central,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let domain = args.tenant.as_deref().map(Domain::parse).transpose()?;
    let found = central
        .diff(&shadow().await?, domain.as_ref().map(Domain::as_str))
        .await?;
    let same = found.iter().all(|tenant| tenant.drift != Drift::Differs);
    let view = DiffView {
        tenants: found
            .into_iter()
            .map(|tenant| TenantView {
                domain: tenant.domain,
                version: tenant.version,
                drift: tenant.drift.as_str(),
                differences: tenant
                    .differences
                    .into_iter()
                    .map(DifferenceView::from)
                    .collect(),
            })
            .collect(),
    };
    context.output.data(&view, human_diff)?;
    Ok(exit(same))
}

pub(super) async fn reset(
    args: &ResetArgs,
    central: &Central,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let domain = Domain::parse(&args.domain)?;
    let confirmed = args.confirm.as_deref().map(Domain::parse).transpose()?;
    central.tenant(domain.as_str()).await?;
    if confirmed.as_ref() != Some(&domain) {
        let question = format!(
            "Every row of {domain} in the central database will be gone until its devices send it again. Go on?"
        );
        if !context.confirm(&question)? {
            return Err(Failure::refused(
                "not_confirmed",
                format!("nothing was reset: {domain} was not confirmed"),
            )
            .with_hint(format!("say so with --confirm {domain}")));
        }
    }
    central.reset_tenant(domain.as_str()).await?;
    let view = ResetView {
        reset: domain.to_string(),
    };
    context
        .output
        .data(&view, |view| format!("the schema of {} is new", view.reset))?;
    Ok(ExitCode::SUCCESS)
}

fn exit(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// The database that `SHADOW_DATABASE_URL` names.
async fn shadow() -> Result<Shadow, Failure> {
    let url = std::env::var("SHADOW_DATABASE_URL").map_err(|_| {
        Failure::configuration("no shadow database is named").with_hint(
            "set SHADOW_DATABASE_URL to a database where a scratch schema may be made: nothing stays in it",
        )
    })?;
    Ok(Shadow::connect(&Endpoint::parse(url.trim())?).await?)
}

impl From<Difference> for DifferenceView {
    fn from(found: Difference) -> Self {
        Self {
            object: found.object,
            name: found.name,
            expected: found.expected,
            live: found.live,
        }
    }
}

fn human_diff(view: &DiffView) -> String {
    let mut told = Vec::new();
    for tenant in view.tenants.iter().filter(|tenant| tenant.drift != "none") {
        told.push(format!(
            "{}: version {}, {}",
            tenant.domain, tenant.version, tenant.drift
        ));
        for found in &tenant.differences {
            told.push(format!("  {} {}", found.object, found.name));
            told.extend(found.expected.iter().map(|text| format!("    - {text}")));
            told.extend(found.live.iter().map(|text| format!("    + {text}")));
        }
    }
    if told.is_empty() {
        return "every schema is what its migrations make".into();
    }
    told.join("\n")
}
