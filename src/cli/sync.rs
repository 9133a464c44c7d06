//! `millpond sync`: pushes what waits, and tells how things stand.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use millpond::domain::ids::UserId;
use millpond::domain::tenant::Domain;
use millpond::replication::{self, TenantOutbox};
use millpond::store::outbox::Stopped;
use millpond::store::{Enrolment, Store};
use millpond_sync::engine::{self, Engine, Progress};
use millpond_sync::fault::{Fault, RemoteError};
use millpond_sync::plan::Patience;
use millpond_sync::postgres::endpoint::Endpoint;
use millpond_sync::postgres::push::PostgresRemote;
use serde::Serialize;

use super::context::Context;
use super::failure::{Failure, chain};
use super::output::table;

/// A command tries this often in a row before it gives up: with full jitter, 15 s at the most.
const PATIENCE: Patience = Patience::Attempts(5);

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct SyncArgs {
    #[command(subcommand)]
    command: Option<SyncCommand>,
    /// The tenant's domain; every enrolled tenant where none is given
    #[arg(long)]
    tenant: Option<String>,
}

#[derive(Debug, Subcommand)]
enum SyncCommand {
    /// Tell what waits, from the local files alone
    Status {
        /// The tenant's domain; every tenant where none is given
        #[arg(long)]
        tenant: Option<String>,
    },
}

/// What a run came to, for one tenant.
#[derive(Debug, Serialize)]
pub(super) struct TenantReport {
    pub(super) domain: String,
    pub(super) pushed: u64,
    pub(super) batches: u64,
    pub(super) quarantined: u64,
    pub(super) conflicts: u64,
    pub(super) pulled: u64,
    pub(super) pending: u64,
    pub(super) error: Option<ErrorView>,
}

/// Why a tenant's run ended early.
#[derive(Debug, Clone, Serialize)]
pub(super) struct ErrorView {
    kind: &'static str,
    message: String,
    sqlstate: Option<String>,
}

#[derive(Debug, Serialize)]
struct Reports {
    tenants: Vec<TenantReport>,
}

#[derive(Debug, Serialize)]
struct StatusView {
    domain: String,
    pending: u64,
    oldest_pending_age_s: Option<i64>,
    last_ack_at: Option<String>,
    state: &'static str,
    quarantined: u64,
    stream_id: Option<String>,
    conflicts: u64,
    enrolled: bool,
}

#[derive(Debug, Serialize)]
struct Statuses {
    tenants: Vec<StatusView>,
}

pub(super) fn run(args: SyncArgs, context: &Context) -> Result<ExitCode, Failure> {
    match args.command {
        Some(SyncCommand::Status { tenant }) => status(tenant.as_deref(), context),
        None => push(args.tenant.as_deref(), context),
    }
}

/// The tenants that are meant: the one named, or all.
fn domains(store: &Store, named: Option<&str>) -> Result<Vec<Domain>, Failure> {
    match named {
        Some(named) => Ok(vec![store.find_tenant(&Domain::parse(named)?)?.domain]),
        None => Ok(store
            .tenants()?
            .into_iter()
            .map(|tenant| tenant.domain)
            .collect()),
    }
}

fn push(named: Option<&str>, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let mut work = Vec::new();
    for domain in domains(&store, named)? {
        match store.enrolment(&domain)? {
            Some(enrolment) => work.push((domain, enrolment)),
            None if named.is_some() => return Err(not_enrolled(&domain)),
            None => {}
        }
    }
    if work.is_empty() {
        return Err(not_enrolled(&"this machine"));
    }
    let runtime = runtime()?;
    let mut worst: Option<Failure> = None;
    let mut tenants = Vec::new();
    for (domain, enrolment) in work {
        // One tenant's trouble is not another's: each is tried, the first trouble makes the exit code.
        let (report, failure) = push_tenant(&store, &domain, &enrolment, &runtime, context)
            .or_else(|failure| TenantReport::not_begun(&store, &domain, failure))?;
        tenants.push(report);
        worst = worst.or(failure);
    }
    context
        .output
        .data(&Reports { tenants }, |all| reports(&all.tenants))?;
    match worst {
        None => Ok(ExitCode::SUCCESS),
        Some(failure) if context.output.is_json() => Ok(failure.exit_code()),
        Some(failure) => Err(failure),
    }
}

/// A runtime whose workers may block on SQLite.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    Ok(tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?)
}

fn not_enrolled(what: &impl std::fmt::Display) -> Failure {
    Failure::configuration(format!("{what} is not enrolled with a central database")).with_hint(
        "join one with: millpond enroll FILE, where FILE is what `millpond central enroll` printed",
    )
}

/// Pushes one tenant until nothing waits. The failure beside the report is what stopped it.
pub(super) fn push_tenant(
    store: &Store,
    domain: &Domain,
    enrolment: &Enrolment,
    runtime: &tokio::runtime::Runtime,
    context: &Context,
) -> Result<(TenantReport, Option<Failure>), Failure> {
    let _lock = store.lock_sync(domain)?;
    let tenant = store.tenant(domain)?;
    let endpoint = Endpoint::parse(&store.enrolment_secret(domain)?)
        .map_err(|error| Failure::configuration(error.to_string()))?;
    let users: Vec<UserId> = enrolment.users.iter().map(|user| user.id).collect();
    let remote = PostgresRemote::new(endpoint, &enrolment.schema_name);
    let outbox = TenantOutbox::open(tenant.clone(), users)?;
    let mut engine = Engine::new(outbox, remote, PATIENCE);
    let before = tenant.read(|r| r.outbox().status())?;
    let bar = bar(domain, before.pending, context);
    let mut pulled = 0;
    let drained = runtime.block_on(async {
        // Pull comes before push: what an administrator decided holds for what is sent.
        let users = engine
            .remote_mut()
            .pull_users()
            .await
            .map_err(engine::Error::Remote)?;
        pulled = replication::follow_users(&tenant, &users).map_err(engine::Error::Outbox)?;
        let report = |progress: Progress| bar.set_position(progress.pushed + progress.rejected);
        engine.drain(report).await
    });
    bar.finish_and_clear();
    let progress = engine.progress();
    if progress.new_streams > 0 {
        context.output.message(&format!(
            "{domain}: the central database does not know this file's stream (it, or the file, was restored or \
             copied); every row was offered again"
        ));
    }
    let (error, failure, stopped) = match drained {
        Ok(()) => (None, None, None),
        Err(engine::Error::Outbox(error)) => {
            let failure = Failure::from(error);
            (Some(ErrorView::of(&failure, None)), Some(failure), None)
        }
        Err(engine::Error::Remote(error)) => {
            let (stopped, sqlstate) = (stop_of(&error), error.sqlstate.clone());
            let failure = Failure::from(error);
            (
                Some(ErrorView::of(&failure, sqlstate)),
                Some(failure),
                Some(stopped),
            )
        }
        Err(other) => {
            let failure = Failure::new("sync", chain(&other));
            (Some(ErrorView::of(&failure, None)), Some(failure), None)
        }
    };
    let after = tenant.write(|w| {
        w.outbox().note_stop(stopped)?;
        w.outbox().status()
    })?;
    let failure = failure.map(|failure| match stopped {
        Some(Stopped::Offline) => failure.with_hint(format!(
            "work goes on offline; {} changes are waiting",
            after.pending
        )),
        _ => failure,
    });
    let report = TenantReport {
        domain: domain.to_string(),
        pushed: progress.pushed,
        batches: progress.batches,
        quarantined: after.quarantined,
        conflicts: progress.conflicts,
        pulled,
        pending: after.pending,
        error,
    };
    Ok((report, failure))
}

impl TenantReport {
    /// The report of a run that did not come as far as the network.
    fn not_begun(
        store: &Store,
        domain: &Domain,
        failure: Failure,
    ) -> Result<(Self, Option<Failure>), Failure> {
        let status = store.tenant(domain)?.read(|r| r.outbox().status())?;
        let report = Self {
            domain: domain.to_string(),
            pushed: 0,
            batches: 0,
            quarantined: status.quarantined,
            conflicts: 0,
            pulled: 0,
            pending: status.pending,
            error: Some(ErrorView::of(&failure, None)),
        };
        Ok((report, Some(failure)))
    }
}

impl ErrorView {
    fn of(failure: &Failure, sqlstate: Option<String>) -> Self {
        Self {
            kind: failure.kind,
            message: failure.message.clone(),
            sqlstate,
        }
    }
}

fn stop_of(error: &RemoteError) -> Stopped {
    match error.fault {
        Fault::Transient => Stopped::Offline,
        Fault::Login => Stopped::Gone,
        _ => Stopped::OpenBreaker,
    }
}

fn bar(domain: &Domain, rows: u64, context: &Context) -> Arc<ProgressBar> {
    if !context.output.is_animated() {
        return Arc::new(ProgressBar::hidden());
    }
    let bar = ProgressBar::new(rows);
    let template = "{prefix} {wide_bar} {human_pos}/{human_len} rows {per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_prefix(domain.to_string());
    bar.enable_steady_tick(Duration::from_millis(200));
    Arc::new(bar)
}

fn reports(tenants: &[TenantReport]) -> String {
    table(
        [
            "tenant",
            "pushed",
            "batches",
            "quarantined",
            "conflicts",
            "pulled",
            "pending",
        ],
        tenants.iter().map(|tenant| {
            [
                tenant.domain.clone(),
                tenant.pushed.to_string(),
                tenant.batches.to_string(),
                tenant.quarantined.to_string(),
                tenant.conflicts.to_string(),
                tenant.pulled.to_string(),
                tenant.pending.to_string(),
            ]
        }),
    )
}

fn status(named: Option<&str>, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let mut tenants = Vec::new();
    for domain in domains(&store, named)? {
        let status = store.tenant(&domain)?.read(|r| r.outbox().status())?;
        let syncing = store
            .lock_sync(&domain)
            .is_err_and(|error| error.is_transient());
        let state = match status.stopped {
            _ if syncing => "syncing",
            None => "idle",
            Some(Stopped::Offline) => "offline",
            Some(Stopped::OpenBreaker) => "open_breaker",
            Some(Stopped::Gone) => "gone",
        };
        let now = store.clock().now();
        tenants.push(StatusView {
            enrolled: store.enrolment(&domain)?.is_some(),
            domain: domain.to_string(),
            pending: status.pending,
            oldest_pending_age_s: status
                .oldest_pending
                .map(|since| now.millis_since(since) / 1_000),
            last_ack_at: status.last_ack_at.map(|at| at.to_string()),
            state,
            quarantined: status.quarantined,
            stream_id: status.stream_id.map(|id| id.to_string()),
            conflicts: status.conflicts,
        });
    }
    context.output.data(&Statuses { tenants }, |all| {
        table(
            [
                "tenant",
                "state",
                "pending",
                "oldest",
                "last sent",
                "quarantined",
            ],
            all.tenants.iter().map(|tenant| {
                [
                    tenant.domain.clone(),
                    if tenant.enrolled {
                        tenant.state.to_owned()
                    } else {
                        "not enrolled".into()
                    },
                    tenant.pending.to_string(),
                    tenant
                        .oldest_pending_age_s
                        .map_or_else(|| "-".into(), |age| format!("{age} s")),
                    tenant.last_ack_at.clone().unwrap_or_else(|| "never".into()),
                    tenant.quarantined.to_string(),
                ]
            }),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
