//! Who computes next: start-time fair queueing (Goyal, Vin and Cheng, 1996), without clock, threads
//! or wakers.
//!
//! A share that asks for a turn gets a tag, the virtual time at which it may begin: that of the
//! queue, or where the share's turns so far have brought it, whichever is later. The smallest tag
//! goes first. A turn moves its share on by what it took, divided by the share's weight, so over
//! any busy time shares get turns in proportion to their weights, and one that asks after a rest
//! goes first but cannot make up for it.

use std::collections::BTreeMap;

/// Nanoseconds at weight [`UNIT_WEIGHT`].
type Virtual = u64;

/// A share of this weight is charged the time that it took.
const UNIT_WEIGHT: u64 = 100;

/// Where the turns of one share have brought it.
#[derive(Debug)]
pub(super) struct Progress {
    /// At least 1.
    weight: u64,
    /// When its next turn may begin, if the queue is not further on.
    next: Virtual,
    /// Its turns that run and that are waited for.
    turns: usize,
}

/// A place in the queue. Unique, and smaller goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag {
    start: Virtual,
    arrival: u64,
}

/// Turns that run, and those who wait for one, each with a `T`.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    /// Turns at once.
    places: usize,
    running: usize,
    waiting: BTreeMap<Tag, T>,
    /// Those with turns.
    shares: usize,
    /// The latest tag that was let in.
    now: Virtual,
    arrivals: u64,
    /// What a turn is expected to take, in nanoseconds.
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

    /// Asks for a turn: `None` when it may begin, else the place where `waiter` waits for one.
    /// Either way the share is charged a whole slice until the turn ends, so that many who wait for
    /// one share do not each count as the first.
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

    /// The waiter at `tag`, unless its turn has begun.
    pub fn waiter(&mut self, tag: Tag) -> Option<&mut T> {
        self.waiting.get_mut(&tag)
    }

    /// Ends a turn that took this long, and lets the next one in.
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

    /// Takes back what [`Self::ask`] asked for: `None` when the turn had begun, which [`Self::end`]
    /// must then end.
    pub fn leave(&mut self, share: &mut Progress, tag: Tag) -> Option<T> {
        let waiter = self.waiting.remove(&tag)?;
        share.next = share.next.saturating_sub(share.cost(self.slice));
        self.close(share);
        Some(waiter)
    }

    /// Shares that have turns or wait for one.
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
