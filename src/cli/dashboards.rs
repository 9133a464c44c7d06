//! `millpond dashboard`: a tenant's dashboards.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use millpond::domain::dashboard::{Dashboard, DashboardName, DashboardVersion, RefreshInterval};
use millpond::domain::ids::DashboardId;
use millpond::domain::json::JsonObject;
use millpond::domain::session::Description;
use millpond::domain::user::Role;
use millpond::store::{Error, Writer};
use serde::Serialize;
use uuid::Uuid;

use super::context::{Context, user};
use super::failure::Failure;
use super::output::table;

#[derive(Debug, Subcommand)]
pub(super) enum DashboardCommand {
    /// List a user's own dashboards
    List {
        #[command(flatten)]
        of: Of,
    },
    /// Show one dashboard
    Show {
        /// The dashboard's id
        id: Uuid,
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
    },
    /// Make a dashboard, or change the one of this name; what is not named stays
    Save(Box<SaveArgs>),
    /// Say which roles see a dashboard; without any, it is shared with none
    Share {
        /// The dashboard's id
        id: Uuid,
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
        /// A role that sees it: admin, manager, developer or viewer
        #[arg(long, value_name = "ROLE")]
        role: Vec<String>,
        /// Let everyone in the tenant see it, or no longer
        #[arg(long, value_name = "YES")]
        public: Option<bool>,
        /// The version that you saw: refuse if it has another by now
        #[arg(long, value_name = "N")]
        seen: Option<i64>,
    },
    /// Show what a dashboard was like before its edits
    History {
        /// The dashboard's id
        id: Uuid,
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
    },
}

/// Whose dashboards.
#[derive(Debug, Args)]
pub(super) struct Of {
    /// The tenant's domain
    #[arg(long)]
    tenant: Option<String>,
    /// The user's email address, instead of the default user's
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct SaveArgs {
    /// Its name
    name: String,
    #[command(flatten)]
    of: Of,
    /// A file with its widgets as a JSON object, or - for standard input
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// Words for people
    #[arg(long)]
    description: Option<String>,
    /// How often it reads its figures again, 5 to 3600
    #[arg(long, value_name = "SECONDS")]
    refresh: Option<i64>,
    /// Make it its user's default
    #[arg(long)]
    default: bool,
    /// The version that you saw: refuse if it has another by now
    #[arg(long, value_name = "N")]
    seen: Option<i64>,
}

#[derive(Debug, Serialize)]
struct Dashboards {
    dashboards: Vec<Dashboard>,
}

#[derive(Debug, Serialize)]
struct History {
    versions: Vec<DashboardVersion>,
}

pub(super) fn run(command: DashboardCommand, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    match command {
        DashboardCommand::List { of } => {
            let tenant = context.tenant(&store, of.tenant.as_deref())?;
            let user = user(&tenant, of.user.as_deref())?;
            let dashboards = tenant.read(|r| r.dashboards().list(user.id))?;
            context.output.data(&Dashboards { dashboards }, list)?;
        }
        DashboardCommand::Show { id, tenant } => {
            let tenant = context.tenant(&store, tenant.as_deref())?;
            let id = DashboardId::from_uuid(id);
            let found = tenant.read(|r| r.dashboards().find(id))?;
            context
                .output
                .data(&found.ok_or_else(|| missing(id))?, show)?;
        }
        DashboardCommand::Save(args) => {
            let tenant = context.tenant(&store, args.of.tenant.as_deref())?;
            let user = user(&tenant, args.of.user.as_deref())?;
            let name = DashboardName::parse("dashboard name", &args.name)?;
            let id = DashboardId::derive(user.id, &name);
            let change = Change::read(&args)?;
            let saved = tenant.write(|w| {
                let own = w.dashboards().list(user.id)?;
                let known = own.into_iter().find(|own| own.dashboard_name == name);
                let saved = save(w, known, &change, (id, user.id, name))?;
                if args.default {
                    w.dashboards().set_default(saved.id)
                } else {
                    Ok(saved)
                }
            })?;
            context.output.data(&saved, show)?;
        }
        DashboardCommand::Share {
            id,
            tenant,
            role,
            public,
            seen,
        } => {
            let roles = role
                .iter()
                .map(|raw| Role::parse(raw))
                .collect::<Result<Vec<_>, _>>()?;
            let tenant = context.tenant(&store, tenant.as_deref())?;
            let id = DashboardId::from_uuid(id);
            let shared = tenant.write(|w| {
                let known = w.dashboards().find(id)?.ok_or_else(|| missing(id))?;
                let seen = seen.unwrap_or(known.version);
                let shared = w.dashboards().share(id, seen, &roles)?;
                match public {
                    Some(public) => w.dashboards().set_public(id, shared.version, public),
                    None => Ok(shared),
                }
            })?;
            context.output.data(&shared, show)?;
        }
        DashboardCommand::History { id, tenant } => {
            let tenant = context.tenant(&store, tenant.as_deref())?;
            let id = DashboardId::from_uuid(id);
            let versions = tenant.read(|r| r.dashboards().history(id))?;
            context.output.data(&History { versions }, history)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What `save` was asked to change.
struct Change {
    layout: Option<JsonObject>,
    description: Option<Description>,
    refresh: Option<RefreshInterval>,
    seen: Option<i64>,
}

impl Change {
    fn read(args: &SaveArgs) -> Result<Self, Failure> {
        let text = |path: &PathBuf| -> Result<String, Failure> {
            let mut text = String::new();
            if path == Path::new("-") {
                std::io::stdin().read_to_string(&mut text)?;
            } else {
                text = std::fs::read_to_string(path).map_err(|source| Error::File {
                    action: "read",
                    path: path.clone(),
                    source,
                })?;
            }
            Ok(text)
        };
        let layout = args.layout.as_ref().map(text).transpose()?;
        Ok(Self {
            layout: layout
                .map(|raw| JsonObject::parse("widget layout", &raw))
                .transpose()?,
            description: (args.description.as_ref())
                .map(|raw| Description::parse("description", raw))
                .transpose()?,
            refresh: args.refresh.map(RefreshInterval::parse).transpose()?,
            seen: args.seen,
        })
    }
}

fn save(
    w: &Writer<'_>,
    known: Option<Dashboard>,
    change: &Change,
    (id, user_id, dashboard_name): (DashboardId, millpond::domain::ids::UserId, DashboardName),
) -> Result<Dashboard, Error> {
    let is_new = known.is_none();
    let base = match known {
        Some(known) => known,
        None => Dashboard {
            id,
            user_id,
            dashboard_name,
            description: None,
            widget_layout: JsonObject::default(),
            is_default: false,
            is_public: false,
            refresh_interval: RefreshInterval::parse(60)?,
            shared_with_roles: Vec::new(),
            version: 1,
            created_at: w.now(),
            updated_at: w.now(),
        },
    };
    let next = Dashboard {
        version: change.seen.unwrap_or(base.version),
        widget_layout: change.layout.clone().unwrap_or(base.widget_layout),
        description: change.description.clone().or(base.description),
        refresh_interval: change.refresh.unwrap_or(base.refresh_interval),
        ..base
    };
    if is_new {
        w.dashboards().insert(&next)?;
        Ok(next)
    } else {
        w.dashboards().update(&next)
    }
}

fn missing(id: DashboardId) -> Error {
    Error::NotFound {
        what: "dashboard",
        key: id.to_string(),
    }
}

fn roles(dashboard: &Dashboard) -> String {
    if dashboard.is_public {
        return "everyone".into();
    }
    let roles: Vec<_> = dashboard
        .shared_with_roles
        .iter()
        .map(|role| role.as_str())
        .collect();
    roles.join(", ")
}

fn list(all: &Dashboards) -> String {
    table(
        ["name", "default", "seen by", "version", "id"],
        all.dashboards.iter().map(|dashboard| {
            [
                dashboard.dashboard_name.to_string(),
                if dashboard.is_default { "yes" } else { "" }.to_owned(),
                roles(dashboard),
                dashboard.version.to_string(),
                dashboard.id.to_string(),
            ]
        }),
    )
}

fn show(dashboard: &Dashboard) -> String {
    format!(
        "{}{}\n  id       {}\n  version  {}\n  refresh  {} s\n  seen by  {}\n  layout   {}",
        dashboard.dashboard_name,
        if dashboard.is_default {
            " (default)"
        } else {
            ""
        },
        dashboard.id,
        dashboard.version,
        dashboard.refresh_interval.as_seconds(),
        roles(dashboard),
        serde_json::Value::Object(dashboard.widget_layout.as_map().clone()),
    )
}

fn history(all: &History) -> String {
    table(
        ["version", "since", "name", "public"],
        all.versions.iter().map(|old| {
            [
                old.version.to_string(),
                old.updated_at.to_string(),
                old.dashboard_name.to_string(),
                old.is_public.to_string(),
            ]
        }),
    )
}
