//! `millpond export`: a tenant's rows as CSV or JSON lines, to standard output or a file.
//!
//! Invariants: a file is written whole or not at all, and only its owner reads it; to standard output goes the data
//! and nothing else.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use millpond::store::{Error, ExportFormat, ExportTable, TenantStore};
use serde::Serialize;
use tempfile::NamedTempFile;

use super::context::Context;
use super::failure::Failure;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    /// What to write out
    #[arg(long, value_enum)]
    table: Table,
    /// How to write it
    #[arg(long, value_enum)]
    format: Format,
    /// The tenant's domain
    #[arg(long)]
    tenant: Option<String>,
    /// Write to this file, replacing it, instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// In CSV, leave texts as they are that a spreadsheet would take for formulas
    #[arg(long)]
    raw: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Table {
    /// The users
    Users,
    /// The work sessions
    #[value(name = "metrics_sessions", alias = "sessions")]
    Sessions,
    /// The tool calls
    #[value(name = "tool_metrics", alias = "calls")]
    ToolMetrics,
    /// The dashboards
    #[value(name = "dashboard_configs", alias = "dashboards")]
    Dashboards,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A line of names, then a line for each row
    Csv,
    /// A JSON object for each row
    Jsonl,
}

#[derive(Debug, Serialize)]
struct Exported {
    table: &'static str,
    file: String,
    rows: u64,
}

pub(super) fn run(args: &ExportArgs, context: &Context) -> Result<ExitCode, Failure> {
    if args.output.is_none() && context.output.is_json() {
        return Err(
            Failure::usage("--json tells of a file that was written, and there is none").with_hint(
                "name one with --output FILE, or leave --json out: --format jsonl prints JSON",
            ),
        );
    }
    let table = match args.table {
        Table::Users => ExportTable::Users,
        Table::Sessions => ExportTable::Sessions,
        Table::ToolMetrics => ExportTable::ToolMetrics,
        Table::Dashboards => ExportTable::Dashboards,
    };
    let format = match args.format {
        Format::Csv => ExportFormat::Csv { raw: args.raw },
        Format::Jsonl if args.raw => {
            return Err(
                Failure::usage("--raw is for CSV").with_hint("JSON lines are never altered")
            );
        }
        Format::Jsonl => ExportFormat::JsonLines,
    };
    let store = context.store()?;
    let tenant = context.tenant(&store, args.tenant.as_deref())?;
    let Some(file) = &args.output else {
        return to_stdout(&tenant, table, format);
    };
    let done = Exported {
        table: table.as_str(),
        file: file.display().to_string(),
        rows: to_file(&tenant, table, format, file)?,
    };
    context.output.data(&done, |done| {
        format!(
            "{} rows of {} written to {}",
            done.rows, done.table, done.file
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn to_stdout(
    tenant: &TenantStore,
    table: ExportTable,
    format: ExportFormat,
) -> Result<ExitCode, Failure> {
    match tenant.export(table, format, &mut io::stdout().lock()) {
        // The reader has seen enough, as `head` does.
        Err(Error::Write { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            Ok(ExitCode::SUCCESS)
        }
        other => {
            other?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Writes beside the file and takes its place at the end. A temporary file is its owner's alone (0600).
fn to_file(
    tenant: &TenantStore,
    table: ExportTable,
    format: ExportFormat,
    file: &Path,
) -> Result<u64, Failure> {
    let unwritten = |source: io::Error| {
        Failure::new("io", format!("cannot write {}: {source}", file.display()))
            .with_hint("name a file in a folder that exists and that you may write to")
    };
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut draft = NamedTempFile::new_in(folder).map_err(unwritten)?;
    let rows = tenant.export(table, format, &mut draft)?;
    draft.flush().map_err(unwritten)?;
    draft.as_file().sync_all().map_err(unwritten)?;
    draft
        .persist(file)
        .map_err(|error| unwritten(error.error))?;
    Ok(rows)
}
