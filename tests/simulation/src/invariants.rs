//! The promises of the fleet, checked from outside after every step.
//!
//! [`Truth`] checks, where guests act, that nothing starts that has stopped and that nothing runs
//! twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;
use warren_control::simulation::View;
use warren_proto::v1::{self, replica::Phase};

use crate::{network::Peer, promise::Promise, trace::Trace, truth::Truth, user::Expected};

/// Checks one control plane after another.
pub struct Watcher {
    pub trace: Trace,
    pub expected: Expected,
    pub truth: Arc<Truth>,
    pub peers: BTreeMap<String, Arc<Peer>>,
    pub timeout: Duration,
    /// The replicas as they were in the last view.
    seen: BTreeMap<String, Seen>,
    /// Replicas that were LOST or FAILED at some time: others may have taken their places.
    gone: BTreeSet<String>,
    created: u32,
}

/// A replica as a view showed it.
#[derive(Clone, Copy, PartialEq)]
struct Seen {
    phase: Phase,
    ready: bool,
}

/// The number of extra replicas that may exist during an update.
const SURGE: u32 = 1;
/// A connected worker's heartbeats arrive at least this often: a fifth of the timeout, plus the
/// delay of the network.
const SLACK: Duration = Duration::from_millis(2_500);

/// The longest time from a decision until a view shows it: a slow disk is flushed twice.
const DECIDED: Duration = Duration::from_millis(1_500);

// === impl Watcher ===

impl Watcher {
    pub fn new(
        trace: Trace,
        expected: Expected,
        truth: Arc<Truth>,
        peers: BTreeMap<String, Arc<Peer>>,
        timeout: Duration,
    ) -> Self {
        Self {
            trace,
            expected,
            truth,
            peers,
            timeout,
            seen: BTreeMap::new(),
            gone: BTreeSet::new(),
            created: 0,
        }
    }

    /// Returns the number of replicas that were made so far.
    pub fn created(&self) -> u32 {
        self.created
    }

    /// Checks what holds at any time, for a control plane that has run since `started`.
    pub fn look(&mut self, view: &View, started: Instant) {
        self.nothing_answered_is_lost(view);
        self.compare(view, started);
    }

    /// Checks the last actions of a control plane that ran from `started` on, in the view that the
    /// next one found.
    pub fn look_back(&mut self, view: &View, started: Instant) {
        self.compare(view, started);
    }

    fn compare(&mut self, view: &View, started: Instant) {
        let now: BTreeMap<String, Seen> = view
            .replicas
            .iter()
            .map(|replica| (replica.id.clone(), Seen::of(replica)))
            .collect();
        for replica in &view.replicas {
            let before = self.seen.get(&replica.id).copied();
            let seen = Seen::of(replica);
            if before != Some(seen) {
                let (phase, worker) = (seen.phase, &replica.worker);
                let ready = if seen.ready { ", ready" } else { "" };
                self.trace.note(format_args!(
                    "{} is {phase:?}{ready} on `{worker}`",
                    replica.id
                ));
                self.stopping_is_final(replica, before);
                self.lost_are_only_the_silent(replica, before, started);
            }
        }
        for gone in self.seen.keys().filter(|id| !now.contains_key(*id)) {
            self.trace.note(format_args!("{gone} is forgotten"));
        }
        self.none_is_made_for_nothing(view);
        self.seen = now;
    }

    fn nothing_answered_is_lost(&self, view: &View) {
        for (name, held) in self.expected.lock().iter() {
            if !held.holds(name, view) {
                let (answered, asked) = (held.answered, held.asked);
                self.trace.violation(
                    Promise::AnswersHold,
                    format_args!(
                        "{name} is not as it was answered, {answered:?}, nor as asked, {asked:?}"
                    ),
                );
            }
        }
    }

    fn stopping_is_final(&self, replica: &v1::Replica, before: Option<Seen>) {
        let ends = |phase| matches!(phase, Phase::Stopping | Phase::Stopped);
        if before.is_some_and(|before| ends(before.phase)) && !ends(replica.phase()) {
            let (id, phase) = (&replica.id, replica.phase());
            self.trace.violation(
                Promise::StoppedStaysStopped,
                format_args!("{id} was to stop, and is {phase:?} again"),
            );
        }
    }

    fn lost_are_only_the_silent(
        &self,
        replica: &v1::Replica,
        before: Option<Seen>,
        started: Instant,
    ) {
        let was_lost = before.is_some_and(|before| before.phase == Phase::Lost);
        if replica.phase() != Phase::Lost || was_lost || before.is_none() {
            return;
        }
        let Some(peer) = self.peers.get(&replica.worker) else {
            return;
        };
        let silent = peer.longest_silence(started, DECIDED);
        if silent + SLACK < self.timeout {
            let (id, worker) = (&replica.id, &replica.worker);
            self.trace.violation(
                Promise::NothingFlaps,
                format_args!("{id} is lost, though {worker} was silent for {silent:?} only"),
            );
        }
    }

    /// Checks, whenever a replica is made, that no more exist than are asked for and an update may
    /// add.
    fn none_is_made_for_nothing(&mut self, view: &View) {
        let mut made: BTreeSet<&str> = BTreeSet::new();
        let mut live: BTreeMap<&str, u32> = BTreeMap::new();
        // The replicas of each revision that are to stay.
        let mut stay: BTreeMap<(&str, u32), u32> = BTreeMap::new();
        for replica in &view.replicas {
            if !self.seen.contains_key(&replica.id) {
                self.created += 1;
                made.insert(&replica.workload);
            }
            let counts = match replica.phase() {
                Phase::Lost | Phase::Failed => {
                    self.gone.insert(replica.id.clone());
                    false
                }
                // One that comes back too late is stopped; the plan did not count it.
                Phase::Stopping => !self.gone.contains(&replica.id),
                Phase::Completed | Phase::Stopped => false,
                _ => true,
            };
            // One whose worker is stopping is not to stay, although it has not been asked to stop.
            let leaves = view.leaving.contains(&replica.worker);
            if counts {
                *live.entry(&replica.workload).or_default() += 1;
                if replica.phase() != Phase::Stopping && !leaves {
                    *stay
                        .entry((&replica.workload, replica.revision))
                        .or_default() += 1;
                }
            }
        }
        for workload in made {
            let expected = self.expected.lock();
            let target = expected.get(workload).map_or(0, |it| it.most(DECIDED));
            let of_one = stay.iter().filter(|((of, _), _)| *of == workload);
            let of_one = of_one.map(|(_, count)| *count).max().unwrap_or(0);
            let live = live.get(workload).copied().unwrap_or(0);
            let (live, most) = match of_one > target {
                true => (of_one, target),
                false => (live, target + SURGE),
            };
            if live > most {
                self.trace.violation(
                    Promise::NoneForNothing,
                    format_args!(
                        "{workload} was given another replica, of {live} in all where {most} are enough"
                    ),
                );
            }
        }
    }

    /// Returns what is not yet as it should be after the faults have ended.
    pub fn unsettled(&self, view: &View) -> Option<String> {
        let mut wanted: BTreeSet<&str> = BTreeSet::new();
        for (id, workload) in &view.workloads {
            if workload.delete_time.is_some() {
                return Some(format!("{id} is being deleted"));
            }
            let of_it = view
                .replicas
                .iter()
                .filter(|replica| replica.workload == id.name.as_str());
            let present: Vec<&v1::Replica> = of_it
                .filter(|replica| replica.phase() != Phase::Lost)
                .collect();
            let target = workload.spec.as_ref().and_then(|spec| spec.replicas);
            let serves = |replica: &&v1::Replica| {
                replica.phase() == Phase::Running
                    && replica.ready
                    && replica.revision == workload.revision
            };
            let target = usize::try_from(target.unwrap_or(1)).unwrap_or(usize::MAX);
            // Its workers died one after the other: it waits for a user, and what runs of it stays.
            if present.iter().any(|replica| is_held(replica)) {
                let running = present.iter().filter(|it| it.phase() == Phase::Running);
                wanted.extend(running.map(|replica| replica.id.as_str()));
                continue;
            }
            if present.len() != target || !present.iter().all(serves) {
                let phases: Vec<_> = present.iter().map(|it| (&it.id, it.phase())).collect();
                return Some(format!("{id} should have {target} replicas: {phases:?}"));
            }
            wanted.extend(present.iter().map(|replica| replica.id.as_str()));
        }
        let running = self.truth.running();
        let running: BTreeSet<&str> = running.iter().map(String::as_str).collect();
        (running != wanted).then(|| format!("{running:?} run where {wanted:?} should"))
    }
}

fn is_held(replica: &v1::Replica) -> bool {
    let conditions = &replica.conditions;
    replica.worker.is_empty() && conditions.iter().any(|it| it.reason == "Held")
}

// === impl Seen ===

impl Seen {
    fn of(replica: &v1::Replica) -> Self {
        Self {
            phase: replica.phase(),
            ready: replica.ready,
        }
    }
}
