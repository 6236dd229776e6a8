//! What a worker says about a replica, and what that makes of the stored one.

use prost_types::Timestamp;
use warren_model::guard::Guard;
use warren_proto::v1::{self, condition::Status, replica::Phase};

use crate::state::{
    exits,
    records::{ReplicaRecord, set_condition, set_worker_conditions},
};

/// What a worker may tell of a replica at most: more is a broken worker.
const MAX_CONDITIONS: usize = 16;
const MAX_ENDPOINTS: usize = 1024;

/// The record after the report; `None` when it tells nothing new.
///
/// To stop a replica and to give it up as lost are the control plane's decisions: no report takes them back.
pub(super) fn apply(
    record: &ReplicaRecord,
    report: &v1::ReplicaReport,
    now: Timestamp,
) -> Option<ReplicaRecord> {
    let phase = match report.phase() {
        // Not a worker's to say.
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
        (_, Phase::Stopped) => {
            after.enter(Phase::Stopped, now);
            after.replica.ready = false;
            after.replica.endpoints.clear();
        }
        (Phase::Stopping, _) if Guard::StoppingIsFinal.stands() => {
            after.replica.next_start_time = None;
        }
        (Phase::Lost, _) => {
            after.reported = phase.into();
            after.reported_ready = report.ready;
        }
        _ => {
            after.enter(phase, now);
            after.replica.ready = report.ready;
        }
    }
    // It may not have heard yet that it is to stop.
    let obeys = record.phase() != Phase::Stopping || is_ending(phase);
    let reported = report.conditions.iter();
    let reported = reported.filter(|reported| obeys || reported.r#type != "Ready");
    merge_conditions(&mut after.replica.conditions, reported);
    (after != *record).then_some(after)
}

/// The record of a replica that its worker, just back, does not hold; `None` when that is no news.
pub(super) fn not_held(record: &ReplicaRecord, now: Timestamp) -> Option<ReplicaRecord> {
    let mut after = record.clone();
    after.replica.ready = false;
    after.replica.next_start_time = None;
    after.replica.endpoints.clear();
    match record.phase() {
        Phase::Stopping => {
            after.enter(Phase::Stopped, now);
            let conditions = &mut after.replica.conditions;
            let message = "its worker does not hold it any more";
            for kind in ["Started", "Ready"] {
                set_condition(conditions, kind, Status::False, "Stopped", message, now);
            }
        }
        Phase::Lost => {
            exits::withdraw_loss(&mut after.replica, record.since);
            start_anew(&mut after.replica.conditions, now);
            count_restart(&mut after, record.reported());
            after.reported = Phase::Pending.into();
            after.reported_ready = false;
        }
        // Its end is what counts, and it will not be started again.
        Phase::Completed | Phase::Failed | Phase::Stopped => {}
        before => {
            count_restart(&mut after, before);
            after.enter(Phase::Pending, now);
            start_anew(&mut after.replica.conditions, now);
        }
    }
    (after != *record).then_some(after)
}

fn start_anew(conditions: &mut Vec<v1::Condition>, now: Timestamp) {
    let message = "its worker came back without it and starts it anew";
    set_worker_conditions(conditions, Status::False, "WorkerRestarted", message, now);
}

fn is_ending(phase: Phase) -> bool {
    matches!(phase, Phase::Stopping | Phase::Stopped)
}

/// What ran, or waited to run again, is started again. What waits for its first start is not.
fn count_restart(record: &mut ReplicaRecord, before: Phase) {
    if matches!(before, Phase::Running | Phase::Backoff) {
        record.replica.restarts = record.replica.restarts.saturating_add(1);
    }
}

/// The worker's conditions beside the control plane's own.
fn merge_conditions<'a>(
    held: &mut Vec<v1::Condition>,
    reported: impl Iterator<Item = &'a v1::Condition>,
) {
    let news = reported.filter(|condition| condition.r#type != "Scheduled");
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
