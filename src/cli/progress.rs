//! The one progress bar of the commands.
//!
//! Depends on `output`, which knows whether a bar would be seen: on a terminal only, not with `--quiet` or `--json`.
//! It has no colours, so `NO_COLOR` asks nothing of it. A bar that is dropped is gone from the screen, whatever ended
//! the work.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::output::Output;

/// What is counted, which decides how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Bytes, in the unit that fits.
    Bytes,
    /// Things of this name.
    Of(&'static str),
}

/// How far some work is, with an estimate of what is left.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    /// Shows a bar where one would be seen; `doing` says before it what is under way.
    pub(super) fn new(output: Output, doing: impl Into<String>, unit: Unit) -> Self {
        if !output.is_animated() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(0).with_prefix(doing.into());
        if let Ok(style) = ProgressStyle::with_template(&template(unit)) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }

    /// So much of so much is done.
    pub(super) fn at(&self, done: u64, total: u64) {
        self.0.set_length(total);
        self.0.set_position(done);
    }

    /// One more of so many is done.
    pub(super) fn one_more(&self, total: u64) {
        self.0.set_length(total);
        self.0.inc(1);
    }

    /// Says more beside the bar.
    pub(super) fn say(&self, text: String) {
        self.0.set_message(text);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

fn template(unit: Unit) -> String {
    let counted = match unit {
        Unit::Bytes => "{bytes}/{total_bytes}".to_owned(),
        Unit::Of(things) => format!("{{human_pos}}/{{human_len}} {things}"),
    };
    format!("{{prefix}} {{wide_bar}} {counted} {{msg}} {{eta}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_has_a_template_that_can_be_read_and_ends_with_the_estimate() {
        for unit in [Unit::Bytes, Unit::Of("rows")] {
            let text = template(unit);
            assert!(ProgressStyle::with_template(&text).is_ok(), "{text}");
            assert!(text.ends_with("{eta}"), "{text}");
        }
    }

    #[test]
    fn nothing_is_drawn_where_quiet_or_json_was_asked_for() {
        for output in [Output::new(true, false), Output::new(false, true)] {
            assert!(Bar::new(output, "work", Unit::Bytes).0.is_hidden());
        }
    }
}
