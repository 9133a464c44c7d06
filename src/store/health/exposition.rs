//! A report as Prometheus reads it: each tenant's state, and the figures of [`crate::store::watch`].

use super::report::{Facts, HealthReport};
use crate::store::watch::{Exposition, Kind, seconds};

impl HealthReport {
    /// The report in Prometheus' text format: names begin with `millpond_`, times are seconds and sizes bytes.
    ///
    /// ```
    /// # fn f(store: &millpond::store::Store) -> Result<(), millpond::store::Error> {
    /// # use millpond::store::health::HealthLimits;
    /// let text = store.health_report(None, &HealthLimits::default())?.to_prometheus();
    /// assert!(text.contains("# TYPE millpond_health_status gauge"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut out = Exposition::default();
        let help = "0 where the tenant's file is healthy, 1 degraded, 2 unhealthy.";
        out.family("millpond_health_status", Kind::Gauge, help);
        for tenant in &self.tenants {
            let status = match tenant.status() {
                super::HealthStatus::Healthy => 0,
                super::HealthStatus::Degraded => 1,
                super::HealthStatus::Unhealthy => 2,
            };
            out.sample(&[("tenant", tenant.domain.as_str())], status);
        }
        let help = "How soon the tenant's file answered.";
        self.gauge("millpond_response_seconds", help, &mut out, |facts| {
            Some(seconds(facts.response))
        });
        let help = "The size of the tenant's file, without its log.";
        self.gauge("millpond_file_bytes", help, &mut out, |facts| {
            Some(facts.file_bytes)
        });
        let help = "The size of its write-ahead log.";
        self.gauge("millpond_log_bytes", help, &mut out, |facts| {
            Some(facts.log_bytes)
        });
        let help = "Rows that wait to be sent to the central database.";
        self.gauge("millpond_pending_rows", help, &mut out, |facts| {
            Some(facts.outbox.pending)
        });
        let help = "Rows in quarantine, which are not sent.";
        self.gauge("millpond_quarantined_rows", help, &mut out, |facts| {
            Some(facts.outbox.quarantined)
        });
        let help = "When the integrity of the tenant's file was checked last.";
        let name = "millpond_integrity_checked_timestamp_seconds";
        self.gauge(name, help, &mut out, |facts| {
            let check = facts.integrity.as_ref()?;
            Some(check.at.as_micros() / 1_000_000)
        });
        let help = "How much the last integrity check found.";
        self.gauge("millpond_integrity_problems", help, &mut out, |facts| {
            facts.integrity.as_ref().map(|check| check.problems)
        });
        self.statistics.expose(&mut out);
        out.into_text()
    }

    fn gauge<V: std::fmt::Display>(
        &self,
        name: &'static str,
        help: &str,
        out: &mut Exposition,
        value: impl Fn(&Facts) -> Option<V>,
    ) {
        out.family(name, Kind::Gauge, help);
        for tenant in &self.tenants {
            if let Some(value) = tenant.facts.as_ref().ok().and_then(&value) {
                out.sample(&[("tenant", tenant.domain.as_str())], value);
            }
        }
    }
}
