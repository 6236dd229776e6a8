//! Decides which share computes next by start-time fair queueing (Goyal, Vin and Cheng, 1996),
//! without a clock, threads or wakers.
//!
//! A share that asks for a turn gets a tag: the virtual time at which the turn may begin. It is the
//! queue's virtual time, or the point that the share's own turns have reached, whichever is later.
//! The smallest tag goes first. A turn advances its share by the time that it took, divided by the
//! share's weight. Over any busy period, shares therefore get turns in proportion to their weights.
//! A share that asks after a rest goes first, but cannot make up for the rest.

use std::collections::BTreeMap;

/// Nanoseconds of a share with weight [`UNIT_WEIGHT`].
type Virtual = u64;

/// A share of this weight is charged exactly the time that it took.
const UNIT_WEIGHT: u64 = 100;

/// The point that the turns of one share have reached.
#[derive(Debug)]
pub(super) struct Progress {
    /// The weight, which is at least 1.
    weight: u64,
    /// The earliest time of its next turn, unless the queue's time is later.
    next: Virtual,
    /// The number of its turns that run or are waited for.
    turns: usize,
}

/// A position in the queue. It is unique, and smaller positions go first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag {
    start: Virtual,
    arrival: u64,
}

/// The running turns and the waiting ones, each of which carries a `T`.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    /// The number of turns that may run at once.
    places: usize,
    running: usize,
    waiting: BTreeMap<Tag, T>,
    /// The number of shares that have or wait for turns.
    shares: usize,
    /// The latest tag that was let in.
    now: Virtual,
    arrivals: u64,
    /// The expected length of a turn, in nanoseconds.
    slice: u64,
}

// === impl Progress ===

impl Progress {
    pub fn new(weight: u32) -> Self {
        Self {
            weight: u64::from(weight).max(1),
            next: 0,
            turns: 0,
        }
    }

    fn cost(&self, nanos: u64) -> Virtual {
        nanos.saturating_mul(UNIT_WEIGHT) / self.weight
    }
}

// === impl FairQueue ===

impl<T> FairQueue<T> {
    pub fn new(places: usize, slice: u64) -> Self {
        Self {
            places,
            running: 0,
            waiting: BTreeMap::new(),
            shares: 0,
            now: 0,
            arrivals: 0,
            slice,
        }
    }

    /// Asks for a turn. Returns `None` if it may begin at once, or else the position at which
    /// `waiter` waits. Either way the share is charged a whole slice until the turn ends, so that
    /// several waiters of one share do not each count as its first.
    pub fn ask(&mut self, share: &mut Progress, waiter: impl FnOnce() -> T) -> Option<Tag> {
        let start = share.next.max(self.now);
        share.next = start.saturating_add(share.cost(self.slice));
        share.turns += 1;
        self.shares += usize::from(share.turns == 1);
        if self.running < self.places && self.waiting.is_empty() {
            self.begin(start);
            return None;
        }
        self.arrivals += 1;
        let tag = Tag {
            start,
            arrival: self.arrivals,
        };
        self.waiting.insert(tag, waiter());
        Some(tag)
    }

    /// Returns the waiter at `tag`, unless its turn has begun.
    pub fn waiter(&mut self, tag: Tag) -> Option<&mut T> {
        self.waiting.get_mut(&tag)
    }

    /// Ends a turn that took this long, and returns the next waiter to let in.
    pub fn end(&mut self, share: &mut Progress, nanos: u64) -> Option<T> {
        let expected = share.cost(self.slice);
        let took = share.cost(nanos);
        share.next = share.next.saturating_sub(expected).saturating_add(took);
        self.running -= 1;
        self.close(share);
        let (tag, waiter) = self.waiting.pop_first()?;
        self.begin(tag.start);
        Some(waiter)
    }

    /// Withdraws a request made by [`Self::ask`]. Returns `None` if the turn has already begun; it
    /// must then be ended by [`Self::end`].
    pub fn leave(&mut self, share: &mut Progress, tag: Tag) -> Option<T> {
        let waiter = self.waiting.remove(&tag)?;
        share.next = share.next.saturating_sub(share.cost(self.slice));
        self.close(share);
        Some(waiter)
    }

    /// Returns the number of shares that have turns or wait for one.
    pub fn shares(&self) -> usize {
        self.shares
    }

    fn close(&mut self, share: &mut Progress) {
        share.turns -= 1;
        self.shares -= usize::from(share.turns == 0);
    }

    fn begin(&mut self, start: Virtual) {
        self.running += 1;
        self.now = self.now.max(start);
    }
}

#[cfg(test)]
mod tests;
