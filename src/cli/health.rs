//! `millpond health`: how the store is, and what to do about it.
//!
//! Exit 0 where it is healthy or degraded (it works), 1 where it is unhealthy or could not be checked. A tenant whose
//! file cannot be read is told beside the others. The figures are those of this process, which runs a few of the
//! statements that other commands run.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use millpond::domain::tenant::Domain;
use millpond::domain::units::Timestamp;
use millpond::store::Store;
use millpond::store::health::{
    Facts, HealthLimits, HealthReport, HealthStatus, IntegrityCheck, IntegrityDepth,
    Recommendation, TenantHealth,
};
use millpond::store::watch::StatementFigures;
use serde::Serialize;

use super::context::Context;
use super::failure::{ErrorView, Failure};
use super::output::{lines, raw, table, with_errors};

#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// The tenant's domain; every tenant where none is given
    #[arg(long, value_name = "DOMAIN")]
    tenant: Option<String>,
    /// First check that the files are whole, index by index: reads all of them
    #[arg(long)]
    integrity: bool,
    /// Print the figures as Prometheus reads them
    #[arg(long)]
    prometheus: bool,
}

/// The statements that are told: those that took most in all.
const MOST_STATEMENTS: usize = 20;

#[derive(Debug, Serialize)]
struct HealthView {
    status: HealthStatus,
    details: DetailsView,
    metrics: MetricsView,
    recommendations: Vec<RecommendationView>,
    statements: Vec<StatementView>,
    tenants: Vec<TenantView>,
}

#[derive(Debug, Serialize)]
struct DetailsView {
    /// `ok` where every file answers, else `failed`.
    connection: &'static str,
    response_time_ms: f64,
    timestamp: Timestamp,
}

#[derive(Debug, Serialize)]
struct MetricsView {
    active_connections: u32,
    total_queries: u64,
    average_query_ms: f64,
    slow_queries: u64,
    slow_query_threshold_ms: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    waits: u64,
    wait_timeouts: u64,
}

#[derive(Debug, Serialize)]
struct RecommendationView {
    kind: &'static str,
    tenant: Domain,
    status: HealthStatus,
    message: String,
    fix: String,
}

#[derive(Debug, Serialize)]
struct StatementView {
    id: String,
    sql: String,
    count: u64,
    slow: u64,
    total_ms: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

#[derive(Debug, Serialize)]
struct TenantView {
    domain: Domain,
    status: HealthStatus,
    /// Nothing is known where the file cannot be read.
    #[serde(flatten)]
    facts: Option<FactsView>,
    /// What `--integrity` found.
    integrity_found: Option<Vec<String>>,
    error: Option<ErrorView>,
}

#[derive(Debug, Serialize)]
struct FactsView {
    response_time_ms: f64,
    file_bytes: u64,
    log_bytes: u64,
    enrolled: bool,
    pending: u64,
    oldest_pending: Option<Timestamp>,
    quarantined: u64,
    integrity_checked_at: Option<Timestamp>,
    integrity_problems: Option<u64>,
    queries: u64,
    slow_queries: u64,
    connections: u32,
}

type Checks = BTreeMap<Domain, Result<IntegrityCheck, Failure>>;

pub(super) fn run(args: &HealthArgs, context: &Context) -> Result<ExitCode, Failure> {
    if args.prometheus && context.output.is_json() {
        return Err(
            Failure::usage("--prometheus and --json ask for two formats")
                .with_hint("leave one of them out"),
        );
    }
    let store = context.store()?;
    let of = args.tenant.as_deref().map(Domain::parse).transpose()?;
    let mut checks = if args.integrity {
        check(&store, of.as_ref())?
    } else {
        Checks::new()
    };
    let unchecked = checks.values().any(Result::is_err);
    let report = store.health_report(of.as_ref(), &HealthLimits::default())?;
    let status = if unchecked {
        HealthStatus::Unhealthy
    } else {
        report.status()
    };
    if args.prometheus {
        raw(&report.to_prometheus())?;
    } else {
        let view = view(report, status, &mut checks);
        context.output.data(&view, shown)?;
    }
    Ok(match status {
        HealthStatus::Unhealthy => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

/// Checks the integrity of each file, and goes on past one that cannot be checked.
fn check(store: &Store, of: Option<&Domain>) -> Result<Checks, Failure> {
    let tenants = match of {
        Some(domain) => vec![store.find_tenant(domain)?],
        None => store.tenants()?,
    };
    let checked = tenants.into_iter().map(|tenant| {
        let opened = store.tenant(&tenant.domain);
        let check = opened.and_then(|handle| handle.check_integrity(IntegrityDepth::Full));
        (tenant.domain, check.map_err(Failure::from))
    });
    Ok(checked.collect())
}

fn view(report: HealthReport, status: HealthStatus, checks: &mut Checks) -> HealthView {
    let all = &report.statistics.all;
    let pools = report
        .tenants
        .iter()
        .filter_map(|tenant| tenant.facts.as_ref().ok());
    let answers = report.tenants.iter().all(|tenant| tenant.facts.is_ok());
    HealthView {
        status,
        details: DetailsView {
            connection: if answers { "ok" } else { "failed" },
            response_time_ms: millis(report.response),
            timestamp: report.at,
        },
        metrics: MetricsView {
            active_connections: pools.map(|facts| facts.pool.open).sum(),
            total_queries: all.times.count,
            average_query_ms: millis(all.times.mean()),
            slow_queries: all.times.slow,
            slow_query_threshold_ms: millis(report.statistics.slow_threshold),
            p50_ms: millis(all.times.p50),
            p95_ms: millis(all.times.p95),
            p99_ms: millis(all.times.p99),
            waits: all.connection_waits.times.count + all.writer_waits.times.count,
            wait_timeouts: all.connection_waits.timeouts + all.writer_waits.timeouts,
        },
        recommendations: report
            .recommendations()
            .map(RecommendationView::of)
            .collect(),
        statements: all
            .statements
            .iter()
            .take(MOST_STATEMENTS)
            .map(StatementView::of)
            .collect(),
        tenants: report
            .tenants
            .into_iter()
            .map(|tenant| {
                let check = checks.remove(&tenant.domain);
                TenantView::of(tenant, check)
            })
            .collect(),
    }
}

impl RecommendationView {
    fn of(recommendation: &Recommendation) -> Self {
        Self {
            kind: recommendation.kind(),
            tenant: recommendation.domain().clone(),
            status: recommendation.status(),
            message: recommendation.to_string(),
            fix: recommendation.fix(),
        }
    }
}

impl StatementView {
    fn of(statement: &StatementFigures) -> Self {
        let times = &statement.times;
        Self {
            id: statement.id.clone(),
            sql: statement.sql.to_string(),
            count: times.count,
            slow: times.slow,
            total_ms: millis(times.total),
            p50_ms: millis(times.p50),
            p95_ms: millis(times.p95),
            p99_ms: millis(times.p99),
            max_ms: millis(times.max),
        }
    }
}

impl TenantView {
    fn of(tenant: TenantHealth, check: Option<Result<IntegrityCheck, Failure>>) -> Self {
        let mut status = tenant.status();
        let (facts, unread) = match tenant.facts {
            Ok(facts) => (Some(FactsView::of(&facts)), None),
            Err(error) => (None, Some(Failure::from(error))),
        };
        let (integrity_found, unchecked) = match check {
            None => (None, None),
            Some(Ok(check)) => (Some(check.found), None),
            Some(Err(failure)) => {
                status = HealthStatus::Unhealthy;
                (None, Some(failure))
            }
        };
        Self {
            domain: tenant.domain,
            status,
            facts,
            integrity_found,
            error: unread
                .or(unchecked)
                .map(|failure| ErrorView::of(&failure, None)),
        }
    }
}

impl FactsView {
    fn of(facts: &Facts) -> Self {
        Self {
            response_time_ms: millis(facts.response),
            file_bytes: facts.file_bytes,
            log_bytes: facts.log_bytes,
            enrolled: facts.enrolled,
            pending: facts.outbox.pending,
            oldest_pending: facts.outbox.oldest_pending,
            quarantined: facts.outbox.quarantined,
            integrity_checked_at: facts.integrity.as_ref().map(|check| check.at),
            integrity_problems: facts.integrity.as_ref().map(|check| check.problems),
            queries: facts.figures.times.count,
            slow_queries: facts.figures.times.slow,
            connections: facts.pool.open,
        }
    }
}

/// Milliseconds, to the microsecond.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

fn shown(health: &HealthView) -> String {
    let head = format!(
        "{}: {} queries, {} ms each on average, {} slow; the slowest answer took {} ms",
        health.status.as_str(),
        health.metrics.total_queries,
        health.metrics.average_query_ms,
        health.metrics.slow_queries,
        health.details.response_time_ms,
    );
    let unknown = || "-".to_owned();
    let tenants = table(
        [
            "tenant",
            "status",
            "MiB",
            "log MiB",
            "pending",
            "quarantined",
            "last checked",
        ],
        health.tenants.iter().map(|tenant| {
            let of =
                |tell: fn(&FactsView) -> String| tenant.facts.as_ref().map_or_else(unknown, tell);
            [
                tenant.domain.to_string(),
                tenant.status.as_str().to_owned(),
                of(|facts| (facts.file_bytes >> 20).to_string()),
                of(|facts| (facts.log_bytes >> 20).to_string()),
                of(|facts| facts.pending.to_string()),
                of(|facts| facts.quarantined.to_string()),
                of(|facts| match facts.integrity_checked_at {
                    Some(at) => at.to_string(),
                    None => "never".to_owned(),
                }),
            ]
        }),
    );
    let errors = health
        .tenants
        .iter()
        .map(|tenant| (tenant.domain.as_str(), tenant.error.as_ref()));
    let found = health.tenants.iter().flat_map(|tenant| {
        let found = tenant.integrity_found.iter().flatten();
        found.map(|line| format!("{}: {line}", tenant.domain))
    });
    let advice = health
        .recommendations
        .iter()
        .map(|one| format!("{}\nhint: {}", one.message, one.fix));
    lines(
        head,
        std::iter::once(with_errors(tenants, errors))
            .chain(found)
            .chain(advice),
    )
}
