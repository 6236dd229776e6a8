//! Rollouts that move on, come to their end, or stall.

use super::{Phase::*, *};

/// Nothing was counted but `available`, and nothing happened for `idle`.
fn rollout(state: RolloutState, available: u32, earlier: u32, idle: u64) -> Rollout {
    Rollout {
        state,
        most_available: available,
        fewest_earlier: Some(earlier),
        idle: secs(idle),
    }
}

impl Scene {
    fn rollout(mut self, rollout: Option<Rollout>) -> Self {
        self.desired.as_mut().unwrap().rollout = rollout;
        self
    }

    fn back_to(mut self, revision: u32) -> Self {
        self.desired.as_mut().unwrap().roll_back_to = Some(revision);
        self
    }
}

use RolloutState::{Complete, Progressing, Stalled};

/// Two old ones serve; a new one does not get ready.
fn update(state: RolloutState, idle: u64) -> Scene {
    scene(2)
        .worker("a")
        .replica("r1", 1, "a", Running)
        .replica("r2", 1, "a", Running)
        .replica("n1", 2, "a", Starting)
        .rollout(Some(rollout(state, 0, 2, idle)))
}

#[test]
fn progress_is_one_more_ready_than_ever_or_one_earlier_less() {
    let moved = |scene: &Scene| {
        let actions = scene.plan().actions;
        let note = actions.into_iter().find_map(|action| match action {
            Action::Note(note) => Some(note),
            _ => None,
        });
        note.map(|note| {
            (
                note.state,
                note.moved,
                note.most_available,
                note.fewest_earlier,
            )
        })
    };
    let new = |ready: usize, noted| {
        let mut scene = scene(3).worker("a").replica("r1", 1, "a", Running);
        for number in 0..3 {
            let phase = if number < ready { Running } else { Starting };
            scene = scene.replica(&format!("n{number}"), 2, "a", phase);
        }
        moved(&scene.rollout(noted))
    };
    let noted = |available, earlier| Some(rollout(Progressing, available, earlier, 5));
    assert_eq!(new(0, None), Some((Progressing, true, 0, 1)));
    assert_eq!(new(1, noted(0, 1)), Some((Progressing, true, 1, 1)));
    assert_eq!(new(1, noted(1, 2)), Some((Progressing, true, 1, 1)));
    assert_eq!(new(1, noted(1, 1)), None);
    // It was so far before: what comes and goes is no progress.
    assert_eq!(new(1, noted(2, 1)), None);
    // All are ready: the earlier one is asked to stop, and takes no more work.
    assert_eq!(new(3, noted(2, 1)), Some((Complete, true, 3, 1)));

    let mut first = scene(1).worker("a").replica("n1", 2, "a", Starting);
    let uncounted = Rollout {
        fewest_earlier: None,
        ..rollout(Progressing, 0, 0, 5)
    };
    first = first.rollout(Some(uncounted));
    assert_eq!(
        moved(&first),
        None,
        "of a first revision nothing is written twice"
    );
    first.replicas[0].ready = true;
    first.replicas[0].available = true;
    assert_eq!(moved(&first), Some((Complete, true, 1, 0)));
    let stopping = first.replica("r1", 1, "a", Stopping);
    assert_eq!(moved(&stopping), Some((Complete, true, 1, 1)));
}

#[test]
fn a_rollout_without_progress_stalls_at_its_deadline_and_leaves_the_old_at_work() {
    assert_eq!(
        update(Progressing, 119).gives(&[]).wake_after,
        Some(secs(1))
    );
    update(Progressing, 120).gives(&["Stalled: 0 available, 2 earlier"]);
    assert_eq!(update(Stalled, 5000).gives(&[]).wake_after, None);
    // Its existing replicas continue to try, and so does the rollout.
    let mut late = update(Stalled, 5000);
    late.replicas[2].ready = true;
    late.replicas[2].available = true;
    late.gives(&[
        "stop r2: revision 2 takes its place",
        "Progressing: moved, 1 available, 2 earlier",
    ]);
}

#[test]
fn a_rollout_does_not_stall_while_a_worker_compiles() {
    let compiling = |idle| {
        let mut scene = update(Progressing, idle);
        scene.replicas[2].compiling = true;
        scene
    };
    assert_eq!(compiling(20).gives(&[]).wake_after, Some(secs(40)));
    compiling(60).gives(&["Progressing: moved, 0 available, 2 earlier"]);
    compiling(500).gives(&["Progressing: moved, 0 available, 2 earlier"]);
    // Others have compiled theirs: the one that does not get ready is not excused by an earlier
    // revision's.
    let mut earlier = update(Progressing, 120);
    earlier.replicas[0].compiling = true;
    earlier.gives(&["Stalled: 0 available, 2 earlier"]);
}

#[test]
fn a_stalled_rollout_makes_no_more_and_takes_nothing_away() {
    let failed = |scene: Scene| {
        scene.replica_with("n1", 2, "a", Failed, |replica| {
            replica.age = secs(400);
            replica.phase_age = secs(390);
        })
    };
    let old = scene(2).worker("a").replica("r1", 1, "a", Running);
    let stalled = Some(rollout(Stalled, 0, 2, 200));
    let two = old.clone().replica("r2", 1, "a", Running);
    failed(two.clone()).rollout(stalled.clone()).gives(&[]);
    // One of the old is started again: it stays, but until it is back something may be tried.
    failed(old.clone().replica("r2", 1, "a", Backoff))
        .rollout(stalled.clone())
        .gives(&[
            "stop n1: it failed and another replica takes its place",
            "create new1 on a after 1",
        ]);
    // Fewer are asked for.
    let mut fewer = failed(two).rollout(stalled);
    fewer.desired.as_mut().unwrap().replicas = 1;
    fewer.gives(&["stop r2: the workload is scaled to 1"]);
    // None of the old is left: nothing is lost by trying on.
    failed(scene(1).worker("a"))
        .rollout(Some(rollout(Stalled, 0, 0, 200)))
        .gives(&[
            "stop n1: it failed and another replica takes its place",
            "create new1 on a after 1",
        ]);
    // One that may be missing is.
    let mut missing = failed(old).rollout(Some(rollout(Stalled, 0, 1, 200)));
    missing.desired.as_mut().unwrap().max_unavailable = 1;
    missing.gives(&[]);
}

#[test]
fn a_rollout_that_stalls_goes_back_if_it_may_and_only_then() {
    update(Progressing, 119).back_to(1).gives(&[]);
    update(Progressing, 120)
        .back_to(1)
        .gives(&["roll back to 1"]);
    // It was tried and could not be done, or was not asked for when it stalled.
    update(Stalled, 200).back_to(1).gives(&[]);
    let mut done = update(Complete, 200).back_to(1);
    done.replicas[2].phase = Backoff;
    done.gives(&[]);
    update(Progressing, 200).back_to(1).deleting().gives(&[
        "stop r1: the workload is deleted",
        "stop r2: the workload is deleted",
        "stop n1: the workload is deleted",
    ]);
    let mut none = update(Progressing, 200).back_to(1);
    none.desired.as_mut().unwrap().replicas = 0;
    none.gives(&[
        "stop n1: the workload is scaled to 0",
        "stop r2: revision 2 takes its place",
        "stop r1: revision 2 takes its place",
    ]);
}

#[test]
fn no_rollout_stalls_before_it_is_known_to_be_late() {
    let late = || update(Progressing, 500).back_to(1);
    // An earlier one has its grace: its end is progress.
    let mut stopping = late();
    stopping.replicas[1].phase = Stopping;
    assert_eq!(stopping.gives(&[]).wake_after, Some(secs(120)));
    // Its worker may come back and say that it is ready.
    let mut away = late();
    away.workers[0].ready = false;
    away.workers[0].silent_for = secs(3);
    assert_eq!(away.gives(&[]).wake_after, Some(secs(7)));
    // It came back just now, and has not said everything.
    let mut back = late();
    back.workers[0].connected_for = Duration::from_millis(500);
    assert_eq!(
        back.gives(&[]).wake_after,
        Some(Duration::from_millis(1500))
    );
    // The control plane has just started.
    let late = late();
    let observed = Observed {
        workload: late.desired.as_ref(),
        replicas: &late.replicas,
        workers: &late.workers,
        worker_timeout: TIMEOUT,
        up_for: secs(4),
        earlier_leases: secs(6),
    };
    let started = plan(&observed, &mut String::new);
    assert_eq!(
        (started.actions.len(), started.wake_after),
        (0, Some(secs(6)))
    );
}

#[test]
fn an_earlier_one_that_does_not_get_ready_does_not_hold_up_a_stalled_rollout_for_ever() {
    // It came back from a worker that was lost, and nothing of the revision had a place before.
    let stuck = |phase_age, exclusive| {
        let mut scene = scene(1)
            .worker("a")
            .replica_with("r1", 1, "a", Starting, |replica| {
                replica.phase_age = secs(phase_age);
            })
            .replica("n1", 2, "", Pending)
            .rollout(Some(rollout(Stalled, 0, 1, 700)));
        scene.desired.as_mut().unwrap().exclusive = exclusive;
        scene
    };
    assert_eq!(stuck(119, true).gives(&[]).wake_after, Some(secs(1)));
    stuck(120, true).gives(&["stop r1: revision 2 takes its place"]);
    stuck(120, false).gives(&["stop r1: revision 2 takes its place", "place n1 on a"]);
    // One that serves is left alone however long the rollout stalls.
    let mut serving = stuck(5000, true);
    (serving.replicas[0].phase, serving.replicas[0].ready) = (Running, true);
    serving.gives(&[]);
    // Whether one of a silent worker serves is not known.
    let mut silent = stuck(5000, true);
    silent.workers[0].ready = false;
    silent.gives(&[]);
}
