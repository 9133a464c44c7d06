//! `millpond sync`: pushes what waits, and tells how things stand.

use std::process::ExitCode;

use clap::{Args, Subcommand};
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
use super::failure::{ErrorView, Failure, chain};
use super::output::{known, table, with_errors};
use super::progress::{Bar, Unit};

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
    /// Not known where the tenant's file cannot be read, as `pending`.
    pub(super) quarantined: Option<u64>,
    pub(super) conflicts: u64,
    pub(super) pulled: u64,
    pub(super) pending: Option<u64>,
    /// Why the run ended early.
    pub(super) error: Option<ErrorView>,
}

#[derive(Debug, Serialize)]
struct Reports {
    tenants: Vec<TenantReport>,
}

#[derive(Debug, Default, Serialize)]
struct StatusView {
    domain: String,
    pending: Option<u64>,
    oldest_pending_age_s: Option<i64>,
    last_ack_at: Option<String>,
    state: Option<&'static str>,
    quarantined: Option<u64>,
    stream_id: Option<String>,
    conflicts: Option<u64>,
    enrolled: Option<bool>,
    /// Why the tenant's file cannot be read; nothing else is known then.
    error: Option<ErrorView>,
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
        match store.enrolment(&domain).transpose() {
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
        let (report, failure) = enrolment
            .map_err(Failure::from)
            .and_then(|enrolment| push_tenant(&store, &domain, &enrolment, &runtime, context))
            .unwrap_or_else(|failure| {
                let report = TenantReport::not_begun(&store, &domain, &failure);
                (report, Some(failure))
            });
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
    let endpoint = Endpoint::parse(&store.enrolment_secret(domain)?).map_err(|error| {
        Failure::configuration(error.to_string())
            .with_hint("enrol again: ask for a new document (millpond central enroll)")
    })?;
    let users: Vec<UserId> = enrolment.users.iter().map(|user| user.id).collect();
    let remote = PostgresRemote::new(endpoint, &enrolment.schema_name);
    let outbox = TenantOutbox::open(tenant.clone(), users)?;
    let mut engine = Engine::new(outbox, remote, PATIENCE);
    let before = tenant.read(|r| r.outbox().status())?;
    let bar = Bar::new(context.output, domain.to_string(), Unit::Of("rows"));
    bar.at(0, before.pending);
    let mut pulled = 0;
    let drained = runtime.block_on(async {
        // Pull comes before push: what an administrator decided holds for what is sent.
        let users = engine
            .remote_mut()
            .pull_users()
            .await
            .map_err(engine::Error::Remote)?;
        pulled = replication::follow_users(&tenant, &users).map_err(engine::Error::Outbox)?;
        let report = |progress: Progress| {
            bar.at(progress.pushed + progress.rejected, before.pending);
        };
        engine.drain(report).await
    });
    drop(bar);
    let progress = engine.progress();
    if progress.new_streams > 0 {
        context.output.message(&format!(
            "{domain}: the central database does not know this file's stream (it, or the file, was restored or \
             copied); every row was offered again"
        ));
    }
    let (failure, sqlstate, heard) = match drained {
        Ok(()) => (None, None, Heard::Well),
        Err(engine::Error::Outbox(error)) => (Some(Failure::from(error)), None, Heard::Nothing),
        Err(engine::Error::Remote(error)) => {
            let (stopped, sqlstate) = (stop_of(&error), error.sqlstate.clone());
            (Some(Failure::from(error)), sqlstate, Heard::Stop(stopped))
        }
        Err(other) => {
            let failure = Failure::new("sync", chain(&other)).with_hint(
                "nothing is lost: try again, and see how things stand with: millpond sync status",
            );
            (Some(failure), None, Heard::Nothing)
        }
    };
    let after = match heard {
        // A file that failed is not written to once more, and what was noted of the server still holds.
        Heard::Nothing => tenant.read(|r| r.outbox().status()),
        Heard::Well => tenant.write(|w| {
            w.outbox().note_stop(None)?;
            w.outbox().status()
        }),
        Heard::Stop(stopped) => tenant.write(|w| {
            w.outbox().note_stop(Some(stopped))?;
            w.outbox().status()
        }),
    }?;
    let failure = failure.map(|failure| match heard {
        Heard::Stop(Stopped::Offline) => failure.with_hint(format!(
            "work goes on offline; {} changes are waiting",
            after.pending
        )),
        _ => failure,
    });
    let report = TenantReport {
        domain: domain.to_string(),
        pushed: progress.pushed,
        batches: progress.batches,
        quarantined: Some(after.quarantined),
        conflicts: progress.conflicts,
        pulled,
        pending: Some(after.pending),
        error: failure
            .as_ref()
            .map(|failure| ErrorView::of(failure, sqlstate)),
    };
    Ok((report, failure))
}

impl TenantReport {
    /// The report of a run that did not come as far as the network, with what the tenant's file still tells.
    fn not_begun(store: &Store, domain: &Domain, failure: &Failure) -> Self {
        let status = store
            .tenant(domain)
            .and_then(|tenant| tenant.read(|r| r.outbox().status()))
            .ok();
        Self {
            domain: domain.to_string(),
            pushed: 0,
            batches: 0,
            quarantined: status.as_ref().map(|status| status.quarantined),
            conflicts: 0,
            pulled: 0,
            pending: status.map(|status| status.pending),
            error: Some(ErrorView::of(failure, None)),
        }
    }
}

/// What a run has learned of the server.
#[derive(Debug, Clone, Copy)]
enum Heard {
    /// It took all there was.
    Well,
    /// It cannot be reached, or does not take what comes.
    Stop(Stopped),
    /// Nothing: the run ended by a fault of this machine.
    Nothing,
}

fn stop_of(error: &RemoteError) -> Stopped {
    match error.fault {
        Fault::Transient => Stopped::Offline,
        Fault::Login => Stopped::Gone,
        _ => Stopped::OpenBreaker,
    }
}

fn reports(tenants: &[TenantReport]) -> String {
    let told = table(
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
                known(tenant.quarantined),
                tenant.conflicts.to_string(),
                tenant.pulled.to_string(),
                known(tenant.pending),
            ]
        }),
    );
    // Of one tenant alone the failure itself tells.
    let several = tenants.iter().filter(|_| tenants.len() > 1);
    let errors = several.map(|tenant| (tenant.domain.as_str(), tenant.error.as_ref()));
    with_errors(told, errors)
}

fn status(named: Option<&str>, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let tenants = domains(&store, named)?
        .iter()
        .map(|domain| {
            // One tenant's damage is not another's: the rest is told.
            status_of(&store, domain).unwrap_or_else(|failure| StatusView {
                domain: domain.to_string(),
                error: Some(ErrorView::of(&failure, None)),
                ..StatusView::default()
            })
        })
        .collect();
    context
        .output
        .data(&Statuses { tenants }, |all| statuses(&all.tenants))?;
    Ok(ExitCode::SUCCESS)
}

fn status_of(store: &Store, domain: &Domain) -> Result<StatusView, Failure> {
    let status = store.tenant(domain)?.read(|r| r.outbox().status())?;
    let syncing = store.is_syncing(domain)?;
    let state = match status.stopped {
        _ if syncing => "syncing",
        None => "idle",
        Some(Stopped::Offline) => "offline",
        Some(Stopped::OpenBreaker) => "open_breaker",
        Some(Stopped::Gone) => "gone",
    };
    let now = store.clock().now();
    Ok(StatusView {
        domain: domain.to_string(),
        pending: Some(status.pending),
        oldest_pending_age_s: status
            .oldest_pending
            .map(|since| now.millis_since(since) / 1_000),
        last_ack_at: status.last_ack_at.map(|at| at.to_string()),
        state: Some(state),
        quarantined: Some(status.quarantined),
        stream_id: status.stream_id.map(|id| id.to_string()),
        conflicts: Some(status.conflicts),
        enrolled: Some(store.enrolment(domain)?.is_some()),
        error: None,
    })
}

fn statuses(tenants: &[StatusView]) -> String {
    let told = table(
        [
            "tenant",
            "state",
            "pending",
            "oldest",
            "last sent",
            "quarantined",
        ],
        tenants.iter().map(|tenant| {
            let state = match tenant.enrolled {
                Some(false) => "not enrolled",
                _ => tenant.state.unwrap_or("-"),
            };
            [
                tenant.domain.clone(),
                state.to_owned(),
                known(tenant.pending),
                tenant
                    .oldest_pending_age_s
                    .map_or_else(|| "-".into(), |age| format!("{age} s")),
                tenant.last_ack_at.clone().unwrap_or_else(|| "never".into()),
                known(tenant.quarantined),
            ]
        }),
    );
    let errors = tenants
        .iter()
        .map(|tenant| (tenant.domain.as_str(), tenant.error.as_ref()));
    with_errors(told, errors)
}
