//! Keeps track of what a session still has to report and of how much has arrived. It is pure.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use warren_model::pace::{Pace, Rate};

use crate::{lease::BootTime, replica::reports::Change};

/// Reports on their way to the control plane. A report carries the newest state of its replica and
/// what happened since the previous report. If a replica changes too often to report every change,
/// its report waits and then covers all changes until then.
///
/// Heartbeats overtake reports, except those that the connection has already taken. An acknowledged
/// heartbeat means that every report before it has arrived; a kept heartbeat means that these
/// reports are on the control plane's disk.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Changes up to this version have been sent or are waiting.
    taken: u64,
    /// The version that Hello carried.
    hello: u64,
    /// The replicas that wait for their report, by its time and then in the order in which they
    /// changed. A replica that may be reported at once is filed under the time of its last report,
    /// so that the one that was silent for longest goes first.
    queue: BTreeMap<Due, String>,
    waiting: HashMap<String, Waiting>,
    /// The number of waiting replicas whose first change came after each version.
    firsts: BTreeMap<u64, usize>,
    told: HashMap<String, Told>,
    /// The rate of all reports together.
    pace: Pace,
    /// The version after which the report that was handed out last begins. It may not have left
    /// yet.
    handed: Option<u64>,
    opened: Instant,
    sequence: u64,
    /// The sequence of the last heartbeat that was answered.
    answered: u64,
    /// The heartbeats whose reports may still be lost.
    beats: VecDeque<Beat>,
}

/// The time at which a report is due, and the version of the change that it waits for.
type Due = (Instant, u64);

/// A replica whose report waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    due: Due,
    /// Everything up to this version has been reported.
    since: u64,
}

/// What this session has reported of a replica.
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
    /// The report contains the transitions after this version.
    pub after: u64,
    /// Everything about the replica up to this version has been reported.
    since: u64,
}

/// A heartbeat that was sent.
#[derive(Clone, Copy, Debug)]
struct Beat {
    sequence: u64,
    at: BootTime,
    /// The version up to which everything was sent before it.
    sent: u64,
}

/// With more unanswered heartbeats than this, the session has long timed out.
const MAX_BEATS: usize = 1024;
/// The rate of the reports of one replica. A start takes four or five, a crash loop many.
const REPLICA: Rate = Rate {
    burst: 16,
    every: Duration::from_secs(1),
};
/// The rate of all reports together, which lets a thousand simultaneous starts be reported soon.
const WORKER: Rate = Rate {
    burst: 2000,
    every: Duration::from_millis(2),
};

impl Outbox {
    /// Returns the outbox of a session whose Hello carried everything up to this version.
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

    /// Returns whether no report waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Returns the version up to which changes have been taken in.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Takes in the changes since [`Self::taken`], up to this version.
    pub fn learn(&mut self, changes: impl IntoIterator<Item = Change>, version: u64) {
        let since = self.taken;
        for change in changes {
            let told = self.told.get(&change.replica);
            // The last report already contained it.
            if told.is_some_and(|told| change.version <= told.version) {
                continue;
            }
            let last = told.map_or(self.opened, |told| told.at);
            let allowed = told.and_then(|told| told.pace.allowed_at(REPLICA));
            // A replica ends once, so its end is never delayed.
            let at = match allowed.filter(|at| !change.ends && *at > last) {
                Some(allowed) => allowed,
                None => last,
            };
            let due = (at, change.version);
            self.wait(change.replica, Waiting { due, since });
        }
        self.taken = version;
    }

    /// Returns the time at which the next report may be sent, or `None` if none waits.
    pub fn ready_at(&self) -> Option<Instant> {
        let ((at, _), _) = self.queue.first_key_value()?;
        let allowed = self.pace.allowed_at(WORKER);
        Some(allowed.map_or(*at, |allowed| allowed.max(*at)))
    }

    /// Returns the replica whose report is sent now. If it has one, [`Self::hand_out`] must follow.
    pub fn pop(&mut self, now: Instant) -> Option<Next> {
        self.ready_at().filter(|at| *at <= now)?;
        self.pop_any()
    }

    /// Returns the next replica like [`Self::pop`], whether or not its time has come.
    pub fn pop_any(&mut self) -> Option<Next> {
        let (_, replica) = self.queue.pop_first()?;
        let waiting = self.waiting.remove(&replica)?;
        self.unlist(waiting.since);
        // There is room for this one, so the previous one has left.
        self.handed = None;
        let told = self.told.get(&replica);
        Some(Next {
            after: told.map_or(self.hello, |told| told.version),
            since: waiting.since,
            replica,
        })
    }

    /// Records that the report, which covers everything up to `version`, was handed to the
    /// connection. `last` says that no other report of the replica will follow.
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

    /// Returns the sequence of the next heartbeat, which is sent at `now` or a little later. `left`
    /// says that the connection has taken the last report, which can no longer be overtaken.
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

    /// Records that a heartbeat was answered, and returns when it was sent. Returns `None` if it
    /// was answered before, or never sent.
    pub fn acknowledged(&mut self, sequence: u64) -> Option<BootTime> {
        if sequence <= self.answered {
            return None;
        }
        let beat = self.beats.iter().rfind(|beat| beat.sequence == sequence)?;
        self.answered = sequence;
        Some(beat.at)
    }

    /// Records that the reports before a heartbeat are on disk, and returns the version up to which
    /// nothing has to be reported again. Returns `None` if that was known.
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

    /// Returns whether the last heartbeat was answered.
    pub fn all_acknowledged(&self) -> bool {
        self.answered == self.sequence
    }

    /// Returns the version up to which everything has left.
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
