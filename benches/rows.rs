//! The rows that the benches move: sessions of one user, and their calls, 1,000 a transaction.

use std::path::Path;

use millpond::domain::ids::{CallId, SessionId, TenantId, UserId};
use millpond::domain::session::{Session, SessionType, Source, SourceId};
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::domain::tool_metric::{DurationSource, Outcome, ToolCategory, ToolMetric, ToolName};
use millpond::domain::units::Timestamp;
use millpond::domain::user::{Email, NewUser, Role};
use millpond::store::{Error, Home, Store, TenantStore, Writer};
use uuid::Uuid;

/// Rows in a transaction.
pub const BATCH: usize = 1_000;

/// A user's sessions and calls.
pub struct Rows {
    pub user: NewUser,
    pub sessions: Vec<Session>,
    pub calls: Vec<ToolMetric>,
}

fn tenant_id() -> TenantId {
    TenantId::from_uuid(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0007))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_767_603_600_000_000 + second * 1_000_000).unwrap()
}

impl Rows {
    /// So many sessions of so many calls each; every 25th call has failed.
    pub fn new(sessions: usize, calls_each: usize) -> Self {
        let email = Email::parse("ada@acme.dev").unwrap();
        let user = NewUser {
            id: UserId::derive(tenant_id(), &email),
            email,
            first_name: None,
            last_name: None,
            role: Role::Developer,
        };
        let source = Source::parse("source", "claude").unwrap();
        let mut rows = Self {
            user,
            sessions: Vec::new(),
            calls: Vec::new(),
        };
        let mut second = 0;
        for n in 0..sessions {
            let own =
                SourceId::parse("source id", &Uuid::from_u128(n as u128).to_string()).unwrap();
            let id = SessionId::derive(rows.user.id, &source, Some(&own));
            let kind = SessionType::parse("type", "agent").unwrap();
            let start = at(second);
            rows.sessions.push(Session::begun(
                id,
                rows.user.id,
                source.clone(),
                Some(own),
                kind,
                start,
                start,
            ));
            for _ in 0..calls_each {
                second += 1;
                rows.calls.push(call(rows.user.id, id, &source, second));
            }
        }
        rows
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.sessions.len() + self.calls.len()
    }

    /// A new home in `folder`, and in it a tenant with the user.
    pub fn tenant(&self, folder: &Path) -> (Store, TenantStore) {
        let store = Store::init(Home::at(folder.join("home"))).unwrap();
        let domain = Domain::parse("acme").unwrap();
        let new = NewTenant {
            id: tenant_id(),
            domain: domain.clone(),
            name: TenantName::parse("name", "Acme").unwrap(),
            plan: Plan::Basic,
            admin_email: None,
        };
        store.create_tenant(&new).unwrap();
        let tenant = store.tenant(&domain).unwrap();
        tenant.write(|w| w.users().insert(&self.user)).unwrap();
        (store, tenant)
    }

    /// Records everything, parents first.
    pub fn record(&self, tenant: &TenantStore) {
        for batch in self.sessions.chunks(BATCH) {
            let record = |w: &Writer<'_>| {
                batch
                    .iter()
                    .try_for_each(|session| w.sessions().record(session).map(drop))
            };
            tenant.write::<_, Error>(record).unwrap();
        }
        for batch in self.calls.chunks(BATCH) {
            let record = |w: &Writer<'_>| {
                batch
                    .iter()
                    .try_for_each(|call| w.tool_metrics().record(call).map(drop))
            };
            tenant.write::<_, Error>(record).unwrap();
        }
    }
}

fn call(user: UserId, session: SessionId, source: &Source, n: i64) -> ToolMetric {
    let (name, category) = match n % 3 {
        0 => ("Read", "file"),
        1 => ("Bash", "shell"),
        _ => ("Grep", "search"),
    };
    let own = SourceId::parse("source id", &format!("toolu_01{n:022}")).unwrap();
    let failed = n % 25 == 0;
    ToolMetric {
        id: CallId::derive(user, source, Some(&own)),
        session_id: session,
        user_id: user,
        parent_id: None,
        tool_name: ToolName::parse("tool name", name).unwrap(),
        tool_category: ToolCategory::parse("category", category).unwrap(),
        started_at: at(n),
        execution_count: 1,
        total_duration_ms: Some(40 + n % 900),
        error_count: i64::from(failed),
        outcome: if failed {
            Outcome::Error
        } else {
            Outcome::Success
        },
        memory_usage_mb: None,
        cpu_time_ms: None,
        parameters: None,
        output_size_bytes: Some(1_200),
        program: None,
        command_line: None,
        working_directory: None,
        source: source.clone(),
        source_id: Some(own),
        duration_source: DurationSource::Transcript,
        provenance: None,
        created_at: at(n),
    }
}
