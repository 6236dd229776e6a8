//! Who is lent memory, and from whom it is taken back. Pure.

use std::collections::HashMap;

/// A replica may exceed its reserves by at most this many times the memory that is free afterwards.
///
/// As free memory shrinks this bound falls, and the replica that exceeds its reserves most meets it
/// first. What is left is for those that exceed theirs less: a ninth of what can be lent beside one
/// large borrower, and less beside several.
const TIMES_FREE: u64 = 8;

/// A growth beyond a reserve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub bytes: u64,
    /// What all guests of the replica exceed their reserves by, once this is granted.
    pub excess: u64,
    /// No other replica is on the worker: nothing is kept for others.
    pub alone: bool,
}

/// What one guest exceeds its reserve by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borrower {
    /// Tells replicas apart.
    pub replica: usize,
    pub excess: u64,
}

/// Whether a growth is granted while so much of the capacity is committed.
pub(super) fn lends(capacity: u64, committed: u64, ask: Ask) -> bool {
    let free = capacity
        .checked_sub(committed)
        .and_then(|free| free.checked_sub(ask.bytes));
    free.is_some_and(|free| ask.alone || ask.excess <= free.saturating_mul(TIMES_FREE))
}

/// The indices of those that exceed their reserve, in the order in which memory is taken back: by
/// what the whole replica exceeds, then by what the guest does; the most first.
pub(super) fn order(guests: &[Borrower]) -> Vec<usize> {
    let mut of_replica: HashMap<usize, u64> = HashMap::new();
    for guest in guests {
        let excess = of_replica.entry(guest.replica).or_default();
        *excess = excess.saturating_add(guest.excess);
    }
    let mut order: Vec<_> = (0..guests.len())
        .filter(|index| guests[*index].excess > 0)
        .collect();
    order.sort_by_key(|index| {
        let guest = guests[*index];
        let replica = of_replica.get(&guest.replica).copied();
        std::cmp::Reverse((replica, guest.excess))
    });
    order
}
