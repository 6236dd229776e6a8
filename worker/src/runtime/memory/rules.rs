//! Decides which guest is lent memory, and from which guest it is taken back. This is pure logic.

use std::collections::HashMap;

/// The excess of a replica over its reserves may be at most this many times the memory that is free
/// afterwards.
///
/// As free memory shrinks, this bound falls, and the replica with the largest excess reaches it
/// first. The rest is left for replicas with a smaller excess: a ninth of what can be lent beside
/// one large borrower, and less beside several.
const TIMES_FREE: u64 = 8;

/// A growth beyond a reserve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub bytes: u64,
    /// The bytes by which all guests of the replica exceed their reserves once this is granted.
    pub excess: u64,
    /// True if no other replica is on the worker. Nothing is then kept for others.
    pub alone: bool,
}

/// A guest and the bytes by which it exceeds its reserve.
#[derive(Clone, Copy, Debug)]
pub(super) struct Borrower {
    /// Identifies the replica.
    pub replica: usize,
    pub excess: u64,
}

/// Returns whether a growth is granted while `committed` bytes of the capacity are committed.
pub(super) fn lends(capacity: u64, committed: u64, ask: Ask) -> bool {
    let free = capacity
        .checked_sub(committed)
        .and_then(|free| free.checked_sub(ask.bytes));
    free.is_some_and(|free| ask.alone || ask.excess <= free.saturating_mul(TIMES_FREE))
}

/// Returns the indices of the guests that exceed their reserve, in the order in which memory is
/// taken back: first by the excess of the whole replica, then by that of the guest, the largest
/// first.
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
