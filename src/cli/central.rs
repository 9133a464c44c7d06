//! `millpond central`: administers the central database, as `DATABASE_URL` or `--url-file` names it.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use millpond::domain::tenant::{Domain, Plan, TenantName};
use millpond::domain::units::Timestamp;
use millpond_sync::fault::Fault;
use millpond_sync::postgres::central::{
    self, Central, CentralError, Drift, NewTenant, OpenDoor, Status, TenantStatus,
};
use millpond_sync::postgres::endpoint::Endpoint;
use serde::Serialize;
use uuid::Uuid;

use super::central_schemas::{self, DiffArgs, MigrateArgs, ResetArgs};
use super::context::Context;
use super::document::Document;
use super::failure::Failure;
use super::output::{lines, raw, table};
use super::sync::runtime;

#[derive(Debug, Args)]
pub(super) struct CentralArgs {
    /// A file that holds the administrator's database URL, instead of `DATABASE_URL`
    #[arg(long, global = true, value_name = "FILE")]
    url_file: Option<PathBuf>,
    #[command(subcommand)]
    command: CentralCommand,
}

#[derive(Debug, Subcommand)]
enum CentralCommand {
    /// Make roles, the control schema and the locks. Running it again changes nothing
    Init,
    /// Bring every tenant's schema up to date; goes on past one that fails
    Migrate(MigrateArgs),
    /// Show what differs between each schema and a replay in `SHADOW_DATABASE_URL`; exit 1 if anything does
    Diff(DiffArgs),
    /// Make a tenant's schema anew: its users stay, its rows go until devices send them again
    Reset(ResetArgs),
    /// Tell each tenant's version, drift and last error, and what stayed open
    Status,
    /// The tenants of the central database
    #[command(subcommand)]
    Tenant(CentralTenantCommand),
    /// Make a device login and print its enrolment document, once
    Enroll {
        /// The tenant's domain
        #[arg(long)]
        tenant: String,
        /// A user whose rows the device may send; made where there is none
        #[arg(long = "user", value_name = "EMAIL", required = true)]
        users: Vec<String>,
        /// Where devices find the server, if not where this command does
        #[arg(long, value_name = "URL")]
        public_url: Option<String>,
    },
    /// Cut a device off, at its next statement
    Revoke {
        /// The device's id, as its enrolment document names it
        device: Uuid,
    },
}

#[derive(Debug, Subcommand)]
enum CentralTenantCommand {
    /// Make a tenant with a schema of its own
    Create {
        /// Its domain
        domain: String,
        /// Its name for people
        #[arg(long)]
        name: String,
        /// The id that a workstation gave it already (millpond tenant show)
        #[arg(long, value_name = "UUID")]
        id: Option<Uuid>,
        /// basic, professional, enterprise or custom
        #[arg(long, default_value = "basic")]
        plan: String,
    },
    /// List the tenants
    List,
    /// Show one tenant
    Show {
        /// Its domain
        domain: String,
    },
}

#[derive(Debug, Serialize)]
struct Initialised {
    open_doors: Vec<DoorView>,
}

#[derive(Debug, Serialize)]
struct DoorView {
    kind: String,
    name: String,
    privilege: String,
}

#[derive(Debug, Serialize)]
struct StatusView {
    latest_version: i32,
    tenants: Vec<TenantStatusView>,
    open_doors: Vec<DoorView>,
}

#[derive(Debug, Serialize)]
struct TenantStatusView {
    id: Uuid,
    domain: String,
    name: String,
    schema_name: String,
    is_active: bool,
    version: i32,
    drift: &'static str,
    migrated_at: Option<String>,
    last_error: Option<String>,
    devices: i64,
}

#[derive(Debug, Serialize)]
struct TenantView {
    id: Uuid,
    name: String,
    domain: String,
    schema_name: String,
    subscription_plan: String,
    is_active: bool,
    created_at: Option<String>,
}

#[derive(Debug, Serialize)]
struct Tenants {
    tenants: Vec<TenantView>,
}

#[derive(Debug, Serialize)]
struct RevocationView {
    device_id: Uuid,
    tenant_id: Uuid,
    already_revoked: bool,
    sessions_ended: i64,
}

pub(super) fn run(args: CentralArgs, context: &Context) -> Result<ExitCode, Failure> {
    let endpoint = endpoint(args.url_file.as_deref())?;
    runtime()?.block_on(async {
        let central = Central::connect(&endpoint).await?;
        match args.command {
            CentralCommand::Init => {
                let doors = central.init().await?;
                let done = Initialised {
                    open_doors: doors.into_iter().map(DoorView::from).collect(),
                };
                context.output.data(&done, |done| {
                    format!(
                        "the central database is ready\n{}",
                        open_doors(&done.open_doors)
                    )
                })?;
            }
            CentralCommand::Migrate(args) => {
                return central_schemas::migrate(&args, &central, context).await;
            }
            CentralCommand::Diff(args) => {
                return central_schemas::diff(&args, &central, context).await;
            }
            CentralCommand::Reset(args) => {
                return central_schemas::reset(&args, &central, context).await;
            }
            CentralCommand::Status => {
                context
                    .output
                    .data(&StatusView::from(central.status().await?), status)?;
            }
            CentralCommand::Tenant(command) => tenant(command, &central, context).await?,
            CentralCommand::Enroll {
                tenant,
                users,
                public_url,
            } => {
                let public = public_url
                    .as_deref()
                    .map(Endpoint::parse_location)
                    .transpose()?;
                let made = central
                    .enroll(Domain::parse(&tenant)?.as_str(), &users, public.as_ref())
                    .await?;
                // The document is the output, with or without --json: it is for `enroll`, and holds a secret.
                let device = made.device_id;
                raw(&Document::from(made).to_toml()?).map_err(|error| {
                    // The secret is nowhere else, and the login is there.
                    Failure::new("io", format!("the document could not be printed: {error}"))
                        .with_hint(format!(
                            "revoke the device with: millpond central revoke {device}"
                        ))
                })?;
            }
            CentralCommand::Revoke { device } => {
                let revoked = central.revoke(device).await?;
                let view = RevocationView {
                    device_id: revoked.device_id,
                    tenant_id: revoked.tenant_id,
                    already_revoked: revoked.already,
                    sessions_ended: revoked.sessions_ended,
                };
                context.output.data(&view, |view| {
                    format!(
                        "device {} is cut off; {} sessions ended",
                        view.device_id, view.sessions_ended
                    )
                })?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

async fn tenant(
    command: CentralTenantCommand,
    central: &Central,
    context: &Context,
) -> Result<(), Failure> {
    match command {
        CentralTenantCommand::Create {
            domain,
            name,
            id,
            plan,
        } => {
            let new = NewTenant {
                id,
                domain: Domain::parse(&domain)?.to_string(),
                name: TenantName::parse("name", &name)?.to_string(),
                plan: match Plan::parse(&plan)? {
                    Plan::Basic => central::Plan::Basic,
                    Plan::Professional => central::Plan::Professional,
                    Plan::Enterprise => central::Plan::Enterprise,
                    Plan::Custom => central::Plan::Custom,
                },
            };
            let made = central.create_tenant(&new).await?;
            context.output.data(&TenantView::from(made), show)
        }
        CentralTenantCommand::List => {
            let tenants = central
                .tenants()
                .await?
                .into_iter()
                .map(TenantView::from)
                .collect();
            context.output.data(&Tenants { tenants }, |all| {
                table(
                    ["domain", "name", "plan", "id"],
                    all.tenants.iter().map(|tenant| {
                        [
                            tenant.domain.clone(),
                            tenant.name.clone(),
                            tenant.subscription_plan.clone(),
                            tenant.id.to_string(),
                        ]
                    }),
                )
            })
        }
        CentralTenantCommand::Show { domain } => {
            let tenant = central.tenant(Domain::parse(&domain)?.as_str()).await?;
            context.output.data(&TenantView::from(tenant), show)
        }
    }
}

fn endpoint(url_file: Option<&Path>) -> Result<Endpoint, Failure> {
    let url = match url_file {
        Some(path) => std::fs::read_to_string(path).map_err(|error| {
            Failure::configuration(format!("cannot read {}: {error}", path.display()))
                .with_hint("name a file that holds the administrator's database URL")
        })?,
        None => std::env::var("DATABASE_URL").map_err(|_| {
            Failure::configuration("no central database is named")
                .with_hint("set DATABASE_URL, or name a file that holds the URL with --url-file")
        })?,
    };
    Ok(Endpoint::parse(url.trim())?)
}

impl From<millpond_sync::postgres::endpoint::EndpointError> for Failure {
    fn from(error: millpond_sync::postgres::endpoint::EndpointError) -> Self {
        Self::configuration(error.to_string())
            .with_hint("as in postgresql://user:password@host:5432/database")
    }
}

impl From<CentralError> for Failure {
    fn from(error: CentralError) -> Self {
        let message = error.to_string();
        match error {
            CentralError::Remote(remote) => {
                let admin_login = remote.fault == Fault::Login;
                let failure = Self::from(remote);
                if admin_login {
                    failure.with_hint("check the user and password in DATABASE_URL")
                } else {
                    failure
                }
            }
            CentralError::NotInitialised => {
                Self::configuration(message).with_hint("set it up with: millpond central init")
            }
            CentralError::UniqueViolation { .. } => Self::new("unique_violation", message)
                .with_hint("see what is there with: millpond central tenant list"),
            CentralError::NotFound { .. } => Self::new("not_found", message)
                .with_hint("see the tenants with: millpond central tenant list"),
            CentralError::Inactive { .. } => Self::refused("inactive", message)
                .with_hint("an administrator has deactivated it: see millpond central status"),
            CentralError::Invalid { .. } => Self::usage(message)
                .with_hint("correct the value; the command's --help tells what it takes"),
            CentralError::Locked { .. } => Self::busy(message).with_hint("try again in a moment"),
            CentralError::Drift { .. } => Self::new("drift", message)
                .with_hint("see what differs with: millpond central diff"),
            CentralError::ShadowDiffers { .. } => Self::configuration(message)
                .with_hint("name a shadow database on a server of the same major version"),
            CentralError::Migration { .. } => Self::new("migration", message)
                .with_hint("see how it stands with: millpond central status"),
            CentralError::ServerTooOld { .. } => {
                Self::configuration(message).with_hint("use a newer PostgreSQL server")
            }
            _ => Self::new("central", message)
                .with_hint("see how it stands with: millpond central status"),
        }
    }
}

impl From<OpenDoor> for DoorView {
    fn from(door: OpenDoor) -> Self {
        Self {
            kind: door.kind,
            name: door.name,
            privilege: door.privilege,
        }
    }
}

impl From<Status> for StatusView {
    fn from(status: Status) -> Self {
        Self {
            latest_version: status.latest_version,
            tenants: status
                .tenants
                .into_iter()
                .map(TenantStatusView::from)
                .collect(),
            open_doors: status.open_doors.into_iter().map(DoorView::from).collect(),
        }
    }
}

impl From<TenantStatus> for TenantStatusView {
    fn from(tenant: TenantStatus) -> Self {
        Self {
            id: tenant.id,
            domain: tenant.domain,
            name: tenant.name,
            schema_name: tenant.schema_name,
            is_active: tenant.is_active,
            version: tenant.version,
            drift: Drift::as_str(tenant.drift),
            migrated_at: tenant.migrated_at.and_then(time),
            last_error: tenant.last_error,
            devices: tenant.devices,
        }
    }
}

impl From<central::Tenant> for TenantView {
    fn from(tenant: central::Tenant) -> Self {
        Self {
            id: tenant.id,
            name: tenant.name,
            domain: tenant.domain,
            schema_name: tenant.schema_name,
            subscription_plan: tenant.subscription_plan,
            is_active: tenant.is_active,
            created_at: time(tenant.created_at),
        }
    }
}

fn time(micros: i64) -> Option<String> {
    Timestamp::from_micros(micros)
        .ok()
        .map(|time| time.to_string())
}

fn show(tenant: &TenantView) -> String {
    format!(
        "{} ({})\n  id      {}\n  schema  {}\n  plan    {}",
        tenant.name, tenant.domain, tenant.id, tenant.schema_name, tenant.subscription_plan
    )
}

fn status(status: &StatusView) -> String {
    let tenants = table(
        ["domain", "version", "drift", "devices", "last error"],
        status.tenants.iter().map(|tenant| {
            [
                tenant.domain.clone(),
                format!("{} of {}", tenant.version, status.latest_version),
                tenant.drift.to_owned(),
                tenant.devices.to_string(),
                tenant.last_error.clone().unwrap_or_default(),
            ]
        }),
    );
    format!("{tenants}\n{}", open_doors(&status.open_doors))
}

fn open_doors(doors: &[DoorView]) -> String {
    if doors.is_empty() {
        return "every door that is to be shut is shut".into();
    }
    let head = format!(
        "{} doors stayed open: a superuser can shut them",
        doors.len()
    );
    let door = |door: &DoorView| format!("  {} on {} {}", door.privilege, door.kind, door.name);
    lines(head, doors.iter().map(door))
}
