//! `millpond import`: brings in what other tools left behind.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use millpond::collect::import::{self, ImportError, ImportReport, Progress};
use millpond::collect::walk::{self, WalkError};

use super::context::{self, Context};
use super::failure::{Failure, chain};
use super::output::table;
use super::progress::{Bar, Unit};

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// What wrote the files
    #[arg(value_enum)]
    format: Format,
    /// Files or folders
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The tenant's domain
    #[arg(long)]
    tenant: Option<String>,
    /// Whose work it was; the tenant's default user where none is given
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Claude Code's transcripts, as in ~/.claude/projects
    Claude,
}

/// How many unreadable entries are named; the rest are counted.
const NAMED: usize = 10;

pub(super) fn run(args: &ImportArgs, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let tenant = context.tenant(&store, args.tenant.as_deref())?;
    let user = context::user(&tenant, args.user.as_deref())?;
    let Format::Claude = args.format;
    let found = walk::find(&args.paths)?;
    let bar = Bar::new(context.output, "reading", Unit::Bytes);
    let report = import::claude(
        &tenant,
        user.id,
        found,
        args.dry_run,
        |progress: Progress| bar.at(progress.bytes, progress.total),
    )?;
    drop(bar);
    for entry in report.unreadable.iter().take(NAMED) {
        context.output.message(&format!(
            "passed over {}: {}",
            entry.path.display(),
            entry.source
        ));
    }
    if report.unreadable.len() > NAMED {
        let more = report.unreadable.len() - NAMED;
        context
            .output
            .message(&format!("passed over {more} more that could not be read"));
    }
    context.output.data(&report, human)?;
    Ok(ExitCode::SUCCESS)
}

fn human(report: &ImportReport) -> String {
    let tools = table(
        ["tool", "calls", "errors"],
        report.per_tool.iter().map(|(name, tally)| {
            [
                name.clone(),
                tally.calls.to_string(),
                tally.errors.to_string(),
            ]
        }),
    );
    format!(
        "{} calls in {} sessions, {} of them errors, {} known before\n{} lines in {} files; {} malformed, {} skipped\n{tools}",
        report.calls,
        report.sessions,
        report.errors,
        report.duplicates,
        report.lines,
        report.files,
        report.malformed,
        report.skipped,
    )
}

impl From<WalkError> for Failure {
    fn from(error: WalkError) -> Self {
        Self::new("io", chain(&error)).with_hint("name files or folders that can be read")
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Store(error) => error.into(),
            ImportError::Value(error) => error.into(),
            other => Self::new("import", chain(&other))
                .with_hint("what was read before is kept: try again, it changes nothing twice"),
        }
    }
}
