//! What became of each replica, between the supervisor that knows it and the session that tells the
//! control plane.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use warren_model::{ambient, condition, reason};
use warren_proto::v1::{self, replica::Phase};

/// Transitions kept for a replica until the control plane has them; older ones are in the counts
/// only.
const MAX_TRANSITIONS: usize = 32;
/// A guest chooses what its exits say: a report has to fit into a message, and to be stored.
const MAX_MESSAGE: usize = 16 << 10;
const MAX_STDERR_LINES: usize = 20;
const MAX_STDERR_LINE: usize = 2 << 10;
/// Exits kept of each replica. All but the last go without lines, and with less of their message.
pub const MAX_EXITS: usize = 5;
const MAX_OLD_MESSAGE: usize = 4 << 10;

/// Told of a replica that waits for its worker.
const KEPT: &str = "its worker stopped, keeps it, and starts it again when it is back";

/// The state of every replica, and the transitions that the control plane was not told of yet.
/// Shared by the supervisor, which records, and the session, which sends; cheap to clone.
#[derive(Clone)]
pub struct ReportBook {
    book: Arc<Mutex<Book>>,
    /// The newest version recorded: wakes the session.
    version: watch::Sender<u64>,
}

/// A replica as it is now.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaState {
    pub phase: Phase,
    pub ready: bool,
    /// Of one that has stopped: its service ended as its policy asks meanwhile.
    pub completed: bool,
    /// How often its service was started again, exactly.
    pub restarts: u32,
    pub last_exit: Option<v1::Exit>,
    /// Newest first, at most [`MAX_EXITS`].
    pub last_exits: Vec<v1::Exit>,
    pub next_start_time: Option<prost_types::Timestamp>,
    pub conditions: Vec<v1::Condition>,
    pub endpoints: Vec<v1::Endpoint>,
    /// Why one of its components cannot be compiled on workers like this one.
    pub compile_failure: Option<v1::CompileFailure>,
}

/// Reports of one moment, and the version that the book had then.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub reports: Vec<v1::ReplicaReport>,
    pub version: u64,
}

/// A replica that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub replica: String,
    /// The version that its last change made.
    pub version: u64,
    /// It has ended for good, by itself or because it was asked to.
    pub ends: bool,
}

#[derive(Default)]
struct Book {
    version: u64,
    entries: BTreeMap<String, Entry>,
    /// Replica by the version of its last change, so that a batch costs what changed and not what
    /// exists.
    order: BTreeMap<u64, String>,
    /// Those that wait for the worker's return.
    kept: BTreeSet<String>,
}

struct Entry {
    state: ReplicaState,
    changed: u64,
    /// When it was taken up.
    since: prost_types::Timestamp,
    /// How often each kind of step was taken since.
    totals: HashMap<Kind, u32>,
    /// Each with the version that brought it.
    transitions: VecDeque<(u64, v1::Transition)>,
    /// Of those that found no place above, the last of each kind.
    earlier: BTreeMap<Kind, (u64, v1::Transition)>,
}

/// What makes two steps of a replica the same: type, reason, and what was refused.
type Kind = (i32, String, String);

// === impl ReportBook ===

impl ReportBook {
    pub fn new() -> Self {
        Self {
            book: Arc::default(),
            version: watch::Sender::new(0),
        }
    }

    /// Notes the state of a replica and the steps that it took, `total` of each being how often it
    /// took it now. Never blocks; an unchanged state without a step costs no message.
    /// [`Phase::Stopped`] is the last: once the control plane has it, the replica is forgotten.
    pub fn record(
        &self,
        replica: &str,
        mut state: ReplicaState,
        transitions: impl IntoIterator<Item = v1::Transition>,
    ) {
        state.clip();
        let mut transitions: Vec<_> = transitions.into_iter().collect();
        for transition in &mut transitions {
            clip(&mut transition.message, MAX_MESSAGE);
        }
        let version = {
            let mut book = self.book.lock();
            let state = book.unless_kept(replica, state);
            let same = book.entries.get(replica).is_some_and(|e| e.state == state);
            if same && transitions.is_empty() {
                return;
            }
            book.record(replica, state, transitions)
        };
        self.wake(version);
    }

    /// The worker stops, and will be back for these: once they have stopped they wait to be started
    /// again, unless they had ended before.
    pub fn keep(&self, replicas: impl IntoIterator<Item = String>) {
        self.book.lock().kept.extend(replicas);
    }

    /// Notes that nobody holds a replica, whatever it was: for the control plane it has stopped.
    pub fn record_gone(&self, replica: &str) {
        let version = {
            let mut book = self.book.lock();
            let known = book.entries.get(replica).map(|entry| entry.state.clone());
            let state = known.unwrap_or_else(|| ReplicaState::new(Phase::Stopped));
            let state = ReplicaState {
                phase: Phase::Stopped,
                ready: false,
                ..state
            };
            book.record(replica, state, Vec::new())
        };
        self.wake(version);
    }

    fn wake(&self, version: u64) {
        self.version.send_if_modified(|newest| {
            let newer = *newest < version;
            *newest = version.max(*newest);
            newer
        });
    }

    /// Every replica, with the transitions that were not confirmed.
    pub fn all(&self) -> Batch {
        self.since(0)
    }

    /// The replicas that changed after this version, with their transitions since, the longest
    /// unchanged first.
    pub fn since(&self, version: u64) -> Batch {
        let book = self.book.lock();
        let changed = book
            .order
            .range(version.saturating_add(1)..)
            .map(|(_, id)| id);
        let entries = changed.filter_map(|id| book.entries.get_key_value(id));
        Batch {
            reports: entries
                .map(|(id, entry)| entry.report(id, version))
                .collect(),
            version: book.version,
        }
    }

    /// Which replicas changed after this version, and the version now.
    pub fn changes(&self, version: u64) -> (Vec<Change>, u64) {
        let book = self.book.lock();
        let changed = book.order.range(version.saturating_add(1)..);
        let changes = changed.map(|(version, replica)| {
            let phase = book.entries.get(replica).map(|entry| entry.state.phase);
            let ends = [Phase::Completed, Phase::Failed, Phase::Stopped];
            Change {
                replica: replica.clone(),
                version: *version,
                ends: phase.is_some_and(|phase| ends.contains(&phase)),
            }
        });
        (changes.collect(), book.version)
    }

    /// A replica as it is now, with its steps after this version, and the version of its last
    /// change.
    pub fn report(&self, replica: &str, after: u64) -> Option<(v1::ReplicaReport, u64)> {
        let book = self.book.lock();
        let entry = book.entries.get(replica)?;
        Some((entry.report(replica, after), entry.changed))
    }

    /// Returns once something was recorded after this version.
    pub async fn changed(&self, version: u64) {
        let mut newest = self.version.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = newest.wait_for(|newest| *newest > version).await;
    }

    /// The control plane has everything up to this version: sent transitions go, and so do stopped
    /// replicas.
    pub fn confirm(&self, version: u64) {
        self.book.lock().confirm(version);
    }

    /// Whether a replica is known, in whatever phase.
    pub fn contains(&self, replica: &str) -> bool {
        self.book.lock().entries.contains_key(replica)
    }

    /// Whether a replica has ended for good, and was not asked to stop.
    pub fn has_ended(&self, replica: &str) -> bool {
        let book = self.book.lock();
        let entry = book.entries.get(replica);
        entry.is_some_and(|entry| matches!(entry.state.phase, Phase::Completed | Phase::Failed))
    }

    /// Ids of the replicas that are known and not stopped.
    pub fn unstopped(&self) -> Vec<String> {
        let book = self.book.lock();
        let entries = book
            .entries
            .iter()
            .filter(|(_, e)| e.state.phase != Phase::Stopped);
        entries.map(|(id, _)| id.clone()).collect()
    }
}

impl Default for ReportBook {
    fn default() -> Self {
        Self::new()
    }
}

// === impl ReplicaState ===

impl ReplicaState {
    /// A replica in this phase of which nothing else is known.
    pub fn new(phase: Phase) -> Self {
        Self {
            phase,
            ready: false,
            completed: false,
            restarts: 0,
            last_exit: None,
            last_exits: Vec::new(),
            next_start_time: None,
            conditions: Vec::new(),
            endpoints: Vec::new(),
            compile_failure: None,
        }
    }

    /// As it is while its worker is away to be back soon.
    fn waiting_for_its_worker(mut self) -> Self {
        self.phase = Phase::Pending;
        self.ready = false;
        self.next_start_time = None;
        self.endpoints.clear();
        for condition in &mut self.conditions {
            if matches!(
                condition.r#type.as_str(),
                condition::STARTED | condition::READY
            ) {
                condition.set_status(v1::condition::Status::False);
                "WorkerStopped".clone_into(&mut condition.reason);
                KEPT.clone_into(&mut condition.message);
            }
        }
        self
    }

    fn clip(&mut self) {
        if let Some(exit) = &mut self.last_exit {
            clip(&mut exit.message, MAX_MESSAGE);
            let surplus = exit.stderr.len().saturating_sub(MAX_STDERR_LINES);
            exit.stderr.drain(..surplus);
            exit.stderr
                .iter_mut()
                .for_each(|line| clip(line, MAX_STDERR_LINE));
        }
        if let Some(failure) = &mut self.compile_failure {
            clip(&mut failure.message, MAX_OLD_MESSAGE);
        }
        self.last_exits.truncate(MAX_EXITS);
        for exit in &mut self.last_exits {
            clip(&mut exit.message, MAX_OLD_MESSAGE);
            exit.stderr.clear();
        }
        self.conditions
            .iter_mut()
            .for_each(|condition| clip(&mut condition.message, MAX_MESSAGE));
    }
}

/// Cuts what is over the limit, and says so.
fn clip(text: &mut String, limit: usize) {
    const CUT: char = '…';
    if text.len() > limit {
        let room = limit.saturating_sub(CUT.len_utf8());
        text.truncate(text.floor_char_boundary(room));
        text.push(CUT);
    }
}

// === impl Book ===

impl Book {
    /// The state as it is told: that of a replica that is kept is neither STOPPING nor STOPPED.
    fn unless_kept(&self, replica: &str, state: ReplicaState) -> ReplicaState {
        let stops = matches!(state.phase, Phase::Stopping | Phase::Stopped);
        if !stops || !self.kept.contains(replica) {
            return state;
        }
        match self.entries.get(replica).map(|entry| &entry.state) {
            Some(held) if matches!(held.phase, Phase::Completed | Phase::Failed) => held.clone(),
            _ => state.waiting_for_its_worker(),
        }
    }

    fn record(
        &mut self,
        replica: &str,
        state: ReplicaState,
        transitions: Vec<v1::Transition>,
    ) -> u64 {
        self.version += 1;
        let version = self.version;
        let mut entry = self.entries.remove(replica).unwrap_or_else(Entry::new);
        self.order.remove(&entry.changed);
        entry.state = state;
        entry.changed = version;
        for transition in transitions {
            entry.take(version, transition);
        }
        self.order.insert(version, replica.to_owned());
        self.entries.insert(replica.to_owned(), entry);
        version
    }

    fn confirm(&mut self, version: u64) {
        for entry in self.entries.values_mut() {
            let sent = entry
                .transitions
                .iter()
                .take_while(|(at, _)| *at <= version)
                .count();
            entry.transitions.drain(..sent);
            entry.earlier.retain(|_, (at, _)| *at > version);
        }
        let order = &mut self.order;
        self.entries.retain(|_, entry| {
            let done = entry.state.phase == Phase::Stopped && entry.changed <= version;
            if done {
                order.remove(&entry.changed);
            }
            !done
        });
    }
}

// === impl Entry ===

impl Entry {
    fn new() -> Self {
        Self {
            state: ReplicaState::new(Phase::Pending),
            changed: 0,
            since: ambient::now().into(),
            totals: HashMap::new(),
            transitions: VecDeque::new(),
            earlier: BTreeMap::new(),
        }
    }

    /// Counts a step, and keeps it among the last ones.
    fn take(&mut self, version: u64, mut transition: v1::Transition) {
        let total = self.totals.entry(kind(&transition)).or_default();
        *total = total.saturating_add(transition.total.max(1));
        transition.total = *total;
        self.transitions.push_back((version, transition));
        if self.transitions.len() > MAX_TRANSITIONS
            && let Some((version, dropped)) = self.transitions.pop_front()
        {
            self.earlier.insert(kind(&dropped), (version, dropped));
        }
    }

    fn report(&self, replica: &str, after: u64) -> v1::ReplicaReport {
        let state = self.state.clone();
        let since =
            |(version, step): &(u64, v1::Transition)| (*version > after).then(|| step.clone());
        let mut earlier: Vec<_> = self.earlier.values().collect();
        earlier.sort_by_key(|(version, _)| *version);
        v1::ReplicaReport {
            replica: replica.to_owned(),
            phase: state.phase.into(),
            ready: state.ready,
            completed: state.completed && state.phase == Phase::Stopped,
            restarts: state.restarts,
            last_exit: state.last_exit,
            last_exits: state.last_exits,
            next_start_time: state.next_start_time,
            compile_failure: state.compile_failure.clone(),
            conditions: state.conditions,
            endpoints: state.endpoints,
            transitions: self.transitions.iter().filter_map(since).collect(),
            earlier: earlier.into_iter().filter_map(since).collect(),
            since: Some(self.since),
        }
    }
}

fn kind(transition: &v1::Transition) -> Kind {
    let message = match transition.reason.as_str() {
        // Each refusal is a distinct event; the policy bounds how many it reports for each guest.
        reason::REFUSED => transition.message.clone(),
        _ => String::new(),
    };
    (transition.r#type, transition.reason.clone(), message)
}

#[cfg(test)]
mod tests;
