//! Derives the status of a workload from its replicas, in a pure function, so that every reader
//! derives the same.

use prost_types::Timestamp;
use warren_model::{condition, quantity::format_duration, reason, spec};
use warren_proto::v1::{self, condition::Status, replica::Phase, revision::Cause, rollout::State};

use crate::state::{records::condition, rollout};

/// Returns the status of a workload with these replicas.
///
/// Times are taken from the replicas' own conditions, so the same state has the same status on
/// every control plane.
pub fn derive(workload: &v1::Workload, replicas: &[v1::Replica]) -> v1::WorkloadStatus {
    let tally = Tally::of(workload, replicas);
    let verdict = tally.verdict();
    let ready = v1::Condition {
        r#type: condition::READY.to_owned(),
        status: verdict.ready.into(),
        reason: verdict.reason.to_owned(),
        message: verdict.message,
        last_transition_time: tally.ready_since(verdict.ready == Status::True),
    };
    let progressing = v1::Condition {
        r#type: condition::PROGRESSING.to_owned(),
        status: if tally.is_settled() || tally.is_stalled() {
            Status::False
        } else {
            Status::True
        }
        .into(),
        reason: tally.progress_reason().to_owned(),
        message: tally.progress_message(),
        last_transition_time: match tally.stalled() {
            Some(stalled) => stalled.state_time,
            None => tally.last_change(),
        },
    };
    v1::WorkloadStatus {
        replicas: count(tally.existing),
        ready_replicas: count(tally.ready.len()),
        observed_generation: workload.generation,
        conditions: vec![ready, progressing],
        rollout: rollout::of(workload).cloned(),
    }
}

/// The replicas, grouped by what they mean for the workload.
struct Tally<'a> {
    workload: &'a v1::Workload,
    wanted: usize,
    /// All but LOST.
    existing: usize,
    /// Replicas of the current revision that are ready to take work.
    ready: Vec<&'a v1::Replica>,
    /// Replicas of the current revision that have completed, as their policy allows.
    completed: usize,
    /// Replicas of the current revision that are neither ready nor completed.
    waiting: Vec<&'a v1::Replica>,
    /// Replicas of earlier revisions that still exist.
    older: usize,
    all: &'a [v1::Replica],
}

struct Verdict {
    ready: Status,
    reason: &'static str,
    message: String,
}

// === impl Tally ===

impl<'a> Tally<'a> {
    fn of(workload: &'a v1::Workload, replicas: &'a [v1::Replica]) -> Self {
        let wanted = workload
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1);
        let mut tally = Self {
            workload,
            wanted: usize::try_from(wanted).unwrap_or(usize::MAX),
            existing: 0,
            ready: Vec::new(),
            completed: 0,
            waiting: Vec::new(),
            older: 0,
            all: replicas,
        };
        for replica in replicas {
            if replica.phase() == Phase::Lost {
                continue;
            }
            tally.existing += 1;
            if replica.revision != workload.revision {
                tally.older += 1;
            } else if replica.ready {
                tally.ready.push(replica);
            } else if replica.phase() == Phase::Completed {
                tally.completed += 1;
            } else {
                tally.waiting.push(replica);
            }
        }
        tally
    }

    /// The number of replicas that have been ready for long enough to count.
    fn available(&self) -> usize {
        let counts = |replica: &&&v1::Replica| replica.available != Some(false);
        self.ready.iter().filter(counts).count()
    }

    fn is_deleting(&self) -> bool {
        self.workload.delete_time.is_some()
    }

    fn is_settled(&self) -> bool {
        !self.is_deleting()
            && self.older == 0
            && self.existing == self.wanted
            && self.available() + self.completed == self.wanted
            && self.is_noted()
    }

    /// Whether the next revision could be rolled back to this one: a client that sees the rollout
    /// complete may rely on that.
    fn is_noted(&self) -> bool {
        self.wanted == 0
            || rollout::of(self.workload).is_none_or(|noted| noted.state() == State::Complete)
    }

    fn is_stalled(&self) -> bool {
        self.stalled().is_some()
    }

    /// The rollout, if it stalled and has not moved since.
    fn stalled(&self) -> Option<&'a v1::Rollout> {
        // A ready replica is on its way to count.
        let available = count(self.ready.len() + self.completed);
        rollout::of(self.workload).filter(|noted| {
            noted.state() == State::Stalled
                && available <= noted.ready_replicas
                && !self.is_deleting()
        })
    }

    fn verdict(&self) -> Verdict {
        let of_wanted = self.of_wanted();
        if self.is_deleting() {
            return Verdict {
                ready: Status::False,
                reason: reason::DELETING,
                message: format!("{} replicas are still to stop", self.existing),
            };
        }
        if self.ready.len() >= self.wanted {
            return Verdict {
                ready: Status::True,
                reason: "ReplicasReady",
                message: of_wanted,
            };
        }
        if self.ready.len() + self.completed >= self.wanted {
            return Verdict {
                ready: Status::False,
                reason: reason::COMPLETED,
                message: format!(
                    "{} of {} replicas have completed",
                    self.completed, self.wanted
                ),
            };
        }
        // A LOST replica that keeps its place is the reason why there is no other.
        let lost = self.all.iter().filter(|replica| {
            replica.phase() == Phase::Lost && replica.revision == self.workload.revision
        });
        let (reason, why) = self
            .waiting
            .iter()
            .copied()
            .chain(lost)
            .map(obstacle)
            .min_by_key(|(rank, ..)| *rank)
            .map_or(("ReplicasNotReady", None), |(_, reason, why)| (reason, why));
        Verdict {
            ready: Status::False,
            reason,
            message: why.map_or_else(|| of_wanted.clone(), |why| format!("{of_wanted}: {why}")),
        }
    }

    /// Returns a text such as `1 of 2 replicas are ready`; surplus replicas are listed separately.
    fn of_wanted(&self) -> String {
        let (ready, wanted) = (self.ready.len(), self.wanted);
        match ready.checked_sub(wanted) {
            None | Some(0) => format!("{ready} of {wanted} replicas are ready"),
            Some(more) if wanted == 0 => {
                format!("no replicas are wanted, and {more} still to stop")
            }
            Some(more) => {
                format!("{wanted} of {wanted} replicas are ready, and {more} more still to stop")
            }
        }
    }

    fn progress_reason(&self) -> &'static str {
        if self.is_deleting() {
            reason::DELETING
        } else if self.is_settled() {
            "Complete"
        } else if self.is_stalled() {
            reason::PROGRESS_DEADLINE_EXCEEDED
        } else if self.older > 0 {
            "RollingOut"
        } else if self.existing > self.wanted {
            "ScalingDown"
        } else {
            "Starting"
        }
    }

    fn progress_message(&self) -> String {
        let current = self.existing - self.older;
        match self.progress_reason() {
            "Complete" => format!("revision {} is rolled out", self.workload.revision),
            reason::DELETING => format!("{} replicas are still to stop", self.existing),
            reason::PROGRESS_DEADLINE_EXCEEDED => self.stall_message(),
            "RollingOut" => {
                let mut message = format!(
                    "{} of {} replicas run revision {}, {} run an older one",
                    current, self.wanted, self.workload.revision, self.older
                );
                if self.workload.revision_cause() == Cause::RolledBackOnFailure {
                    message.push_str(&format!(
                        "; it brings revision {} back, because revision {} stalled",
                        self.workload.source_revision,
                        self.workload.revision - 1
                    ));
                }
                message
            }
            "ScalingDown" => {
                format!(
                    "{} replicas are still to stop",
                    self.existing.saturating_sub(self.wanted)
                )
            }
            _ => {
                let mut message = self.of_wanted();
                let spec = self.workload.spec.as_ref();
                let update = spec.and_then(|spec| spec.update).unwrap_or_default();
                match self.ready.len() - self.available() {
                    0 => {}
                    young => message.push_str(&format!(
                        ", {young} of them for less than {}",
                        format_duration(spec::min_ready(&update))
                    )),
                }
                message
            }
        }
    }

    fn stall_message(&self) -> String {
        let spec = self.workload.spec.as_ref();
        let update = spec.and_then(|spec| spec.update).unwrap_or_default();
        let deadline = spec::progress_deadline(&update);
        let mut message = format!(
            "revision {} made no progress within {}: {}, {} run an older revision",
            self.workload.revision,
            format_duration(deadline),
            self.of_wanted(),
            self.older
        );
        let refusal = self.stalled().map_or("", |stalled| &stalled.message);
        if !refusal.is_empty() {
            message.push_str(&format!("; it was not rolled back: {refusal}"));
        }
        message
    }

    /// Returns when the last of the required replicas became ready, or when readiness was last
    /// lost.
    fn ready_since(&self, is_ready: bool) -> Option<Timestamp> {
        if !is_ready {
            return self.last_change();
        }
        let mut times: Vec<_> = self
            .ready
            .iter()
            .filter_map(|replica| ready_change(replica))
            .collect();
        times.sort_by_key(|time| (time.seconds, time.nanos));
        let needed = self
            .wanted
            .checked_sub(1)
            .and_then(|last| times.get(last).copied());
        needed
            .or_else(|| times.last().copied())
            .or(self.workload.create_time)
    }

    fn last_change(&self) -> Option<Timestamp> {
        self.all
            .iter()
            .filter_map(ready_change)
            .chain(self.workload.delete_time)
            .chain(self.workload.create_time)
            .max_by_key(|time| (time.seconds, time.nanos))
    }
}

/// Returns why a replica cannot take work, as (rank, reason, message); the most significant reason
/// has the lowest rank.
fn obstacle(replica: &v1::Replica) -> (u8, &'static str, Option<String>) {
    let id = &replica.id;
    let exit = || {
        replica
            .last_exit
            .as_ref()
            .map(|exit| exit.message.as_str())
            .unwrap_or_default()
    };
    match replica.phase() {
        Phase::Failed => {
            let cause = unmet_of_worker(replica)
                .map_or_else(|| exit().to_owned(), |held| held.message.clone());
            let mut message = format!("{id} failed: {}", first_line(&cause));
            let elsewhere = condition(&replica.conditions, condition::SCHEDULED)
                .filter(|held| held.status() == Status::False);
            if let Some(elsewhere) = elsewhere {
                message.push_str(&format!(
                    "; no other worker takes it: {}",
                    elsewhere.message
                ));
            }
            (0, "ReplicaFailed", Some(message))
        }
        Phase::Lost => (
            4,
            "ReplicasNotReady",
            Some(format!("{id} is lost with its worker {}", replica.worker)),
        ),
        Phase::Backoff => (
            1,
            "ReplicaRestarting",
            Some(format!(
                "{id} ended and waits to be started again ({} restarts): {}",
                replica.restarts,
                first_line(exit())
            )),
        ),
        Phase::Pending if replica.worker.is_empty() => {
            let cause = condition(&replica.conditions, condition::SCHEDULED)
                .filter(|held| held.status() == Status::False);
            let reason = match cause {
                Some(held) => lasting(&held.reason).unwrap_or(reason::UNSCHEDULABLE),
                None => "ReplicasNotReady",
            };
            (2, reason, cause.map(|held| held.message.clone()))
        }
        _ => (
            3,
            "ReplicasNotReady",
            unmet(replica)
                .filter(|held| !held.message.is_empty())
                .map(|held| format!("{id}: {}", first_line(&held.message))),
        ),
    }
}

/// Returns why a replica has no worker, if waiting alone does not help.
fn lasting(reason: &str) -> Option<&'static str> {
    let reasons = [
        reason::PORT_UNAVAILABLE,
        reason::COMPILE_FAILED,
        reason::HELD,
    ];
    reasons.into_iter().find(|known| *known == reason)
}

/// Returns the first condition that does not hold.
fn unmet(replica: &v1::Replica) -> Option<&v1::Condition> {
    unmet_condition(replica, condition::SCHEDULED).or_else(|| unmet_of_worker(replica))
}

/// Returns the first unmet condition of those that its worker reports.
fn unmet_of_worker(replica: &v1::Replica) -> Option<&v1::Condition> {
    let mut kinds = condition::OF_WORKER.into_iter();
    kinds.find_map(|kind| unmet_condition(replica, kind))
}

fn unmet_condition<'a>(replica: &'a v1::Replica, kind: &str) -> Option<&'a v1::Condition> {
    condition(&replica.conditions, kind).filter(|held| held.status() == Status::False)
}

fn ready_change(replica: &v1::Replica) -> Option<Timestamp> {
    condition(&replica.conditions, condition::READY)
        .and_then(|held| held.last_transition_time)
        .or(replica.create_time)
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
