//! A closer look: figures, files, synchronisation, and what follows from them.

use std::time::Duration;

use rusqlite::Connection;

use super::check::HealthCheck;
use super::explain::missing_index;
use super::{HealthLimits, HealthStatus, IntegrityCheck, Recommendation};
use crate::domain::tenant::{Domain, Tenant};
use crate::domain::units::Timestamp;
use crate::store::connection::FileKind;
use crate::store::error::Error;
use crate::store::outbox::{OutboxStatus, Stopped};
use crate::store::schema;
use crate::store::watch::{Figures, PoolState, Statistics, Waits};
use crate::store::{MetricsFilter, MetricsKey, SessionFilter, SessionSort, Store, TenantStore};

/// How the store is.
#[derive(Debug)]
pub struct HealthReport {
    /// When it was made.
    pub at: Timestamp,
    /// The slowest answer, as [`HealthCheck::response`].
    pub response: Duration,
    /// What this process' work came to, the report's own few statements included.
    pub statistics: Statistics,
    /// Each tenant, by domain.
    pub tenants: Vec<TenantHealth>,
}

/// How a tenant's file is.
#[derive(Debug)]
pub struct TenantHealth {
    /// The tenant.
    pub domain: Domain,
    /// What was found, or why the file could not be read.
    pub facts: Result<Facts, Error>,
    /// What follows.
    pub recommendations: Vec<Recommendation>,
}

/// What was found of a tenant's file.
#[derive(Debug, Clone)]
pub struct Facts {
    /// How soon it answered.
    pub response: Duration,
    /// The size of the file, without its log.
    pub file_bytes: u64,
    /// The size of its write-ahead log.
    pub log_bytes: u64,
    /// Whether the tenant is enrolled with a central database.
    pub enrolled: bool,
    /// How far its synchronisation has come.
    pub outbox: OutboxStatus,
    /// The last check of the file's integrity.
    pub integrity: Option<IntegrityCheck>,
    /// What this process' work on it came to.
    pub figures: Figures,
    /// Its connections now.
    pub pool: PoolState,
}

impl HealthReport {
    /// The worst that any tenant is.
    #[must_use]
    pub fn status(&self) -> HealthStatus {
        let tenants = self.tenants.iter().map(TenantHealth::status);
        tenants.max().unwrap_or_default()
    }

    /// What ought to be done, tenant by tenant.
    pub fn recommendations(&self) -> impl Iterator<Item = &Recommendation> {
        self.tenants
            .iter()
            .flat_map(|tenant| &tenant.recommendations)
    }
}

impl TenantHealth {
    /// The worst that a recommendation makes of it.
    #[must_use]
    pub fn status(&self) -> HealthStatus {
        let all = self.recommendations.iter();
        all.map(Recommendation::status).max().unwrap_or_default()
    }
}

/// Bounds the statements of a tenant that are explained: those that took most in all.
const MOST_EXPLAINED: usize = 32;
const MONTH_MS: i64 = 30 * 86_400_000;

impl Store {
    /// Looks at each tenant, or at the one that is named, and says what follows from what it finds.
    ///
    /// # Errors
    /// Those of [`Store::health_check`]. What is wrong with one tenant's file is told of that tenant.
    pub fn health_report(
        &self,
        of: Option<&Domain>,
        limits: &HealthLimits,
    ) -> Result<HealthReport, Error> {
        let HealthCheck {
            at,
            response,
            answers,
        } = self.health_check(of)?;
        let sampled: Vec<_> = answers
            .into_iter()
            .map(|answer| {
                let answered = answer.answered.and_then(|response| {
                    sample(&self.tenant(&answer.domain)?)?;
                    Ok(response)
                });
                (answer.domain, answered)
            })
            .collect();
        let statistics = self.statistics()?;
        let latest = self.migrations.latest(FileKind::Tenant);
        let model = schema::replay(FileKind::Tenant, latest, &self.migrations)?;
        let mut tenants = Vec::new();
        for (domain, answered) in sampled {
            let facts = answered.and_then(|response| self.facts(&domain, response, &statistics));
            tenants.push(self.health_of(domain, facts, &model, limits)?);
        }
        Ok(HealthReport {
            at,
            response,
            statistics,
            tenants,
        })
    }

    fn facts(
        &self,
        domain: &Domain,
        response: Duration,
        statistics: &Statistics,
    ) -> Result<Facts, Error> {
        let tenant = self.tenant(domain)?;
        let log_bytes = tenant.log_bytes()?;
        let (outbox, integrity) =
            tenant.look(|r| Ok::<_, Error>((r.outbox().status()?, r.last_integrity()?)))?;
        let watched = statistics.tenants.iter();
        let watched = watched.filter(|known| known.domain.as_ref() == Some(domain));
        let (figures, pool) = watched
            .map(|known| (known.figures.clone(), known.pool))
            .next()
            .unwrap_or_default();
        Ok(Facts {
            response,
            file_bytes: tenant.size_bytes()?.saturating_sub(log_bytes),
            log_bytes,
            enrolled: self.enrolment(domain)?.is_some(),
            outbox,
            integrity,
            figures,
            pool,
        })
    }

    fn health_of(
        &self,
        domain: Domain,
        facts: Result<Facts, Error>,
        model: &Connection,
        limits: &HealthLimits,
    ) -> Result<TenantHealth, Error> {
        let mut recommendations = Vec::new();
        match &facts {
            Ok(facts) => {
                let tenant = self.tenant(&domain)?;
                let now = self.clock.now();
                of_file(tenant.tenant(), facts, limits, now, &mut recommendations);
                of_outbox(&domain, facts, limits, now, &mut recommendations);
                of_figures(&domain, &facts.figures, limits, &mut recommendations);
                missing(&tenant, &facts.figures, model, limits, &mut recommendations)?;
            }
            Err(error) => recommendations.push(Recommendation::Unreadable {
                domain: domain.clone(),
                kind: error.kind(),
            }),
        }
        Ok(TenantHealth {
            domain,
            facts,
            recommendations,
        })
    }
}

/// Runs what commands run most.
fn sample(tenant: &TenantStore) -> Result<(), Error> {
    tenant.read(|r| {
        let sessions = SessionFilter::default();
        r.sessions()
            .list(&sessions, SessionSort::Newest, 20, None)?;
        let month = MetricsFilter {
            since: Some(r.now().minus_millis(MONTH_MS)),
            ..MetricsFilter::default()
        };
        r.metrics(MetricsKey::Tool, month)?;
        r.outbox().status().map(drop)
    })
}

fn of_file(
    tenant: &Tenant,
    facts: &Facts,
    limits: &HealthLimits,
    now: Timestamp,
    into: &mut Vec<Recommendation>,
) {
    let domain = || tenant.domain.clone();
    let last = facts.integrity.as_ref();
    if let Some(found) = last.filter(|check| check.problems > 0) {
        into.push(Recommendation::Damaged {
            domain: domain(),
            problems: found.problems,
            at: found.at,
        });
    }
    let whole_at = last.map_or(tenant.created_at, |check| check.at);
    if is_older(whole_at, limits.integrity_age, now) {
        into.push(Recommendation::IntegrityDue {
            domain: domain(),
            last: last.map(|check| check.at),
        });
    }
    if facts.log_bytes > limits.log_bytes {
        into.push(Recommendation::LargeLog {
            domain: domain(),
            bytes: facts.log_bytes,
        });
    }
}

fn of_outbox(
    domain: &Domain,
    facts: &Facts,
    limits: &HealthLimits,
    now: Timestamp,
    into: &mut Vec<Recommendation>,
) {
    let OutboxStatus {
        pending,
        oldest_pending,
        quarantined,
        stopped,
        ..
    } = facts.outbox;
    // Without a central database rows wait for as long as it takes.
    if facts.enrolled
        && let Some(since) = oldest_pending.filter(|at| is_older(*at, limits.pending_age, now))
    {
        into.push(Recommendation::PendingOld {
            domain: domain.clone(),
            pending,
            since,
        });
    }
    // Offline is no trouble: it is tried again.
    if let Some(why @ (Stopped::OpenBreaker | Stopped::Gone)) = stopped {
        into.push(Recommendation::SyncStopped {
            domain: domain.clone(),
            why,
        });
    }
    if quarantined > 0 {
        into.push(Recommendation::Quarantine {
            domain: domain.clone(),
            rows: quarantined,
        });
    }
}

fn of_figures(
    domain: &Domain,
    figures: &Figures,
    limits: &HealthLimits,
    into: &mut Vec<Recommendation>,
) {
    for statement in figures.statements.iter().filter(|each| each.times.slow > 0) {
        into.push(Recommendation::SlowStatement {
            domain: domain.clone(),
            statement: (statement.id.clone(), statement.sql.to_string()),
            slow: statement.times.slow,
            max: statement.times.max,
        });
    }
    let long = |waits: &Waits| waits.timeouts > 0 || waits.times.max > limits.wait;
    let Waits { times, timeouts } = figures.connection_waits;
    if long(&figures.connection_waits) {
        into.push(Recommendation::ConnectionWaits {
            domain: domain.clone(),
            max: times.max,
            timeouts,
        });
    }
    let Waits { times, timeouts } = figures.writer_waits;
    if long(&figures.writer_waits) {
        into.push(Recommendation::WriterWaits {
            domain: domain.clone(),
            max: times.max,
            timeouts,
        });
    }
}

fn missing(
    tenant: &TenantStore,
    figures: &Figures,
    model: &Connection,
    limits: &HealthLimits,
    into: &mut Vec<Recommendation>,
) -> Result<(), Error> {
    let domain = &tenant.tenant().domain;
    tenant.look(|r| {
        for statement in figures.statements.iter().take(MOST_EXPLAINED) {
            let Some(source) = &statement.source else {
                continue;
            };
            let rows = limits.scanned_rows;
            if let Some(index) = missing_index(r.connection(), model, source, rows)? {
                into.push(Recommendation::MissingIndex {
                    domain: domain.clone(),
                    statement: (statement.id.clone(), statement.sql.to_string()),
                    index,
                });
            }
        }
        Ok(())
    })
}

fn is_older(at: Timestamp, age: Duration, now: Timestamp) -> bool {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    now.millis_since(at) > age
}
