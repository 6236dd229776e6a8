//! The amount that a share may compute without asking for a turn: the generic cell rate algorithm
//! (ITU-T I.371) in one atomic.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The time that may be computed at once after a rest.
const BURST: Duration = Duration::from_millis(10);

/// The nanoseconds that a share's allowance needs to refill what was spent, as a time since the
/// scheduler started.
#[derive(Debug, Default)]
pub(super) struct Allowance(AtomicU64);

impl Allowance {
    /// Returns whether more was spent than the allowance holds, when it refills at 1/`stretch` of a
    /// core.
    pub fn is_spent(&self, now: u64, stretch: u64) -> bool {
        let lead = self.0.load(Ordering::Relaxed).saturating_sub(now);
        lead > burst(stretch)
    }

    /// Takes `nanos` off the allowance. It never falls behind by more than one further burst, so a
    /// share that stops computing is soon free again.
    pub fn spend(&self, now: u64, nanos: u64, stretch: u64) {
        let most = now.saturating_add(burst(stretch).saturating_mul(2));
        let stretched = nanos.saturating_mul(stretch);
        // Threads of one share may race here, and what one of them spends may be lost. That costs
        // others little, whereas a compare-and-swap loop in each poll would cost every guest.
        let until = self.0.load(Ordering::Relaxed).max(now);
        self.0
            .store(until.saturating_add(stretched).min(most), Ordering::Relaxed);
    }
}

fn burst(stretch: u64) -> u64 {
    u64::try_from(BURST.as_nanos())
        .unwrap_or(u64::MAX)
        .saturating_mul(stretch)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_burst_and_then_a_share_of_a_core() {
        let allowance = Allowance::default();
        let stretch = 8;
        assert!(!allowance.is_spent(0, stretch));
        allowance.spend(0, 10 * MS, stretch);
        assert!(!allowance.is_spent(0, stretch));
        allowance.spend(0, MS, stretch);
        assert!(allowance.is_spent(0, stretch));
        // The extra millisecond is refilled after eight.
        assert!(allowance.is_spent(8 * MS - 1, stretch));
        assert!(!allowance.is_spent(8 * MS, stretch));
    }

    #[test]
    fn at_its_rate_it_is_never_spent_and_beyond_it_soon() {
        for (every, ends) in [(8, false), (7, true)] {
            let allowance = Allowance::default();
            let spent = (0..2_000).any(|n| {
                allowance.spend(n * every * MS, MS, 8);
                allowance.is_spent(n * every * MS, 8)
            });
            assert_eq!(spent, ends, "a millisecond every {every}");
        }
    }

    #[test]
    fn a_long_spin_is_forgiven_soon() {
        let allowance = Allowance::default();
        allowance.spend(0, u64::MAX, 8);
        assert!(allowance.is_spent(79 * MS, 8));
        assert!(!allowance.is_spent(80 * MS, 8));
    }
}
