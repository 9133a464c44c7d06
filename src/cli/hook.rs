//! `millpond hook`: one event of a tool, on standard input.
//!
//! A hook never breaks the tool that calls it: whatever happens, it prints nothing and exits 0, and what cannot be
//! written waits in the spool. `--strict` tells what went wrong, for whoever sets it up. The tenant is settled before
//! anything is opened, since only this process knows its own environment: an event whose tenant cannot be told (the
//! table of paths cannot be read) is not kept, rather than guessed at; the transcript of the same work still is.

use std::ffi::OsString;
use std::io::stdin;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use millpond::clock::{Clock as _, SystemClock};
use millpond::collect::claude_hook::{self, HookError, HookEvent};
use millpond::collect::spool::{self, Spooled};
use millpond::domain::tenant::Domain;
use millpond::store::{Error, Home, HookStore, OTHERS_MAY_ENTER};

use super::context::{Context, or_none_yet};
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

/// The arguments of a hook as tools' settings have them, read without the parser of all commands, which takes longer to
/// make than the event to record. `None` for any others: they are the parser's to judge.
///
/// ```text
/// millpond hook claude [--tenant DOMAIN] [--strict]
/// ```
pub(super) fn plain(arguments: impl IntoIterator<Item = OsString>) -> Option<HookArgs> {
    let mut arguments = arguments.into_iter();
    if arguments.next()? != "hook" || arguments.next()? != "claude" {
        return None;
    }
    let mut plain = HookArgs {
        tool: Tool::Claude,
        tenant: None,
        strict: false,
    };
    while let Some(argument) = arguments.next() {
        match argument.to_str()? {
            "--strict" if !plain.strict => plain.strict = true,
            "--tenant" if plain.tenant.is_none() => {
                let domain = arguments.next()?.into_string().ok()?;
                // The parser takes what begins so for another argument.
                if domain.starts_with('-') {
                    return None;
                }
                plain.tenant = Some(domain);
            }
            _ => return None,
        }
    }
    Some(plain)
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
    let recorded = HookStore::open(home.clone())
        .map_err(|error| {
            is_set_up = is_home_of_ours(&home, &error);
            Failure::from(error)
        })
        .and_then(|mut store| {
            let domain = match &tenant {
                Some(named) => named,
                None => tenant.insert(or_none_yet(store.default_tenant()?)?),
            };
            record(&mut store, domain, &event)
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

fn record(store: &mut HookStore, domain: &Domain, event: &HookEvent) -> Result<(), Failure> {
    let tenant = store.tenant(domain)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Whole {
        #[command(flatten)]
        args: HookArgs,
    }

    #[test]
    fn plain_arguments_are_read_as_the_parser_reads_them_and_all_others_are_left_to_it() {
        let words = [
            "--tenant",
            "acme",
            "--strict",
            "-x",
            "",
            "--tenant=acme",
            "--json",
        ];
        let mut plain_ones = 0;
        for first in words {
            for second in words {
                for third in words {
                    let given = ["hook", "claude", first, second, third];
                    let Some(plain) = plain(given.map(OsString::from)) else {
                        continue;
                    };
                    plain_ones += 1;
                    let parsed = Whole::try_parse_from(&given[..]).map(|whole| whole.args);
                    let parsed = parsed.unwrap_or_else(|error| panic!("{given:?}: {error}"));
                    assert_eq!(
                        (plain.tenant, plain.strict),
                        (parsed.tenant, parsed.strict),
                        "{given:?}"
                    );
                }
            }
        }
        assert_eq!(plain_ones, 4);
        for other in [
            &["hook"][..],
            &["hook", "cursor"],
            &["--json", "hook", "claude"],
            &[],
        ] {
            assert!(
                plain(other.iter().map(OsString::from)).is_none(),
                "{other:?}"
            );
        }
    }
}
