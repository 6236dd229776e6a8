//! Failures, losses, stopping, deleting.

use super::{Phase::*, *};

#[test]
fn a_failed_replica_is_replaced_after_a_backoff_elsewhere() {
    let failed = |attempt, phase_age, lived| {
        scene(1)
            .worker("a")
            .worker("b")
            .replica_with("r1", 2, "a", Failed, |replica| {
                replica.attempt = attempt;
                replica.phase_age = phase_age;
                replica.age = phase_age + lived;
            })
    };
    for (attempt, backoff) in [
        (0, 10),
        (1, 20),
        (2, 40),
        (3, 80),
        (4, 160),
        (5, 300),
        (4_000_000_000, 300),
    ] {
        let early = failed(attempt, secs(backoff - 1), secs(5)).gives(&[]);
        assert_eq!(early.wake_after, Some(secs(1)), "after {attempt}");
        failed(attempt, secs(backoff), secs(5)).gives(&[
            "stop r1: it failed and another replica takes its place",
            &format!("create new1 on b after {}", attempt + 1),
        ]);
    }
    // It lived long before: a new row.
    failed(5, secs(10), secs(600)).gives(&[
        "stop r1: it failed and another replica takes its place",
        "create new1 on b after 1",
    ]);
}

#[test]
fn a_completed_replica_is_left_alone() {
    scene(1)
        .worker("a")
        .replica("r1", 2, "a", Completed)
        .gives(&[]);
    scene(1)
        .away("a", secs(60))
        .worker("b")
        .replica("r1", 2, "a", Completed)
        .gives(&[]);
}

#[test]
fn a_silent_worker_loses_its_replicas_after_the_timeout() {
    let silent = |silent_for| {
        scene(1)
            .away("a", silent_for)
            .worker("b")
            .replica("r1", 2, "a", Running)
    };
    assert_eq!(silent(secs(4)).gives(&[]).wake_after, Some(secs(6)));
    silent(secs(10)).gives(&["lost r1", "create new1 on b"]);
    // An unknown worker is treated as lost.
    scene(1)
        .worker("b")
        .replica("r1", 2, "a", Running)
        .gives(&["lost r1", "create new1 on b"]);
    // A replica that was already stopping is not waited for.
    scene(0)
        .away("a", secs(10))
        .replica("r1", 2, "a", Stopping)
        .gives(&["blame for a", "forget r1"]);
}

#[test]
fn a_lost_replica_is_shown_for_a_while_and_kept_while_it_could_be_needed() {
    let lost = |phase_age| {
        scene(1)
            .away("a", secs(10))
            .worker("b")
            .replica_with("r1", 2, "a", Lost, |replica| {
                replica.phase_age = phase_age;
            })
    };
    let replaced = |phase_age| lost(phase_age).replica("r2", 2, "b", Running);
    assert_eq!(replaced(secs(100)).gives(&[]).wake_after, Some(secs(500)));
    replaced(secs(600)).gives(&["forget r1"]);
    let mut nowhere = lost(secs(600)).replica_with("r2", 2, "", Pending, |replica| {
        replica.waiting = waiting("2 workers: 1 not ready, 1 cordoned");
    });
    nowhere.workers[1].cordoned = true;
    nowhere.gives(&[]);
}

#[test]
fn a_lost_replica_that_comes_back_goes_on_unless_it_was_replaced() {
    let back = scene(1).worker("a").worker("b").replica("r1", 2, "a", Lost);
    back.gives(&["readmit r1"]);
    back.clone()
        .replica("r2", 2, "", Pending)
        .gives(&["readmit r1", "forget r2"]);
    back.replica("r2", 2, "b", Starting)
        .gives(&["stop r1: its worker was lost and another replica took its place"]);
    // An old one is better than none, until the new one is ready.
    scene(1)
        .worker("a")
        .replica("r1", 1, "a", Lost)
        .gives(&["readmit r1", "create new1 on a"]);
    scene(1)
        .worker("a")
        .worker("b")
        .replica("r1", 1, "a", Lost)
        .replica("n1", 2, "b", Starting)
        .gives(&["stop r1: its worker was lost and another replica took its place"]);
}

#[test]
fn stopped_replicas_are_forgotten() {
    scene(1)
        .worker("a")
        .replica("r1", 2, "a", Stopped)
        .gives(&["forget r1", "create new1 on a"]);
    scene(0)
        .worker("a")
        .replica("r1", 2, "a", Stopping)
        .gives(&[]);
}

#[test]
fn a_deleted_workload_stops_everything_and_is_finished_when_nothing_is_left() {
    scene(1).deleting().gives(&["finish"]);
    let all = scene(3)
        .deleting()
        .worker("a")
        .away("away", secs(1))
        .away("lost", secs(10))
        .replica("running", 2, "a", Running)
        .replica("waiting", 2, "", Pending)
        .replica("failed", 1, "a", Failed)
        .replica("completed", 2, "a", Completed)
        .replica("stopping", 2, "a", Stopping)
        .replica("stopped", 2, "a", Stopped)
        .replica("back", 2, "a", Lost)
        .replica("away", 2, "away", Running)
        .replica("unreachable", 2, "lost", Running)
        .replica("lost", 2, "lost", Lost);
    let expected = [
        "forget stopped",
        "stop running: the workload is deleted",
        "forget waiting",
        "stop failed: the workload is deleted",
        "stop completed: the workload is deleted",
        "stop back: the workload is deleted",
        "stop away: the workload is deleted",
        "forget unreachable",
        "forget lost",
    ];
    assert_eq!(all.gives(&expected).wake_after, Some(secs(9)));
    // The same where the workload itself is gone, but there is nothing to finish.
    Scene {
        desired: None,
        ..all
    }
    .gives(&expected);

    scene(1)
        .deleting()
        .worker("a")
        .replica("r1", 2, "a", Stopping)
        .gives(&[]);
    scene(1)
        .deleting()
        .worker("a")
        .replica("r1", 2, "a", Stopped)
        .gives(&["forget r1", "finish"]);
    scene(1)
        .deleting()
        .away("a", secs(10))
        .replica("r1", 2, "a", Stopping)
        .gives(&["forget r1", "finish"]);
}
