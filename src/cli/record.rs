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
    let outcome = if args.failed {
        Outcome::Error
    } else {
        Outcome::Success
    };
    let call = tenant.write(|w| {
        let measured = Measured {
            tool_name,
            tool_category,
            program,
            started_at: w.now().minus_millis(args.duration_ms),
            duration_ms: args.duration_ms,
            outcome,
            cpu_time_ms: None,
            memory_usage_mb: None,
            clock: DurationSource::Reported,
        };
        insert(w, args.session, user.id, measured)
    })?;
    context.output.data(&call, |call| {
        format!(
            "recorded {} ({} ms) in session {}",
            call.tool_name, args.duration_ms, call.session_id
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A call that was measured, and not seen by any tool's own record.
pub(super) struct Measured {
    pub(super) tool_name: ToolName,
    pub(super) tool_category: ToolCategory,
    pub(super) program: Option<Program>,
    pub(super) started_at: Timestamp,
    pub(super) duration_ms: i64,
    pub(super) outcome: Outcome,
    pub(super) cpu_time_ms: Option<i64>,
    pub(super) memory_usage_mb: Option<f64>,
    pub(super) clock: DurationSource,
}

/// Records a call in the named session, else in the latest open one that was begun by hand, else in one of its own.
pub(super) fn insert(
    w: &Writer<'_>,
    session: Option<Uuid>,
    user: UserId,
    measured: Measured,
) -> Result<ToolMetric, Error> {
    let mut session = session_of(w, session, user, measured.started_at)?;
    session.tools_used.insert(measured.tool_name.to_string());
    session.session_start = session.session_start.min(measured.started_at);
    w.sessions().upsert(&session)?;
    let source = by_hand()?;
    let call = ToolMetric {
        id: CallId::derive(user, &source, None),
        session_id: session.id,
        user_id: session.user_id,
        parent_id: None,
        tool_name: measured.tool_name,
        tool_category: measured.tool_category,
        started_at: measured.started_at,
        execution_count: 1,
        total_duration_ms: Some(measured.duration_ms),
        error_count: i64::from(measured.outcome != Outcome::Success),
        outcome: measured.outcome,
        memory_usage_mb: measured.memory_usage_mb,
        cpu_time_ms: measured.cpu_time_ms,
        parameters: None,
        output_size_bytes: None,
        program: measured.program,
        command_line: None,
        working_directory: None,
        source,
        source_id: None,
        duration_source: measured.clock,
        provenance: None,
        created_at: w.now(),
    };
    w.tool_metrics().insert(&call)?;
    Ok(call)
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
