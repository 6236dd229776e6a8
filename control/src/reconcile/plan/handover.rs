//! Handovers: a replica stops so that its successor can have something that only one of them can
//! hold, or because its worker is being drained.

use std::{cmp::Reverse, collections::BTreeSet};

use warren_model::name::Name;

use super::{
    Desired, StopReason,
    round::{Class, Replica, Round},
    rules::{is_present, is_slot, old_victims, to_usize},
};

/// Moves replicas of the current revision away from drained workers. They are treated like those of
/// an old revision, except that their replacements are no better than they are: none is stopped if
/// no other worker can take it, unless there are enough replicas without it.
pub(super) fn move_leaving(round: &mut Round, desired: &Desired, target: usize) {
    let is_leaving = |replica: &Replica| {
        is_present(replica, desired)
            && replica.leaving
            && !replica.stops_by_itself
            && replica.class == Class::Live
    };
    // Those that are of no use first, then the newest.
    let mut leaving = round.open(is_leaving);
    leaving.sort_by_key(|replica| {
        let Replica { ready, age, .. } = &round.replicas[*replica];
        (*ready, *age, Reverse(*replica))
    });
    for replica in leaving {
        let available = round.count(Replica::is_available);
        let leaving = &round.replicas[replica];
        let (ready, counts) = (leaving.ready, leaving.is_available());
        let left = available - usize::from(counts);
        // Each one that stops first needs a place of its own, found or to be found.
        let on_their_way = round.count(|other| {
            is_slot(other, desired) && !other.is_available() && other.class == Class::Live
        });
        let promised = round.count(|other| {
            is_present(other, desired) && other.leaving && other.class == Class::Stopping
        });
        let may_be_missing = to_usize(desired.max_unavailable);
        let enough = left >= target;
        let refused = refused_by_waiting(round);
        let fits = round
            .search(&desired.needs, desired.revision, &refused)
            .is_ok();
        // Its successor wants a port that it has itself.
        let in_the_way = !fits
            && !desired.needs.ports.is_empty()
            && !changes_hands(round, desired, replica)
            && round.would_fit_without(replica, &desired.needs, desired.revision, &refused);
        let spared = left.saturating_add(may_be_missing) >= target
            || desired.stop_first
            || in_the_way
            || !ready;
        let has_place = on_their_way + usize::from(fits || in_the_way) > promised;
        if enough || (spared && has_place) {
            round.stop(replica, StopReason::Drained);
        }
    }
}

/// Stops an old replica first if a new one cannot start because the old one holds a published port.
/// Stops one at a time, and only while all new replicas that could start are ready.
pub(super) fn stop_first(round: &mut Round, desired: &Desired) {
    let waits =
        round.count(|replica| is_present(replica, desired) && replica.class == Class::Waiting) > 0;
    if desired.needs.ports.is_empty() || !waits || changes_hands(round, desired, usize::MAX) {
        return;
    }
    let refused = refused_by_waiting(round);
    let makes_room = |replica: &usize| {
        round.would_fit_without(*replica, &desired.needs, desired.revision, &refused)
    };
    if let Some(replica) = old_victims(round, desired).into_iter().find(makes_room) {
        let revision = desired.revision;
        round.stop(replica, StopReason::StopFirst { revision });
    }
}

/// Returns whether a port is being handed over from one replica to the next, ignoring `leaving`.
fn changes_hands(round: &Round, desired: &Desired, leaving: usize) -> bool {
    let on_its_way = |(index, replica): (usize, &Replica)| {
        let starts =
            is_present(replica, desired) && replica.class == Class::Live && !replica.is_available();
        index != leaving && (replica.class == Class::Stopping || starts)
    };
    round.replicas.iter().enumerate().any(on_its_way)
}

/// Returns the workers that could not listen on the ports of the waiting replicas.
pub(super) fn refused_by_waiting(round: &Round) -> BTreeSet<Name> {
    let waiting = round.replicas.iter();
    let waiting = waiting.filter(|replica| replica.class == Class::Waiting);
    waiting
        .flat_map(|replica| replica.refused.clone())
        .collect()
}
