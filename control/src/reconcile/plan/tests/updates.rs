//! Making, scaling, updating.

use super::{Phase::*, *};

#[test]
fn replicas_are_made_and_spread() {
    scene(1).gives(&["create new1: no workers"]);
    scene(0).worker("a").gives(&[]);
    scene(3).worker("a").worker("b").gives(&[
        "create new1 on a",
        "create new2 on b",
        "create new3 on a",
    ]);
    scene(2)
        .worker("a")
        .replica("r1", 2, "a", Running)
        .gives(&["create new1 on a"]);
    scene(1)
        .worker("a")
        .replica("r1", 2, "a", Running)
        .gives(&[]);
}

#[test]
fn a_waiting_replica_is_placed_or_says_why_not() {
    let waiting = scene(1).replica_with("r1", 2, "", Pending, |replica| {
        replica.waiting = waiting("no workers");
    });
    waiting.gives(&[]);
    waiting.clone().worker("a").gives(&["place r1 on a"]);
    waiting
        .away("a", secs(1))
        .gives(&["r1: 1 worker: 1 not ready"]);
}

#[test]
fn too_many_are_stopped_the_least_missed_first() {
    let four = scene(4)
        .worker("a")
        .replica("failed", 2, "a", Failed)
        .replica("waiting", 2, "", Pending)
        .replica("starting", 2, "a", Starting)
        .replica("old", 2, "a", Running)
        .replica("young", 2, "a", Running);
    let scaled = |replicas| {
        let mut scene = four.clone();
        scene.desired.as_mut().unwrap().replicas = replicas;
        // Reasons do not matter here, nor that the waiting one gets its place.
        let actions = scene
            .plan()
            .actions
            .into_iter()
            .filter_map(|action| match action {
                Action::Stop { id, .. } | Action::Forget { id } => Some(id),
                _ => None,
            });
        actions.collect::<Vec<_>>()
    };
    assert_eq!(scaled(4), ["failed"]);
    assert_eq!(scaled(3), ["failed", "waiting"]);
    assert_eq!(scaled(2), ["failed", "waiting", "starting"]);
    assert_eq!(scaled(1), ["failed", "waiting", "starting", "young"]);
    assert_eq!(scaled(0), ["failed", "waiting", "starting", "young", "old"]);
    scene(1)
        .worker("a")
        .replica("r1", 2, "a", Running)
        .replica("r2", 2, "a", Completed)
        .gives(&["stop r2: the workload is scaled to 1"]);
}

#[test]
fn an_update_adds_one_waits_for_it_and_then_retires_one() {
    let two = scene(2).worker("a").worker("b");
    let old = two
        .clone()
        .replica("r1", 1, "a", Running)
        .replica("r2", 1, "b", Running);
    old.gives(&["create new1 on a"]);
    // Not ready yet: nothing is taken away.
    old.clone().replica("n1", 2, "a", Starting).gives(&[]);
    old.replica("n1", 2, "a", Running)
        .gives(&["stop r2: revision 2 takes its place"]);
    // It still runs: with another new one there would be four.
    two.clone()
        .replica("r1", 1, "a", Running)
        .replica("r2", 1, "b", Stopping)
        .replica("n1", 2, "a", Running)
        .gives(&[]);
    two.clone()
        .replica("r1", 1, "a", Running)
        .replica("n1", 2, "a", Running)
        .gives(&["create new1 on b"]);
    two.replica("r1", 1, "a", Running)
        .replica("n1", 2, "a", Running)
        .replica("n2", 2, "b", Running)
        .gives(&["stop r1: revision 2 takes its place"]);
}

#[test]
fn an_update_takes_the_steps_that_it_may() {
    let old = |surge, unavailable| {
        let mut scene = scene(3).worker("a");
        let desired = scene.desired.as_mut().unwrap();
        (desired.max_surge, desired.max_unavailable) = (surge, unavailable);
        let scene = scene.replica("r1", 1, "a", Running);
        let scene = scene.replica("r2", 1, "a", Running);
        scene.replica("r3", 1, "a", Running)
    };
    let stop = |id: &str| format!("stop {id}: revision 2 takes its place");
    old(2, 0).gives(&["create new1 on a", "create new2 on a"]);
    old(9, 0).gives(&["create new1 on a", "create new2 on a", "create new3 on a"]);
    // The place of one that may be missing is free once it has stopped.
    old(0, 1).gives(&[&stop("r3")]);
    old(1, 1).gives(&[&stop("r3"), "create new1 on a"]);
    old(0, 9).gives(&[&stop("r3"), &stop("r2"), &stop("r1")]);
    // One that is ready makes up for one that may be missing.
    let next = old(0, 1).replica("n1", 2, "a", Running);
    next.gives(&[&stop("r3"), &stop("r2")]);
    let starting = old(1, 1).replica("n1", 2, "a", Starting);
    starting.gives(&[&stop("r3")]);
}

#[test]
fn an_update_that_stops_first_never_runs_two() {
    let mut one = scene(1).worker("a");
    one.desired.as_mut().unwrap().stop_first = true;
    one.clone()
        .replica("r1", 1, "a", Running)
        .gives(&["stop r1: revision 2 is started once it has stopped"]);
    one.clone().replica("r1", 1, "a", Stopping).gives(&[]);
    one.replica("r1", 1, "a", Stopped)
        .gives(&["forget r1", "create new1 on a"]);
}

#[test]
fn old_replicas_of_no_use_go_at_once() {
    scene(1)
        .worker("a")
        .replica("r1", 1, "", Pending)
        .gives(&["forget r1", "create new1 on a"]);
    scene(1)
        .worker("a")
        .replica("r1", 1, "a", Failed)
        .gives(&["stop r1: revision 2 takes its place", "create new1 on a"]);
    scene(1)
        .worker("a")
        .replica("r1", 1, "a", Backoff)
        .gives(&["stop r1: revision 2 takes its place", "create new1 on a"]);
    // A completed one is worth as much as a ready one.
    scene(1)
        .worker("a")
        .replica("r1", 1, "a", Completed)
        .gives(&["create new1 on a"]);
}

#[test]
fn an_update_that_fails_leaves_the_old_in_place_and_tries_one_at_a_time() {
    let old = scene(2)
        .worker("a")
        .replica("r1", 1, "a", Running)
        .replica("r2", 1, "a", Running);
    let failed = |phase_age| {
        old.clone().replica_with("n1", 2, "a", Failed, |replica| {
            replica.age = secs(20);
            replica.phase_age = phase_age;
        })
    };
    assert_eq!(failed(secs(4)).gives(&[]).wake_after, Some(secs(6)));
    failed(secs(10)).gives(&[
        "stop n1: it failed and another replica takes its place",
        "create new1 on a after 1",
    ]);
}

#[test]
fn a_published_port_moves_to_a_free_worker_or_stops_first() {
    let one = scene(1).port("127.0.0.1:6379").worker("a");
    let old = one.clone().replica("r1", 1, "a", Running);
    old.clone().worker("b").gives(&["create new1 on b"]);
    let waiting = "1 worker: 1 has 127.0.0.1:6379 taken by another replica";
    old.gives(&[
        &format!("create new1: {waiting}"),
        "stop r1: revision 2 is started once it has stopped",
    ]);
    let wait = |scene: Scene| {
        scene.replica_with("n1", 2, "", Pending, |replica| {
            replica.waiting = super::waiting(waiting);
        })
    };
    wait(one.clone().replica("r1", 1, "a", Stopping)).gives(&[]);
    wait(one.replica("r1", 1, "a", Stopped)).gives(&["forget r1", "place n1 on a"]);

    // Stopping it would not help: the new one lacks memory as well, or the port is somebody else's.
    let mut lacking = old.clone();
    lacking.desired.as_mut().unwrap().needs.memory.reserve = 2048 * MIB;
    assert!(
        !lacking
            .plan()
            .actions
            .iter()
            .any(|action| matches!(action, Action::Stop { .. }))
    );
    let mut taken = old;
    taken.replicas[0].needs.ports.clear();
    assert!(
        !taken
            .plan()
            .actions
            .iter()
            .any(|action| matches!(action, Action::Stop { .. }))
    );
}

#[test]
fn published_ports_change_hands_one_at_a_time() {
    let two = scene(2).port("0.0.0.0:80").worker("a").worker("b");
    let waiting = |replica: &mut ReplicaState| {
        replica.waiting = waiting("2 workers: 2 have 0.0.0.0:80 taken by another replica");
    };
    two.clone()
        .replica("r1", 1, "a", Running)
        .replica_with("n1", 2, "b", Starting, |_| {})
        .replica_with("n2", 2, "", Pending, waiting)
        .gives(&[]);
    // It is ready, and has yet to show that it stays so.
    let young = two
        .clone()
        .replica("r1", 1, "a", Running)
        .replica_with("n1", 2, "b", Running, |replica| {
            replica.available = false;
            replica.ready_for = Duration::from_millis(400);
        })
        .replica_with("n2", 2, "", Pending, waiting);
    let wake = young.gives(&[]).wake_after;
    assert_eq!(wake, Some(Duration::from_millis(600)));
    two.replica("r1", 1, "a", Running)
        .replica("n1", 2, "b", Running)
        .replica_with("n2", 2, "", Pending, waiting)
        .gives(&["stop r1: revision 2 is started once it has stopped"]);
}
