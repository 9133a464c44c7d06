//! `millpond metrics`: figures over a tenant's calls.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use millpond::domain::InvalidValue;
use millpond::domain::ids::SessionId;
use millpond::domain::units::Timestamp;
use millpond::store::{MetricsFilter, MetricsKey, MetricsRow};
use serde::Serialize;
use uuid::Uuid;

use super::context::Context;
use super::failure::Failure;
use super::output::table;

#[derive(Debug, Args)]
pub(super) struct MetricsArgs {
    /// The tenant's domain
    #[arg(long)]
    tenant: Option<String>,
    /// Of one session only
    #[arg(long, value_name = "ID")]
    session: Option<Uuid>,
    /// Of calls that began within this time, as 30d or 12h, or since a date
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// What to group by
    #[arg(long, value_enum, default_value_t = By::Tool)]
    by: By,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum By {
    Tool,
    Category,
    Day,
    User,
    Project,
}

#[derive(Debug, Serialize)]
struct Metrics {
    rows: Vec<MetricsRow>,
}

pub(super) fn run(args: &MetricsArgs, context: &Context) -> Result<ExitCode, Failure> {
    let store = context.store()?;
    let from = args
        .since
        .as_deref()
        .map(|raw| since(raw, store.clock().now()))
        .transpose()?;
    let filter = MetricsFilter {
        session: args.session.map(SessionId::from_uuid),
        since: from,
    };
    let key = match args.by {
        By::Tool => MetricsKey::Tool,
        By::Category => MetricsKey::Category,
        By::Day => MetricsKey::Day,
        By::User => MetricsKey::User,
        By::Project => MetricsKey::Project,
    };
    let tenant = context.tenant(&store, args.tenant.as_deref())?;
    let rows = tenant.read(|r| r.metrics(key, filter))?;
    context.output.data(&Metrics { rows }, |metrics| {
        table(
            ["", "calls", "errors", "timed", "total ms", "average ms"],
            metrics.rows.iter().map(|row| {
                [
                    row.key.clone(),
                    row.calls.to_string(),
                    row.errors.to_string(),
                    row.timed.to_string(),
                    row.total_duration_ms.to_string(),
                    row.average_duration_ms
                        .map_or_else(|| "-".into(), |mean| format!("{mean:.0}")),
                ]
            }),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Reads a span before now (`90m`, `12h`, `30d`, `4w`), a UTC date (`2026-01-08`) or an RFC 3339 time.
pub(super) fn since(raw: &str, now: Timestamp) -> Result<Timestamp, InvalidValue> {
    if let Ok(time) = Timestamp::parse(raw) {
        return Ok(time);
    }
    if let Ok(day) = Timestamp::parse(&format!("{raw}T00:00:00Z")) {
        return Ok(day);
    }
    let invalid = || {
        InvalidValue::new(
            "time",
            "is not of the form 30d, 12h, 2026-01-08 or RFC 3339",
        )
    };
    let (number, unit) = raw
        .split_at_checked(raw.len().saturating_sub(1))
        .ok_or_else(invalid)?;
    let number: i64 = number
        .parse()
        .ok()
        .filter(|number| *number >= 0)
        .ok_or_else(invalid)?;
    let millis = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return Err(invalid()),
    };
    Ok(now.minus_millis(number.saturating_mul(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_a_date_and_a_time_are_understood_and_nothing_else() {
        let now = Timestamp::parse("2026-01-31T12:00:00Z").unwrap();
        let at = |raw: &str| since(raw, now).map(|time| time.to_string());
        assert_eq!(at("30d").unwrap(), "2026-01-01T12:00:00Z");
        assert_eq!(at("90m").unwrap(), "2026-01-31T10:30:00Z");
        assert_eq!(at("2026-01-08").unwrap(), "2026-01-08T00:00:00Z");
        assert_eq!(
            at("2026-01-08T01:00:00+01:00").unwrap(),
            "2026-01-08T00:00:00Z"
        );
        assert_eq!(at("99999999999999999d").unwrap(), "1970-01-01T00:00:00Z");
        for bad in ["", "d", "-3d", "3y", "ä", "yesterday", "30"] {
            assert!(at(bad).is_err(), "{bad:?} was taken");
        }
    }
}
