//! The commands: one file each.
//!
//! Purpose: reads arguments, calls the library, prints. Data goes to stdout, messages to stderr; `--json` prints one
//! object with `"v": 1`, errors included. Exit codes: 0 ok, 1 failure, 2 usage, 4 refused, 69 central unreachable,
//! 75 locked, 78 configuration.

mod central;
mod central_schemas;
mod config;
mod context;
mod dashboards;
mod db;
mod demo;
mod document;
mod enroll;
mod export;
mod failure;
mod health;
mod hook;
mod import;
mod init;
mod metrics;
mod output;
mod progress;
mod query;
mod record;
mod run;
mod seed;
mod sessions;
mod sync;
mod tenants;
mod users;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};

use context::Context;
use failure::Failure;
use output::Output;

/// Records what developers' tools did, a SQLite file per tenant, and carries it to a central PostgreSQL.
#[derive(Debug, Parser)]
#[command(
    name = "millpond",
    version,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct Global {
    /// Where Millpond keeps its files, instead of `MILLPOND_HOME` or the platform's place for them
    #[arg(long, global = true, value_name = "DIR")]
    home: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long, global = true)]
    json: bool,
    /// Print no messages but errors
    #[arg(long, global = true)]
    quiet: bool,
    /// Never ask: what would need an answer fails
    #[arg(long, global = true)]
    no_input: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the home, the registry and a first tenant
    Init(init::InitArgs),
    /// The tenants of this machine
    #[command(subcommand)]
    Tenant(tenants::TenantCommand),
    /// A tenant's users
    #[command(subcommand)]
    User(users::UserCommand),
    /// A tenant's work sessions
    #[command(subcommand)]
    Session(sessions::SessionCommand),
    /// Record one call of a tool
    Record(record::RecordArgs),
    /// Run a command and record its time, CPU time and peak memory; its exit code is passed on
    Run(run::RunArgs),
    /// A tenant's dashboards
    #[command(subcommand)]
    Dashboard(dashboards::DashboardCommand),
    /// Take one event of a tool's hook on standard input
    Hook(hook::HookArgs),
    /// Bring in what other tools left behind
    Import(import::ImportArgs),
    /// Ask a tenant's rows with one SELECT, on a connection that cannot write
    Query(query::QueryArgs),
    /// Write a tenant's rows out as CSV or JSON lines
    Export(export::ExportArgs),
    /// Figures over a tenant's calls
    Metrics(metrics::MetricsArgs),
    /// Tell how the store is, and what to do about it
    Health(health::HealthArgs),
    /// Join a central database with the document that `central enroll` printed
    Enroll(enroll::EnrollArgs),
    /// Push what waits to the central database
    Sync(sync::SyncArgs),
    /// Invent three tenants and a month of work; the same for the same seed and date
    Seed(seed::SeedArgs),
    /// Show the whole way once: seed a home of its own, start a private PostgreSQL, synchronise
    Demo,
    /// The user's configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// The schemas of the registry and of the tenants' files
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Administer the central database (`DATABASE_URL` or --url-file)
    Central(central::CentralArgs),
}

/// Runs the command that the process was started with.
pub(crate) fn run() -> ExitCode {
    if let Some(args) = hook::plain(std::env::args_os().skip(1)) {
        let output = Output::new(false, false);
        let context = Context::new(home(None), false, output);
        return finish(hook::run(&args, &context), output);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(cli.global.json, cli.global.quiet);
    let context = Context::new(home(cli.global.home), cli.global.no_input, output);
    finish(dispatch(cli.command, &context), output)
}

/// The home that was moved: by the flag, else by `MILLPOND_HOME`. Not clap's to read: it refuses an empty variable,
/// which says no more than one that is not set.
fn home(flag: Option<PathBuf>) -> Option<PathBuf> {
    flag.or_else(|| {
        std::env::var_os("MILLPOND_HOME")
            .filter(|home| !home.is_empty())
            .map(PathBuf::from)
    })
}

fn finish(done: Result<ExitCode, Failure>, output: Output) -> ExitCode {
    match done {
        Ok(code) => code,
        Err(failure) => {
            output.failure(&failure);
            failure.exit_code()
        }
    }
}

fn dispatch(command: Command, context: &Context) -> Result<ExitCode, Failure> {
    match command {
        Command::Init(args) => init::run(&args, context),
        Command::Tenant(command) => tenants::run(command, context),
        Command::User(command) => users::run(command, context),
        Command::Session(command) => sessions::run(command, context),
        Command::Record(args) => record::run(&args, context),
        Command::Run(args) => run::run(&args, context),
        Command::Dashboard(command) => dashboards::run(command, context),
        Command::Hook(args) => hook::run(&args, context),
        Command::Import(args) => import::run(&args, context),
        Command::Query(args) => query::run(&args, context),
        Command::Export(args) => export::run(&args, context),
        Command::Metrics(args) => metrics::run(&args, context),
        Command::Health(args) => health::run(&args, context),
        Command::Enroll(args) => enroll::run(&args, context),
        Command::Sync(args) => sync::run(args, context),
        Command::Seed(args) => seed::run(&args, context),
        Command::Demo => demo::run(context),
        Command::Config(command) => config::run(&command, context),
        Command::Db(command) => db::run(command, context),
        Command::Central(args) => central::run(args, context),
    }
}

/// Prints what clap says of the arguments; as JSON where that was asked for.
fn usage(error: &clap::Error) -> ExitCode {
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    );
    if !asked && is_lenient_hook(std::env::args_os().skip(1)) {
        return ExitCode::SUCCESS;
    }
    let json = std::env::args_os().any(|argument| argument == "--json");
    if asked || !json {
        // A closed pipe is the reader's choice.
        let _ = error.print();
        return ExitCode::from(if asked { 0 } else { 2 });
    }
    let message = error.render().to_string();
    let first = message.lines().next().unwrap_or_default();
    let failure = Failure::usage(first.trim_start_matches("error: "))
        .with_hint("run the command with --help to see its arguments");
    Output::new(true, false).failure(&failure);
    failure.exit_code()
}

/// Whether the arguments, right or wrong, call `hook` without `--strict`: it must not disturb the tool that calls it,
/// and wrong arguments in a tool's settings would disturb it at every call.
fn is_lenient_hook(arguments: impl Iterator<Item = OsString>) -> bool {
    let (mut command, mut strict, mut is_value) = (None, false, false);
    for argument in arguments {
        strict |= argument == "--strict";
        if command.is_none() && !is_value && !argument.as_encoded_bytes().starts_with(b"-") {
            command = Some(argument);
            continue;
        }
        is_value = argument == "--home";
    }
    command.is_some_and(|command| command == "hook") && !strict
}
