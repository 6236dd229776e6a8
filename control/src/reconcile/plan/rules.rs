//! The rules, one function each, in the order in which they are applied.

use std::{cmp::Reverse, time::Duration};

use super::{
    Desired, StopReason,
    failures::{replace_failed, retry_refused},
    handover::{move_leaving, refused_by_waiting, stop_first},
    rollout::{self, Course},
    round::{Class, Reach, Replica, Round},
    suspicion,
};

/// How long LOST replicas that have been replaced are still shown.
const LOST_KEPT: Duration = Duration::from_secs(600);

/// Deletes the records of replicas that have stopped.
pub(super) fn forget_stopped(round: &mut Round) {
    for replica in round.open(|replica| replica.class == Class::Gone) {
        round.forget(replica);
    }
}

/// Removes all replicas. Lost workers are not waited for: they stop everything that is not assigned
/// to them.
pub(super) fn clear(round: &mut Round) {
    for replica in round.open(|_| true) {
        match (round.replicas[replica].class, round.reach(replica)) {
            (Class::Gone, _) => {}
            (Class::Waiting, _)
            | (_, Reach::Lost | Reach::Stopped(_))
            | (Class::Lost, Reach::Away(_)) => {
                round.forget(replica);
            }
            (Class::Stopping, _) => {}
            _ => round.stop(replica, StopReason::Deleted),
        }
    }
    wake_for_losses(round);
}

/// Moves towards the desired number of replicas of the current revision, with as little disruption
/// as the rules allow.
pub(super) fn converge(round: &mut Round, desired: &Desired, new_id: &mut dyn FnMut() -> String) {
    let target = to_usize(desired.replicas);
    suspicion::judge(round, desired.revision);
    mark_lost(round);
    stop_held(round, desired);
    settle_returned(round, desired, target);
    let reached = rollout::Counts::of(round, desired);
    let course = rollout::course(round, desired, target, &reached);
    if course != Course::Back {
        drop_useless_old(round, desired);
        scale_down(round, desired, target);
        if course == Course::Halted {
            rollout::scale_down_earlier(round, old_victims(round, desired), target);
            retire_stuck(round, desired, target);
        } else {
            retire_old(round, desired, target);
        }
        place_waiting(round, desired);
        if course == Course::Onward || !earlier_do_the_work(round, desired, target) {
            replace_failed(round, desired, target, new_id);
            fill_up(round, desired, target, new_id);
        }
        if course == Course::Onward {
            move_leaving(round, desired, target);
            stop_first(round, desired);
        }
    }
    rollout::note(round, desired, target, course, &reached);
    forget_lost(round, target);
    wake_for_losses(round);
    mark_available(round, desired);
}

/// Records replicas of the current revision that have been ready for long enough as available; for
/// the others, schedules a new plan for when they will be.
fn mark_available(round: &mut Round, desired: &Desired) {
    for replica in round.open(|replica| is_present(replica, desired) && replica.ready) {
        let Replica {
            noted, ripens_in, ..
        } = round.replicas[replica];
        if noted || round.reach(replica) != Reach::Ready {
            continue;
        }
        if ripens_in.is_zero() {
            round.mark_available(replica);
        } else {
            round.wake_after(ripens_in);
        }
    }
}

/// Returns whether a halted rollout can be left as it is: replicas of earlier revisions serve, and
/// no more are missing than may be. If there are none, nothing is lost by trying further.
fn earlier_do_the_work(round: &Round, desired: &Desired, target: usize) -> bool {
    let needed = target.saturating_sub(to_usize(desired.max_unavailable));
    !old_victims(round, desired).is_empty() && round.count(Replica::is_available) >= needed
}

/// Marks the replicas of a worker that was silent for the timeout as LOST. A replica that has ended
/// keeps its end state: nothing of it runs that could be lost, and a completed one must not run
/// again. One that was requested to stop must not return, so it is deleted, and its worker stops
/// what is not assigned to it. A replica that a cleanly stopped worker does not keep is deleted as
/// well: it does not run, and was not lost.
fn mark_lost(round: &mut Round) {
    for replica in round.open(|replica| matches!(replica.class, Class::Live | Class::Stopping)) {
        match (round.reach(replica), round.replicas[replica].class) {
            (Reach::Lost | Reach::Stopped(_), Class::Stopping)
            | (Reach::Stopped(Duration::ZERO), _) => round.forget(replica),
            (Reach::Lost, _) => round.mark_lost(replica),
            _ => {}
        }
    }
}

/// Stops replicas of a held revision instead of letting a worker that has just restarted start them
/// again.
fn stop_held(round: &mut Round, desired: &Desired) {
    let begins = |replica: &Replica| {
        replica.class == Class::Live && replica.on_trial && replica.cut_short.is_some()
    };
    for replica in round.open(begins) {
        if is_held(round, replica, desired) {
            round.stop(replica, StopReason::Held);
        }
    }
}

fn is_held(round: &Round, replica: usize, desired: &Desired) -> bool {
    is_present(&round.replicas[replica], desired) && round.suspicion.is_held()
}

/// Lets a lost replica whose worker is back continue if it was not replaced, to preserve its state.
/// A replacement that still waits for a worker does not count.
fn settle_returned(round: &mut Round, desired: &Desired, target: usize) {
    let mut returned = round.open(|replica| replica.class == Class::Lost);
    returned.retain(|replica| round.reach(*replica) == Reach::Ready);
    returned.sort_by_key(|replica| round.replicas[*replica].revision != desired.revision);
    for replica in returned {
        let is_free = round.count(|other| holds_place(other, desired)) < target;
        if is_held(round, replica, desired) {
            round.stop(replica, StopReason::Held);
        } else if is_free && may_start(round, desired) {
            round.readmit(replica);
        } else {
            round.stop(replica, StopReason::Replaced);
        }
    }
}

/// Removes those replicas of earlier revisions that never ran or that have failed.
fn drop_useless_old(round: &mut Round, desired: &Desired) {
    let useless = |replica: &Replica| {
        replica.revision != desired.revision
            && matches!(replica.class, Class::Waiting | Class::Failed)
    };
    for replica in round.open(useless) {
        round.stop(replica, superseded(desired));
    }
}

/// Removes surplus replicas of the current revision: first those whose loss matters least, then the
/// newest. Replicas that wait for a worker must not raise the total of all revisions above what an
/// update may use either.
fn scale_down(round: &mut Round, desired: &Desired, target: usize) {
    let surplus = round
        .count(|replica| is_slot(replica, desired))
        .saturating_sub(target);
    let mut victims = round.open(|replica| is_slot(replica, desired));
    victims.sort_by_key(|replica| {
        let Replica {
            class,
            ready,
            available,
            age,
            ..
        } = &round.replicas[*replica];
        let missed = match class {
            Class::Failed => 0,
            Class::Waiting | Class::Lost => 1,
            Class::Completed => 3,
            _ if *available => 5,
            _ if *ready => 4,
            _ => 2,
        };
        (missed, *age, Reverse(*replica))
    });
    let reason = StopReason::ScaledDown {
        replicas: desired.replicas,
    };
    for replica in victims.into_iter().take(surplus) {
        round.stop(replica, reason.clone());
    }

    let all = round.count(is_in_use);
    let waiting = round.open(|replica| replica.class == Class::Waiting);
    for replica in waiting
        .into_iter()
        .rev()
        .take(all.saturating_sub(target.saturating_add(surge(desired))))
    {
        round.forget(replica);
    }
}

/// Removes old replicas. Those that are not available are no longer useful. The others stay until
/// the desired number, less those that may be missing during an update, is available without them.
fn retire_old(round: &mut Round, desired: &Desired, target: usize) {
    let is_old_live = |replica: &Replica| {
        replica.revision != desired.revision
            && matches!(replica.class, Class::Live | Class::Completed)
    };
    for replica in round.open(|replica| is_old_live(replica) && !replica.is_available()) {
        round.stop(replica, superseded(desired));
    }
    if desired.stop_first {
        for replica in old_victims(round, desired) {
            let revision = desired.revision;
            round.stop(replica, StopReason::StopFirst { revision });
        }
        return;
    }
    let needed = target.saturating_sub(to_usize(desired.max_unavailable));
    let surplus = round.count(Replica::is_available).saturating_sub(needed);
    for replica in old_victims(round, desired).into_iter().take(surplus) {
        round.stop(replica, superseded(desired));
    }
}

/// Removes stuck replicas during a halted rollout. In general a halted rollout leaves earlier
/// replicas alone, because one that does not serve now may do so soon. One that has not become
/// ready for as long as a rollout may take is not expected to, and it can hold what the current
/// revision needs: the room for one more replica, a port, or the place of an exclusive service.
fn retire_stuck(round: &mut Round, desired: &Desired, target: usize) {
    if earlier_do_the_work(round, desired, target) {
        return;
    }
    let is_idle = |replica: &Replica| {
        !is_present(replica, desired) && replica.class == Class::Live && !replica.is_available()
    };
    for replica in round.open(is_idle) {
        if round.reach(replica) != Reach::Ready {
            continue;
        }
        let age = round.replicas[replica].phase_age;
        let left = desired.progress_deadline.saturating_sub(age);
        if left.is_zero() {
            round.stop(replica, superseded(desired));
        } else {
            round.wake_after(left);
        }
    }
}

/// Returns the number of extra replicas that an update may use.
pub(super) fn surge(desired: &Desired) -> usize {
    match desired.stop_first {
        true => 0,
        false => to_usize(desired.max_surge),
    }
}

pub(super) fn to_usize(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Returns the available replicas of old revisions: completed ones first, then the newest.
pub(super) fn old_victims(round: &Round, desired: &Desired) -> Vec<usize> {
    let mut victims =
        round.open(|replica| replica.revision != desired.revision && replica.is_available());
    victims.sort_by_key(|replica| {
        let Replica { class, age, .. } = &round.replicas[*replica];
        (*class != Class::Completed, *age, Reverse(*replica))
    });
    victims
}

fn place_waiting(round: &mut Round, desired: &Desired) {
    for replica in round.open(|replica| replica.class == Class::Waiting) {
        retry_refused(round, replica);
        if may_start(round, desired) {
            round.place(replica);
        }
    }
    // Only now is it known what those with a worker have taken.
    if may_start(round, desired) {
        for replica in round.open(|replica| replica.class == Class::Waiting) {
            round.explain(replica);
        }
    }
}

/// Returns whether one more replica may run while the others are as they are. For an exclusive
/// service every other replica must have ended first: its worker reported so, or lost its lease,
/// which expires before the worker counts as lost.
pub(super) fn may_start(round: &Round, desired: &Desired) -> bool {
    let may_run = |replica: &Replica| matches!(replica.class, Class::Live | Class::Stopping);
    !desired.exclusive || round.count(may_run) == 0
}

/// Creates replicas for free places, without raising the total of all revisions above what an
/// update may use. Replicas that are stopping count, because they still run. Failed ones count too,
/// or an update that cannot work would fail once for every replica.
fn fill_up(
    round: &mut Round,
    desired: &Desired,
    target: usize,
    new_id: &mut dyn FnMut() -> String,
) {
    let missing = target.saturating_sub(round.count(|replica| is_slot(replica, desired)));
    let taken = round.count(|replica| {
        is_in_use(replica) || is_slot(replica, desired) || replica.class == Class::Stopping
    });
    let room = target.saturating_add(surge(desired)).saturating_sub(taken);
    for _ in 0..missing.min(room) {
        if !may_start(round, desired) {
            break;
        }
        let mut refused = round.port_refusals();
        refused.extend(refused_by_waiting(round));
        round.create(new_id(), desired.revision, 0, refused, &desired.needs);
    }
}

/// Deletes LOST replicas once they would not be needed if their worker returned, and have been
/// shown for a while.
fn forget_lost(round: &mut Round, target: usize) {
    let held = round.count(|replica| matches!(replica.class, Class::Live | Class::Completed));
    let needed = target.saturating_sub(held);
    let mut lost = round.all(|replica| replica.class == Class::Lost);
    lost.sort_by_key(|replica| round.replicas[*replica].phase_age);
    for replica in lost.into_iter().skip(needed) {
        let phase_age = round.replicas[replica].phase_age;
        if phase_age >= LOST_KEPT {
            round.forget(replica);
        } else {
            round.wake_after(LOST_KEPT - phase_age);
        }
    }
}

/// Schedules a plan for the time at which a silent worker would be lost: no event announces it.
fn wake_for_losses(round: &mut Round) {
    for replica in 0..round.replicas.len() {
        if matches!(round.replicas[replica].class, Class::Live | Class::Stopping)
            && let Reach::Away(left) | Reach::Stopped(left) = round.reach(replica)
        {
            round.wake_after(left);
        }
        // Its place is free once it is not kept any more, whether it still runs or not.
        if let Some(left) = round.kept_for(replica) {
            round.wake_after(left);
        }
    }
}

/// Returns whether it fills, or will fill, one of the places of the current revision and stays
/// there.
pub(super) fn is_slot(replica: &Replica, desired: &Desired) -> bool {
    is_present(replica, desired)
        && match replica.class {
            Class::Live => !replica.leaving,
            Class::Waiting | Class::Completed | Class::Failed => true,
            Class::Lost => desired.keeps_lost,
            Class::Stopping | Class::Gone => false,
        }
}

pub(super) fn is_present(replica: &Replica, desired: &Desired) -> bool {
    replica.revision == desired.revision
}

/// Returns whether it is in its place, so that no lost replica has to return.
fn holds_place(replica: &Replica, desired: &Desired) -> bool {
    match replica.class {
        Class::Live | Class::Completed => true,
        Class::Failed => replica.revision == desired.revision && !replica.lacks_port(),
        _ => false,
    }
}

/// Returns whether it runs, has run to completion, or will run. Waiting replicas of old revisions
/// have been removed before this is called.
pub(super) fn is_in_use(replica: &Replica) -> bool {
    matches!(
        replica.class,
        Class::Waiting | Class::Live | Class::Completed
    )
}

fn superseded(desired: &Desired) -> StopReason {
    StopReason::Superseded {
        revision: desired.revision,
    }
}
