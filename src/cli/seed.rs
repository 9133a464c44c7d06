//! `millpond seed`: invented tenants, users and work; the same for the same seed and date.

use std::process::ExitCode;

use clap::Args;
use millpond::domain::units::Timestamp;
use millpond::seed::{SeedOptions, SeedProgress, SeedReport, seed};
use millpond::store::{Error, Store};
use serde::Serialize;

use super::context::Context;
use super::failure::Failure;
use super::output::table;
use super::progress::{Bar, Unit};

#[derive(Debug, Args)]
pub(super) struct SeedArgs {
    /// The number that all chance is drawn from
    #[arg(long, value_name = "N", default_value_t = 1)]
    rng: u64,
    /// The midnight (UTC) that the last day ends at, as 2026-01-31; the last one where none is given
    #[arg(long, value_name = "DATE")]
    until: Option<String>,
    /// How many days
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u32,
    /// How many tenants
    #[arg(long, value_name = "N", default_value_t = 3)]
    tenants: u32,
    /// How many users in each tenant
    #[arg(long, value_name = "N", default_value_t = 5)]
    users: u32,
    /// How many sessions a developer has on a working day, on average
    #[arg(long, value_name = "N", default_value_t = 6)]
    sessions_per_day: u32,
    /// About how many calls in all, instead of what that many sessions come to
    #[arg(long, value_name = "N", conflicts_with = "sessions_per_day")]
    calls: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Seeded {
    rng: u64,
    from: Timestamp,
    until: Timestamp,
    #[serde(flatten)]
    report: SeedReport,
}

pub(super) fn run(args: &SeedArgs, context: &Context) -> Result<ExitCode, Failure> {
    let now = millpond::clock::Clock::now(&millpond::clock::SystemClock);
    let until = match &args.until {
        Some(day) => Timestamp::parse(&format!("{day}T00:00:00Z")).map_err(|_| {
            Failure::usage("--until is not a date").with_hint("give a UTC date, as in 2026-01-31")
        })?,
        None => last_midnight(now)?,
    };
    let mut options = SeedOptions::new(args.rng, until)?
        .with_days(args.days)?
        .with_tenants(args.tenants)?
        .with_users(args.users)?
        .with_sessions_per_day(args.sessions_per_day)?;
    if let Some(calls) = args.calls {
        options = options.with_calls(calls)?;
    }
    let store = Store::init(context.home()?)?;
    let report = with_bar(&store, &options, context)?;
    let seeded = Seeded {
        rng: args.rng,
        from: options.from(),
        until: options.until(),
        report,
    };
    context.output.data(&seeded, |seeded| {
        table(
            [
                "tenant",
                "plan",
                "users",
                "sessions",
                "calls",
                "dashboards",
                "new rows",
            ],
            seeded.report.tenants.iter().map(|seeded| {
                [
                    seeded.tenant.domain.to_string(),
                    seeded.tenant.subscription_plan.as_str().to_owned(),
                    seeded.users.to_string(),
                    seeded.sessions.to_string(),
                    seeded.tool_metrics.to_string(),
                    seeded.dashboards.to_string(),
                    seeded.inserted.to_string(),
                ]
            }),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The last midnight in UTC.
pub(super) fn last_midnight(now: Timestamp) -> Result<Timestamp, Failure> {
    const DAY: i64 = 86_400_000_000;
    Ok(Timestamp::from_micros(
        now.as_micros() - now.as_micros() % DAY,
    )?)
}

/// Seeds under a progress bar.
pub(super) fn with_bar(
    store: &Store,
    options: &SeedOptions,
    context: &Context,
) -> Result<SeedReport, Failure> {
    let bar = Bar::new(context.output, "seeding", Unit::Of("days"));
    let report = seed(store, options, |progress: SeedProgress| {
        bar.at(progress.done, progress.total);
        bar.say(format!("{} rows", progress.rows));
    });
    drop(bar);
    report.map_err(|error| match error {
        Error::UniqueViolation { .. } => Failure::new(
            error.kind(),
            "this home has tenants of these names that are not of this seed, date and number of days",
        )
        .with_hint(
            "to seed what is here again, give the --rng, --until and --days of the first time; \
             else seed a home of its own: millpond seed --home DIR",
        ),
        other => other.into(),
    })
}
