//! Reports the state of each replica from the supervisor, which knows it, to the session, which
//! sends it to the control plane.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::watch;
use warren_model::{ambient, condition, reason};
use warren_proto::v1::{self, replica::Phase};

/// The transitions that are kept for a replica until the control plane has them. Older ones are
/// only counted.
const MAX_TRANSITIONS: usize = 32;
/// The longest message, in bytes. A guest chooses the text of its exits, and a report has to fit
/// into a message and be stored.
const MAX_MESSAGE: usize = 16 << 10;
const MAX_STDERR_LINES: usize = 20;
const MAX_STDERR_LINE: usize = 2 << 10;
/// The exits that are kept for each replica. Only the last one has its lines and its full message.
pub const MAX_EXITS: usize = 5;
const MAX_OLD_MESSAGE: usize = 4 << 10;

/// The message for a replica that waits for its worker.
const KEPT: &str = "its worker stopped, and starts it again when it is back";

/// The state of every replica, and the transitions that the control plane does not have yet. The
/// supervisor records them and the session sends them. Clones are cheap and share the same book.
#[derive(Clone)]
pub struct ReportBook {
    book: Arc<Mutex<Book>>,
    /// The newest version recorded, which wakes the session.
    version: watch::Sender<u64>,
}

/// The current state of a replica.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicaState {
    pub phase: Phase,
    pub ready: bool,
    /// True if the service of a replica that has stopped ended by itself as its policy requires.
    pub completed: bool,
    /// The exact number of restarts of its service.
    pub restarts: u32,
    pub last_exit: Option<v1::Exit>,
    /// The last exits, newest first, at most [`MAX_EXITS`].
    pub last_exits: Vec<v1::Exit>,
    pub next_start_time: Option<prost_types::Timestamp>,
    pub conditions: Vec<v1::Condition>,
    pub endpoints: Vec<v1::Endpoint>,
    /// The reason why one of its components cannot be compiled on workers like this one.
    pub compile_failure: Option<v1::CompileFailure>,
}

/// Reports at one moment, and the version of the book at that moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    pub reports: Vec<v1::ReplicaReport>,
    pub version: u64,
}

/// A replica that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub replica: String,
    /// The version of its last change.
    pub version: u64,
    /// True if it has ended permanently, by itself or because it was ordered to stop.
    pub ends: bool,
}

#[derive(Default)]
struct Book {
    version: u64,
    entries: BTreeMap<String, Entry>,
    /// The replicas by the version of their last change, so that a batch costs as much as has
    /// changed, and not as much as exists.
    order: BTreeMap<u64, String>,
    /// The replicas that wait for the worker's return.
    kept: BTreeSet<String>,
}

struct Entry {
    state: ReplicaState,
    changed: u64,
    /// The time at which it was taken up.
    since: prost_types::Timestamp,
    /// The number of transitions of each kind since then.
    totals: HashMap<Kind, u32>,
    /// The last transitions, each with the version that added it.
    transitions: VecDeque<(u64, v1::Transition)>,
    /// The last transition of each kind among those that no longer fit above.
    earlier: BTreeMap<Kind, (u64, v1::Transition)>,
}

/// The properties by which transitions count as the same kind: type, reason, and what was refused.
type Kind = (i32, String, String);

// === impl ReportBook ===

impl ReportBook {
    pub fn new() -> Self {
        Self {
            book: Arc::default(),
            version: watch::Sender::new(0),
        }
    }

    /// Records the state of a replica and its transitions; the `total` of each says how often it
    /// occurred. Never blocks. An unchanged state without a transition costs no message.
    /// [`Phase::Stopped`] is the last phase: once the control plane has it, the replica is
    /// forgotten.
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

    /// Records that the worker stops and will return for these replicas. Once they have stopped,
    /// they wait to be started again, unless they had ended before.
    pub fn keep(&self, replicas: impl IntoIterator<Item = String>) {
        self.book.lock().kept.extend(replicas);
    }

    /// Records that a replica is not held, whatever it was. For the control plane it has stopped.
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

    /// Returns every replica, with the transitions that were not confirmed.
    pub fn all(&self) -> Batch {
        self.since(0)
    }

    /// Returns the replicas that changed after this version, with their transitions since then,
    /// beginning with the one that has been unchanged for longest.
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

    /// Returns which replicas changed after this version, and the current version.
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

    /// Returns the current state of a replica with its transitions after this version, and the
    /// version of its last change.
    pub fn report(&self, replica: &str, after: u64) -> Option<(v1::ReplicaReport, u64)> {
        let book = self.book.lock();
        let entry = book.entries.get(replica)?;
        Some((entry.report(replica, after), entry.changed))
    }

    /// Completes once something was recorded after this version.
    pub async fn changed(&self, version: u64) {
        let mut newest = self.version.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        let _ = newest.wait_for(|newest| *newest > version).await;
    }

    /// Records that the control plane has everything up to this version. Transitions that were sent
    /// are removed, and so are stopped replicas.
    pub fn confirm(&self, version: u64) {
        self.book.lock().confirm(version);
    }

    /// Returns whether a replica is known, in any phase.
    pub fn contains(&self, replica: &str) -> bool {
        self.book.lock().entries.contains_key(replica)
    }

    /// Returns whether a replica has ended permanently without being ordered to stop.
    pub fn has_ended(&self, replica: &str) -> bool {
        let book = self.book.lock();
        let entry = book.entries.get(replica);
        entry.is_some_and(|entry| matches!(entry.state.phase, Phase::Completed | Phase::Failed))
    }

    /// Returns the ids of the replicas that are known and not stopped.
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
    /// Returns a state with this phase, of which nothing else is known.
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

    /// Returns the state while its worker is away and will be back soon.
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

/// Truncates a text to the limit, and marks it as truncated.
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
    /// Returns the state to report. A replica that is kept is reported as neither STOPPING nor
    /// STOPPED.
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

    /// Counts a transition, and keeps it among the last ones.
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
