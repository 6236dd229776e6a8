//! Applies a worker's report on a replica to the stored record.

use prost_types::Timestamp;
use warren_model::{condition, guard::Guard, reason};
use warren_proto::v1::{self, condition::Status, replica::Phase};

use crate::state::{
    exits,
    records::{ReplicaRecord, condition, set_condition, set_worker_conditions},
};

/// The number of conditions that a worker may report for a replica; only a broken worker sends
/// more.
const MAX_CONDITIONS: usize = 16;
const MAX_ENDPOINTS: usize = 1024;

/// Returns the record after the report, or `None` if the report changes nothing.
///
/// Stopping a replica and giving it up as lost are decisions of the control plane: no report
/// reverts them.
pub(super) fn apply(
    record: &ReplicaRecord,
    report: &v1::ReplicaReport,
    now: Timestamp,
) -> Option<ReplicaRecord> {
    let phase = match report.phase() {
        // A worker must not set it.
        Phase::Unspecified | Phase::Lost => return None,
        phase => phase,
    };
    if record.phase() == Phase::Stopped {
        return None;
    }
    let mut after = record.clone();
    after.replica.restarts = report.restarts;
    if record.phase() == Phase::Lost {
        exits::withdraw_loss(&mut after.replica, record.since);
    }
    let last = report.last_exit.as_ref();
    exits::merge(&mut after.replica, last, &report.last_exits);
    after.replica.next_start_time = report.next_start_time.filter(|_| phase == Phase::Backoff);
    after.replica.endpoints = report
        .endpoints
        .iter()
        .take(MAX_ENDPOINTS)
        .cloned()
        .collect();
    match (record.phase(), phase) {
        // A service that ended as its policy allows before it could be moved has completed.
        (before, Phase::Stopped) => {
            let has_completed =
                report.completed && !(before == Phase::Stopping && record.discarded);
            after.enter(
                if has_completed {
                    Phase::Completed
                } else {
                    Phase::Stopped
                },
                now,
            );
            after.set_unready();
            after.replica.endpoints.clear();
        }
        (Phase::Stopping, _) if Guard::StoppingIsFinal.is_enforced() => {
            after.replica.next_start_time = None;
        }
        (Phase::Lost, _) => {
            after.reported = phase.into();
            after.reported_ready = report.ready;
        }
        _ => {
            after.enter(phase, now);
            match (report.ready, was_ready_throughout(record, report)) {
                (true, true) => {}
                (true, false) => after.set_ready(now),
                (false, _) => after.set_unready(),
            }
        }
    }
    // It may not yet have received the request to stop.
    let obeys = record.phase() != Phase::Stopping || is_ending(phase);
    let reported = report.conditions.iter();
    let reported = reported.filter(|reported| obeys || reported.r#type != condition::READY);
    merge_conditions(&mut after.replica.conditions, reported);
    (after != *record).then_some(after)
}

/// Returns whether a ready replica has been ready since the last report: this report may have left
/// out what happened in between.
fn was_ready_throughout(record: &ReplicaRecord, report: &v1::ReplicaReport) -> bool {
    let since = |conditions: &[v1::Condition]| {
        condition(conditions, condition::READY).and_then(|held| held.last_transition_time)
    };
    let is_same = match (since(&record.replica.conditions), since(&report.conditions)) {
        (Some(before), Some(now)) => before == now,
        // A Hello of many replicas leaves conditions out, and brings them later.
        _ => true,
    };
    record.replica.ready && record.replica.restarts == report.restarts && is_same
}

/// Returns the record of a replica that its worker, which has just returned, does not have; `None`
/// if that is already recorded.
pub(super) fn not_held(record: &ReplicaRecord, now: Timestamp) -> Option<ReplicaRecord> {
    let mut after = record.clone();
    after.set_unready();
    after.replica.next_start_time = None;
    after.replica.endpoints.clear();
    match record.phase() {
        Phase::Stopping => {
            after.enter(Phase::Stopped, now);
            let conditions = &mut after.replica.conditions;
            let message = "its worker no longer has it";
            for kind in [condition::STARTED, condition::READY] {
                set_condition(
                    conditions,
                    kind,
                    Status::False,
                    reason::STOPPED,
                    message,
                    now,
                );
            }
        }
        Phase::Lost => {
            exits::withdraw_loss(&mut after.replica, record.since);
            after.reported_ready = false;
            if record.runs_once && had_begun(record.reported()) {
                end_for_good(&mut after, now);
                after.reported = Phase::Failed.into();
            } else {
                start_anew(&mut after.replica.conditions, now);
                count_restart(&mut after, record.reported());
                after.reported = Phase::Pending.into();
            }
        }
        // Only its end counts, and it will not be started again.
        Phase::Completed | Phase::Failed | Phase::Stopped => {}
        before if record.runs_once && had_begun(before) => {
            end_for_good(&mut after, now);
            after.enter(Phase::Failed, now);
        }
        before => {
            count_restart(&mut after, before);
            after.enter(Phase::Pending, now);
            start_anew(&mut after.replica.conditions, now);
        }
    }
    (after != *record).then_some(after)
}

fn start_anew(conditions: &mut Vec<v1::Condition>, now: Timestamp) {
    let message = "its worker came back without it and starts it again";
    set_worker_conditions(
        conditions,
        Status::False,
        reason::WORKER_RESTARTED,
        message,
        now,
    );
}

/// Returns whether the replica's service may have run.
fn had_begun(phase: Phase) -> bool {
    matches!(phase, Phase::Starting | Phase::Running | Phase::Backoff)
}

/// Records that the replica's only run ended with its worker.
fn end_for_good(record: &mut ReplicaRecord, now: Timestamp) {
    let message = "its worker came back without it, and its restart policy does not start it again";
    let exit = v1::Exit {
        reason: v1::exit::Reason::Lost.into(),
        message: message.to_owned(),
        time: Some(now),
        ..v1::Exit::default()
    };
    exits::keep(&mut record.replica, exit);
    let conditions = &mut record.replica.conditions;
    for kind in [condition::STARTED, condition::READY] {
        set_condition(
            conditions,
            kind,
            Status::False,
            reason::WORKER_RESTARTED,
            message,
            now,
        );
    }
}

fn is_ending(phase: Phase) -> bool {
    matches!(phase, Phase::Stopping | Phase::Stopped)
}

/// Counts a restart if the replica ran, or waited to run again. One that waits for its first start
/// is not restarted.
fn count_restart(record: &mut ReplicaRecord, before: Phase) {
    if matches!(before, Phase::Running | Phase::Backoff) {
        record.replica.restarts = record.replica.restarts.saturating_add(1);
    }
}

/// Merges the worker's conditions with the control plane's own.
fn merge_conditions<'a>(
    held: &mut Vec<v1::Condition>,
    reported: impl Iterator<Item = &'a v1::Condition>,
) {
    let news = reported.filter(|condition| condition.r#type != condition::SCHEDULED);
    for news in news.take(MAX_CONDITIONS) {
        let known = held.iter().position(|held| held.r#type == news.r#type);
        match known {
            Some(at) => held[at].clone_from(news),
            None if held.len() < MAX_CONDITIONS => held.push(news.clone()),
            None => {}
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp {
        seconds: 100,
        nanos: 0,
    };

    fn record(phase: Phase) -> ReplicaRecord {
        let mut record = ReplicaRecord::default();
        record.enter(
            phase,
            Timestamp {
                seconds: 1,
                nanos: 0,
            },
        );
        record
    }

    fn report(phase: Phase, ready: bool) -> v1::ReplicaReport {
        v1::ReplicaReport {
            phase: phase.into(),
            ready,
            restarts: 3,
            ..Default::default()
        }
    }

    #[test]
    fn a_report_moves_a_replica_but_not_the_control_planes_decisions() {
        use Phase::{Failed, Lost, Pending, Running, Starting, Stopped, Stopping, Unspecified};
        let cases = [
            (Pending, Starting, Some((Starting, false))),
            (Starting, Running, Some((Running, true))),
            (Running, Failed, Some((Failed, false))),
            (Running, Stopped, Some((Stopped, false))),
            (Stopping, Running, Some((Stopping, false))),
            (Stopping, Stopped, Some((Stopped, false))),
            (Lost, Running, Some((Lost, false))),
            (Lost, Stopped, Some((Stopped, false))),
            (Stopped, Running, None),
            (Running, Lost, None),
            (Running, Unspecified, None),
        ];
        for (before, reported, expected) in cases {
            let after = apply(&record(before), &report(reported, reported == Running), NOW);
            let got = after
                .as_ref()
                .map(|after| (after.phase(), after.replica.ready));
            assert_eq!(got, expected, "{before:?} reported {reported:?}");
            if let Some(after) = &after {
                assert_eq!(after.replica.restarts, 3);
                assert_eq!(
                    after.since,
                    Some(NOW)
                        .filter(|_| after.phase() != before)
                        .or(record(before).since)
                );
            }
        }
    }

    #[test]
    fn the_same_report_again_is_no_news() {
        let after = apply(&record(Phase::Starting), &report(Phase::Running, true), NOW).unwrap();
        assert_eq!(apply(&after, &report(Phase::Running, true), NOW), None);
    }

    /// A report of one that is ready since the given second, by its worker's clock.
    fn ready_since(seconds: i64, restarts: u32) -> v1::ReplicaReport {
        let condition = v1::Condition {
            r#type: "Ready".into(),
            status: Status::True.into(),
            last_transition_time: Some(Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        };
        v1::ReplicaReport {
            restarts,
            conditions: vec![condition],
            ..report(Phase::Running, true)
        }
    }

    #[test]
    fn readiness_counts_from_the_last_break_though_it_was_not_reported() {
        let at = |seconds| Timestamp { seconds, nanos: 0 };
        let first = apply(&record(Phase::Starting), &ready_since(7, 0), at(100)).unwrap();
        assert_eq!(first.ready_since, Some(at(100)));
        assert_eq!(first.replica.available, Some(false));
        let mut held = first;
        held.replica.available = Some(true);
        // News of something else.
        let mut news = ready_since(7, 0);
        news.endpoints.push(v1::Endpoint::default());
        let same = apply(&held, &news, at(101)).unwrap();
        assert_eq!(
            (same.ready_since, same.replica.available),
            (Some(at(100)), Some(true))
        );
        for again in [ready_since(8, 0), ready_since(7, 1)] {
            let broken = apply(&held, &again, at(102)).unwrap();
            assert_eq!(
                (broken.ready_since, broken.replica.available),
                (Some(at(102)), Some(false))
            );
        }
        let ended = apply(&held, &report(Phase::Backoff, false), at(103)).unwrap();
        assert_eq!(
            (ended.ready_since, ended.replica.available),
            (None, Some(false))
        );
    }

    #[test]
    fn what_completed_while_it_stopped_has_completed_unless_it_was_to_go_for_good() {
        let stopped = v1::ReplicaReport {
            completed: true,
            ..report(Phase::Stopped, false)
        };
        let phase = |before, discarded| {
            let record = ReplicaRecord {
                discarded,
                ..record(before)
            };
            apply(&record, &stopped, NOW).unwrap().phase()
        };
        // Its worker stopped in order, or is drained.
        assert_eq!(phase(Phase::Running, false), Phase::Completed);
        assert_eq!(phase(Phase::Stopping, false), Phase::Completed);
        assert_eq!(phase(Phase::Lost, false), Phase::Completed);
        assert_eq!(phase(Phase::Stopping, true), Phase::Stopped);
        let cut_short = apply(
            &record(Phase::Stopping),
            &report(Phase::Stopped, false),
            NOW,
        );
        assert_eq!(cut_short.unwrap().phase(), Phase::Stopped);
    }

    #[test]
    fn what_runs_once_does_not_run_again_because_its_worker_did() {
        let once = |phase| ReplicaRecord {
            runs_once: true,
            ..record(phase)
        };
        for before in [Phase::Starting, Phase::Running] {
            let after = not_held(&once(before), NOW).unwrap();
            assert_eq!((after.phase(), after.replica.restarts), (Phase::Failed, 0));
            let exit = after.replica.last_exit.unwrap();
            assert_eq!(exit.reason(), v1::exit::Reason::Lost);
        }
        // It never began.
        let unstarted = |record| not_held(record, NOW).map(|after| after.phase());
        assert_eq!(
            unstarted(&once(Phase::Pending)),
            unstarted(&record(Phase::Pending))
        );
        let mut lost = once(Phase::Lost);
        lost.reported = Phase::Running.into();
        assert_eq!(not_held(&lost, NOW).unwrap().reported(), Phase::Failed);
    }

    #[test]
    fn a_lost_replica_keeps_what_was_reported_for_its_return() {
        let after = apply(&record(Phase::Lost), &report(Phase::Running, true), NOW).unwrap();
        assert_eq!(
            (after.reported(), after.reported_ready),
            (Phase::Running, true)
        );
        let after = not_held(&record(Phase::Lost), NOW).unwrap();
        assert_eq!(
            (after.reported(), after.reported_ready),
            (Phase::Pending, false)
        );
    }

    #[test]
    fn a_replica_that_the_worker_does_not_hold_has_stopped_or_starts_anew() {
        assert_eq!(
            not_held(&record(Phase::Stopping), NOW).unwrap().phase(),
            Phase::Stopped
        );
        let again = not_held(&record(Phase::Running), NOW).unwrap();
        assert_eq!(
            (again.phase(), again.replica.restarts),
            (Phase::Pending, record(Phase::Running).replica.restarts + 1)
        );
        // Counted already, and not started since.
        assert_eq!(not_held(&again, NOW).map(|a| a.replica.restarts), None);
        assert_eq!(not_held(&record(Phase::Completed), NOW), None);
    }
}
