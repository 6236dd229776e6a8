//! Failed replicas: when and where a replacement is tried.

use std::{collections::BTreeSet, time::Duration};

use super::{
    Cause, Desired, Failure, StopReason, Waiting,
    round::{Class, Replica, Round},
    rules::{is_in_use, is_present, may_start, surge},
};

/// The delay before a failed replica is replaced. It doubles with each consecutive failure.
const FAILURE_BACKOFF: Duration = Duration::from_secs(10);
const MAX_FAILURE_BACKOFF: Duration = Duration::from_secs(300);
/// A replica that lived for this long before it failed does not count as a consecutive failure.
const FAILURE_RESET: Duration = Duration::from_secs(600);

/// Replaces failed replicas. Each stays for inspection until its backoff is over, unless its policy
/// is to keep it. If only a port was not free, another worker is tried at once.
pub(super) fn replace_failed(
    round: &mut Round,
    desired: &Desired,
    target: usize,
    new_id: &mut dyn FnMut() -> String,
) {
    for replica in round.open(|replica| replica.class == Class::Failed) {
        let Replica {
            age,
            phase_age,
            attempt,
            failure,
            ..
        } = round.replicas[replica];
        if desired.keeps_failed && failure == Failure::Ended {
            continue;
        }
        let running = round.count(|other| is_in_use(other) || other.class == Class::Stopping);
        let has_room = running <= target && running < target.saturating_add(surge(desired));
        let may_replace = has_room && may_start(round, desired);
        let mut nowhere = None;
        // It says why itself, and no other could be tried.
        let found = round.search(&desired.needs, desired.revision, &BTreeSet::new());
        if let Err(waiting) = found
            && matches!(waiting.cause, Cause::Uncompilable | Cause::Held)
        {
            round.tell_waiting(replica, waiting);
            continue;
        }
        if failure == Failure::PortUnavailable && may_replace {
            match try_elsewhere(round, desired, replica, new_id) {
                Ok(()) => continue,
                Err(waiting) => nowhere = Some(waiting),
            }
        }
        let failures = match age.saturating_sub(phase_age) >= FAILURE_RESET {
            true => 1,
            false => attempt.saturating_add(1),
        };
        let backoff = failure_backoff(failures);
        if phase_age < backoff {
            round.wake_after(backoff - phase_age);
            if let Some(waiting) = nowhere {
                round.tell_waiting(replica, waiting);
            }
        } else if may_replace {
            round.stop(replica, StopReason::Failed);
            let refused = BTreeSet::new();
            round.create(
                new_id(),
                desired.revision,
                failures,
                refused,
                &desired.needs,
            );
        }
    }
}

/// Replaces a replica whose ports are not free on its worker: by one on another worker, or by one
/// that waits until an earlier replica has made room. If neither is possible, returns an error with
/// the reason.
fn try_elsewhere(
    round: &mut Round,
    desired: &Desired,
    replica: usize,
    new_id: &mut dyn FnMut() -> String,
) -> Result<(), Waiting> {
    let failed = &round.replicas[replica];
    let attempt = failed.attempt;
    let mut refused = failed.refused.clone();
    refused.extend(round.port_refusals());
    let needs = &desired.needs;
    let found = round.search(needs, desired.revision, &refused);
    let makes_room = |other: usize| {
        let held = &round.replicas[other];
        let goes = !is_present(held, desired) || held.leaving;
        goes && held.class == Class::Live
            && round.would_fit_without(other, needs, desired.revision, &refused)
    };
    match found {
        Err(reason) if !(0..round.replicas.len()).any(makes_room) => Err(reason),
        _ => {
            round.stop(replica, StopReason::Failed);
            round.create(new_id(), desired.revision, attempt, refused, needs);
            Ok(())
        }
    }
}

/// Returns how long to wait after this many consecutive failures.
fn failure_backoff(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    MAX_FAILURE_BACKOFF.min(FAILURE_BACKOFF * 2_u32.pow(doublings))
}

/// Makes workers that could not listen on a port eligible again after a backoff.
pub(super) fn retry_refused(round: &mut Round, replica: usize) {
    let held = &mut round.replicas[replica];
    if held.refused.is_empty() {
        return;
    }
    let left = failure_backoff(held.attempt.saturating_add(1)).saturating_sub(held.age);
    if left.is_zero() {
        held.refused.clear();
    } else {
        round.wake_after(left);
    }
}
