//! What a session still has to say, and how much of what it said has arrived. Pure.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use warren_model::pace::{Pace, Rate};

use crate::{lease::BootTime, replica::reports::Change};

/// Reports on their way to the control plane. One tells the newest state of its replica, and what
/// happened since the one before: where a replica changes too often to be told each time, a report
/// waits and then stands for all that happened meanwhile.
///
/// Heartbeats overtake reports, but not those that the connection has taken. A heartbeat that is
/// acknowledged tells that every report before it has arrived; one that is kept, that they are on
/// the control plane's disk.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Changes up to this version are sent or wait.
    taken: u64,
    /// What went with Hello.
    hello: u64,
    /// Replicas that wait for their report, by the time of it and in the order in which they
    /// changed. One that may be told at once stands at the time of its last report: who was silent
    /// for the longest goes first.
    queue: BTreeMap<Due, String>,
    waiting: HashMap<String, Waiting>,
    /// How many of the waiting changed first after each version.
    firsts: BTreeMap<u64, usize>,
    told: HashMap<String, Told>,
    /// The rate of all reports together.
    pace: Pace,
    /// The report that was handed out last changed first after this version. It may not have left
    /// yet.
    handed: Option<u64>,
    opened: Instant,
    sequence: u64,
    /// The last heartbeat that was answered.
    answered: u64,
    /// Heartbeats whose reports may get lost yet.
    beats: VecDeque<Beat>,
}

/// When a report is due, and the version of the change that it waits for.
type Due = (Instant, u64);

/// A replica whose report waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    due: Due,
    /// Everything up to this version was told.
    since: u64,
}

/// What was told of a replica in this session.
#[derive(Clone, Copy, Debug)]
struct Told {
    version: u64,
    at: Instant,
    pace: Pace,
}

/// The report to send next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Next {
    pub replica: String,
    /// Its steps are told from after this version.
    pub after: u64,
    /// Everything of it up to this version was told.
    since: u64,
}

/// A heartbeat that was sent.
#[derive(Clone, Copy, Debug)]
struct Beat {
    sequence: u64,
    at: BootTime,
    /// Version of what was sent before it.
    sent: u64,
}

/// More heartbeats than this without an answer and the session has long timed out.
const MAX_BEATS: usize = 1024;
/// Reports of one replica: a start takes four or five, and a crash loop has many.
const REPLICA: Rate = Rate {
    burst: 16,
    every: Duration::from_secs(1),
};
/// Reports of all replicas together: a thousand that are started at once are told of soon.
const WORKER: Rate = Rate {
    burst: 2000,
    every: Duration::from_millis(2),
};

impl Outbox {
    /// Everything up to this version went with Hello.
    pub fn new(version: u64, now: Instant) -> Self {
        Self {
            taken: version,
            hello: version,
            queue: BTreeMap::new(),
            waiting: HashMap::new(),
            firsts: BTreeMap::new(),
            told: HashMap::new(),
            pace: Pace::default(),
            handed: None,
            opened: now,
            sequence: 0,
            answered: 0,
            beats: VecDeque::new(),
        }
    }

    /// Whether no report waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// The version up to which it has learned of changes.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes in what changed since [`Self::taken`], up to this version.
    pub fn learn(&mut self, changes: impl IntoIterator<Item = Change>, version: u64) {
        let since = self.taken;
        for change in changes {
            let told = self.told.get(&change.replica);
            // The report that went last had it already.
            if told.is_some_and(|told| change.version <= told.version) {
                continue;
            }
            let last = told.map_or(self.opened, |told| told.at);
            let allowed = told.and_then(|told| told.pace.allowed_at(REPLICA));
            // An end comes once in a life.
            let at = match allowed.filter(|at| !change.ends && *at > last) {
                Some(allowed) => allowed,
                None => last,
            };
            let due = (at, change.version);
            self.wait(change.replica, Waiting { due, since });
        }
        self.taken = version;
    }

    /// When the next report may be sent; `None` while none waits.
    pub fn ready_at(&self) -> Option<Instant> {
        let ((at, _), _) = self.queue.first_key_value()?;
        let allowed = self.pace.allowed_at(WORKER);
        Some(allowed.map_or(*at, |allowed| allowed.max(*at)))
    }

    /// The replica whose report is sent now. To be followed by [`Self::hand_out`] where it has one.
    pub fn pop(&mut self, now: Instant) -> Option<Next> {
        self.ready_at().filter(|at| *at <= now)?;
        self.pop_any()
    }

    /// The same, whether its time has come or not.
    pub fn pop_any(&mut self) -> Option<Next> {
        let (_, replica) = self.queue.pop_first()?;
        let waiting = self.waiting.remove(&replica)?;
        self.unlist(waiting.since);
        // There is room for this one, so the one before has left.
        self.handed = None;
        let told = self.told.get(&replica);
        Some(Next {
            after: told.map_or(self.hello, |told| told.version),
            since: waiting.since,
            replica,
        })
    }

    /// Its report, which tells all up to `version`, is handed to the connection. `last`: the
    /// replica has no other.
    pub fn hand_out(&mut self, next: Next, version: u64, last: bool, now: Instant) {
        self.handed = Some(next.since);
        self.pace.count(WORKER, now);
        if last {
            self.told.remove(&next.replica);
            return;
        }
        let told = self.told.entry(next.replica).or_insert(Told {
            version,
            at: now,
            pace: Pace::default(),
        });
        (told.version, told.at) = (version, now);
        told.pace.count(REPLICA, now);
    }

    /// The sequence of the next heartbeat, which is sent at once: `now`, or a little later. `left`:
    /// the last report has left for the connection, and cannot be overtaken any more.
    pub fn beat(&mut self, now: BootTime, left: bool) -> u64 {
        if left {
            self.handed = None;
        }
        self.sequence += 1;
        self.beats.push_back(Beat {
            sequence: self.sequence,
            at: now,
            sent: self.sent(),
        });
        if self.beats.len() > MAX_BEATS {
            self.beats.pop_front();
        }
        self.sequence
    }

    /// A heartbeat was answered: when it was sent. `None` for one that was before, or was never
    /// sent.
    pub fn acknowledged(&mut self, sequence: u64) -> Option<BootTime> {
        if sequence <= self.answered {
            return None;
        }
        let beat = self.beats.iter().rfind(|beat| beat.sequence == sequence)?;
        self.answered = sequence;
        Some(beat.at)
    }

    /// What was reported before a heartbeat is kept: the version up to which it need not be told
    /// again. `None` where that is no news.
    pub fn kept(&mut self, sequence: u64) -> Option<u64> {
        if sequence > self.sequence {
            return None;
        }
        let mut confirmed = None;
        while let Some(beat) = self.beats.pop_front_if(|beat| beat.sequence <= sequence) {
            confirmed = Some(beat.sent);
        }
        confirmed
    }

    /// Whether the last heartbeat was answered.
    pub fn all_acknowledged(&self) -> bool {
        self.answered == self.sequence
    }

    /// Version up to which everything has left.
    fn sent(&self) -> u64 {
        let waits = self.firsts.first_key_value().map(|(since, _)| *since);
        let handed = self.handed.unwrap_or(self.taken);
        waits.unwrap_or(self.taken).min(handed)
    }

    fn wait(&mut self, replica: String, new: Waiting) {
        let new = match self.waiting.get(&replica).copied() {
            Some(held) if held.due <= new.due => return,
            Some(held) => {
                self.queue.remove(&held.due);
                self.unlist(held.since);
                Waiting {
                    due: new.due,
                    ..held
                }
            }
            None => new,
        };
        *self.firsts.entry(new.since).or_default() += 1;
        self.queue.insert(new.due, replica.clone());
        self.waiting.insert(replica, new);
    }

    fn unlist(&mut self, since: u64) {
        if let Some(count) = self.firsts.get_mut(&since) {
            *count -= 1;
            if *count == 0 {
                self.firsts.remove(&since);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
