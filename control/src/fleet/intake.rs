//! Messages of a worker that are not stored yet. Pure.
//!
//! A session reads its worker's messages as they arrive and stores them at its own pace, so a
//! heartbeat never waits for the store. For each replica only the newest report is queued, however
//! many arrive, and each is stored at a bounded rate, whatever the worker sends.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    mem,
    time::{Duration, Instant},
};

use warren_model::pace::{Pace, Rate};
use warren_proto::v1::{self, replica::Phase};

use super::steps;

/// The rate at which the reports of one replica are stored. A worker of this version sends at most
/// half as many.
const REPLICA: Rate = Rate {
    burst: 32,
    every: Duration::from_millis(500),
};
/// The rate at which the reports of one worker are stored.
const WORKER: Rate = Rate {
    burst: 4000,
    every: Duration::from_millis(1),
};
/// The rate of notices about the worker itself: that it is stopping, or does not follow its
/// assignment.
const NOTICES: Rate = Rate {
    burst: 8,
    every: Duration::from_secs(1),
};
/// The number of replicas whose reports may be queued: far more than a worker runs.
const MAX_WAITING: usize = 16 << 10;
/// The number of heartbeats whose reports are not stored yet.
const MAX_BEATS: usize = 64;

/// One worker's messages on their way to the store.
#[derive(Debug, Default)]
pub(super) struct Intake {
    /// The messages in the order of their arrival.
    items: BTreeMap<u64, Item>,
    numbers: HashMap<Key, u64>,
    /// When each may be stored.
    due: BTreeSet<(Instant, u64)>,
    /// Numbers of what the order of messages is kept for: all before it is stored first.
    barriers: BTreeSet<u64>,
    arrived: u64,
    in_hand: Option<u64>,
    replicas: HashMap<String, Pace>,
    notices: Pace,
    pace: Pace,
    beats: VecDeque<Beat>,
    /// Everything that arrived up to this number is on disk.
    kept: Option<u64>,
}

/// An item to be stored.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Message {
    Report(Box<v1::ReplicaReport>),
    Leave(v1::Leave),
    Dropped(v1::DroppedAssignments),
}

/// A message with its place in the order.
#[derive(Debug, PartialEq)]
pub(super) struct Numbered {
    pub number: u64,
    pub message: Message,
}

/// A heartbeat; everything that arrived before it is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    pub sequence: u64,
    /// How much had arrived before it.
    arrived: u64,
}

/// The worker reported more replicas than it can run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

#[derive(Debug)]
struct Item {
    message: Message,
    due: Instant,
    /// The store could not accept it. It is retried when it is due, and not earlier.
    failed: bool,
}

/// The key of a message. Of messages with the same key, only the newest is kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Replica(String),
    Leave { stopped: bool },
    Dropped,
}

// === impl Intake ===

impl Intake {
    /// Adds a message. A report that cannot be merged with it is returned, because its steps have
    /// to be recorded separately.
    pub fn take(
        &mut self,
        message: Message,
        now: Instant,
    ) -> Result<Option<Box<v1::ReplicaReport>>, TooMany> {
        let key = message.key();
        self.arrived += 1;
        let Some(number) = self.numbers.get(&key).copied() else {
            if self.items.len() >= MAX_WAITING {
                return Err(TooMany);
            }
            let due = self.due_at(&message, now);
            let failed = false;
            self.insert(
                self.arrived,
                key,
                Item {
                    message,
                    due,
                    failed,
                },
            );
            return Ok(None);
        };
        let Some(item) = self.items.get_mut(&number) else {
            return Ok(None);
        };
        let parted = item.message.renew(message);
        if item.message.is_an_end() && item.due > now && !item.failed {
            self.due.remove(&(item.due, number));
            item.due = now;
            self.due.insert((now, number));
        }
        Ok(parted)
    }

    /// A heartbeat: what arrived before it is to be kept.
    pub fn beat(&mut self, sequence: u64) {
        let beat = Beat {
            sequence,
            arrived: self.arrived,
        };
        if self.beats.len() >= MAX_BEATS {
            self.beats.pop_back();
        }
        self.beats.push_back(beat);
    }

    /// Returns when the next message may be stored; `None` if none is queued.
    pub fn ready_at(&self, now: Instant) -> Option<Instant> {
        let (due, _) = self.due.first()?;
        if !self.barriers.is_empty() {
            let (_, oldest) = self.items.first_key_value()?;
            let waits = oldest.failed || !matches!(oldest.message, Message::Report(_));
            return Some(if waits { oldest.due } else { now });
        }
        let allowed = self.pace.allowed_at(WORKER);
        Some(allowed.map_or(*due, |allowed| allowed.max(*due)))
    }

    /// Returns the next message to store now.
    pub fn next(&mut self, now: Instant) -> Option<Numbered> {
        self.ready_at(now).filter(|at| *at <= now)?;
        if !self.barriers.is_empty() {
            return self.next_in_order(now);
        }
        let (_, number) = *self.due.first()?;
        self.hand_out(number, now)
    }

    /// The oldest message, whether its time has come or not: what is stored last.
    pub fn next_in_order(&mut self, now: Instant) -> Option<Numbered> {
        let number = *self.items.first_key_value()?.0;
        self.hand_out(number, now)
    }

    /// The message that was handed out is stored, or never will be.
    pub fn done(&mut self) {
        self.in_hand = None;
    }

    /// The message that was handed out could not be stored. It is retried at this time, unless a
    /// newer one arrived in the meantime, which then covers both. See [`Self::take`].
    pub fn put_back(&mut self, held: Numbered, again: Instant) -> Option<Box<v1::ReplicaReport>> {
        self.in_hand = None;
        let Numbered { number, message } = held;
        let (key, mut message) = (message.key(), message);
        let mut parted = None;
        if let Some(newer) = self.remove(&key) {
            parted = message.renew(newer);
        }
        let (due, failed) = (again, true);
        self.insert(
            number,
            key,
            Item {
                message,
                due,
                failed,
            },
        );
        parted
    }

    /// Returns the newest heartbeat before which everything that arrived is stored, unless that is
    /// already on disk.
    pub fn stored(&mut self) -> Option<Beat> {
        let first = self.items.first_key_value().map(|(number, _)| *number);
        let open = first.into_iter().chain(self.in_hand).min();
        let stored = open.map_or(self.arrived, |open| open - 1);
        let mut newest = None;
        while let Some(beat) = self.beats.pop_front_if(|beat| beat.arrived <= stored) {
            newest = Some(beat);
        }
        newest
    }

    /// Returns whether everything that arrived before a heartbeat is known to be on disk.
    pub fn is_kept(&self, beat: Beat) -> bool {
        self.kept.is_some_and(|kept| beat.arrived <= kept)
    }

    /// Records that everything that arrived before a heartbeat is on disk.
    pub fn keep(&mut self, beat: Beat) {
        self.kept = self.kept.max(Some(beat.arrived));
    }

    /// Records that the flush failed: it is retried.
    pub fn is_not_kept(&mut self, beat: Beat) {
        if self.beats.is_empty() {
            self.beats.push_front(beat);
        }
    }

    fn due_at(&self, message: &Message, now: Instant) -> Instant {
        let allowed = match message {
            _ if message.is_an_end() => None,
            Message::Report(report) => {
                let pace = self.replicas.get(&report.replica);
                pace.and_then(|pace| pace.allowed_at(REPLICA))
            }
            Message::Leave(_) | Message::Dropped(_) => self.notices.allowed_at(NOTICES),
        };
        allowed.map_or(now, |at| at.max(now))
    }

    fn insert(&mut self, number: u64, key: Key, item: Item) {
        if matches!(key, Key::Leave { .. }) {
            self.barriers.insert(number);
        }
        self.due.insert((item.due, number));
        self.numbers.insert(key, number);
        self.items.insert(number, item);
    }

    fn remove(&mut self, key: &Key) -> Option<Message> {
        let number = self.numbers.remove(key)?;
        let item = self.items.remove(&number)?;
        self.due.remove(&(item.due, number));
        self.barriers.remove(&number);
        Some(item.message)
    }

    fn hand_out(&mut self, number: u64, now: Instant) -> Option<Numbered> {
        let key = self.items.get(&number)?.message.key();
        let message = self.remove(&key)?;
        self.in_hand = Some(number);
        self.pace.count(WORKER, now);
        match &message {
            Message::Report(report) => {
                if self.replicas.len() >= MAX_WAITING {
                    self.replicas.retain(|_, pace| !pace.is_idle(now));
                }
                let pace = self.replicas.entry(report.replica.clone()).or_default();
                pace.count(REPLICA, now);
            }
            Message::Leave(_) | Message::Dropped(_) => self.notices.count(NOTICES, now),
        }
        Some(Numbered { number, message })
    }
}

// === impl Message ===

impl Message {
    fn key(&self) -> Key {
        match self {
            Self::Report(report) => Key::Replica(report.replica.clone()),
            Self::Leave(leave) => Key::Leave {
                stopped: leave.stopped,
            },
            Self::Dropped(_) => Key::Dropped,
        }
    }

    /// Whether the replica has ended for good: that happens once in its life, and others wait for
    /// it.
    fn is_an_end(&self) -> bool {
        let Self::Report(report) = self else {
            return false;
        };
        let ends = [Phase::Completed, Phase::Failed, Phase::Stopped];
        ends.contains(&report.phase())
    }

    /// Becomes the newer report, with the steps of both. If the worker has begun to count again,
    /// the two counts cannot be added: the earlier report is returned.
    fn renew(&mut self, newer: Self) -> Option<Box<v1::ReplicaReport>> {
        let held = mem::replace(self, newer);
        let (Self::Report(mut held), Self::Report(report)) = (held, self) else {
            return None;
        };
        if held.since != report.since {
            return Some(held);
        }
        let mut told = mem::take(&mut held.earlier);
        told.append(&mut held.transitions);
        told.append(&mut report.earlier);
        told.append(&mut report.transitions);
        report.transitions = steps::newest_of_each(told);
        None
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
