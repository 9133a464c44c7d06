//! `millpond record`: one call of a tool, by hand or from a script.

use std::process::ExitCode;

use clap::Args;
use millpond::domain::ids::{CallId, SessionId, UserId};
use millpond::domain::session::{Session, SessionType, Source};
use millpond::domain::tool_metric::{
    DurationSource, Outcome, Program, ToolCategory, ToolMetric, ToolName, category_of,
};
use millpond::domain::units::Timestamp;
use millpond::store::{Error, SessionFilter, SessionSort, Writer};
use uuid::Uuid;

use super::context::{Context, user};
use super::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// The tool's name, as Bash or cargo
    #[arg(long, value_name = "NAME")]
    tool: String,
    /// How long the call took; it ended now
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    duration_ms: i64,
    /// The call failed
    #[arg(long)]
    failed: bool,
    /// What kind of tool it is, where its name does not tell
    #[arg(long)]
    category: Option<String>,
    /// The program that the tool ran
    #[arg(long)]
    program: Option<String>,
    /// The session that it belongs to, instead of the latest open one that was begun by hand, or one of its own
    #[arg(long, value_name = "ID")]
    session: Option<Uuid>,
    /// The tenant's domain
    #[arg(long)]
    tenant: Option<String>,
    /// The user's email address, instead of the default user's
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
}

/// Where rows that were entered by hand come from.
pub(super) fn by_hand() -> Result<Source, Error> {
    Ok(Source::parse("source", "manual")?)
}

pub(super) fn run(args: &RecordArgs, context: &Context) -> Result<ExitCode, Failure> {
    let tool_name = ToolName::parse("tool name", &args.tool)?;
    let category = (args.category.as_deref()).unwrap_or_else(|| category_of(&args.tool));
    let tool_category = ToolCategory::parse("category", category)?;
    let program = (args.program.as_deref())
        .map(|raw| Program::parse("program", raw))
        .transpose()?;
    let store = context.store()?;
    let tenant = context.tenant(&store, args.tenant.as_deref())?;
    let user = user(&tenant, args.user.as_deref())?;
    let call = tenant.write(|w| {
        let started_at = w.now().minus_millis(args.duration_ms);
        let mut session = session_of(w, args.session, user.id, started_at)?;
        session.tools_used.insert(tool_name.to_string());
        session.session_start = session.session_start.min(started_at);
        w.sessions().upsert(&session)?;
        let source = by_hand()?;
        let call = ToolMetric {
            id: CallId::derive(user.id, &source, None),
            session_id: session.id,
            user_id: session.user_id,
            parent_id: None,
            tool_name,
            tool_category,
            started_at,
            execution_count: 1,
            total_duration_ms: Some(args.duration_ms),
            error_count: i64::from(args.failed),
            outcome: if args.failed {
                Outcome::Error
            } else {
                Outcome::Success
            },
            memory_usage_mb: None,
            cpu_time_ms: None,
            parameters: None,
            output_size_bytes: None,
            program,
            command_line: None,
            working_directory: None,
            source,
            source_id: None,
            duration_source: DurationSource::Reported,
            provenance: None,
            created_at: w.now(),
        };
        w.tool_metrics().insert(&call)?;
        Ok::<_, Error>(call)
    })?;
    context.output.data(&call, |call| {
        format!(
            "recorded {} ({} ms) in session {}",
            call.tool_name, args.duration_ms, call.session_id
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The session that is meant: the named one, else the latest open one that was begun by hand, else one of the call's
/// own.
fn session_of(
    w: &Writer<'_>,
    named: Option<Uuid>,
    user: UserId,
    start: Timestamp,
) -> Result<Session, Error> {
    if let Some(id) = named.map(SessionId::from_uuid) {
        return w.sessions().find(id)?.ok_or_else(|| Error::NotFound {
            what: "session",
            key: id.to_string(),
        });
    }
    let source = by_hand()?;
    let filter = SessionFilter {
        user: Some(user),
        source: Some(source.clone()),
        ..SessionFilter::default()
    };
    let latest = w.sessions().list(&filter, SessionSort::Newest, 1, None)?;
    if let Some(open) = (latest.rows.into_iter()).find(|latest| latest.session_end.is_none()) {
        return Ok(open);
    }
    let id = SessionId::derive(user, &source, None);
    let kind = SessionType::parse("session type", "manual")?;
    let mut own = Session::begun(id, user, source, None, kind, start, w.now());
    own.end_at(w.now())?;
    Ok(own)
}
