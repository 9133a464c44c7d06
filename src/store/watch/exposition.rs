//! Figures as Prometheus reads them: its text format, version 0.0.4
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! Written here, since what is told are quantiles that were counted already, and the client libraries count their own.
//! Invariants: names begin with `millpond_`, times are seconds and sizes bytes; labels are bounded: tenants by domain,
//! statements by id (256 at most, whose text stands once in `millpond_statement_info`).

use std::collections::BTreeMap;
use std::fmt::{Display, Write as _};
use std::time::Duration;

use super::times::Summary;
use super::{Statistics, TenantFigures};

/// What a family of samples is.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) enum Kind {
    /// A count that only grows while the process runs.
    Counter,
    /// A value of this moment.
    Gauge,
    /// Quantiles, a sum and a count.
    Summary,
}

/// Label names and values.
pub(in crate::store) type Labels<'l> = &'l [(&'l str, &'l str)];

/// A text in the making. Samples belong to the family that was begun last.
#[derive(Debug, Default)]
pub(in crate::store) struct Exposition {
    text: String,
    family: &'static str,
}

impl Exposition {
    /// Begins a family.
    pub(in crate::store) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Summary => "summary",
        };
        self.family = name;
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    /// Adds a sample to the family.
    pub(in crate::store) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.suffixed("", labels, value);
    }

    fn suffixed(&mut self, suffix: &str, labels: Labels<'_>, value: impl Display) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let name = self.family;
        let labels = labels.join(",");
        self.line(format_args!("{name}{suffix}{{{labels}}} {value}"));
    }

    /// Adds the samples of a summary.
    fn summary(&mut self, labels: Labels<'_>, times: &Summary) {
        for (quantile, time) in [("0.5", times.p50), ("0.95", times.p95), ("0.99", times.p99)] {
            let with = [labels, &[("quantile", quantile)]].concat();
            self.sample(&with, seconds(time));
        }
        self.suffixed("_sum", labels, seconds(times.total));
        self.suffixed("_count", labels, times.count);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a text cannot fail.
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }

    pub(in crate::store) fn into_text(self) -> String {
        self.text
    }
}

/// Reads a count of a tenant's figures.
type Count = fn(&TenantFigures) -> u64;

/// A time in seconds.
pub(in crate::store) fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

impl TenantFigures {
    /// The label's value: the domain, or the id where the registry knows the tenant no more.
    fn label(&self) -> String {
        match &self.domain {
            Some(domain) => domain.to_string(),
            None => self.id.to_string(),
        }
    }
}

impl Statistics {
    /// The figures in Prometheus' text format.
    ///
    /// ```
    /// # fn f(store: &millpond::store::Store) -> Result<(), millpond::store::Error> {
    /// let text = store.statistics()?.to_prometheus();
    /// assert!(text.contains("# TYPE millpond_statement_seconds summary"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut out = Exposition::default();
        self.expose(&mut out);
        out.into_text()
    }

    pub(in crate::store) fn expose(&self, out: &mut Exposition) {
        let tenants: Vec<(String, &TenantFigures)> = self
            .tenants
            .iter()
            .map(|tenant| (tenant.label(), tenant))
            .collect();
        let counters: [(&'static str, &str, Count); 2] = [
            (
                "millpond_transactions_total",
                "Reads and writes that had a connection.",
                |tenant| tenant.figures.transactions,
            ),
            (
                "millpond_transactions_failed_total",
                "Those of them that failed.",
                |tenant| tenant.figures.failed,
            ),
        ];
        for (name, help, count) in counters {
            out.family(name, Kind::Counter, help);
            for (label, tenant) in &tenants {
                out.sample(&[("tenant", label)], count(tenant));
            }
        }
        statements(&tenants, out);
        waits(&tenants, out);
        out.family(
            "millpond_connections",
            Kind::Gauge,
            "Open connections to tenants' files.",
        );
        for (label, tenant) in &tenants {
            let used = tenant.pool.open.saturating_sub(tenant.pool.idle);
            out.sample(&[("tenant", label), ("state", "idle")], tenant.pool.idle);
            out.sample(&[("tenant", label), ("state", "used")], used);
        }
    }
}

fn statements(tenants: &[(String, &TenantFigures)], out: &mut Exposition) {
    let name = "millpond_statement_seconds";
    out.family(name, Kind::Summary, "How long each statement took.");
    let mut texts = BTreeMap::new();
    for (label, tenant) in tenants {
        for statement in &tenant.figures.statements {
            texts.insert(&statement.id, &statement.sql);
            let labels = [("tenant", label.as_str()), ("statement", &statement.id)];
            out.summary(&labels, &statement.times);
        }
    }
    let name = "millpond_statement_slow_total";
    out.family(name, Kind::Counter, "How often each statement was slow.");
    for (label, tenant) in tenants {
        for statement in &tenant.figures.statements {
            let labels = [("tenant", label.as_str()), ("statement", &statement.id)];
            out.sample(&labels, statement.times.slow);
        }
    }
    let name = "millpond_statement_info";
    out.family(
        name,
        Kind::Gauge,
        "The text of each statement, without values; always 1.",
    );
    for (id, sql) in texts {
        out.sample(&[("statement", id), ("sql", sql)], 1);
    }
}

fn waits(tenants: &[(String, &TenantFigures)], out: &mut Exposition) {
    let lines = |tenant: &TenantFigures| {
        [
            ("connection", tenant.figures.connection_waits),
            ("writer", tenant.figures.writer_waits),
        ]
    };
    let help = "How long work waited for a connection or its turn to write.";
    out.family("millpond_wait_seconds", Kind::Summary, help);
    for (label, tenant) in tenants {
        for (line, waits) in lines(tenant) {
            out.summary(&[("tenant", label), ("line", line)], &waits.times);
        }
    }
    let help = "How often work gave up waiting.";
    out.family("millpond_wait_timeouts_total", Kind::Counter, help);
    for (label, tenant) in tenants {
        for (line, waits) in lines(tenant) {
            out.sample(&[("tenant", label), ("line", line)], waits.timeouts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_s_value_is_escaped() {
        let mut out = Exposition::default();
        out.family("millpond_x", Kind::Gauge, "X.");
        out.sample(&[("sql", "a \"b\" \\ \n c")], 1);
        let text = out.into_text();
        assert_eq!(
            text.lines().last(),
            Some("millpond_x{sql=\"a \\\"b\\\" \\\\ \\n c\"} 1")
        );
    }
}
