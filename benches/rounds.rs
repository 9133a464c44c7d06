//! Interleaved rounds: what is compared runs in turn, in one process and on one machine, so that a ratio means
//! something where times alone do not. Each round runs everyone once, the order turned from round to round; the
//! first round warms up and is not counted. Times are those that a contestant measured around its own work.

use std::fmt::Write as _;
use std::time::Duration;

/// One of those that are compared.
pub struct Contestant<'c> {
    name: &'c str,
    run: Box<dyn FnMut() -> Duration + 'c>,
    times: Vec<Duration>,
}

impl<'c> Contestant<'c> {
    /// Names what runs; `run` returns the time of the part that counts.
    pub fn new(name: &'c str, run: impl FnMut() -> Duration + 'c) -> Self {
        Self {
            name,
            run: Box::new(run),
            times: Vec::new(),
        }
    }
}

/// Runs all contestants in turn and prints each one's median, range and, of 20 rounds or more, 95th percentile; what `units` a second that makes, and the
/// ratio of the first one's median to each other's: above 1 is faster than the first, which is the limit or peer.
pub fn compare(title: &str, rounds: usize, units: (&str, usize), contestants: &mut [Contestant]) {
    for round in 0..=rounds {
        let count = contestants.len();
        for place in 0..count {
            let contestant = &mut contestants[(place + round) % count];
            let time = (contestant.run)();
            if round > 0 {
                contestant.times.push(time);
            }
        }
    }
    println!(
        "{title}: {} {} a round, {rounds} interleaved rounds",
        units.1, units.0
    );
    let limit = median(&contestants[0].times);
    for contestant in contestants.iter() {
        let middle = median(&contestant.times);
        let mut line = format!("  {:<34} median {:>10}", contestant.name, show(middle));
        let (least, most) = (contestant.times.iter().min(), contestant.times.iter().max());
        if let (Some(least), Some(most)) = (least, most) {
            let _ = write!(line, "  ({} to {})", show(*least), show(*most));
        }
        if rounds >= 20 {
            let mut sorted = contestant.times.clone();
            sorted.sort_unstable();
            let _ = write!(line, "  p95 {}", show(sorted[rounds * 95 / 100]));
        }
        if units.1 > 1 {
            let _ = write!(
                line,
                "  {:>9.0} {}/s",
                units.1 as f64 / middle.as_secs_f64(),
                units.0
            );
        }
        let _ = write!(
            line,
            "  ratio {:.3}",
            limit.as_secs_f64() / middle.as_secs_f64()
        );
        println!("{line}");
    }
}

/// A size given by the environment, or the usual one.
pub fn size(variable: &str, usual: usize) -> usize {
    match std::env::var(variable) {
        Ok(given) => given
            .parse()
            .unwrap_or_else(|_| panic!("{variable} must be a number")),
        Err(_) => usual,
    }
}

fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted[sorted.len() / 2]
}

fn show(time: Duration) -> String {
    if time >= Duration::from_secs(1) {
        format!("{:.3} s", time.as_secs_f64())
    } else {
        format!("{:.3} ms", time.as_secs_f64() * 1_000.0)
    }
}
