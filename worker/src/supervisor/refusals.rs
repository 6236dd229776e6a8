//! Digests the refusals of a replica's guests: each is reported at once, and its repetitions as
//! counts at increasing intervals.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use crate::policy::Refusal;

/// The wait before repetitions are reported for the first time. It doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// The longest wait. It is shorter than the time within which the control plane aggregates an
/// event.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The refusals that were reported, with the repetitions of each that were not reported yet.
#[derive(Default)]
pub(super) struct RefusalDigest(Vec<Counted>);

struct Counted {
    refusal: Refusal,
    /// How many occurrences have been reported.
    reported: u64,
    wait: Duration,
    due: Instant,
}

/// A refusal to report, with the number of occurrences since its last report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repeat {
    pub refusal: String,
    pub count: u32,
}

// === impl RefusalDigest ===

impl RefusalDigest {
    /// Adds a new refusal and returns its first report. The policy bounds the number of refusals
    /// per guest.
    pub(super) fn first(&mut self, refusal: Refusal, now: Instant) -> Repeat {
        let mut counted = Counted {
            refusal,
            reported: 0,
            wait: FIRST_WAIT,
            due: now + FIRST_WAIT,
        };
        let repeat = counted.report();
        self.0.push(counted);
        repeat
    }

    /// Returns the repetitions that are due, or with `all` all of them.
    pub(super) fn repeats(&mut self, now: Instant, all: bool) -> Vec<Repeat> {
        let mut repeats = Vec::new();
        for counted in &mut self.0 {
            if counted.due > now && !all {
                continue;
            }
            if counted.refusal.times.get() > counted.reported {
                repeats.push(counted.report());
                counted.wait = LONGEST_WAIT.min(counted.wait * 2);
            }
            counted.due = now + counted.wait;
        }
        repeats
    }

    /// Waits until a report may be due. Cancel safe.
    pub(super) async fn due(&self) {
        match self.0.iter().map(|counted| counted.due).min() {
            Some(due) => sleep_until(due.into()).await,
            None => pending().await,
        }
    }
}

// === impl Counted ===

impl Counted {
    fn report(&mut self) -> Repeat {
        let times = self.refusal.times.get();
        let since = times - self.reported;
        self.reported = times;
        Repeat {
            refusal: self.refusal.to_string(),
            count: u32::try_from(since).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::policy::{HostAccess, Op, Policy, Refusals, Role, refusals};

    #[test]
    fn repetitions_are_counted_and_reported_at_increasing_intervals() {
        let (sender, mut reader) = refusals();
        let refusals = Refusals::new(Role::Service, "service".into(), sender);
        let policy = Policy::new(Role::Service, Vec::new(), HostAccess::default());
        let policy = policy.with_refusals(refusals);
        let attempt = || policy.decide(Op::TcpConnect("192.0.2.1:80".parse().unwrap()));
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);

        let mut digest = RefusalDigest::default();
        attempt();
        attempt();
        let first = digest.first(reader.try_recv().unwrap(), begin);
        assert_eq!(first.count, 2);
        assert!(first.refusal.contains("192.0.2.1:80"), "{first:?}");
        let mut counts = Vec::new();
        for second in 1..=1000 {
            attempt();
            let repeats = digest.repeats(at(second), false);
            counts.extend(repeats.into_iter().map(|repeat| (second, repeat.count)));
        }
        let expected = [
            (2, 2),
            (6, 4),
            (14, 8),
            (30, 16),
            (62, 32),
            (126, 64),
            (254, 128),
            (510, 256),
            (810, 300),
        ];
        assert_eq!(counts, expected);
        // The rest is reported once, at the end.
        let rest = digest.repeats(at(1000), true);
        assert_eq!(
            rest,
            [Repeat {
                count: 190,
                ..first
            }]
        );
        assert!(digest.repeats(at(1000), true).is_empty());
    }
}
