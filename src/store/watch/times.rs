//! How long things took: a histogram, and what is told of it.
//!
//! Depends on `hdrhistogram`. Invariants: a quantile is at most 1 % above the true one, count and total are exact; a
//! histogram takes 2 to 20 KiB and grows with its longest time alone; times beyond one day count as one day.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Finer than any statement is timed.
const SHORTEST_NS: u64 = 100;
const DAY_NS: u64 = 86_400_000_000_000;
/// Significant decimal digits: the quantiles' error.
const DIGITS: u8 = 2;

/// Times of one kind of work.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    count: u64,
    total: Duration,
    max: Duration,
    slow: u64,
    /// Made with the first time.
    histogram: Option<Histogram<u32>>,
}

impl Times {
    /// Counts one time, as slow where it reaches `slow`.
    pub(super) fn add(&mut self, took: Duration, slow: Duration) {
        self.count += 1;
        self.total = self.total.saturating_add(took);
        self.max = self.max.max(took);
        self.slow += u64::from(took >= slow);
        if self.histogram.is_none() {
            self.histogram = histogram();
        }
        if let Some(histogram) = &mut self.histogram
            && let Err(error) = histogram.record(nanos(took).clamp(SHORTEST_NS, DAY_NS))
        {
            tracing::error!(%error, "a time is missing from its histogram");
        }
    }

    /// Counts all times of another.
    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.total = self.total.saturating_add(other.total);
        self.max = self.max.max(other.max);
        self.slow += other.slow;
        match (&mut self.histogram, &other.histogram) {
            (Some(into), Some(from)) => {
                if let Err(error) = into.add(from) {
                    tracing::error!(%error, "times are missing from a sum");
                }
            }
            (into @ None, from) => into.clone_from(from),
            (Some(_), None) => {}
        }
    }

    pub(super) fn summary(&self) -> Summary {
        let quantile = |at: f64| {
            let nanos = self
                .histogram
                .as_ref()
                .map_or(0, |histogram| histogram.value_at_quantile(at));
            // The bucket's upper edge may lie above the longest time that was seen.
            Duration::from_nanos(nanos).min(self.max)
        };
        Summary {
            count: self.count,
            slow: self.slow,
            total: self.total,
            p50: quantile(0.5),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: self.max,
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(DAY_NS)
}

fn histogram() -> Option<Histogram<u32>> {
    let mut made = Histogram::new_with_bounds(SHORTEST_NS, SHORTEST_NS * 2, DIGITS).ok()?;
    made.auto(true);
    Some(made)
}

/// What times came to. The quantiles are at most 1 % above the true ones.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many.
    pub count: u64,
    /// How many of them reached the threshold of what is slow.
    pub slow: u64,
    /// All together.
    pub total: Duration,
    /// Half took no longer.
    pub p50: Duration,
    /// 95 of 100 took no longer.
    pub p95: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

impl Summary {
    /// The mean; zero where there was nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use millpond::store::watch::Summary;
    /// let two = Summary { count: 2, total: Duration::from_millis(6), ..Summary::default() };
    /// assert_eq!(two.mean(), Duration::from_millis(3));
    /// assert_eq!(Summary::default().mean(), Duration::ZERO);
    /// ```
    #[must_use]
    pub fn mean(&self) -> Duration {
        let count = u128::from(self.count);
        let mean = self.total.as_nanos().checked_div(count).unwrap_or(0);
        Duration::from_nanos(u64::try_from(mean).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn micros(all: impl IntoIterator<Item = u64>) -> Times {
        let mut times = Times::default();
        for micros in all {
            times.add(Duration::from_micros(micros), SECOND);
        }
        times
    }

    #[track_caller]
    fn assert_near(found: Duration, micros: u64) {
        let (least, most) = (micros * 1_000, micros * 1_010);
        let nanos = nanos(found);
        assert!((least..=most).contains(&nanos), "{found:?} of {micros} µs");
    }

    #[test]
    fn quantiles_are_within_one_percent_and_count_total_and_longest_exact() {
        for unit in [1, 37, 1_000, 90_000] {
            let summary = micros((1..=1_000).map(|n| n * unit)).summary();
            assert_near(summary.p50, 500 * unit);
            assert_near(summary.p95, 950 * unit);
            assert_near(summary.p99, 990 * unit);
            assert_eq!(summary.count, 1_000);
            assert_eq!(summary.total, Duration::from_micros(500_500 * unit));
            assert_eq!(summary.max, Duration::from_micros(1_000 * unit));
        }
    }

    #[test]
    fn what_reaches_the_threshold_is_slow() {
        let summary = micros([999_999, 1_000_000, 1_000_001]).summary();
        assert_eq!(summary.slow, 2);
    }

    #[test]
    fn a_sum_of_two_is_as_if_counted_together() {
        let mut both = micros(1..=500);
        both.merge(&micros(501..=1_000));
        both.merge(&Times::default());
        assert_eq!(both.summary(), micros(1..=1_000).summary());
        let mut empty = Times::default();
        empty.merge(&both);
        assert_eq!(empty.summary(), both.summary());
    }

    #[test]
    fn the_shortest_and_the_longest_times_are_taken() {
        let mut times = Times::default();
        for took in [Duration::ZERO, SECOND * 86_400 * 400] {
            times.add(took, SECOND);
        }
        let summary = times.summary();
        assert_eq!((summary.count, summary.slow), (2, 1));
        assert_eq!(summary.max, SECOND * 86_400 * 400);
        assert_eq!(Times::default().summary(), Summary::default());
    }
}
