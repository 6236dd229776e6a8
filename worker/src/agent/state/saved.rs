//! The kept state of a replica on disk, and what a worker that starts does with it. This is pure
//! logic.

use std::collections::BTreeSet;

use prost::Message;
use warren_model::{ambient, condition, digest::Digest, reason};
use warren_proto::v1::{self, replica::Phase};

use crate::replica::{
    assignment::{Assignment, Refused},
    reports::ReplicaState,
};

/// A replica that this worker was ordered to run.
#[derive(Clone, PartialEq, Message)]
pub struct Saved {
    #[prost(message, optional, tag = "1")]
    pub assignment: Option<v1::Assignment>,
    /// The part of its last report that a start has to know: that it is RUNNING, COMPLETED or
    /// FAILED. It is `None` before its first start.
    #[prost(message, optional, tag = "2")]
    pub mark: Option<v1::ReplicaReport>,
}

/// The action for a replica if the worker starts and no control plane sends assignments.
#[derive(Clone, Debug, PartialEq)]
pub enum Restored {
    Run(Box<Assignment>),
    /// It does not run again, which must still be reported.
    Ended(String, Box<ReplicaState>),
    /// It is exclusive, and whether another replica of it runs is not known.
    Exclusive(String),
}

/// The reason why a file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("it is damaged")]
    Damaged,
    #[error("it was written by a later version of Warren")]
    Newer,
}

/// The changes on disk for a message of assignments.
#[derive(Debug, Default, PartialEq)]
pub struct Changes {
    pub remove: Vec<String>,
    pub add: Vec<v1::Assignment>,
}

/// The beginning of the line before the message in its file. The line consists of this word, the
/// version of what follows, and its SHA-256.
const MAGIC: &str = "warren-replica";
const VERSION: u32 = 1;

// === impl Saved ===

impl Saved {
    pub fn new(assignment: v1::Assignment) -> Self {
        Self {
            assignment: Some(assignment),
            mark: None,
        }
    }

    /// Returns the content of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = self.encode_to_vec();
        let head = format!("{MAGIC} {VERSION} {}\n", Digest::of(&body).hex());
        [head.as_bytes(), &body].concat()
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (head, body) = bytes.split_at(end.ok_or(Unreadable::Damaged)?);
        let (head, body) = (String::from_utf8_lossy(head), &body[1..]);
        let mut words = head.split(' ');
        if words.next() != Some(MAGIC) {
            return Err(Unreadable::Damaged);
        }
        let version: Option<u32> = words.next().and_then(|version| version.parse().ok());
        match version.ok_or(Unreadable::Damaged)? {
            VERSION => {}
            0 => return Err(Unreadable::Damaged),
            _ => return Err(Unreadable::Newer),
        }
        if words.next() != Some(Digest::of(body).hex().as_str()) {
            return Err(Unreadable::Damaged);
        }
        Self::decode(body).map_err(|_| Unreadable::Damaged)
    }

    /// Returns the number of its service's next start. No two starts have the same number.
    pub fn next_start(&self) -> u32 {
        let assigned = self.assignment.as_ref().map_or(0, |it| it.restarts);
        let Some(mark) = &self.mark else {
            return assigned;
        };
        let spec = self.assignment.as_ref().and_then(|it| it.spec.as_ref());
        if spec.is_none_or(|spec| spec.service.is_none()) {
            return 0;
        }
        assigned.max(mark.restarts.saturating_add(1))
    }

    /// Takes a report into account. Returns whether that changes what a start has to know.
    pub fn note(&mut self, report: &v1::ReplicaReport) -> bool {
        let phase = match report.phase() {
            Phase::Completed | Phase::Failed => report.phase(),
            Phase::Stopped if report.completed => Phase::Completed,
            Phase::Starting | Phase::Running | Phase::Backoff => Phase::Running,
            // It has not started yet, or the worker is ending, in which case its earlier phase
            // counts. An ordered stop removes the whole file.
            _ => return false,
        };
        let ended = matches!(phase, Phase::Completed | Phase::Failed);
        let mark = v1::ReplicaReport {
            replica: report.replica.clone(),
            phase: phase.into(),
            restarts: report.restarts,
            last_exit: report.last_exit.clone().filter(|_| ended),
            last_exits: if ended {
                report.last_exits.clone()
            } else {
                Vec::new()
            },
            conditions: if ended {
                report.conditions.clone()
            } else {
                Vec::new()
            },
            ..v1::ReplicaReport::default()
        };
        let known = self.mark.as_ref() == Some(&mark);
        self.mark = Some(mark);
        !known
    }

    /// Returns what to do if the worker starts and no control plane sends assignments.
    pub fn restore(self) -> Result<Restored, Refused> {
        let restarts = self.next_start();
        let had_begun = self.mark.is_some();
        if let Some(mark) = self.mark
            && matches!(mark.phase(), Phase::Completed | Phase::Failed)
        {
            let state = ReplicaState {
                restarts: mark.restarts,
                last_exit: mark.last_exit.clone(),
                last_exits: mark.last_exits.clone(),
                conditions: mark.conditions.clone(),
                ..ReplicaState::new(mark.phase())
            };
            return Ok(Restored::Ended(mark.replica, Box::new(state)));
        }
        let mut assignment = Assignment::from_proto(self.assignment.unwrap_or_default())?;
        let service = assignment.spec.service.as_ref();
        if had_begun && service.is_some_and(|service| service.restart.runs_once()) {
            let state = lost_for_good(restarts.saturating_sub(1));
            return Ok(Restored::Ended(assignment.replica, Box::new(state)));
        }
        if assignment.fence.is_some() {
            return Ok(Restored::Exclusive(assignment.replica));
        }
        assignment.restarts = restarts;
        Ok(Restored::Run(Box::new(assignment)))
    }
}

/// Returns the state of a replica whose only run ended with its worker.
fn lost_for_good(restarts: u32) -> ReplicaState {
    let message = "the worker that ran it ended, and its restart policy allows no other run";
    let now = Some(ambient::now().into());
    let exit = v1::Exit {
        reason: v1::exit::Reason::Lost.into(),
        message: message.to_owned(),
        time: now,
        ..v1::Exit::default()
    };
    let unmet = |kind: &str| v1::Condition {
        r#type: kind.to_owned(),
        status: v1::condition::Status::False.into(),
        reason: reason::WORKER_RESTARTED.to_owned(),
        message: message.to_owned(),
        last_transition_time: now,
    };
    ReplicaState {
        restarts,
        last_exit: Some(exit.clone()),
        last_exits: vec![exit],
        conditions: [condition::STARTED, condition::READY].map(unmet).into(),
        ..ReplicaState::new(Phase::Failed)
    }
}

// === impl Changes ===

impl Changes {
    /// Returns the changes for a message that must be followed, if these replicas are kept.
    pub fn of<'a>(message: &v1::Assignments, kept: impl Iterator<Item = &'a String>) -> Self {
        let stop: BTreeSet<&String> = message.stop.iter().collect();
        let wanted: BTreeSet<&String> = message.assign.iter().map(|it| &it.replica).collect();
        let kept: BTreeSet<&String> = kept.collect();
        let goes =
            |id: &&&String| stop.contains(**id) || message.complete && !wanted.contains(**id);
        // A replica that is assigned and stopped by the same message must not run.
        let is_new =
            |it: &&v1::Assignment| !kept.contains(&it.replica) && !stop.contains(&it.replica);
        Self {
            remove: kept.iter().filter(goes).map(|id| (*id).clone()).collect(),
            add: message.assign.iter().filter(is_new).cloned().collect(),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::replica::testing::assignment;

    fn saved(assigned: u32) -> Saved {
        Saved::new(v1::Assignment {
            restarts: assigned,
            ..assignment("r")
        })
    }

    fn report(phase: Phase, restarts: u32) -> v1::ReplicaReport {
        v1::ReplicaReport {
            replica: "r".into(),
            phase: phase.into(),
            restarts,
            last_exit: Some(v1::Exit {
                code: 3,
                ..v1::Exit::default()
            }),
            ..v1::ReplicaReport::default()
        }
    }

    #[test]
    fn restarts_continue_where_they_were() {
        use Phase::{Backoff, Pending, Running, Starting, Stopped, Stopping};
        // The assigned number, the reports since then, and the number of the next start.
        type Reports<'a> = &'a [(Phase, u32)];
        let table: [(u32, Reports<'_>, u32); 10] = [
            (0, &[], 0),
            (3, &[], 3),
            (0, &[(Pending, 0)], 0),
            (0, &[(Starting, 0)], 1),
            (0, &[(Starting, 0), (Running, 0)], 1),
            (0, &[(Running, 4), (Backoff, 4)], 5),
            (0, &[(Backoff, 4), (Starting, 5)], 6),
            // The worker was stopped while the replica ran.
            (0, &[(Running, 2), (Stopping, 2), (Stopped, 2)], 3),
            (7, &[(Running, 7)], 8),
            (0, &[(Running, u32::MAX)], u32::MAX),
        ];
        for (assigned, reports, expected) in table {
            let mut saved = saved(assigned);
            for (phase, restarts) in reports {
                saved.note(&report(*phase, *restarts));
            }
            assert_eq!(saved.next_start(), expected, "{assigned} {reports:?}");
            let Ok(Restored::Run(run)) = saved.restore() else {
                panic!("it is to run");
            };
            assert_eq!((run.replica.as_str(), run.restarts), ("r", expected));
        }
    }

    #[test]
    fn the_link_plan_is_kept_and_may_be_absent() {
        let plan = v1::LinkPlan {
            interfaces: vec!["wasi:cli/exit@0.2.3".to_owned()],
            ..v1::LinkPlan::default()
        };
        // A version that did not know it wrote the same file without it.
        for link_plan in [None, Some(plan)] {
            let mut saved = saved(0);
            let assignment = saved.assignment.as_mut().unwrap();
            assignment.link_plan.clone_from(&link_plan);
            let read = Saved::from_bytes(&saved.to_bytes()).unwrap();
            let Ok(Restored::Run(run)) = read.restore() else {
                panic!("it is to run");
            };
            assert_eq!(run.links.map(|links| links.to_proto()), link_plan);
        }
    }

    #[test]
    fn without_a_service_nothing_is_started_again() {
        let mut saved = saved(0);
        if let Some(spec) = saved.assignment.as_mut().and_then(|it| it.spec.as_mut()) {
            spec.service = None;
        }
        saved.note(&report(Phase::Running, 0));
        assert_eq!(saved.next_start(), 0);
    }

    #[test]
    fn a_replica_that_has_ended_is_reported_and_not_run() {
        for phase in [Phase::Completed, Phase::Failed] {
            let mut saved = saved(0);
            assert!(saved.note(&report(Phase::Running, 2)));
            assert!(saved.note(&report(phase, 2)));
            assert!(!saved.note(&report(phase, 2)), "nothing new");
            assert!(!saved.note(&report(Phase::Stopping, 2)));
            let Ok(Restored::Ended(id, state)) = saved.restore() else {
                panic!("it runs again");
            };
            assert_eq!((id.as_str(), state.phase, state.restarts), ("r", phase, 2));
            assert_eq!(state.last_exit.unwrap().code, 3);
        }
    }

    #[test]
    fn a_replica_that_completed_while_its_worker_stopped_does_not_run_again() {
        let mut saved = saved(0);
        saved.note(&report(Phase::Running, 0));
        let completed = v1::ReplicaReport {
            completed: true,
            ..report(Phase::Stopped, 0)
        };
        assert!(saved.note(&completed));
        let Ok(Restored::Ended(_, state)) = saved.restore() else {
            panic!("it runs again");
        };
        assert_eq!(state.phase, Phase::Completed);
    }

    #[test]
    fn a_replica_that_never_runs_twice_fails_when_its_worker_ended() {
        use v1::restart_policy::{Policy, Recovery};

        let restored = |policy: Policy, on_lost: Recovery, reports: &[Phase]| {
            let mut saved = saved(0);
            let spec = saved.assignment.as_mut().and_then(|it| it.spec.as_mut());
            let service = spec.and_then(|spec| spec.service.as_mut()).unwrap();
            service.restart = Some(v1::RestartPolicy {
                policy: policy.into(),
                on_lost: on_lost.into(),
                ..v1::RestartPolicy::default()
            });
            for phase in reports {
                saved.note(&report(*phase, 0));
            }
            match saved.restore().unwrap() {
                Restored::Ended(_, state) => Some((state.phase, state.restarts)),
                _ => None,
            }
        };
        let unsaid = Recovery::Unspecified;
        let began = [Phase::Pending, Phase::Starting, Phase::Running];
        let failed = Some((Phase::Failed, 0));
        assert_eq!(restored(Policy::Never, unsaid, &began), failed);
        assert_eq!(restored(Policy::Never, unsaid, &began[..1]), None);
        assert_eq!(restored(Policy::Never, Recovery::Replace, &began), None);
        assert_eq!(restored(Policy::OnFailure, Recovery::Keep, &began), None);
    }

    #[test]
    fn only_changes_that_a_start_must_know_are_written() {
        let mut saved = saved(0);
        let steps = [
            (Phase::Pending, 0, false),
            (Phase::Starting, 0, true),
            (Phase::Running, 0, false),
            (Phase::Running, 0, false),
            (Phase::Backoff, 0, false),
            (Phase::Starting, 1, true),
        ];
        for (phase, restarts, written) in steps {
            assert_eq!(saved.note(&report(phase, restarts)), written, "{phase:?}");
        }
    }

    #[test]
    fn a_spec_of_another_version_is_refused() {
        let mut saved = saved(0);
        if let Some(it) = &mut saved.assignment {
            it.spec = None;
        }
        assert!(saved.restore().is_err());
    }

    #[test]
    fn damage_and_later_versions_are_found() {
        let saved = saved(2);
        let good = saved.to_bytes();
        assert_eq!(Saved::from_bytes(&good), Ok(saved));
        for cut in 0..good.len() {
            assert_eq!(
                Saved::from_bytes(&good[..cut]),
                Err(Unreadable::Damaged),
                "{cut}"
            );
        }
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Saved::from_bytes(&bad).is_err(), "{at}");
        }
        let newer = String::from_utf8_lossy(&good).replacen(" 1 ", " 2 ", 1);
        assert_eq!(Saved::from_bytes(newer.as_bytes()), Err(Unreadable::Newer));
    }

    #[test]
    fn stopped_replicas_are_removed_and_new_ones_are_added() {
        let changes = |complete, assign: &[&str], stop: &[&str], kept: &[&str]| {
            let owned = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
            let message = v1::Assignments {
                complete,
                assign: assign.iter().map(|id| assignment(id)).collect(),
                stop: owned(stop),
                ..v1::Assignments::default()
            };
            let Changes { remove, add } = Changes::of(&message, owned(kept).iter());
            let add: Vec<String> = add.into_iter().map(|it| it.replica).collect();
            (remove.join(" "), add.join(" "))
        };
        let pair = |remove: &str, add: &str| (remove.to_owned(), add.to_owned());
        assert_eq!(
            changes(false, &["c"], &["a", "x"], &["a", "b"]),
            pair("a", "c")
        );
        assert_eq!(changes(true, &["b", "c"], &[], &["a", "b"]), pair("a", "c"));
        assert_eq!(
            changes(false, &["a", "n"], &["a", "n"], &["a"]),
            pair("a", "")
        );
        assert_eq!(changes(true, &[], &[], &["a", "b"]), pair("a b", ""));
        assert_eq!(changes(false, &[], &[], &["a", "b"]), pair("", ""));
    }
}
