//! What a replica's guests were refused: each thing at once, and how often now and then.

use std::{
    future::pending,
    time::{Duration, Instant},
};

use tokio::time::sleep_until;

use crate::policy::Refusal;

/// After which repetitions are told for the first time; then twice as long, and so on.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Shorter than the time for which the control plane counts up one event.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

/// The refusals that were told, with what is left to tell of each.
#[derive(Default)]
pub(super) struct Told(Vec<Repeated>);

struct Repeated {
    refusal: Refusal,
    told: u64,
    wait: Duration,
    due: Instant,
}

/// A refusal to tell, and how often it happened since it was last told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Again {
    pub refusal: String,
    pub count: u32,
}

// === impl Told ===

impl Told {
    /// A refusal that is new. There are few for each guest.
    pub(super) fn first(&mut self, refusal: Refusal, now: Instant) -> Again {
        let mut repeated = Repeated {
            refusal,
            told: 0,
            wait: FIRST_WAIT,
            due: now + FIRST_WAIT,
        };
        let again = repeated.tell();
        self.0.push(repeated);
        again
    }

    /// What happened again and is due, or all of it.
    pub(super) fn again(&mut self, now: Instant, all: bool) -> Vec<Again> {
        let mut again = Vec::new();
        for repeated in &mut self.0 {
            if repeated.due > now && !all {
                continue;
            }
            if repeated.refusal.times.get() > repeated.told {
                again.push(repeated.tell());
                repeated.wait = LONGEST_WAIT.min(repeated.wait * 2);
            }
            repeated.due = now + repeated.wait;
        }
        again
    }

    /// Returns when something may be due. Dropping the future loses nothing.
    pub(super) async fn due(&self) {
        match self.0.iter().map(|repeated| repeated.due).min() {
            Some(due) => sleep_until(due.into()).await,
            None => pending().await,
        }
    }
}

// === impl Repeated ===

impl Repeated {
    fn tell(&mut self) -> Again {
        let times = self.refusal.times.get();
        let since = times - self.told;
        self.told = times;
        Again {
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
    fn repetitions_are_counted_and_told_ever_more_seldom() {
        let (sender, mut reader) = refusals();
        let refusals = Refusals::new(Role::Service, "service".into(), sender);
        let policy = Policy::new(Role::Service, Vec::new(), HostAccess::default());
        let policy = policy.with_refusals(refusals);
        let attempt = || policy.decide(Op::TcpConnect("192.0.2.1:80".parse().unwrap()));
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);

        let mut told = Told::default();
        attempt();
        attempt();
        let first = told.first(reader.try_recv().unwrap(), begin);
        assert_eq!(first.count, 2);
        assert!(first.refusal.contains("192.0.2.1:80"), "{first:?}");
        let mut counts = Vec::new();
        for second in 1..=1000 {
            attempt();
            let again = told.again(at(second), false);
            counts.extend(again.into_iter().map(|again| (second, again.count)));
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
        // What is left is told in the end, once.
        let rest = told.again(at(1000), true);
        assert_eq!(
            rest,
            [Again {
                count: 190,
                ..first
            }]
        );
        assert!(told.again(at(1000), true).is_empty());
    }
}
