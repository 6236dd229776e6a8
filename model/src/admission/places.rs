//! Places of which the longest idle one is given to a newcomer when none is free.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{Bounds, Full, Peer};

/// A bounded number of places, each held by one `T`. When a place is given to a newcomer, its
/// former holder is returned, so that the caller can close it. Clones share the places.
#[derive(Debug)]
pub struct Places<T>(Arc<Mutex<Inner<T>>>);

#[derive(Debug)]
struct Inner<T> {
    bounds: Bounds,
    slots: Vec<Option<Holder<T>>>,
    free: Vec<usize>,
    peers: HashMap<Peer, OfPeer>,
    idle: Queue,
    /// Grows with every event, so that it identifies a holder, and the time at which it became
    /// idle.
    clock: u64,
}

#[derive(Debug)]
struct Holder<T> {
    /// The clock when it entered, which identifies it.
    since: u64,
    peer: Option<Peer>,
    handle: T,
    /// The number of its [`Busy`] guards.
    busy: usize,
    /// When the last of them was dropped; `None` while there is one.
    idle: Option<(u64, Instant)>,
}

#[derive(Debug, Default)]
struct OfPeer {
    places: usize,
    idle: Queue,
}

/// Slots in the order in which they became idle. An entry stays when its slot becomes busy or is
/// left; its time then differs from the slot's, and it is skipped.
#[derive(Debug, Default)]
struct Queue(VecDeque<(u64, usize)>);

/// A place that was taken, and the former holder that has to be closed for it.
#[derive(Debug)]
pub struct Entered<T> {
    pub place: Place<T>,
    pub evicted: Option<T>,
}

/// A place of one holder, idle at first. Dropping it frees the place, unless it was given away.
#[derive(Debug)]
pub struct Place<T>(Arc<Held<T>>);

#[derive(Debug)]
struct Held<T> {
    places: Places<T>,
    slot: usize,
    since: u64,
}

/// A guard: as long as it lives, its place is not given away.
#[derive(Debug)]
pub struct Busy<T>(Arc<Held<T>>);

// === impl Places ===

impl<T> Clone for Places<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Places<T> {
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            bounds,
            slots: Vec::new(),
            free: Vec::new(),
            peers: HashMap::new(),
            idle: Queue::default(),
            clock: 0,
        })))
    }

    /// Takes a place for a peer; without a peer only the total counts. A peer at its bound loses
    /// its own longest idle place; when all places are taken, the longest idle of all is lost.
    pub fn enter(&self, peer: Option<Peer>, handle: T) -> Result<Entered<T>, Full> {
        let mut inner = self.inner();
        let evicted = inner.make_room(peer)?;
        let (slot, since) = inner.seat(peer, handle);
        drop(inner);
        let place = Place(Arc::new(Held {
            places: self.clone(),
            slot,
            since,
        }));
        Ok(Entered { place, evicted })
    }

    /// Frees the longest idle place and returns its holder, when something else than places is
    /// short.
    pub fn evict(&self) -> Option<T> {
        self.inner().evict(None)
    }

    /// Places that are taken.
    pub fn taken(&self) -> usize {
        self.inner().taken()
    }

    fn inner(&self) -> MutexGuard<'_, Inner<T>> {
        // Nothing in it is left half done where it could panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Inner ===

impl<T> Inner<T> {
    fn taken(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn make_room(&mut self, peer: Option<Peer>) -> Result<Option<T>, Full> {
        let of_peer = |peer| self.peers.get(&peer).map_or(0, |of_peer| of_peer.places);
        if let Some(peer) = peer.filter(|peer| of_peer(*peer) >= self.bounds.per_peer) {
            let full = Full::Peer(peer, self.bounds.per_peer);
            return self.evict(Some(peer)).map(Some).ok_or(full);
        }
        if self.taken() >= self.bounds.total {
            let full = Full::Total(self.bounds.total);
            return self.evict(None).map(Some).ok_or(full);
        }
        Ok(None)
    }

    fn seat(&mut self, peer: Option<Peer>, handle: T) -> (usize, u64) {
        let since = self.tick();
        let holder = Holder {
            since,
            peer,
            handle,
            busy: 0,
            idle: None,
        };
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[slot] = Some(holder);
        if let Some(peer) = peer {
            self.peers.entry(peer).or_default().places += 1;
        }
        self.rest(slot);
        (slot, since)
    }

    /// The holder of a slot, unless it is another one by now.
    fn holder(&mut self, slot: usize, since: u64) -> Option<&mut Holder<T>> {
        let holder = self.slots.get_mut(slot)?.as_mut();
        holder.filter(|holder| holder.since == since)
    }

    /// A slot becomes idle.
    fn rest(&mut self, slot: usize) {
        let now = self.tick();
        let Some(holder) = &mut self.slots[slot] else {
            return;
        };
        holder.idle = Some((now, Instant::now()));
        let peer = holder.peer;
        self.idle.push(now, slot, &self.slots);
        if let Some(of_peer) = peer.and_then(|peer| self.peers.get_mut(&peer)) {
            of_peer.idle.push(now, slot, &self.slots);
        }
    }

    /// Empties the slot that was idle for longest, of a peer or of all.
    fn evict(&mut self, peer: Option<Peer>) -> Option<T> {
        let queue = match peer {
            Some(peer) => &mut self.peers.get_mut(&peer)?.idle,
            None => &mut self.idle,
        };
        let slot = queue.pop(&self.slots)?;
        self.vacate(slot)
    }

    fn vacate(&mut self, slot: usize) -> Option<T> {
        let holder = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        if let Some(peer) = holder.peer
            && let Some(of_peer) = self.peers.get_mut(&peer)
        {
            of_peer.places -= 1;
            if of_peer.places == 0 {
                self.peers.remove(&peer);
            }
        }
        Some(holder.handle)
    }
}

// === impl Queue ===

impl Queue {
    /// Adds an entry. Stale entries are removed now and then, so that the queue never holds more
    /// than about twice as many entries as there are slots.
    fn push<T>(&mut self, since: u64, slot: usize, slots: &[Option<Holder<T>>]) {
        if self.0.len() > 2 * slots.len() + 16 {
            self.0.retain(|entry| is_idle_since(*entry, slots));
        }
        self.0.push_back((since, slot));
    }

    fn pop<T>(&mut self, slots: &[Option<Holder<T>>]) -> Option<usize> {
        while let Some(entry) = self.0.pop_front() {
            if is_idle_since(entry, slots) {
                return Some(entry.1);
            }
        }
        None
    }
}

fn is_idle_since<T>((since, slot): (u64, usize), slots: &[Option<Holder<T>>]) -> bool {
    let holder = slots.get(slot).and_then(Option::as_ref);
    let idle = holder.and_then(|holder| holder.idle);
    idle.is_some_and(|(at, _)| at == since)
}

// === impl Place ===

impl<T> Place<T> {
    /// Marks it as in use until the guard is dropped. `None` when the place was given away.
    pub fn begin(&self) -> Option<Busy<T>> {
        let held = &self.0;
        let mut inner = held.places.inner();
        let holder = inner.holder(held.slot, held.since)?;
        holder.busy += 1;
        holder.idle = None;
        Some(Busy(Arc::clone(held)))
    }

    /// Whether it was not given away.
    pub fn is_held(&self) -> bool {
        let held = &self.0;
        held.places.inner().holder(held.slot, held.since).is_some()
    }

    /// When it became idle; `None` while it is in use, and once it was given away.
    pub fn idle_since(&self) -> Option<Instant> {
        let held = &self.0;
        let mut inner = held.places.inner();
        inner.holder(held.slot, held.since)?.idle.map(|(_, at)| at)
    }
}

impl<T> Drop for Place<T> {
    fn drop(&mut self) {
        let held = &self.0;
        let mut inner = held.places.inner();
        if inner.holder(held.slot, held.since).is_some() {
            let handle = inner.vacate(held.slot);
            // Dropped without the lock: it may be anything.
            drop(inner);
            drop(handle);
        }
    }
}

// === impl Busy ===

impl<T> Drop for Busy<T> {
    fn drop(&mut self) {
        let held = &self.0;
        let mut inner = held.places.inner();
        // None: the place was left before.
        if let Some(holder) = inner.holder(held.slot, held.since) {
            holder.busy -= 1;
            if holder.busy == 0 {
                inner.rest(held.slot);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::*;

    fn peer(last: u8) -> Option<Peer> {
        Some(Peer::from(IpAddr::from([10, 0, 0, last])))
    }

    fn places(total: usize, per_peer: usize) -> Places<&'static str> {
        Places::new(Bounds { total, per_peer })
    }

    #[test]
    fn the_longest_idle_one_goes_and_never_a_busy_one() {
        let places = places(3, 3);
        let enter = |name| places.enter(peer(1), name);
        let (a, b, c) = (
            enter("a").unwrap(),
            enter("b").unwrap(),
            enter("c").unwrap(),
        );
        assert_eq!((a.evicted, b.evicted, c.evicted), (None, None, None));
        let (a, b, c) = (a.place, b.place, c.place);
        // `a` was used last, `b` is in use.
        drop(a.begin().unwrap());
        let busy = b.begin().unwrap();
        let d = enter("d").unwrap();
        assert_eq!(d.evicted, Some("c"));
        assert!(c.begin().is_none() && c.idle_since().is_none() && !c.is_held());
        assert!(a.is_held());
        let e = enter("e").unwrap();
        assert_eq!(e.evicted, Some("a"));
        let uses = (d.place.begin().unwrap(), e.place.begin().unwrap());
        assert_eq!(enter("f").unwrap_err(), Full::Peer(peer(1).unwrap(), 3));
        let again = b.begin().unwrap();
        drop(busy);
        assert!(enter("f").is_err(), "`b` is still in use");
        drop(again);
        let f = enter("f").unwrap();
        assert_eq!(f.evicted, Some("b"));
        drop((a, b, c));
        assert_eq!(places.taken(), 3, "those who were evicted hold nothing");
        drop((uses, d, e, f));
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn a_peer_makes_room_for_itself_and_others_are_left_alone() {
        let places = places(4, 2);
        let enter = |last, name| places.enter(peer(last), name);
        let other = enter(2, "other").unwrap();
        let (a, b) = (enter(1, "a").unwrap(), enter(1, "b").unwrap());
        let c = enter(1, "c").unwrap();
        assert_eq!(c.evicted, Some("a"));
        let uses = (b.place.begin().unwrap(), c.place.begin().unwrap());
        assert_eq!(enter(1, "d").unwrap_err(), Full::Peer(peer(1).unwrap(), 2));
        // A holder without a peer is bounded only by the total.
        let trusted = places.enter(None, "trusted").unwrap();
        assert_eq!(trusted.evicted, None);
        let more = places.enter(None, "more").unwrap();
        assert_eq!(more.evicted, Some("other"));
        drop((trusted, more, uses, a, b, c, other));
        assert!(places.inner().peers.is_empty());
    }

    #[test]
    fn an_idle_place_can_be_given_up_without_need_of_it() {
        let places = places(4, 4);
        let a = places.enter(peer(1), "a").unwrap();
        let busy = a.place.begin().unwrap();
        assert_eq!(places.evict(), None);
        drop(busy);
        assert_eq!(places.evict(), Some("a"));
        assert_eq!(places.taken(), 0);
    }

    #[test]
    fn what_is_remembered_of_those_that_come_and_go_is_bounded() {
        let places = places(2, 2);
        let a = places.enter(peer(1), "a").unwrap();
        for _ in 0..10_000 {
            drop(a.place.begin().unwrap());
            drop(places.enter(peer(1), "b").unwrap());
        }
        let inner = places.inner();
        let of_peer = &inner.peers[&peer(1).unwrap()];
        assert!(inner.idle.0.len() < 32 && of_peer.idle.0.len() < 32);
    }

    /// Does the same, slowly.
    #[derive(Default)]
    struct Reference {
        /// Number, peer, uses, and when it became idle.
        held: Vec<(usize, u8, usize, usize)>,
        now: usize,
    }

    impl Reference {
        fn enter(&mut self, number: usize, of: u8, bounds: Bounds) -> Result<Option<usize>, ()> {
            let own = self.held.iter().filter(|held| held.1 == of).count();
            let room = match (own >= bounds.per_peer, self.held.len() >= bounds.total) {
                (true, _) => Some(self.evict(|held| held == of)),
                (false, true) => Some(self.evict(|_| true)),
                (false, false) => None,
            };
            let evicted = room.map(|evicted| evicted.ok_or(())).transpose()?;
            self.now += 1;
            self.held.push((number, of, 0, self.now));
            Ok(evicted)
        }

        fn evict(&mut self, is_asked: impl Fn(u8) -> bool) -> Option<usize> {
            let idle = self.held.iter().enumerate();
            let idle = idle.filter(|(_, held)| held.2 == 0 && is_asked(held.1));
            let (at, _) = idle.min_by_key(|(_, held)| held.3)?;
            Some(self.held.remove(at).0)
        }
    }

    proptest! {
        #[test]
        fn whatever_happens_the_same_ones_go(
            steps in prop::collection::vec((0_u8..4, 0_u8..3, 0_usize..64), 0..200),
        ) {
            let bounds = Bounds { total: 4, per_peer: 2 };
            let places = Places::new(bounds);
            let mut reference = Reference::default();
            let mut held: Vec<(usize, Place<usize>, Vec<Busy<usize>>)> = Vec::new();
            for (number, (what, of, which)) in steps.into_iter().enumerate() {
                if what == 0 || held.is_empty() {
                    let wanted = reference.enter(number, of, bounds);
                    match places.enter(peer(of), number) {
                        Ok(entered) => {
                            prop_assert_eq!(Ok(entered.evicted), wanted);
                            held.push((number, entered.place, Vec::new()));
                        }
                        Err(_) => prop_assert_eq!(Err(()), wanted),
                    }
                    continue;
                }
                let at = which % held.len();
                let number = held[at].0;
                reference.now += 1;
                let now = reference.now;
                let known = reference.held.iter_mut().find(|held| held.0 == number);
                match what {
                    1 => {
                        let busy = held[at].1.begin();
                        prop_assert_eq!(busy.is_some(), known.is_some());
                        held[at].2.extend(busy);
                        if let Some(known) = known {
                            known.2 += 1;
                        }
                    }
                    2 => if held[at].2.pop().is_some() && let Some(known) = known {
                        known.2 -= 1;
                        known.3 = now;
                    }
                    _ => {
                        drop(held.remove(at));
                        reference.held.retain(|held| held.0 != number);
                    }
                }
                prop_assert_eq!(places.taken(), reference.held.len());
            }
        }
    }
}
