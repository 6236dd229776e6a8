//! Counts the results of a probe to decide when a service becomes healthy or unhealthy. Pure.

use std::time::Duration;

use warren_model::spec::Probe;

use super::Verdict;

/// The results of a probe during one run of a service.
pub(super) struct Tally {
    failure_threshold: u32,
    success_threshold: u32,
    start_period: Duration,
    /// `None` until there are enough results.
    healthy: Option<bool>,
    succeeded: bool,
    /// The number of successes in a row; `failures` likewise. At least one of the two is 0.
    successes: u32,
    failures: u32,
}

// === impl Tally ===

impl Tally {
    pub(super) fn new(probe: &Probe) -> Self {
        Self {
            failure_threshold: probe.failure_threshold,
            success_threshold: probe.success_threshold,
            start_period: probe.start_period,
            healthy: None,
            succeeded: false,
            successes: 0,
            failures: 0,
        }
    }

    /// Returns whether the probe has ever succeeded.
    pub(super) fn has_succeeded(&self) -> bool {
        self.succeeded
    }

    /// Counts a result that came `age` after the start of the service, and returns the verdict if
    /// it changed.
    pub(super) fn take(&mut self, answer: Result<(), String>, age: Duration) -> Option<Verdict> {
        match answer {
            Ok(()) => {
                self.succeeded = true;
                self.failures = 0;
                self.successes = self.successes.saturating_add(1);
                let changed =
                    self.healthy != Some(true) && self.successes >= self.success_threshold;
                changed.then(|| {
                    self.healthy = Some(true);
                    Verdict::Healthy
                })
            }
            Err(why) => {
                self.successes = 0;
                if !self.succeeded && age < self.start_period {
                    return None;
                }
                self.failures = self.failures.saturating_add(1);
                let changed =
                    self.healthy != Some(false) && self.failures >= self.failure_threshold;
                changed.then(|| {
                    self.healthy = Some(false);
                    Verdict::Unhealthy(match self.failures {
                        1 => format!("failed: {why}"),
                        n => format!("failed {n} times in a row: {why}"),
                    })
                })
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::num::NonZeroU16;

    use warren_model::spec::ProbeCheck;

    use super::*;

    fn probe(failures: u32, successes: u32, start_period: u64) -> Probe {
        Probe {
            check: ProbeCheck::Tcp {
                port: NonZeroU16::MIN,
            },
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            failure_threshold: failures,
            success_threshold: successes,
            start_period: Duration::from_secs(start_period),
        }
    }

    /// Counts the results `+` and `-`, one per second, and returns the verdicts: `H` and `U`, and
    /// `.` where nothing changed.
    fn verdicts(probe: &Probe, answers: &str) -> String {
        let mut tally = Tally::new(probe);
        let answers = answers.chars().zip(0..);
        answers
            .map(|(answer, second)| {
                let answer = if answer == '+' {
                    Ok(())
                } else {
                    Err("no".to_owned())
                };
                match tally.take(answer, Duration::from_secs(second)) {
                    Some(Verdict::Healthy) => 'H',
                    Some(Verdict::Unhealthy(_)) => 'U',
                    None => '.',
                }
            })
            .collect()
    }

    #[test]
    fn a_verdict_needs_enough_results_in_a_row() {
        let cases = [
            // failures, successes, start period, answers, verdicts
            (3, 1, 0, "+++", "H.."),
            (3, 1, 0, "-----+", "..U..H"),
            (3, 1, 0, "+--+--+---", "H........U"),
            (1, 1, 0, "-+-+", "UHUH"),
            (1, 3, 0, "++-+++", "..U..H"),
            (2, 2, 0, "+-+-+-", "......"),
            // Failures within the start period do not count, until the first success.
            (2, 1, 4, "----", "...."),
            (2, 1, 4, "------", ".....U"),
            (2, 1, 9, "+--", "H.U"),
        ];
        for (failures, successes, start, answers, wanted) in cases {
            let probe = probe(failures, successes, start);
            assert_eq!(verdicts(&probe, answers), wanted, "{probe:?} {answers}");
        }
    }

    #[test]
    fn a_verdict_contains_the_last_failure_and_the_number_of_failures() {
        let mut tally = Tally::new(&probe(2, 1, 0));
        assert_eq!(tally.take(Err("first".into()), Duration::ZERO), None);
        let verdict = tally.take(Err("second".into()), Duration::ZERO).unwrap();
        assert_eq!(
            verdict,
            Verdict::Unhealthy("failed 2 times in a row: second".into())
        );
    }
}
