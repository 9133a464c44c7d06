//! The fixed generator: the same numbers on every machine and with every version of every library.
//!
//! `ChaCha8`'s stream is fixed by its algorithm; what is made of it is made here, by integers alone, because `rand`
//! may change how it makes ranges between versions and the last bit of `exp` differs between platforms. Each thing
//! draws from a stream of its own, keyed by its name, so that one more call today leaves tomorrow as it was.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use uuid::Uuid;

/// One standard deviation, and one octave: 16 binary places.
const ONE: i64 = 65_536;

/// A stream of draws.
#[derive(Debug)]
pub(super) struct Draw(ChaCha8Rng);

impl Draw {
    /// The stream of what the words name, each a part of its own.
    pub(super) fn of(key: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("millpond seed 1");
        for part in key {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part);
        }
        Self(ChaCha8Rng::from_seed(*hasher.finalize().as_bytes()))
    }

    /// A number from 0 up to `limit`, which it never reaches; 0 where `limit` is 0.
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * u128::from(limit);
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        let span = u64::try_from(high - low + 1).unwrap_or(1);
        low + i64::try_from(self.below(span)).unwrap_or(0)
    }

    /// True so many times in a thousand.
    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1_000) < per_mille
    }

    /// One of the choices, each as often as its weight says; `None` only where there is no choice.
    pub(super) fn pick<'t, T>(
        &mut self,
        choices: &'t [T],
        weight: impl Fn(&T) -> u64,
    ) -> Option<&'t T> {
        let mut left = self.below(choices.iter().map(&weight).sum());
        choices.iter().find(|choice| {
            let here = left < weight(choice);
            left = left.saturating_sub(weight(choice));
            here
        })
    }

    /// A near-normal number around 0, in 65,536ths of a standard deviation: the sum of twelve even draws.
    pub(super) fn normal(&mut self) -> i64 {
        let mut sum = 0;
        for _ in 0..3 {
            let word = self.0.next_u64();
            for shift in [0, 16, 32, 48] {
                sum += i64::try_from((word >> shift) & 0xffff).unwrap_or(0);
            }
        }
        sum - 6 * ONE
    }

    /// A number near to log-normal: half lie below `median`, two thirds within `spread` thousandths of an octave
    /// (a doubling) of it on either side. Between octaves the curve is a straight line, which is never 7 % off.
    pub(super) fn skewed(&mut self, median: i64, spread: i64) -> i64 {
        let octaves = self.normal() * spread / 1_000;
        let scaled = median * (ONE + octaves.rem_euclid(ONE));
        let shift = octaves.div_euclid(ONE) - 16;
        let places = u32::try_from(shift.unsigned_abs()).unwrap_or(u32::MAX);
        if shift < 0 {
            scaled.checked_shr(places).unwrap_or(0)
        } else {
            scaled.checked_shl(places).unwrap_or(i64::MAX)
        }
    }

    /// Bytes of chance.
    pub(super) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// A random UUID, as tools give their sessions.
    pub(super) fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_the_one_that_it_always_was() {
        let mut draw = Draw::of(&[b"a", b"b"]);
        let drawn: Vec<i64> = (0..4).map(|_| draw.skewed(1_000, 1_500)).collect();
        assert_eq!(drawn, [1_895, 486, 633, 451]);
        assert_eq!(
            draw.uuid().to_string(),
            "35e97832-b7fb-44df-8904-44efba82dbe2"
        );
    }

    #[test]
    fn parts_of_a_name_do_not_run_into_each_other() {
        assert_ne!(
            Draw::of(&[b"ab", b"c"]).bytes::<8>(),
            Draw::of(&[b"a", b"bc"]).bytes::<8>()
        );
    }

    #[test]
    fn half_of_the_skewed_draws_lie_below_the_median_and_two_thirds_within_the_spread() {
        let mut draw = Draw::of(&[b"skewed"]);
        let drawn: Vec<i64> = (0..20_000).map(|_| draw.skewed(4_096, 1_000)).collect();
        let share = |within: &dyn Fn(i64) -> bool| {
            drawn.iter().filter(|&&value| within(value)).count() * 100 / drawn.len()
        };
        assert!((49..=51).contains(&share(&|value| value < 4_096)));
        assert!((66..=70).contains(&share(&|value| (2_048..8_192).contains(&value))));
        assert!(drawn.iter().all(|&value| value > 0));
    }

    #[test]
    fn choices_come_as_often_as_their_weights_say() {
        let mut draw = Draw::of(&[b"pick"]);
        let rare = (0..10_000)
            .filter(|_| draw.pick(&[1, 9, 0], |weight| *weight) == Some(&1))
            .count();
        assert!((900..1_100).contains(&rare), "{rare}");
        assert_eq!(draw.pick(&[], |weight: &u64| *weight), None);
    }
}
