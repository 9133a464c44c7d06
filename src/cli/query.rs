//! `millpond query`: one statement that reads.

use std::process::ExitCode;

use clap::Args;
use millpond::store::{QueryAnswer, QueryLimits};

use super::context::Context;
use super::failure::Failure;
use super::output::{grid, lines};

#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    /// One SELECT; it is interrupted after a second
    #[arg(value_name = "SQL")]
    sql: String,
    /// The tenant's domain
    #[arg(long)]
    tenant: Option<String>,
    /// At most so many rows, 1 to 100000
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: usize,
}

pub(super) fn run(args: &QueryArgs, context: &Context) -> Result<ExitCode, Failure> {
    let limits = QueryLimits::default().with_rows(args.limit)?;
    let store = context.store()?;
    let tenant = context.tenant(&store, args.tenant.as_deref())?;
    let answer = tenant.query(&args.sql, limits)?;
    context.output.data(&answer, human)?;
    Ok(ExitCode::SUCCESS)
}

fn human(answer: &QueryAnswer) -> String {
    let head = answer.columns.iter().map(|name| visible(name));
    let rows = answer.rows.iter();
    let told = grid(
        head,
        rows.map(|row| row.iter().map(|value| visible(&value.to_string()))),
    );
    let cut = format!(
        "cut after {} rows: give --limit, or a narrower WHERE",
        answer.rows.len()
    );
    lines(told, answer.truncated.then_some(cut))
}

/// A table is for looking: the whole of a long value is there with `--json`.
const SHOWN: usize = 400;

/// A text that fits a table, and whose control characters are shown and do nothing to the terminal.
fn visible(text: &str) -> String {
    let mut shown = String::new();
    for (at, character) in text.chars().enumerate() {
        if at == SHOWN {
            shown.push('…');
            break;
        }
        if character.is_control() && character != '\n' {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_steer_the_terminal() {
        assert_eq!(visible("a\u{1b}[2Jb\tc"), "a\\u{1b}[2Jb\\tc");
    }

    #[test]
    fn a_long_value_is_cut_in_a_table() {
        assert_eq!(visible(&"ä".repeat(400)), "ä".repeat(400));
        assert_eq!(visible(&"ä".repeat(401)), "ä".repeat(400) + "…");
    }
}
