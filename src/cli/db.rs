//! `millpond db`: the schemas of the registry and of the tenants' files.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};
use millpond::domain::tenant::Domain;
use millpond::store::FileKind;
use millpond::store::schema::{
    self, Difference, DifferenceState, Failed, FileStatus, Schemas, Statuses,
};
use serde::Serialize;

use super::context::Context;
use super::failure::{Failure, chain};
use super::output::{lines, table};
use super::progress::{Bar, Unit};

#[derive(Debug, Subcommand)]
pub(super) enum DbCommand {
    /// Tell each file's version, what it lacks and what differs; changes nothing
    Status {
        /// Only this tenant's file
        #[arg(long, value_name = "DOMAIN")]
        tenant: Option<String>,
    },
    /// Bring every file up to date, each after a copy; goes on past a file that fails
    Deploy {
        /// The tenant to begin with: if its file fails, no other is touched
        #[arg(long, value_name = "DOMAIN")]
        canary: Option<String>,
    },
    /// Begin the next migration, in Millpond's own source
    New {
        /// What it does, as in `add_notes`
        name: String,
        /// Which files it is for
        #[arg(long, default_value = "tenant")]
        kind: Kind,
    },
    /// Show what differs between each file and what its migrations make; exit 1 if anything does
    Diff {
        /// Only this tenant's file
        #[arg(long, value_name = "DOMAIN")]
        tenant: Option<String>,
    },
    /// Apply a draft to tenants' files without recording it; in a home for development only
    Push {
        /// The draft, in SQL
        file: PathBuf,
        /// Only this tenant's file
        #[arg(long, value_name = "DOMAIN")]
        tenant: Option<String>,
    },
    /// Empty tenants' files and make their schema anew: every row in them is gone
    Reset {
        /// Only this tenant's file
        #[arg(long, value_name = "DOMAIN")]
        tenant: Option<String>,
        /// Instead of being asked: a tenant that is to be emptied, each one by name
        #[arg(long, value_name = "DOMAIN")]
        confirm: Vec<String>,
        /// Mark the home for development, where drafts may be pushed and no question is asked
        #[arg(long, conflicts_with = "tenant")]
        development: bool,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Kind {
    Tenant,
    Registry,
}

#[derive(Debug, Serialize)]
struct StatusView {
    files: Vec<FileView>,
    failed: Vec<FailedView>,
}

#[derive(Debug, Serialize)]
struct FileView {
    kind: &'static str,
    domain: Option<Domain>,
    path: String,
    version: i64,
    latest_version: i64,
    drift: &'static str,
    pending: Vec<String>,
    applied: Vec<AppliedView>,
    differences: Vec<Difference>,
}

#[derive(Debug, Serialize)]
struct AppliedView {
    version: i64,
    name: String,
    applied_on: String,
    checksum: String,
    matches: bool,
}

#[derive(Debug, Serialize)]
struct FailedView {
    domain: Domain,
    kind: &'static str,
    message: String,
}

#[derive(Debug, Serialize)]
struct DeployedView {
    upgraded: Vec<UpgradedView>,
    unchanged: u64,
    failed: Vec<FailedView>,
    stopped_at_canary: bool,
}

#[derive(Debug, Serialize)]
struct UpgradedView {
    domain: Option<Domain>,
    from: i64,
    to: i64,
    copy: Option<String>,
}

#[derive(Debug, Serialize)]
struct NewView {
    path: String,
    version: i64,
}

#[derive(Debug, Serialize)]
struct PushedView {
    pushed: Vec<Domain>,
}

#[derive(Debug, Serialize)]
struct ResetView {
    reset: Vec<Domain>,
    development: bool,
}

pub(super) fn run(command: DbCommand, context: &Context) -> Result<ExitCode, Failure> {
    let domain = |flag: Option<&String>| flag.map(|raw| Domain::parse(raw)).transpose();
    match command {
        DbCommand::Status { tenant } => {
            let view = status(&schemas(context)?, domain(tenant.as_ref())?)?;
            context.output.data(&view, human_status)?;
            Ok(exit(view.failed.is_empty()))
        }
        DbCommand::Diff { tenant } => {
            let view = status(&schemas(context)?, domain(tenant.as_ref())?)?;
            context.output.data(&view, human_diff)?;
            let same = view.files.iter().all(|file| file.drift != "differs");
            Ok(exit(same && view.failed.is_empty()))
        }
        DbCommand::Deploy { canary } => deploy(domain(canary.as_ref())?.as_ref(), context),
        DbCommand::New { name, kind } => {
            let kind = match kind {
                Kind::Tenant => FileKind::Tenant,
                Kind::Registry => FileKind::Registry,
            };
            let made = schema::new_migration(&std::env::current_dir()?, kind, &name)?;
            let view = NewView {
                path: made.path.display().to_string(),
                version: made.version,
            };
            context.output.data(&view, |made| {
                format!("write the migration in {}", made.path)
            })?;
            Ok(ExitCode::SUCCESS)
        }
        DbCommand::Push { file, tenant } => {
            let draft = std::fs::read_to_string(&file).map_err(|error| {
                Failure::new("io", format!("cannot read {}: {error}", file.display()))
                    .with_hint("name a file that holds SQL")
            })?;
            let pushed = schemas(context)?.push(&draft, domain(tenant.as_ref())?.as_ref())?;
            context.output.data(&PushedView { pushed }, |view| {
                lines(
                    format!("the draft is in {} files, unrecorded", view.pushed.len()),
                    view.pushed.iter().map(|domain| format!("  {domain}")),
                )
            })?;
            Ok(ExitCode::SUCCESS)
        }
        DbCommand::Reset {
            tenant,
            confirm,
            development,
        } => reset(domain(tenant.as_ref())?, &confirm, development, context),
    }
}

fn exit(well: bool) -> ExitCode {
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn schemas(context: &Context) -> Result<Schemas, Failure> {
    Ok(Schemas::of(context.home()?)?)
}

fn status(schemas: &Schemas, tenant: Option<Domain>) -> Result<StatusView, Failure> {
    let all = match tenant {
        Some(domain) => Statuses {
            files: vec![schemas.tenant_status(&domain)?],
            failed: Vec::new(),
        },
        None => schemas.status()?,
    };
    Ok(StatusView {
        files: all.files.into_iter().map(FileView::from).collect(),
        failed: all.failed.iter().map(FailedView::from).collect(),
    })
}

fn deploy(canary: Option<&Domain>, context: &Context) -> Result<ExitCode, Failure> {
    let bar = Bar::new(context.output, "migrating", Unit::Of("files"));
    let deployed =
        schemas(context)?.deploy(canary, |progress| bar.at(progress.done, progress.total));
    drop(bar);
    let deployed = deployed?;
    let view = DeployedView {
        upgraded: deployed
            .upgraded
            .into_iter()
            .map(|file| UpgradedView {
                domain: file.domain,
                from: file.from,
                to: file.to,
                copy: file.copy.map(|path| path.display().to_string()),
            })
            .collect(),
        unchanged: deployed.unchanged,
        failed: deployed.failed.iter().map(FailedView::from).collect(),
        stopped_at_canary: deployed.stopped_at_canary,
    };
    context.output.data(&view, |view| {
        let head = format!(
            "{} files upgraded, {} were up to date, {} failed",
            view.upgraded.len(),
            view.unchanged,
            view.failed.len()
        );
        let stop = view
            .stopped_at_canary
            .then(|| "stopped at the canary: no other tenant was touched".to_owned());
        lines(head, view.failed.iter().map(failed_line).chain(stop))
    })?;
    Ok(exit(view.failed.is_empty()))
}

fn reset(
    tenant: Option<Domain>,
    confirm: &[String],
    development: bool,
    context: &Context,
) -> Result<ExitCode, Failure> {
    let schemas = schemas(context)?;
    let domains = match tenant {
        Some(domain) => vec![schemas.tenant_status(&domain).map(|_| domain)?],
        None => schemas.domains()?,
    };
    let confirmed = confirm
        .iter()
        .map(|raw| Domain::parse(raw))
        .collect::<Result<Vec<_>, _>>()?;
    let open: Vec<&str> = domains
        .iter()
        .filter(|domain| !confirmed.contains(domain))
        .map(Domain::as_str)
        .collect();
    if !open.is_empty() && !schemas.home().is_development() {
        let question = format!("Every row of {} will be gone. Go on?", open.join(", "));
        if !context.confirm(&question)? {
            return Err(Failure::refused(
                "not_confirmed",
                format!("nothing was reset: {} not confirmed", open.join(", ")),
            )
            .with_hint("say so for each tenant with --confirm DOMAIN"));
        }
    }
    for domain in &domains {
        schemas.reset_tenant(domain)?;
    }
    if development {
        schemas.home().mark_development()?;
    }
    let view = ResetView {
        reset: domains,
        development: schemas.home().is_development(),
    };
    context.output.data(&view, |view| {
        lines(
            format!("{} files are empty", view.reset.len()),
            view.reset.iter().map(|domain| format!("  {domain}")),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

impl From<&Failed> for FailedView {
    fn from(failed: &Failed) -> Self {
        Self {
            domain: failed.domain.clone(),
            kind: failed.error.kind(),
            message: chain(&failed.error),
        }
    }
}

impl From<FileStatus> for FileView {
    fn from(status: FileStatus) -> Self {
        Self {
            kind: status.kind.as_str(),
            domain: status.domain,
            path: status.path.display().to_string(),
            version: status.version,
            latest_version: status.latest,
            drift: status.drift.as_str(),
            pending: status.pending,
            applied: status
                .applied
                .into_iter()
                .map(|applied| AppliedView {
                    version: applied.version,
                    name: applied.name,
                    applied_on: applied.applied_on,
                    checksum: applied.checksum,
                    matches: applied.matches,
                })
                .collect(),
            differences: status.differences,
        }
    }
}

fn name(domain: Option<&Domain>) -> &str {
    domain.map_or("(registry)", Domain::as_str)
}

fn failed_line(failed: &FailedView) -> String {
    format!("{}: {}", failed.domain, failed.message)
}

fn human_status(view: &StatusView) -> String {
    let files = table(
        ["file", "version", "pending", "drift", "last applied"],
        view.files.iter().map(|file| {
            [
                name(file.domain.as_ref()).to_owned(),
                format!("{} of {}", file.version, file.latest_version),
                file.pending.len().to_string(),
                file.drift.to_owned(),
                file.applied
                    .last()
                    .map_or_else(String::new, |applied| applied.applied_on.clone()),
            ]
        }),
    );
    lines(files, view.failed.iter().map(failed_line))
}

fn human_diff(view: &StatusView) -> String {
    let mut told = Vec::new();
    for file in &view.files {
        let foreign = file.applied.iter().filter(|applied| !applied.matches);
        let mut found: Vec<String> = foreign
            .map(|applied| {
                format!(
                    "  V{}__{} is not this program's",
                    applied.version, applied.name
                )
            })
            .collect();
        for difference in &file.differences {
            let state = match difference.state {
                DifferenceState::Missing => "is missing",
                DifferenceState::Extra => "is in no migration",
                DifferenceState::Altered => "is altered",
            };
            found.push(format!(
                "  {} {} {state}",
                difference.object, difference.name
            ));
            found.extend(
                difference
                    .missing
                    .iter()
                    .map(|part| format!("    - {part}")),
            );
            found.extend(difference.extra.iter().map(|part| format!("    + {part}")));
        }
        if !found.is_empty() {
            told.push(lines(name(file.domain.as_ref()).to_owned(), found));
        }
    }
    told.extend(view.failed.iter().map(failed_line));
    if told.is_empty() {
        return "every file is what its migrations make".into();
    }
    told.join("\n")
}
