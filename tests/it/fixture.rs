//! What the tests build on: a home in a temporary folder, a tenant, a user, sessions and calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use millpond::clock::Clock;
use millpond::domain::ids::{CallId, SessionId, TenantId, UserId};
use millpond::domain::session::{Session, SessionType, Source, SourceId};
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::domain::tool_metric::{DurationSource, Outcome, ToolCategory, ToolMetric, ToolName};
use millpond::domain::units::Timestamp;
use millpond::domain::user::{Email, NewUser, Role, User};
use millpond::store::{Home, Store, TenantStore};
use tempfile::TempDir;

/// A clock that stands at 2026-01-05T09:00:00Z and moves only when told.
#[derive(Debug)]
pub struct StoppedClock(AtomicI64);

impl StoppedClock {
    pub fn new() -> Self {
        Self(AtomicI64::new(1_767_603_600_000_000))
    }

    pub fn move_on(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1_000_000, Ordering::Relaxed);
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::Relaxed)).unwrap()
    }
}

pub struct Fixture {
    _folder: TempDir,
    pub clock: Arc<StoppedClock>,
    pub store: Store,
}

impl Fixture {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::at(folder.path().join("home"));
        let clock = Arc::new(StoppedClock::new());
        let store = Store::init_with_clock(home, Arc::<StoppedClock>::clone(&clock)).unwrap();
        Self {
            _folder: folder,
            clock,
            store,
        }
    }

    pub fn tenant(&self, domain: &str) -> TenantStore {
        let domain = Domain::parse(domain).unwrap();
        let new = NewTenant {
            id: TenantId::generate(),
            domain: domain.clone(),
            name: TenantName::parse("name", domain.as_str()).unwrap(),
            plan: Plan::Basic,
            admin_email: None,
        };
        self.store.create_tenant(&new).unwrap();
        self.store.tenant(&domain).unwrap()
    }
}

pub fn user(tenant: &TenantStore, email: &str) -> User {
    let email = Email::parse(email).unwrap();
    let id = UserId::derive(tenant.tenant().id, &email);
    let new = NewUser {
        id,
        email,
        first_name: None,
        last_name: None,
        role: Role::Developer,
    };
    tenant.write(|w| w.users().insert(&new)).unwrap()
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_767_603_600_000_000 + second * 1_000_000).unwrap()
}

pub fn session(user: UserId, name: &str, second: i64) -> Session {
    let source = Source::parse("source", "claude").unwrap();
    let own = SourceId::parse("source id", name).unwrap();
    let id = SessionId::derive(user, &source, Some(&own));
    let kind = SessionType::parse("type", "agent").unwrap();
    Session::begun(id, user, source, Some(own), kind, at(second), at(second))
}

pub fn call(session: &Session, name: &str, second: i64) -> ToolMetric {
    let own = SourceId::parse("source id", name).unwrap();
    ToolMetric {
        id: CallId::derive(session.user_id, &session.source, Some(&own)),
        session_id: session.id,
        user_id: session.user_id,
        parent_id: None,
        tool_name: ToolName::parse("tool name", "Bash").unwrap(),
        tool_category: ToolCategory::parse("category", "shell").unwrap(),
        started_at: at(second),
        execution_count: 1,
        total_duration_ms: Some(40),
        error_count: 0,
        outcome: Outcome::Success,
        memory_usage_mb: None,
        cpu_time_ms: None,
        parameters: None,
        output_size_bytes: Some(12),
        program: None,
        command_line: None,
        working_directory: None,
        source: session.source.clone(),
        source_id: Some(own),
        duration_source: DurationSource::Transcript,
        provenance: None,
        created_at: at(second),
    }
}
