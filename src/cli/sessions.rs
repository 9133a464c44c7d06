//! `millpond session`: a tenant's work sessions.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use millpond::domain::ids::{SessionId, UserId};
use millpond::domain::session::{Description, ProjectId, Score, Session, SessionType, Tag};
use millpond::domain::tool_metric::ToolMetric;
use millpond::domain::units::Timestamp;
use millpond::domain::user::Email;
use millpond::store::{Cursor, Error, SessionFilter, SessionSort};
use serde::Serialize;
use uuid::Uuid;

use super::context::{Context, user};
use super::failure::Failure;
use super::metrics::since;
use super::output::{lines, table};
use super::record::by_hand;

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// Begin a session by hand, now
    Start(StartArgs),
    /// End a session, now
    End {
        /// The session's id
        id: Uuid,
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
        /// How it went, 0 to 100
        #[arg(long)]
        score: Option<f64>,
    },
    /// List sessions, a page at a time
    List {
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
        /// At most so many, 1 to 1000
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Go on after a page: its `next`
        #[arg(long, value_name = "CURSOR")]
        after: Option<String>,
        /// The order, by start
        #[arg(long, value_enum, default_value_t = Sort::Newest)]
        sort: Sort,
        /// Of one user only
        #[arg(long, value_name = "EMAIL")]
        user: Option<String>,
        /// That began within this time, as 30d or 12h, or since a date
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Show one session and its calls
    Show {
        /// The session's id
        id: Uuid,
        /// The tenant's domain
        #[arg(long)]
        tenant: Option<String>,
    },
}

/// What a session that is begun by hand is.
#[derive(Debug, Args)]
pub(super) struct StartArgs {
    /// The tenant's domain
    #[arg(long)]
    tenant: Option<String>,
    /// The user's email address, instead of the default user's
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
    /// What it belongs to
    #[arg(long)]
    project: Option<String>,
    /// A word to find it by
    #[arg(long, value_name = "WORD")]
    tag: Vec<String>,
    /// Words for people
    #[arg(long)]
    description: Option<String>,
}

/// The order of a list.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Sort {
    /// The latest start first
    Newest,
    /// The earliest start first
    Oldest,
}

/// A session as it is printed.
#[derive(Debug, Serialize)]
struct SessionView {
    #[serde(flatten)]
    session: Session,
    total_duration_ms: Option<i64>,
}

#[derive(Debug, Serialize)]
struct SessionList {
    sessions: Vec<SessionView>,
    next: Option<Cursor>,
    total: u64,
}

#[derive(Debug, Serialize)]
struct SessionWithCalls {
    #[serde(flatten)]
    view: SessionView,
    calls: Vec<ToolMetric>,
}

impl From<Session> for SessionView {
    fn from(session: Session) -> Self {
        Self {
            total_duration_ms: session.total_duration_ms(),
            session,
        }
    }
}

pub(super) fn run(command: SessionCommand, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        SessionCommand::Start(args) => start(&args, context)?,
        SessionCommand::End { id, tenant, score } => {
            let rating = score.map(Score::parse).transpose()?;
            let store = context.store()?;
            let tenant = context.tenant(&store, tenant.as_deref())?;
            let id = SessionId::from_uuid(id);
            let ended = tenant.write(|w| {
                let mut session = w.sessions().find(id)?.ok_or_else(|| missing(id))?;
                session.end_at(w.now())?;
                session.productivity_score = rating.or(session.productivity_score);
                w.sessions().update(&session)?;
                Ok::<_, Error>(session)
            })?;
            context.output.data(&SessionView::from(ended), head)?;
        }
        SessionCommand::List {
            tenant,
            limit,
            after,
            sort,
            user,
            since: from,
        } => {
            let after = after.as_deref().map(Cursor::parse).transpose()?;
            let email = user.as_deref().map(Email::parse).transpose()?;
            let sort = match sort {
                Sort::Newest => SessionSort::Newest,
                Sort::Oldest => SessionSort::Oldest,
            };
            let store = context.store()?;
            let from = from
                .map(|raw| since(&raw, store.clock().now()))
                .transpose()?;
            let tenant = context.tenant(&store, tenant.as_deref())?;
            let (page, total) = tenant.read(|r| {
                let user: Option<UserId> = match &email {
                    Some(email) => Some(r.users().find_by_email(email)?.id),
                    None => None,
                };
                let filter = SessionFilter {
                    user,
                    since: from,
                    ..SessionFilter::default()
                };
                let page = (r.sessions()).list(&filter, sort, usize::from(limit), after)?;
                Ok::<_, Error>((page, r.sessions().count_matching(&filter)?))
            })?;
            let sessions = SessionList {
                sessions: page.rows.into_iter().map(SessionView::from).collect(),
                next: page.next,
                total,
            };
            context.output.data(&sessions, list)?;
        }
        SessionCommand::Show { id, tenant } => {
            let store = context.store()?;
            let tenant = context.tenant(&store, tenant.as_deref())?;
            let id = SessionId::from_uuid(id);
            let shown = tenant.read(|r| {
                let session = r.sessions().find(id)?.ok_or_else(|| missing(id))?;
                let calls = r.tool_metrics().of_session(id)?;
                Ok::<_, Error>(SessionWithCalls {
                    view: session.into(),
                    calls,
                })
            })?;
            context.output.data(&shown, show)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn start(args: &StartArgs, context: &Context) -> Result<(), Failure> {
    let project_id = (args.project.as_deref())
        .map(|raw| ProjectId::parse("project", raw))
        .transpose()?;
    let description = (args.description.as_deref())
        .map(|raw| Description::parse("description", raw))
        .transpose()?;
    let tags: Result<Vec<_>, _> = args.tag.iter().map(|raw| Tag::parse("tag", raw)).collect();
    let kind = SessionType::parse("session type", "manual")?;
    let tags = tags?;
    let store = context.store()?;
    let tenant = context.tenant(&store, args.tenant.as_deref())?;
    let user = user(&tenant, args.user.as_deref())?;
    let begun = tenant.write(|w| {
        let source = by_hand()?;
        let id = SessionId::derive(user.id, &source, None);
        let session = Session {
            project_id,
            description,
            tags,
            ..Session::begun(id, user.id, source, None, kind, w.now(), w.now())
        };
        w.sessions().insert(&session)?;
        Ok::<_, Error>(session)
    })?;
    context.output.data(&SessionView::from(begun), head)
}

fn missing(id: SessionId) -> Error {
    Error::NotFound {
        what: "session",
        key: id.to_string(),
    }
}

fn duration(millis: Option<i64>) -> String {
    millis.map_or_else(|| "-".into(), |millis| format!("{} s", millis / 1_000))
}

fn project(session: &Session) -> String {
    session
        .project_id
        .as_ref()
        .map_or_else(|| "-".into(), ToString::to_string)
}

fn list(sessions: &SessionList) -> String {
    let rows = table(
        ["start", "duration", "project", "source", "tools", "id"],
        sessions.sessions.iter().map(|view| {
            [
                view.session.session_start.to_string(),
                duration(view.total_duration_ms),
                project(&view.session),
                view.session.source.to_string(),
                view.session.tools_used.len().to_string(),
                view.session.id.to_string(),
            ]
        }),
    );
    let shown = format!("{} of {}", sessions.sessions.len(), sessions.total);
    let next = sessions
        .next
        .map(|next| format!("go on with --after {next}"));
    lines(rows, [shown].into_iter().chain(next))
}

fn head(view: &SessionView) -> String {
    let session = &view.session;
    let end = |end: Option<Timestamp>| end.map_or_else(|| "open".into(), |end| end.to_string());
    format!(
        "session {}\n  from     {}\n  to       {}{}\n  project  {}\n  source   {}\n",
        session.id,
        session.session_start,
        end(session.session_end),
        if session.end_inferred {
            " (last event seen)"
        } else {
            ""
        },
        project(session),
        session.source,
    )
}

fn show(shown: &SessionWithCalls) -> String {
    head(&shown.view)
        + &table(
            ["start", "tool", "ms", "clock", "outcome", "program"],
            shown.calls.iter().map(|call| {
                [
                    call.started_at.to_string(),
                    call.tool_name.to_string(),
                    call.total_duration_ms
                        .map_or_else(|| "-".into(), |millis| millis.to_string()),
                    call.duration_source.as_str().to_owned(),
                    call.outcome.as_str().to_owned(),
                    call.program
                        .as_ref()
                        .map_or_else(String::new, ToString::to_string),
                ]
            }),
        )
}
