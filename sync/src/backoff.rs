//! How long to wait before trying again. Pure: the caller brings the dice.
//!
//! Full jitter: a uniform wait between nothing and a ceiling that doubles from 1 s to 5 min, so that a thousand
//! devices that lost one server do not come back together ("Exponential Backoff And Jitter", AWS Architecture Blog).

use std::time::Duration;

use rand::{Rng, RngExt as _};

const FIRST: Duration = Duration::from_secs(1);
const CEILING: Duration = Duration::from_secs(300);

/// The wait before attempt `attempt` + 1, where `attempt` counts the failures so far, from 1.
pub fn wait(attempt: u32, dice: &mut impl Rng) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    doubled.min(CEILING).mul_f64(dice.random::<f64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ceiling_doubles_from_one_second_to_five_minutes_and_stays() {
        let mut dice = rand::rng();
        for (attempt, ceiling) in [
            (1, 1),
            (2, 2),
            (5, 16),
            (9, 256),
            (10, 300),
            (4_000_000_000, 300),
        ] {
            let mut longest = Duration::ZERO;
            for _ in 0..2_000 {
                longest = longest.max(wait(attempt, &mut dice));
            }
            let ceiling = Duration::from_secs(ceiling);
            assert!(longest <= ceiling, "attempt {attempt} waited {longest:?}");
            assert!(
                longest > ceiling.mul_f64(0.9),
                "attempt {attempt} never waited long"
            );
        }
    }
}
