//! Services that never run twice, not even for a moment.

use super::{Phase::*, *};

/// Of revision 2, with workers `a`, which is there, and `b` as the test says.
fn exclusive() -> Scene {
    let mut scene = scene(1).worker("a");
    let desired = scene.desired.as_mut().unwrap();
    (desired.exclusive, desired.stop_first) = (true, true);
    scene
}

fn superseded(id: &str) -> String {
    format!("stop {id}: revision 2 is started once it has stopped")
}

#[test]
fn an_update_waits_for_the_end_of_the_old_one() {
    let old = exclusive().replica("r1", 1, "a", Running);
    old.gives(&[&superseded("r1")]);
    exclusive().replica("r1", 1, "a", Stopping).gives(&[]);
    exclusive()
        .replica("r1", 1, "a", Stopped)
        .gives(&["forget r1", "create new1 on a"]);
}

#[test]
fn a_silent_worker_keeps_it_for_the_whole_timeout() {
    let held = |silent_for| {
        let scene = exclusive().away("b", silent_for);
        scene.replica("r1", 2, "b", Running)
    };
    // Its lease is over by then, but the clocks of two machines are not the same.
    let plan = held(secs(9)).gives(&[]);
    assert_eq!(plan.wake_after, Some(secs(1)));
    held(secs(10)).gives(&["lost r1", "create new1 on a"]);
    // Nor is another one started where it was asked to stop, and has not said that it did.
    let stopping = exclusive().away("b", secs(9));
    stopping.replica("r1", 1, "b", Stopping).gives(&[]);
    let stopping = exclusive().away("b", secs(10));
    stopping
        .replica("r1", 1, "b", Stopping)
        .gives(&["forget r1", "create new1 on a"]);
}

#[test]
fn what_an_earlier_control_plane_acknowledged_is_waited_for() {
    let mut scene = exclusive()
        .away("b", secs(10))
        .replica("r1", 2, "b", Running);
    scene.earlier_leases = secs(50);
    assert_eq!(scene.gives(&[]).wake_after, Some(secs(50)));
    scene.desired.as_mut().unwrap().deleting = true;
    scene.gives(&["stop r1: the workload is deleted"]);
    scene.earlier_leases = Duration::ZERO;
    scene.gives(&["forget r1", "finish"]);
}

#[test]
fn a_lost_one_comes_back_only_to_an_empty_place() {
    let back = exclusive().worker("b").replica("r1", 2, "b", Lost);
    back.gives(&["readmit r1"]);
    let replaced = "stop r1: its worker was lost and another replica took its place";
    for phase in [Starting, Running, Backoff] {
        back.clone().replica("r2", 2, "a", phase).gives(&[replaced]);
    }
    // The one in its place is on its way out, and still runs.
    back.clone()
        .replica("r2", 2, "a", Stopping)
        .gives(&[replaced]);
    back.clone()
        .replica("r2", 2, "a", Stopped)
        .gives(&["forget r2", "readmit r1"]);
    // One that waits has not taken it. It goes before the other is there again.
    back.replica_with("r2", 2, "", Pending, |_| {})
        .gives(&["readmit r1", "forget r2"]);
}

#[test]
fn what_waits_for_a_worker_waits_for_the_others_end_too() {
    let waiting = exclusive().replica("r1", 2, "", Pending);
    waiting.gives(&["place r1 on a"]);
    waiting.replica("r2", 1, "a", Stopping).gives(&[]);
}

#[test]
fn a_failed_one_is_replaced_once_nothing_else_runs() {
    let failed = exclusive().replica_with("r1", 2, "a", Failed, |replica| {
        replica.phase_age = secs(10);
    });
    failed.gives(&[
        "stop r1: it failed and another replica takes its place",
        "create new1 on a after 1",
    ]);
    failed.replica("r2", 1, "a", Stopping).gives(&[]);
}

#[test]
fn a_drained_worker_gives_it_up_first() {
    let mut scene = exclusive().replica("r1", 2, "a", Running).worker("b");
    (scene.workers[0].cordoned, scene.workers[0].draining) = (true, true);
    scene.gives(&["stop r1: its worker is drained"]);
    scene.replicas[0].phase = Stopping;
    scene.gives(&[]);
    scene.replicas[0].phase = Stopped;
    scene.gives(&["forget r1", "create new1 on b"]);
}
