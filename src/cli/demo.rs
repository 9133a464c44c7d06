//! `millpond demo`: the whole way once, in a home of its own and a private PostgreSQL, and nothing left running.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use millpond::clock::{Clock as _, SystemClock};
use millpond::domain::ids::TenantId;
use millpond::domain::tenant::Domain;
use millpond::seed::{SeedOptions, SeededTenant};
use millpond::store::{Enrolment, Home, MetricsFilter, MetricsKey, Store};
use millpond_sync::postgres::central::{Central, NewTenant, Plan};
use millpond_sync::postgres::endpoint::Endpoint;
use millpond_sync::postgres::private::{PrivateServer, PrivateServerError, PrivateServerOptions};
use serde::Serialize;
use tokio::runtime::Runtime;

use super::context::Context;
use super::document::{Checked, Document};
use super::failure::{Failure, chain};
use super::output::table;
use super::seed::{last_midnight, with_bar};
use super::sync::{push_tenant, runtime};

/// Marks a home that the demo made, and that the next demo may therefore remove.
const MARK: &str = "made-by-demo";

#[derive(Debug, Serialize)]
struct Demo {
    home: String,
    tenants: Vec<DemoTenant>,
    top_tools: Vec<ToolFigure>,
    central: bool,
}

#[derive(Debug, Serialize)]
struct DemoTenant {
    domain: String,
    local_sessions: u64,
    local_tool_metrics: u64,
    local_dashboards: u64,
    central_sessions: Option<i64>,
    central_tool_metrics: Option<i64>,
    central_dashboards: Option<i64>,
    rows_per_second: Option<u64>,
}

#[derive(Debug, Serialize)]
struct ToolFigure {
    tenant: String,
    tool: String,
    calls: i64,
    errors: i64,
    average_duration_ms: Option<f64>,
}

pub(super) fn run(context: &Context) -> Result<ExitCode, Failure> {
    let home = fresh_home(context)?;
    let store = Store::init(Home::at(home.clone()))?;
    let options = SeedOptions::new(1, last_midnight(SystemClock.now())?)?;
    let seeded = with_bar(&store, &options, context)?;
    let top_tools = top_tools(&store, &seeded.tenants)?;
    let (tenants, central) = match start_server(context) {
        Ok(server) => {
            let tenants = synchronise(&store, &seeded.tenants, &server, context)?;
            (tenants, true)
        }
        Err(missing) => {
            context.output.message(&missing);
            (
                seeded.tenants.iter().map(DemoTenant::local).collect(),
                false,
            )
        }
    };
    let demo = Demo {
        home: home.display().to_string(),
        tenants,
        top_tools,
        central,
    };
    context.output.data(&demo, human)?;
    Ok(ExitCode::SUCCESS)
}

/// A new home for the demo: what an earlier demo left is removed, anything else is left alone.
fn fresh_home(context: &Context) -> Result<PathBuf, Failure> {
    let root = match context.given_home() {
        Some(given) => std::path::absolute(given)?,
        None => context.home()?.root().join("demo"),
    };
    let is_empty =
        |root: &Path| fs::read_dir(root).map_or(true, |mut entries| entries.next().is_none());
    if root.join(MARK).is_file() {
        fs::remove_dir_all(&root)?;
    } else if !is_empty(&root) {
        return Err(Failure::refused(
            "not_empty",
            format!("{} is not the demo's to use", root.display()),
        )
        .with_hint("name an empty or new folder with --home DIR"));
    }
    drop(Store::init(Home::at(root.clone()))?);
    fs::write(
        root.join(MARK),
        "The next `millpond demo` removes this folder.\n",
    )?;
    Ok(root)
}

/// A private server, or what to tell someone who has none.
fn start_server(context: &Context) -> Result<PrivateServer, String> {
    context.output.message("starting a private PostgreSQL");
    let options = PrivateServerOptions {
        fsync: true,
        ..PrivateServerOptions::default()
    };
    PrivateServer::start(&options).map_err(|error| {
        let hint = match &error {
            PrivateServerError::NotFound { .. } => {
                "\nhint: install one to see the central half (Debian, Ubuntu: apt-get install postgresql; \
                 Fedora: dnf install postgresql-server; macOS: brew install postgresql)"
            }
            _ => "",
        };
        format!("{}: only the local half is shown{hint}", chain(&error))
    })
}

fn synchronise(
    store: &Store,
    seeded: &[SeededTenant],
    server: &PrivateServer,
    context: &Context,
) -> Result<Vec<DemoTenant>, Failure> {
    let runtime = runtime()?;
    let endpoint = Endpoint::parse(&server.admin_url())?;
    let central = runtime.block_on(async {
        let central = Central::connect(&endpoint).await?;
        central.init().await?;
        Ok::<_, Failure>(central)
    })?;
    seeded
        .iter()
        .map(|tenant| one_tenant(store, tenant, &central, &runtime, context))
        .collect()
}

fn one_tenant(
    store: &Store,
    seeded: &SeededTenant,
    central: &Central,
    runtime: &Runtime,
    context: &Context,
) -> Result<DemoTenant, Failure> {
    let domain = &seeded.tenant.domain;
    let enrolment = enrol(store, domain, seeded.tenant.id, central, runtime)?;
    let begun = Instant::now();
    let (report, failure) = push_tenant(store, domain, &enrolment, runtime, context)?;
    let elapsed = begun.elapsed().max(Duration::from_millis(1));
    if let Some(failure) = failure {
        return Err(failure);
    }
    let counts = runtime.block_on(central.row_counts(domain.as_str()))?;
    let of = |table: &str| {
        counts
            .iter()
            .find(|(name, _)| *name == table)
            .map(|(_, rows)| *rows)
    };
    Ok(DemoTenant {
        central_sessions: of("metrics_sessions"),
        central_tool_metrics: of("tool_metrics"),
        central_dashboards: of("dashboard_configs"),
        rows_per_second: rate(report.pushed, elapsed),
        ..DemoTenant::local(seeded)
    })
}

/// Makes the tenant and a device for all its users centrally, and enrols this home with it.
fn enrol(
    store: &Store,
    domain: &Domain,
    id: TenantId,
    central: &Central,
    runtime: &Runtime,
) -> Result<Enrolment, Failure> {
    let tenant = store.tenant(domain)?;
    let emails: Vec<String> = tenant
        .read(|r| r.users().list())?
        .into_iter()
        .map(|user| user.email.to_string())
        .collect();
    let made = runtime.block_on(async {
        let new = NewTenant {
            id: Some(id.as_uuid()),
            domain: domain.to_string(),
            name: tenant.tenant().name.to_string(),
            plan: Plan::Basic,
        };
        central.create_tenant(&new).await?;
        Ok::<_, Failure>(central.enroll(domain.as_str(), &emails, None).await?)
    })?;
    // As `enroll` reads what `central enroll` printed, the URL without its secret among it.
    let Checked { enrolment, url, .. } = Document::from(made).check()?;
    store.enrol(domain, &enrolment, url.expose())?;
    Ok(enrolment)
}

fn rate(rows: u64, elapsed: Duration) -> Option<u64> {
    let millis = u64::try_from(elapsed.as_millis()).ok()?;
    rows.checked_mul(1_000)?.checked_div(millis)
}

/// The three tools that each tenant called most.
fn top_tools(store: &Store, seeded: &[SeededTenant]) -> Result<Vec<ToolFigure>, Failure> {
    let mut figures = Vec::new();
    for tenant in seeded {
        let domain = &tenant.tenant.domain;
        let rows = store
            .tenant(domain)?
            .read(|r| r.metrics(MetricsKey::Tool, MetricsFilter::default()))?;
        figures.extend(rows.into_iter().take(3).map(|row| ToolFigure {
            tenant: domain.to_string(),
            tool: row.key,
            calls: row.calls,
            errors: row.errors,
            average_duration_ms: row.average_duration_ms,
        }));
    }
    Ok(figures)
}

impl DemoTenant {
    fn local(seeded: &SeededTenant) -> Self {
        Self {
            domain: seeded.tenant.domain.to_string(),
            local_sessions: seeded.sessions,
            local_tool_metrics: seeded.tool_metrics,
            local_dashboards: seeded.dashboards,
            central_sessions: None,
            central_tool_metrics: None,
            central_dashboards: None,
            rows_per_second: None,
        }
    }
}

fn human(demo: &Demo) -> String {
    let number = |value: Option<i64>| value.map_or_else(|| "-".into(), |value| value.to_string());
    let arrived = table(
        [
            "tenant",
            "sessions here",
            "there",
            "calls here",
            "there",
            "dashboards here",
            "there",
            "rows/s",
        ],
        demo.tenants.iter().map(|tenant| {
            [
                tenant.domain.clone(),
                tenant.local_sessions.to_string(),
                number(tenant.central_sessions),
                tenant.local_tool_metrics.to_string(),
                number(tenant.central_tool_metrics),
                tenant.local_dashboards.to_string(),
                number(tenant.central_dashboards),
                tenant
                    .rows_per_second
                    .map_or_else(|| "-".into(), |rate| rate.to_string()),
            ]
        }),
    );
    let tools = table(
        ["tenant", "most called", "calls", "errors", "average"],
        demo.top_tools.iter().map(|figure| {
            [
                figure.tenant.clone(),
                figure.tool.clone(),
                figure.calls.to_string(),
                figure.errors.to_string(),
                figure
                    .average_duration_ms
                    .map_or_else(|| "-".into(), |mean| format!("{mean:.0} ms")),
            ]
        }),
    );
    let first = demo
        .tenants
        .first()
        .map_or("", |tenant| tenant.domain.as_str());
    format!(
        "{arrived}\n\n{tools}\n\nThe home is kept; nothing is left running. Look around with\n  \
         millpond --home {} session list --tenant {first}",
        demo.home
    )
}
