//! Records a session and a call in a tenant's own file, and reads figures back.
#![allow(clippy::print_stdout)]

use anyhow::Result;
use millpond::domain::ids::{CallId, SessionId, TenantId, UserId};
use millpond::domain::session::{Session, SessionType, Source};
use millpond::domain::tenant::{Domain, NewTenant, Plan, TenantName};
use millpond::domain::tool_metric::{
    DurationSource, Outcome, ToolCategory, ToolMetric, ToolName, category_of,
};
use millpond::domain::user::{Email, NewUser, Role};
use millpond::store::{Error, Home, MetricsFilter, MetricsKey, Store};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let store = Store::init(Home::at(folder.path().join("home")))?;
    let acme = store.create_tenant(&NewTenant {
        id: TenantId::generate(),
        domain: Domain::parse("acme")?,
        name: TenantName::parse("name", "Acme")?,
        plan: Plan::Basic,
        admin_email: None,
    })?;
    let email = Email::parse("ada@acme.dev")?;
    let ada = NewUser {
        id: UserId::derive(acme.id, &email),
        email,
        first_name: None,
        last_name: None,
        role: Role::Developer,
    };
    let tenant = store.tenant(&acme.domain)?;
    let source = Source::parse("source", "example")?;
    let kind = SessionType::parse("session type", "agent")?;
    let tool_name = ToolName::parse("tool name", "Bash")?;
    let tool_category = ToolCategory::parse("category", category_of("Bash"))?;
    // One transaction: all of it is written, or none.
    tenant.write(|w| {
        w.users().insert(&ada)?;
        let id = SessionId::derive(ada.id, &source, None);
        let session = Session::begun(id, ada.id, source.clone(), None, kind, w.now(), w.now());
        w.sessions().insert(&session)?;
        w.tool_metrics().insert(&ToolMetric {
            id: CallId::derive(ada.id, &source, None),
            session_id: session.id,
            user_id: ada.id,
            parent_id: None,
            tool_name,
            tool_category,
            started_at: w.now(),
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
            source,
            source_id: None,
            duration_source: DurationSource::Reported,
            provenance: None,
            created_at: w.now(),
        })
    })?;
    let tools = tenant.read(|r| r.metrics(MetricsKey::Tool, MetricsFilter::default()))?;
    for row in tools {
        println!(
            "{}: {} call, {} ms",
            row.key, row.calls, row.total_duration_ms
        );
    }
    let waiting = tenant.read(|r| Ok::<_, Error>(r.outbox().status()?.pending))?;
    println!("{waiting} rows wait for the central database");
    Ok(())
}
