//! Decides whose component is compiled next when only a few are compiled at once.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use tokio::sync::oneshot;
use warren_model::name::{Name, WorkloadId};

/// Places that are shared fairly, first among namespaces, then among the workloads of a namespace.
/// The next place goes to a waiter with the fewest places, and of several such waiters to the one
/// that was served longest ago.
#[derive(Clone, Debug)]
pub(super) struct Queue(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    free: usize,
    /// The most places of one workload: one less than there are, so that a single workload cannot
    /// make all others wait.
    each: usize,
    waiting: Vec<Waiter>,
    /// The shares of all that wait or have a place.
    namespaces: HashMap<Name, Share>,
    workloads: HashMap<WorkloadId, Share>,
    /// The number of places that have been given so far.
    served: u64,
}

#[derive(Debug)]
struct Waiter {
    workload: WorkloadId,
    place: oneshot::Sender<Place>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Share {
    /// The number of places that it has.
    has: usize,
    /// The number of places that it waits for.
    waits: usize,
    /// The value of [`State::served`] when it was last served.
    last: u64,
}

/// A place in which one component is compiled. Dropping it frees the place for the next waiter.
#[derive(Debug)]
pub(super) struct Place {
    queue: Queue,
    workload: WorkloadId,
    /// False if the place was never given out.
    taken: bool,
}

// === impl Queue ===

impl Queue {
    /// Returns a queue of `places`, which must be at least 1.
    pub fn new(places: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            free: places,
            each: places.saturating_sub(1).max(1),
            waiting: Vec::new(),
            namespaces: HashMap::new(),
            workloads: HashMap::new(),
            served: 0,
        })))
    }

    /// Waits for a place. Dropping the future gives up the wait.
    pub async fn place(&self, workload: &WorkloadId) -> Place {
        // Cancels the wait if this future is dropped. It must drop after the receiver, because a
        // waiter whose receiver is gone is the one that is removed.
        let waits = Waits {
            queue: self,
            workload,
        };
        let (place, given) = oneshot::channel();
        self.0.lock().wait(workload, place);
        self.give();
        let place = given.await;
        drop(waits);
        match place {
            Ok(place) => place,
            // A sender is dropped only after its waiter is gone.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives free places to waiters.
    fn give(&self) {
        loop {
            let mut state = self.0.lock();
            let Some(waiter) = state.next() else { return };
            state.take(&waiter.workload);
            drop(state);
            let place = Place {
                queue: self.clone(),
                workload: waiter.workload,
                taken: true,
            };
            // A place whose waiter is gone comes back, and goes to the next waiter.
            if let Err(mut place) = waiter.place.send(place) {
                place.taken = false;
                self.0.lock().release(&place.workload);
            }
        }
    }
}

/// A wait that has not ended.
struct Waits<'a> {
    queue: &'a Queue,
    workload: &'a WorkloadId,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.0.lock();
        state.waiting.retain(|waiter| !waiter.place.is_closed());
        state.change(self.workload, |share| share.waits -= 1);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.taken {
            self.queue.0.lock().release(&self.workload);
            self.queue.give();
        }
    }
}

// === impl State ===

impl State {
    fn wait(&mut self, workload: &WorkloadId, place: oneshot::Sender<Place>) {
        self.change(workload, |share| share.waits += 1);
        self.waiting.push(Waiter {
            workload: workload.clone(),
            place,
        });
    }

    /// Removes and returns the next waiter, if a place is free for any of them.
    fn next(&mut self) -> Option<Waiter> {
        if self.free == 0 {
            return None;
        }
        let share = |workload: &WorkloadId| {
            let namespace = self.namespaces.get(&workload.namespace);
            let namespace = namespace.copied().unwrap_or_default();
            (
                namespace,
                self.workloads.get(workload).copied().unwrap_or_default(),
            )
        };
        let waiting = self.waiting.iter().enumerate();
        let may_have = waiting.filter(|(_, it)| share(&it.workload).1.has < self.each);
        // `min_by_key` returns the first of equals, and waiters are in the order of arrival.
        let (next, _) = may_have.min_by_key(|(_, waiter)| {
            let (namespace, own) = share(&waiter.workload);
            (namespace.has, namespace.last, own.has, own.last)
        })?;
        Some(self.waiting.remove(next))
    }

    fn take(&mut self, workload: &WorkloadId) {
        self.free -= 1;
        self.served += 1;
        let now = self.served;
        self.change(workload, |share| {
            share.has += 1;
            share.last = now;
        });
    }

    fn release(&mut self, workload: &WorkloadId) {
        self.free += 1;
        self.change(workload, |share| share.has -= 1);
    }

    /// Changes the shares of a workload and its namespace. A share that neither waits nor has a
    /// place is removed, so the tables are bounded by the number of waiters and places.
    fn change(&mut self, workload: &WorkloadId, change: impl Fn(&mut Share)) {
        let namespace = workload.namespace.clone();
        let shared = self.namespaces.entry(namespace).or_default();
        change(shared);
        if shared.has == 0 && shared.waits == 0 {
            self.namespaces.remove(&workload.namespace);
        }
        let own = self.workloads.entry(workload.clone()).or_default();
        change(own);
        if own.has == 0 && own.waits == 0 {
            self.workloads.remove(workload);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{future::Future, pin::Pin};

    use futures::poll;

    use super::*;

    type Waiting<'a> = Pin<Box<dyn Future<Output = Place> + 'a>>;

    fn id(text: &str) -> WorkloadId {
        let (namespace, name) = text.split_once('/').unwrap();
        WorkloadId {
            namespace: Name::parse(namespace).unwrap(),
            name: Name::parse(name).unwrap(),
        }
    }

    /// Queues these workloads in this order, then serves them one after another. Returns the order
    /// in which they were served.
    async fn order(queue: &Queue, holder: Place, waiting: &[&str]) -> Vec<String> {
        let ids: Vec<_> = waiting.iter().map(|text| id(text)).collect();
        let mut waits: Vec<(&str, Waiting<'_>)> = Vec::new();
        for (text, id) in waiting.iter().zip(&ids) {
            let mut wait: Waiting<'_> = Box::pin(queue.place(id));
            assert!(poll!(&mut wait).is_pending());
            waits.push((text, wait));
        }
        let (mut held, mut served) = (holder, Vec::new());
        while !waits.is_empty() {
            drop(held);
            let mut given = None;
            for (at, (text, wait)) in waits.iter_mut().enumerate() {
                if let std::task::Poll::Ready(place) = poll!(wait) {
                    assert!(given.is_none(), "two places where there is one");
                    given = Some((at, place, text.to_string()));
                }
            }
            let (at, place, text) = given.expect("a waiter exists, and the place is free");
            served.push(text);
            drop(waits.remove(at));
            held = place;
        }
        served
    }

    #[tokio::test]
    async fn namespaces_take_turns_and_so_do_the_workloads_of_each() {
        let queue = Queue::new(1);
        let first = queue.place(&id("evil/a")).await;
        let waiting = ["evil/a", "evil/a", "evil/b", "evil/c", "good/x", "good/y"];
        let served = order(&queue, first, &waiting).await;
        let expected = ["good/x", "evil/b", "good/y", "evil/c", "evil/a", "evil/a"];
        assert_eq!(served, expected);
        let state = queue.0.lock();
        assert!(
            state.namespaces.is_empty() && state.workloads.is_empty(),
            "{state:?}"
        );
        assert_eq!(state.free, 1);
    }

    #[tokio::test]
    async fn one_workload_leaves_a_place_to_others() {
        let queue = Queue::new(2);
        let (big, small) = (id("default/big"), id("default/small"));
        let _held = queue.place(&big).await;
        let mut again: Waiting<'_> = Box::pin(queue.place(&big));
        assert!(poll!(&mut again).is_pending());
        let other = queue.place(&small).await;
        drop(other);
        assert!(
            poll!(&mut again).is_pending(),
            "the other place is for others"
        );
    }

    #[tokio::test]
    async fn a_waiter_that_gives_up_neither_keeps_a_place_nor_loses_one() {
        let queue = Queue::new(1);
        let (a, b) = (id("default/a"), id("default/b"));
        let held = queue.place(&a).await;
        let mut gone: Waiting<'_> = Box::pin(queue.place(&b));
        assert!(poll!(&mut gone).is_pending());
        drop(gone);
        let mut late: Waiting<'_> = Box::pin(queue.place(&b));
        assert!(poll!(&mut late).is_pending());
        // The place is given to a waiter that is dropped before it is polled again.
        drop(held);
        drop(late);
        let _next = queue.place(&a).await;
        let state = queue.0.lock();
        assert_eq!((state.free, state.workloads.len()), (0, 1), "{state:?}");
    }
}
