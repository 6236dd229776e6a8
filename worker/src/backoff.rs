//! The waits between attempts.

use std::time::Duration;

use warren_model::ambient;

/// Waits that double from one attempt to the next, up to a bound. Each is shortened at random, so
/// that workers which lost the same control plane do not all return at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

impl Backoff {
    /// Returns the wait before the next attempt.
    pub fn next(&mut self) -> Duration {
        let wait = full(self.tries);
        self.tries = self.tries.saturating_add(1);
        wait.mul_f64(0.5 + jitter() / 2.0).max(FIRST)
    }
}

/// Returns a random number from 0 to 1.
fn jitter() -> f64 {
    f64::from(u16::try_from(ambient::random() % 1025).unwrap_or(0)) / 1024.0
}

fn full(tries: u32) -> Duration {
    // After a few doublings the bound applies, and the shift would overflow.
    FIRST.saturating_mul(1 << tries.min(16)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_bound() {
        let waits: Vec<u128> = [0, 1, 2, 3, 5, 6, 60, u32::MAX]
            .map(|tries| full(tries).as_millis())
            .to_vec();
        assert_eq!(waits, [100, 200, 400, 800, 3200, 5000, 5000, 5000]);
    }

    #[test]
    fn jitter_stays_within_the_bounds() {
        let mut backoff = Backoff::default();
        for _ in 0..1000 {
            assert!((FIRST..=LONGEST).contains(&backoff.next()));
        }
    }
}
