//! The work of an instance, and how long it may take. This is pure logic without I/O.
//!
//! A working instance holds at least one place of its component: those of the requests that it is
//! answering, or, while it finishes its work after the last answer, the place of the last request.

use tokio::time::Instant;
use warren_model::spec::Reuse;

use crate::runtime::slots::Slot;

/// A request's place among the invocations of a component, and the time until which it may hold it.
pub(super) struct Place {
    slot: Slot,
    deadline: Instant,
}

/// The requests of one instance.
pub(super) struct Load {
    /// The number of requests whose answer is not complete.
    running: u32,
    taken: u32,
    /// True if a request was given up in it. It then takes no more.
    condemned: bool,
    /// The time by which all of its requests must have ended.
    deadline: Instant,
    /// Set if answered requests may have left work behind: the time by which the last of them must
    /// have ended.
    answered: Option<Instant>,
    /// The place that is held by the work after the last answer.
    rest: Option<Slot>,
    /// True if the guest does nothing, even if those that wait for its answers have not noticed
    /// yet.
    quiet: bool,
    ended: bool,
}

/// The consequence for an instance when a request is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It continues.
    Stays,
    /// It is no longer needed and must be ended.
    Ends,
}

/// The current work of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    Answering {
        until: Instant,
    },
    /// The guest is still working after the last answer.
    Finishing {
        until: Instant,
    },
    Nothing,
}

// === impl Place ===

impl Place {
    pub fn new(slot: Slot, deadline: Instant) -> Self {
        Self { slot, deadline }
    }

    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

// === impl Load ===

impl Load {
    /// Returns the load of an instance that starts with one request.
    pub fn new(deadline: Instant) -> Self {
        Self {
            running: 1,
            taken: 1,
            condemned: false,
            deadline,
            answered: None,
            rest: None,
            quiet: false,
            ended: false,
        }
    }

    pub fn is_open(&self) -> bool {
        !self.condemned && !self.ended
    }

    pub fn has_room(&self, reuse: Reuse) -> bool {
        self.is_open() && self.running < reuse.concurrency && self.taken < reuse.requests
    }

    /// Adds a request. The caller must drop the slot without holding the lock of the load.
    #[must_use]
    pub fn take(&mut self, deadline: Instant) -> Option<Slot> {
        self.running += 1;
        self.taken += 1;
        self.deadline = self.deadline.max(deadline);
        self.rest.take()
    }

    /// Records that the answer to a request is complete. Returns its slot unless the remaining work
    /// needs it.
    #[must_use]
    pub fn finish(&mut self, place: Place) -> Option<Slot> {
        self.running -= 1;
        self.answered = self.answered.max(Some(place.deadline));
        if self.running > 0 || self.quiet || self.ended {
            return Some(place.slot);
        }
        self.rest = Some(place.slot);
        None
    }

    /// Records that a request was given up. The remaining work of answered requests is not ended
    /// for it.
    pub fn give_up(&mut self, place: Place, now: Instant) -> (Next, Option<Slot>) {
        self.running -= 1;
        self.condemned = true;
        if self.running > 0 || self.ended {
            return (Next::Stays, Some(place.slot));
        }
        if self.answered.is_some_and(|until| until > now) {
            self.rest = Some(place.slot);
            return (Next::Stays, None);
        }
        (Next::Ends, Some(place.slot))
    }

    /// Records that the guest has failed. It takes no more requests.
    pub fn fail(&mut self) {
        self.condemned = true;
    }

    /// Records that the guest begins with a request that was taken.
    pub fn begin(&mut self) {
        self.quiet = false;
    }

    /// Records that the guest has finished everything that it had begun.
    #[must_use]
    pub fn quiet(&mut self) -> Option<Slot> {
        self.quiet = true;
        self.answered = None;
        self.rest.take()
    }

    /// Records that the instance has ended.
    #[must_use]
    pub fn end(&mut self) -> Option<Slot> {
        self.ended = true;
        self.rest.take()
    }

    pub fn work(&self) -> Work {
        match (self.running, &self.rest) {
            (0, None) => Work::Nothing,
            (0, Some(_)) => Work::Finishing {
                until: self.answered.unwrap_or(self.deadline),
            },
            _ => Work::Answering {
                until: self.deadline,
            },
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::runtime::slots::Slots;

    const SHARED: Reuse = Reuse {
        requests: 3,
        concurrency: 2,
    };

    /// An instance with one request, of a component with as many places as a test has requests.
    struct Rig {
        slots: Slots,
        load: Load,
        now: Instant,
    }

    impl Rig {
        fn start() -> (Self, Place) {
            let now = Instant::now();
            let slots = Slots::new(3);
            let load = Load::new(now + Duration::from_secs(1));
            let rig = Self { slots, load, now };
            let place = rig.place(1);
            (rig, place)
        }

        fn place(&self, seconds: u64) -> Place {
            let deadline = self.now + Duration::from_secs(seconds);
            Place::new(self.slots.now().unwrap(), deadline)
        }

        fn take(&mut self, seconds: u64) -> Place {
            let place = self.place(seconds);
            drop(self.load.take(place.deadline()));
            place
        }

        fn held(&self) -> usize {
            let free: Vec<_> = std::iter::from_fn(|| self.slots.now().ok()).collect();
            3 - free.len()
        }
    }

    #[test]
    fn work_after_the_last_answer_holds_its_place_until_it_is_done() {
        let (mut rig, first) = Rig::start();
        let second = rig.take(2);
        assert!(rig.load.finish(first).is_some());
        assert_eq!(rig.held(), 1, "the other one runs");
        assert!(rig.load.finish(second).is_none());
        let until = rig.now + Duration::from_secs(2);
        assert_eq!(rig.load.work(), Work::Finishing { until });
        assert_eq!(rig.held(), 1);
        drop(rig.load.quiet());
        assert_eq!((rig.load.work(), rig.held()), (Work::Nothing, 0));
    }

    #[test]
    fn a_guest_that_is_quiet_before_its_answer_is_known_to_be_whole_holds_nothing() {
        let (mut rig, first) = Rig::start();
        assert!(rig.load.quiet().is_none());
        assert!(rig.load.finish(first).is_some());
        let second = rig.take(2);
        rig.load.begin();
        assert!(rig.load.finish(second).is_none(), "it works again");
    }

    #[test]
    fn the_next_request_holds_a_place_for_the_work_that_is_left() {
        let (mut rig, first) = Rig::start();
        assert!(rig.load.finish(first).is_none());
        let _second = rig.take(2);
        assert_eq!(rig.held(), 1);
        let until = rig.now + Duration::from_secs(2);
        assert_eq!(rig.load.work(), Work::Answering { until });
    }

    #[test]
    fn giving_up_the_only_request_ends_the_instance() {
        let (mut rig, first) = Rig::start();
        let (next, slot) = rig.load.give_up(first, rig.now);
        assert_eq!((next, slot.is_some()), (Next::Ends, true));
        assert!(!rig.load.has_room(SHARED));
    }

    #[test]
    fn giving_up_one_request_leaves_the_work_of_others_its_time() {
        let (mut rig, first) = Rig::start();
        let second = rig.take(2);
        drop(rig.load.finish(first));
        let (next, slot) = rig.load.give_up(second, rig.now);
        assert_eq!((next, slot.is_none()), (Next::Stays, true));
        assert!(!rig.load.is_open() && rig.held() == 1);

        let until = rig.now + Duration::from_secs(1);
        assert_eq!(rig.load.work(), Work::Finishing { until });

        // The time of its work is over, or the work is done.
        let late = Duration::from_millis(1001);
        for (quiet, at) in [(false, late), (true, Duration::ZERO)] {
            let (mut rig, first) = Rig::start();
            let second = rig.take(2);
            drop(rig.load.finish(first));
            if quiet {
                drop(rig.load.quiet());
            }
            let (next, slot) = rig.load.give_up(second, rig.now + at);
            assert_eq!((next, slot.is_some()), (Next::Ends, true));
        }
    }

    #[test]
    fn an_instance_that_is_gone_holds_nothing() {
        let (mut rig, first) = Rig::start();
        let second = rig.take(2);
        drop(rig.load.finish(first));
        assert!(rig.load.end().is_none());
        assert!(rig.load.finish(second).is_some());
        assert_eq!((rig.held(), rig.load.is_open()), (0, false));
    }

    #[test]
    fn an_instance_takes_as_many_as_it_may() {
        let (mut rig, first) = Rig::start();
        let second = rig.take(1);
        assert!(!rig.load.has_room(SHARED), "two at once");
        drop(rig.load.finish(first));
        assert!(rig.load.has_room(SHARED));
        let third = rig.take(1);
        drop((rig.load.finish(second), rig.load.finish(third)));
        assert!(!rig.load.has_room(SHARED), "three in all");
    }
}
