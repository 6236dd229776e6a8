//! Decides whether the rollout of the current revision makes progress, has completed, or stalls.

use std::time::Duration;

use super::{
    Action, Desired, StopReason,
    round::{Class, Reach, Replica, Round},
};

/// How old a worker's session has to be before the absence of a report means something: a worker
/// that has reconnected first reports what happened to its replicas.
const SETTLED: Duration = Duration::from_secs(2);

/// The last recorded state of the current revision's rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollout {
    pub state: RolloutState,
    /// The most replicas of the revision that were available at once.
    pub most_available: u32,
    /// The lowest number of earlier replicas that were left; `None` if they were not counted yet.
    pub fewest_earlier: Option<u32>,
    /// The time since it last made progress.
    pub idle: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutState {
    Progressing,
    Complete,
    Stalled,
}

/// A change to record for a rollout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    pub state: RolloutState,
    /// It has just made progress.
    pub moved: bool,
    pub most_available: u32,
    pub fewest_earlier: u32,
}

/// What the rules may do for the revision in this round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Course {
    /// Everything that advances it.
    Onward,
    /// Nothing that removes a replica of an earlier revision or adds one of this revision.
    Halted,
    /// Nothing, because the workload is rolled back first.
    Back,
}

/// Evaluates what was reached so far, before this round changes it.
pub(super) fn course(
    round: &mut Round,
    desired: &Desired,
    target: usize,
    reached: &Counts,
) -> Course {
    if !is_judged(desired, target) {
        return Course::Onward;
    }
    let noted = desired.rollout.as_ref();
    if reached.are_whole(target) || moves(round, desired, reached) {
        return Course::Onward;
    }
    if noted.is_some_and(|noted| noted.state == RolloutState::Stalled) {
        return Course::Halted;
    }
    let left = patience(round, desired);
    if left > Duration::ZERO {
        round.wake_after(left);
        return Course::Onward;
    }
    match desired.roll_back_to {
        Some(revision) => {
            round.act(Action::RollBack { revision });
            Course::Back
        }
        None => Course::Halted,
    }
}

/// Records changes once this round is done. Replicas that were available before it count even if
/// the round removes them: they got that far, and a drain or a lower replica count does not concern
/// the rollout.
pub(super) fn note(
    round: &mut Round,
    desired: &Desired,
    target: usize,
    course: Course,
    before: &Counts,
) {
    if !is_judged(desired, target) || course == Course::Back {
        return;
    }
    let noted = desired.rollout.as_ref();
    let mut reached = Counts::of(round, desired);
    reached.available = reached.available.max(before.available);
    let moved = moves(round, desired, &reached);
    let state = match course {
        _ if reached.are_whole(target) => RolloutState::Complete,
        Course::Halted if !moved => RolloutState::Stalled,
        _ => RolloutState::Progressing,
    };
    if moved || noted.is_none_or(|noted| noted.state != state) {
        round.act(Action::Note(reached.note(state, moved, noted)));
    }
}

/// Returns whether there is progress since the last record.
fn moves(round: &mut Round, desired: &Desired, reached: &Counts) -> bool {
    let Some(noted) = &desired.rollout else {
        return true;
    };
    if reached.are_better_than(noted) {
        return true;
    }
    // A large component takes minutes on a busy machine: it is worth recording now and then that
    // compilation continues, but not more often.
    let compiles = |replica: &Replica| {
        !is_earlier(replica, desired) && replica.compiling && replica.class == Class::Live
    };
    if round.count(compiles) == 0 {
        return false;
    }
    let left = (desired.progress_deadline / 2).saturating_sub(noted.idle);
    if left > Duration::ZERO {
        round.wake_after(left);
    }
    left == Duration::ZERO
}

/// Returns whether the rollout can still stall. Once it has completed, later events do not concern
/// it, and if no replica is desired, nothing can show that the revision works.
fn is_judged(desired: &Desired, target: usize) -> bool {
    let noted = desired.rollout.as_ref();
    target > 0 && noted.is_none_or(|noted| noted.state != RolloutState::Complete)
}

/// Stops the surplus replicas of earlier revisions although the rollout is halted.
pub(super) fn scale_down_earlier(round: &mut Round, victims: Vec<usize>, target: usize) {
    let surplus = round.count(Replica::is_available).saturating_sub(target);
    let replicas = u32::try_from(target).unwrap_or(u32::MAX);
    for replica in victims.into_iter().take(surplus) {
        round.stop(replica, StopReason::ScaledDown { replicas });
    }
}

/// Returns how much longer the rollout may continue without progress before it stalls. This is more
/// than zero while the cause of a delay is known, or while it is not yet known whether there is
/// one.
fn patience(round: &Round, desired: &Desired) -> Duration {
    let idle = desired
        .rollout
        .as_ref()
        .map_or(Duration::ZERO, |rollout| rollout.idle);
    let left = desired.progress_deadline.saturating_sub(idle);
    if left > Duration::ZERO {
        return left;
    }
    // Stopping replicas have their grace period, and replicas that wait for their place have to
    // wait. Their end is progress.
    if round.count(|replica| is_earlier(replica, desired) && replica.class == Class::Stopping) > 0 {
        return desired.progress_deadline;
    }
    let own = round.all(|replica| {
        !is_earlier(replica, desired) && matches!(replica.class, Class::Live | Class::Lost)
    });
    let unheard = own.into_iter().map(|replica| match round.reach(replica) {
        Reach::Away(left) | Reach::Stopped(left) => left,
        Reach::Ready => SETTLED.saturating_sub(round.connected_for(replica)),
        Reach::Lost => Duration::ZERO,
    });
    // A replica that is ready now only has to stay ready for a while.
    let ripening = round.replicas.iter().filter(|replica| {
        !is_earlier(replica, desired) && replica.class == Class::Live && replica.ready
    });
    let ripening = ripening.map(|replica| replica.ripens_in);
    unheard
        .chain(ripening)
        .max()
        .unwrap_or_default()
        .max(round.until_all_were_heard())
}

fn is_earlier(replica: &Replica, desired: &Desired) -> bool {
    replica.revision != desired.revision
}

/// Counts of the replicas of the current revision and of earlier ones.
pub(super) struct Counts {
    available: usize,
    /// All that are left, including those that are stopping; lost ones do not count.
    earlier: usize,
    /// Those that still do work.
    earlier_in_use: usize,
}

// === impl Counts ===

impl Counts {
    pub fn of(round: &Round, desired: &Desired) -> Self {
        let earlier = |replica: &Replica| is_earlier(replica, desired);
        Self {
            available: round.count(|replica| !earlier(replica) && replica.is_available()),
            earlier: round.count(|replica| {
                earlier(replica) && !matches!(replica.class, Class::Gone | Class::Lost)
            }),
            earlier_in_use: round.count(|replica| {
                earlier(replica)
                    && matches!(
                        replica.class,
                        Class::Waiting | Class::Live | Class::Completed
                    )
            }),
        }
    }

    /// As many replicas of the revision as desired are available, and no earlier one does any work.
    fn are_whole(&self, target: usize) -> bool {
        self.available >= target && self.earlier_in_use == 0
    }

    fn are_better_than(&self, noted: &Rollout) -> bool {
        let fewer = match noted.fewest_earlier {
            Some(fewest) => count(self.earlier) < fewest,
            // Earlier replicas are never counted for a first revision.
            None => self.earlier > 0,
        };
        count(self.available) > noted.most_available || fewer
    }

    fn note(&self, state: RolloutState, moved: bool, noted: Option<&Rollout>) -> Note {
        let most = noted.map_or(0, |noted| noted.most_available);
        let fewest = noted.and_then(|noted| noted.fewest_earlier);
        let earlier = count(self.earlier);
        Note {
            state,
            moved,
            most_available: most.max(count(self.available)),
            fewest_earlier: fewest.map_or(earlier, |fewest| fewest.min(earlier)),
        }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
