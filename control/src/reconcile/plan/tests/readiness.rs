//! Replicas count once they have been ready for long enough.

use super::{Phase::*, *};

/// A replica that has been ready for this many milliseconds, and is not recorded as available yet.
fn young(millis: u64) -> impl FnOnce(&mut ReplicaState) {
    move |replica| {
        replica.available = false;
        replica.ready_for = Duration::from_millis(millis);
    }
}

fn millis(plan: Plan) -> Option<u128> {
    plan.wake_after.map(|wait| wait.as_millis())
}

#[test]
fn a_new_replica_takes_an_old_ones_place_only_after_it_stayed_ready() {
    let old = scene(1).worker("a").replica("r1", 1, "a", Running);
    let with = |millis| {
        old.clone()
            .replica_with("n1", 2, "a", Running, young(millis))
    };
    assert_eq!(millis(with(0).gives(&[])), Some(1000));
    assert_eq!(millis(with(999).gives(&[])), Some(1));
    with(1000).gives(&["stop r1: revision 2 takes its place", "available n1"]);
    let mut longer = with(4000);
    longer.desired.as_mut().unwrap().min_ready = secs(5);
    assert_eq!(millis(longer.gives(&[])), Some(1000));
    let mut at_once = with(0);
    at_once.desired.as_mut().unwrap().min_ready = Duration::ZERO;
    at_once.gives(&["stop r1: revision 2 takes its place", "available n1"]);
}

#[test]
fn an_old_replica_that_serves_is_not_stopped_because_it_is_young() {
    let old = scene(1)
        .worker("a")
        .replica_with("r1", 1, "a", Running, young(10));
    old.gives(&["create new1 on a"]);
    old.replica("n1", 2, "a", Starting).gives(&[]);
}

#[test]
fn nothing_is_noted_twice_nor_of_a_worker_that_is_silent() {
    let one = scene(1).worker("a");
    one.clone()
        .replica_with("r1", 2, "a", Running, young(1000))
        .gives(&["available r1"]);
    one.replica("r1", 2, "a", Running).gives(&[]);
    let away = scene(1)
        .away("a", secs(3))
        .replica_with("r1", 2, "a", Running, young(5000));
    assert_eq!(away.gives(&[]).wake_after, Some(secs(7)));
}

#[test]
fn a_rollout_does_not_stall_while_a_replica_that_is_ready_has_to_stay_so() {
    let late = |ready_for| {
        let mut scene = scene(1)
            .worker("a")
            .replica("r1", 1, "a", Running)
            .replica_with("n1", 2, "a", Running, young(ready_for));
        let desired = scene.desired.as_mut().unwrap();
        desired.min_ready = secs(5);
        desired.roll_back_to = Some(1);
        desired.rollout = Some(Rollout {
            state: RolloutState::Progressing,
            most_available: 0,
            fewest_earlier: Some(1),
            idle: secs(500),
        });
        scene
    };
    assert_eq!(millis(late(1000).gives(&[])), Some(4000));
    // It ended before its time.
    let mut ended = late(1000);
    ended.replicas[1].phase = Backoff;
    ended.replicas[1].ready = false;
    ended.gives(&["roll back to 1"]);
}

#[test]
fn a_drain_waits_for_a_successor_that_stays_ready() {
    let mut scene = scene(1)
        .worker("b")
        .worker("a")
        .replica("r1", 2, "a", Running);
    let worker = scene.workers.last_mut().unwrap();
    (worker.cordoned, worker.draining) = (true, true);
    let with = |millis| {
        scene
            .clone()
            .replica_with("n1", 2, "b", Running, young(millis))
    };
    assert_eq!(millis(with(300).gives(&[])), Some(700));
    with(1000).gives(&["stop r1: its worker is drained", "available n1"]);
}

#[test]
fn what_failed_or_is_lost_keeps_its_place_where_its_policy_says_so() {
    let keeping = |keeps_failed, keeps_lost| {
        let mut scene = scene(1).worker("b");
        let desired = scene.desired.as_mut().unwrap();
        (desired.keeps_failed, desired.keeps_lost) = (keeps_failed, keeps_lost);
        scene
    };
    let failed = |scene: Scene, failure| {
        scene.replica_with("r1", 2, "b", Failed, |replica| {
            replica.phase_age = secs(700);
            replica.age = secs(701);
            replica.failure = failure;
        })
    };
    let again = [
        "stop r1: it failed and another replica takes its place",
        "create new1 on b after 1",
    ];
    failed(keeping(true, true), Failure::Ended).gives(&[]);
    failed(keeping(false, true), Failure::Ended).gives(&again);
    // Nothing of it ever ran.
    failed(keeping(true, true), Failure::CannotRun).gives(&again);

    let lost = |scene: Scene| {
        scene
            .away("a", secs(700))
            .replica_with("r1", 2, "a", Lost, |replica| replica.phase_age = secs(90))
    };
    lost(keeping(true, true)).gives(&[]);
    lost(keeping(true, false)).gives(&["create new1 on b"]);
    keeping(true, true)
        .away("a", secs(10))
        .replica("r1", 2, "a", Running)
        .gives(&["lost r1"]);
    // Its worker is back.
    keeping(true, true)
        .worker("a")
        .replica("r1", 2, "a", Lost)
        .gives(&["readmit r1"]);
    let mut none = lost(keeping(true, true));
    none.desired.as_mut().unwrap().replicas = 0;
    none.gives(&["forget r1"]);
    // Another revision does not wait for it.
    let mut next = lost(keeping(true, true));
    next.replicas[0].revision = 1;
    next.gives(&["create new1 on b"]);
}
