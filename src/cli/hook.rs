//! `millpond hook`: one event of a tool, on standard input.
//!
//! A hook never breaks the tool that calls it: whatever happens, it prints nothing and exits 0, and what cannot be
//! written waits in the spool. `--strict` tells what went wrong, for whoever sets it up. The tenant is settled before
//! anything is opened, since only this process knows its own environment: an event whose tenant cannot be told (the
//! table of paths cannot be read) is not kept, rather than guessed at; the transcript of the same work still is.

use std::io::stdin;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use millpond::clock::{Clock as _, SystemClock};
use millpond::collect::claude_hook::{self, HookError, HookEvent};
use millpond::collect::spool::{self, Spooled};
use millpond::domain::tenant::Domain;
use millpond::store::{Error, Home, OTHERS_MAY_ENTER, Store};

use super::context::{Context, default_domain};
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
    let Some(mut event) = claude_hook::read(stdin().lock())? else {
        return Ok(());
    };
    let home = context.home()?;
    let at = SystemClock.now();
    let folder = event.folder.take().unwrap_or_default();
    let mut tenant = context.named_at(args.tenant.as_deref(), &folder)?;
    let mut is_set_up = true;
    let recorded = Store::open_for_hook(home.clone())
        .map_err(|error| {
            is_set_up = is_home_of_ours(&home, &error);
            Failure::from(error)
        })
        .and_then(|store| {
            let domain = match &tenant {
                Some(named) => named,
                None => tenant.insert(default_domain(&store)?),
            };
            record(&store, domain, &event)
        });
    recorded.or_else(|failure| {
        // Nobody has set Millpond up here, it is another user's, or the tenant takes no rows: there is no one to keep
        // it for.
        if !is_set_up || failure.kind == "denied" {
            return Err(failure);
        }
        let spooled = Spooled { tenant, at, event };
        spool::put(&home, &spooled)?;
        if args.strict { Err(failure) } else { Ok(()) }
    })
}

/// Whether what cannot be opened is a home of this user's all the same. Where nobody has set Millpond up, or another
/// user has, there is no one to keep an event for.
fn is_home_of_ours(home: &Home, error: &Error) -> bool {
    match error {
        Error::NoHome { .. } => false,
        Error::NotOurs { problem, .. } => {
            *problem == OTHERS_MAY_ENTER && home.registry_file().is_file()
        }
        _ => true,
    }
}

fn record(store: &Store, domain: &Domain, event: &HookEvent) -> Result<(), Failure> {
    let tenant = store.tenant_for_hook(domain)?;
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
