//! `millpond hook`: one event of a tool, on standard input.
//!
//! A hook never breaks the tool that calls it: whatever happens, it prints nothing and exits 0, and what cannot be
//! written waits in the spool. `--strict` tells what went wrong, for whoever sets it up.

use std::io::stdin;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use millpond::clock::{Clock as _, SystemClock};
use millpond::collect::claude_hook::{self, HookError, HookEvent};
use millpond::collect::spool::{self, Spooled};
use millpond::store::Store;

use super::context::Context;
use super::failure::{Failure, chain};

#[derive(Debug, Args)]
pub(super) struct HookArgs {
    /// Which tool calls
    #[arg(value_enum)]
    tool: Tool,
    /// The tenant's domain
    #[arg(long)]
    tenant: Option<String>,
    /// Fail where something goes wrong, instead of keeping quiet
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Tool {
    /// Claude Code
    Claude,
}

pub(super) fn run(args: &HookArgs, context: &Context) -> Result<ExitCode, Failure> {
    match take(args, context) {
        Err(failure) if args.strict => Err(failure),
        _ => Ok(ExitCode::SUCCESS),
    }
}

fn take(args: &HookArgs, context: &Context) -> Result<(), Failure> {
    let Tool::Claude = args.tool;
    let Some(event) = claude_hook::read(stdin().lock())? else {
        return Ok(());
    };
    let home = context.home()?;
    let at = SystemClock.now();
    let recorded = Store::open(home.clone())
        .map_err(Failure::from)
        .and_then(|store| record(&store, args, context, &event));
    recorded.or_else(|failure| {
        // Nobody has set Millpond up here, it is another user's, or the tenant takes no rows: there is no one to keep it
        // for.
        if matches!(failure.kind, "no_home" | "permission" | "denied") {
            return Err(failure);
        }
        let spooled = Spooled {
            tenant: args.tenant.clone(),
            at,
            event,
        };
        spool::put(&home, &spooled)?;
        if args.strict { Err(failure) } else { Ok(()) }
    })
}

fn record(
    store: &Store,
    args: &HookArgs,
    context: &Context,
    event: &HookEvent,
) -> Result<(), Failure> {
    let folder = event.folder.clone().unwrap_or_default();
    let domain = context.domain_at(store, args.tenant.as_deref(), &folder)?;
    let tenant = store.tenant_for_hook(&domain)?;
    tenant.write(|w| {
        let user = w.users().default()?;
        let seen = claude_hook::observe(event, user.id, w.now())?;
        claude_hook::record(w, &seen)
    })?;
    Ok(())
}

impl From<HookError> for Failure {
    fn from(error: HookError) -> Self {
        Self::new("invalid", chain(&error))
            .with_hint("a hook reads one JSON object, as Claude Code's hook reference describes it")
    }
}
