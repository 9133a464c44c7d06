//! `millpond run`: starts a command, and records how long it took and what it cost.
//!
//! Invariants: the command's standard streams are its own, and its exit code is passed on (128 and the signal where
//! one killed it, 126 or 127 where it could not be started, as a shell says), whatever becomes of the record; what
//! goes wrong with that is told on standard error. Nothing is opened before the command has ended. Kept is the name of
//! the program, and nothing else of the command line. CPU time and peak memory are the kernel's own figures of the
//! command and of those that it waited for: this process starts no other. A peak no higher than this process's own size
//! (some 5 MiB) is not known: the kernel does not tell the two apart.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use clap::Args;
use millpond::clock::{Clock as _, SystemClock};
use millpond::collect::program::program_of;
use millpond::domain::tenant::Domain;
use millpond::domain::tool_metric::{DurationSource, Outcome, Program, ToolCategory, ToolName};
use millpond::domain::units::Timestamp;
use nix::sys::resource::{UsageWho, getrusage};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use signal_hook::consts::signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::iterator::Signals;

use super::context::{Context, default_domain, user};
use super::failure::Failure;
use super::output::Output;
use super::record::{Measured, insert};

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// The tenant's domain
    #[arg(long)]
    tenant: Option<String>,
    /// The user's email address, instead of the default user's
    #[arg(long, value_name = "EMAIL")]
    user: Option<String>,
    /// The command and its arguments, after --
    #[arg(required = true, last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// What a command that ended came to.
struct Ended {
    status: ExitStatus,
    started_at: Timestamp,
    wall: Duration,
    cpu_ms: Option<i64>,
    peak_mb: Option<f64>,
}

pub(super) fn run(args: &RunArgs, context: &Context) -> Result<ExitCode, Failure> {
    let (program, arguments) = args
        .command
        .split_first()
        .ok_or_else(|| Failure::usage("there is no command to run"))?;
    let named = args.tenant.as_deref().map(Domain::parse).transpose()?;
    // Where the command was started, and not where this process would be told to be later.
    let folder = std::env::current_dir().unwrap_or_default();
    let ended = carry_out(Command::new(program).args(arguments))
        .map_err(|error| not_started(program, &error))?;
    if let Err(failure) = record(args, named, &folder, &ended, context) {
        Output::trouble(&failure.with_context("the command ran, and was not recorded"));
    }
    Ok(ExitCode::from(code_of(ended.status)))
}

fn not_started(program: &OsString, error: &io::Error) -> Failure {
    let message = format!("cannot start {}: {error}", Path::new(program).display());
    let code = if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    };
    Failure::new("not_started", message)
        .with_hint("give a program of the PATH, or the path of one that may be executed")
        .with_code(code)
}

/// Runs a command to its end.
#[allow(
    clippy::useless_conversion,
    reason = "the kernel's numbers are narrower on macOS"
)]
fn carry_out(command: &mut Command) -> io::Result<Ended> {
    // Taken before the command is there, so that none ends this process and leaves the command behind. A handler, and
    // not SIG_IGN, which the command would inherit.
    let mut signals = Signals::new([SIGINT, SIGQUIT, SIGTERM, SIGHUP])?;
    let handle = signals.handle();
    let started_at = SystemClock.now();
    let begun = Instant::now();
    let mut child = command.spawn()?;
    let own = own_kib();
    let pid = pid_of(&child)?;
    let passing_on = std::thread::spawn(move || {
        for signal in signals.forever() {
            // The terminal sends interrupt and quit to the command too: a second one means something else to many.
            let passed_on = match signal {
                SIGTERM => Signal::TERM,
                SIGHUP => Signal::HUP,
                _ => continue,
            };
            // It has just ended: there is nothing to stop.
            let _ = kill_process(pid, passed_on);
        }
    });
    // Until the command is reaped, its number is its own: nobody else can be sent a signal by it.
    let ended = wait_without_reaping(pid);
    let seen = begun.elapsed();
    handle.close();
    // It has nothing to tell, and a panic in it is printed.
    let _ = passing_on.join();
    // Where that could not be waited for, this waits, and the time is a little too long.
    let status = child.wait()?;
    let wall = if ended.is_ok() { seen } else { begun.elapsed() };
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).ok();
    let micros = |time: nix::sys::time::TimeVal| {
        i64::from(time.tv_sec())
            .saturating_mul(1_000_000)
            .saturating_add(i64::from(time.tv_usec()))
    };
    Ok(Ended {
        status,
        started_at,
        wall,
        cpu_ms: usage.map(|used| (micros(used.user_time()) + micros(used.system_time())) / 1_000),
        peak_mb: usage
            .map(|used| i64::from(used.max_rss()))
            .filter(|peak| own.is_none_or(|own| *peak > own))
            .and_then(megabytes),
    })
}

fn pid_of(child: &Child) -> io::Result<Pid> {
    i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn wait_without_reaping(pid: Pid) -> io::Result<()> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    rustix::io::retry_on_intr(|| waitid(WaitId::Pid(pid), options))?;
    Ok(())
}

/// The largest size of this process so far, in KiB, where the kernel is Linux: it counts for the command what its
/// process was before it became the command, a copy of this one. `getrusage` would tell the same of whoever started
/// this process.
fn own_kib() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let told = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    told.trim().strip_suffix(" kB")?.parse().ok()
}

/// Peak memory in MiB: Linux tells KiB, macOS bytes. `None` where the kernel tells none.
fn megabytes(told: i64) -> Option<f64> {
    let bytes = if cfg!(target_os = "macos") {
        told
    } else {
        told.saturating_mul(1_024)
    };
    // A kibibyte is exact enough, and fits.
    let kib = u32::try_from(bytes / 1_024).ok().filter(|kib| *kib > 0)?;
    Some(f64::from(kib) / 1_024.0)
}

fn code_of(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| Some(128 + status.signal()?))
        .and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(1)
}

fn outcome_of(status: ExitStatus) -> Outcome {
    match status.signal() {
        Some(SIGINT | SIGQUIT | SIGTERM | SIGHUP) => Outcome::Interrupted,
        _ if status.success() => Outcome::Success,
        _ => Outcome::Error,
    }
}

/// The program's name, where it is one that holds no secret.
fn name_of(command: &[OsString]) -> Option<Program> {
    let name = Path::new(command.first()?).file_name()?.to_str()?;
    // The whole of it or nothing: that takes a command's text, and would find a program in a part of the name.
    program_of(name).filter(|program| program.as_str() == name)
}

fn record(
    args: &RunArgs,
    named: Option<Domain>,
    folder: &Path,
    ended: &Ended,
    context: &Context,
) -> Result<(), Failure> {
    let store = context.store()?;
    let domain = match named {
        Some(named) => named,
        None => match context.named_at(None, folder)? {
            Some(named) => named,
            None => default_domain(&store)?,
        },
    };
    let tenant = store.tenant(&domain)?;
    let user = user(&tenant, args.user.as_deref())?;
    let program = name_of(&args.command);
    let tool = program.as_ref().map_or("command", Program::as_str);
    let outcome = outcome_of(ended.status);
    let measured = Measured {
        tool_name: ToolName::parse("tool name", tool)?,
        tool_category: ToolCategory::parse("category", "shell")?,
        program,
        started_at: ended.started_at,
        duration_ms: i64::try_from(ended.wall.as_millis()).unwrap_or(i64::MAX),
        outcome,
        cpu_time_ms: ended.cpu_ms,
        memory_usage_mb: ended.peak_mb,
        clock: DurationSource::Process,
    };
    tenant.write(|w| insert(w, None, user.id, measured).map(drop))?;
    Ok(())
}
