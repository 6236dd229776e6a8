use warren_proto::v1::replica::Phase;

use super::*;

const REVISION: u32 = 2;

fn workload(replicas: u32) -> v1::Workload {
    v1::Workload {
        generation: 5,
        revision: REVISION,
        spec: Some(v1::WorkloadSpec {
            replicas: Some(replicas),
            ..Default::default()
        }),
        status: Some(v1::WorkloadStatus {
            observed_generation: 5,
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn replica(revision: u32, phase: Phase, ready: bool) -> v1::Replica {
    v1::Replica {
        id: format!("r{revision}"),
        revision,
        phase: phase.into(),
        ready,
        ..Default::default()
    }
}

#[test]
fn verdicts() {
    use Patience::{UntilEnded, UntilFailed};
    let old = REVISION - 1;
    let broken = || Verdict::Broken("r2".into());
    let running = replica(REVISION, Phase::Running, true);
    let mut draining = replica(old, Phase::Stopping, false);
    draining.conditions.push(v1::Condition {
        r#type: "Ready".into(),
        reason: "Draining".into(),
        ..Default::default()
    });
    for (what, wanted, replicas, patience, verdict) in [
        ("none yet", 1, vec![], UntilFailed, Verdict::Waiting),
        ("none wanted", 0, vec![], UntilFailed, Verdict::Ready),
        (
            "ready",
            1,
            vec![running.clone()],
            UntilFailed,
            Verdict::Ready,
        ),
        (
            "one of two",
            2,
            vec![running.clone()],
            UntilFailed,
            Verdict::Waiting,
        ),
        (
            "the earlier one still answers",
            1,
            vec![running.clone(), replica(old, Phase::Running, true)],
            UntilFailed,
            Verdict::Waiting,
        ),
        (
            "the earlier one's worker may not have heard that it stops",
            1,
            vec![running.clone(), replica(old, Phase::Stopping, false)],
            UntilFailed,
            Verdict::Waiting,
        ),
        (
            "the earlier one is on its way out",
            1,
            vec![running.clone(), draining],
            UntilFailed,
            Verdict::Ready,
        ),
        (
            "scaled down, one too many",
            1,
            vec![running.clone(), running.clone()],
            UntilFailed,
            Verdict::Waiting,
        ),
        (
            "did its work",
            1,
            vec![replica(REVISION, Phase::Completed, false)],
            UntilFailed,
            Verdict::Ready,
        ),
        (
            "gave up",
            1,
            vec![replica(REVISION, Phase::Failed, false)],
            UntilFailed,
            broken(),
        ),
        (
            "gave up before the change",
            1,
            vec![replica(old, Phase::Failed, false)],
            UntilFailed,
            Verdict::Waiting,
        ),
        (
            "its replacement is ready",
            1,
            vec![replica(REVISION, Phase::Failed, false), running],
            UntilFailed,
            Verdict::Ready,
        ),
        (
            "ended once, patiently",
            1,
            vec![replica(REVISION, Phase::Backoff, false)],
            UntilFailed,
            Verdict::Waiting,
        ),
        (
            "ended once",
            1,
            vec![replica(REVISION, Phase::Backoff, false)],
            UntilEnded,
            broken(),
        ),
    ] {
        assert_eq!(
            judge(&workload(wanted), &replicas, patience, Until::Available),
            verdict,
            "{what}"
        );
    }
}

#[test]
fn a_revision_is_ready_once_the_server_has_recorded_it() {
    let mut workload = workload(1);
    workload.status.as_mut().unwrap().rollout = Some(v1::Rollout {
        state: v1::rollout::State::Progressing.into(),
        ..Default::default()
    });
    let replicas = [replica(REVISION, Phase::Running, true)];
    let verdict = |workload: &v1::Workload| {
        judge(workload, &replicas, Patience::UntilFailed, Until::Available)
    };
    assert_eq!(verdict(&workload), Verdict::Waiting);
    let status = workload.status.as_mut().unwrap();
    status
        .rollout
        .as_mut()
        .unwrap()
        .set_state(v1::rollout::State::Complete);
    assert_eq!(verdict(&workload), Verdict::Ready);
}

#[test]
fn a_rollout_that_stalled_is_waited_for_by_the_endlessly_patient_only() {
    let mut workload = workload(1);
    let status = workload.status.as_mut().unwrap();
    status.conditions = vec![v1::Condition {
        r#type: "Progressing".into(),
        reason: "ProgressDeadlineExceeded".into(),
        message: "no progress".into(),
        ..Default::default()
    }];
    let verdict =
        |replicas: &[v1::Replica], patience| judge(&workload, replicas, patience, Until::Available);
    let starting = [replica(REVISION, Phase::Starting, false)];
    let stalled = Verdict::Stalled("no progress".into());
    assert_eq!(verdict(&starting, Patience::UntilFailed), stalled);
    assert_eq!(verdict(&starting, Patience::Endless), Verdict::Waiting);
    // It became ready after all.
    let ready = [replica(REVISION, Phase::Running, true)];
    assert_eq!(verdict(&ready, Patience::UntilFailed), Verdict::Ready);
}

#[test]
fn a_state_from_before_the_change_says_nothing() {
    let mut workload = workload(1);
    workload.generation += 1;
    let replicas = [replica(REVISION, Phase::Running, true)];
    assert_eq!(
        judge(
            &workload,
            &replicas,
            Patience::UntilFailed,
            Until::Available
        ),
        Verdict::Waiting
    );
}

#[test]
fn replicas_of_earlier_revisions_do_not_count() {
    let present = replica(REVISION, Phase::Failed, false);
    assert!(!earlier_serves(
        &workload(1),
        std::slice::from_ref(&present)
    ));
    let earlier = replica(REVISION - 1, Phase::Running, true);
    assert!(earlier_serves(&workload(1), &[present, earlier]));
}

#[test]
fn a_wait_without_time_left_still_looks_once() {
    let now = Instant::now();
    let begun = Limit::from(Duration::ZERO).begin();
    assert!(begun.until(true) <= Instant::now());
    assert!(begun.until(false) >= now + LOOK);
    // If more time than that is left, the deadline counts.
    let begun = Limit::from(LOOK * 3).begin();
    assert!(begun.until(false) >= now + LOOK * 3);
    assert_eq!(begun.until(false), begun.until(true));
    // No clock can represent this time.
    assert!(Limit::from(Duration::MAX).begin().until(true) > now + LOOK * 3);
}

#[test]
fn a_ready_replica_counts_once_it_is_available() {
    let one = |available| v1::Replica {
        available,
        ..replica(REVISION, Phase::Running, true)
    };
    let judged =
        |replica: v1::Replica, until| judge(&workload(1), &[replica], Patience::UntilFailed, until);
    assert_eq!(judged(one(Some(false)), Until::Available), Verdict::Waiting);
    assert_eq!(judged(one(Some(false)), Until::Serving), Verdict::Ready);
    assert_eq!(judged(one(Some(true)), Until::Available), Verdict::Ready);
    // A server that does not report it.
    assert_eq!(judged(one(None), Until::Available), Verdict::Ready);
    let done = replica(REVISION, Phase::Completed, false);
    assert_eq!(judged(done, Until::Available), Verdict::Ready);
}

#[test]
fn ports_that_stay_taken_are_not_waited_for() {
    use v1::condition::Status;

    let unmet = |kind: &str, reason: &str| v1::Condition {
        r#type: kind.into(),
        status: Status::False.into(),
        reason: reason.into(),
        ..Default::default()
    };
    let judged = |phase, worker: &str, available, conditions: &[v1::Condition], patience| {
        let replica = v1::Replica {
            worker: worker.into(),
            available,
            conditions: conditions.to_vec(),
            ..replica(REVISION, phase, false)
        };
        judge(&workload(1), &[replica], patience, Until::Available)
    };
    let known = Some(false);
    let broken = || Verdict::Broken("r2".into());
    let waits = [unmet("Scheduled", "Unschedulable")];
    let taken = [unmet("Scheduled", "PortUnavailable")];
    let (failed, pending) = (Phase::Failed, Phase::Pending);
    let patience = Patience::UntilFailed;
    assert_eq!(
        judged(pending, "", known, &waits, patience),
        Verdict::Waiting
    );
    let stuck = Verdict::Stuck("r2".into());
    assert_eq!(judged(pending, "", known, &taken, patience), stuck);
    assert_eq!(
        judged(pending, "", known, &taken, Patience::Endless),
        Verdict::Waiting
    );
    // It could not listen on its machine; the server has yet to say whether another worker takes
    // it.
    let refused = unmet("Started", "PortUnavailable");
    let alone = [refused.clone()];
    assert_eq!(
        judged(failed, "w1", known, &alone, patience),
        Verdict::Waiting
    );
    let nowhere = [refused, unmet("Scheduled", "PortUnavailable")];
    assert_eq!(judged(failed, "w1", known, &nowhere, patience), broken());
    // An older server does not try another worker.
    assert_eq!(judged(failed, "w1", None, &alone, patience), broken());
}
