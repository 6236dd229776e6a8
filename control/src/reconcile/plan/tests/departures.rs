//! Replicas of workers that stop in order, or have stopped.

use super::{Phase::*, *};
use crate::scheduler::Departure;

impl Scene {
    /// The last worker says that it stops, and keeps its replicas for so long.
    fn stopping(mut self, keeps_for: Duration) -> Self {
        let worker = self.workers.last_mut().unwrap();
        worker.departure = Some(Departure {
            keeps_for,
            stopped: false,
        });
        self
    }

    /// It has stopped, a moment ago.
    fn stopped(mut self, keeps_for: Duration) -> Self {
        let worker = self.workers.last_mut().unwrap();
        worker.ready = false;
        worker.departure = Some(Departure {
            keeps_for,
            stopped: true,
        });
        self
    }

    fn exclusive(mut self) -> Self {
        self.desired.as_mut().unwrap().exclusive = true;
        self
    }
}

const NOW: Duration = Duration::ZERO;

#[test]
fn a_worker_that_stops_is_not_chosen() {
    scene(1)
        .worker("a")
        .stopping(NOW)
        .worker("b")
        .gives(&["create new1 on b"]);
    scene(1)
        .worker("a")
        .stopping(secs(30))
        .worker("b")
        .gives(&["create new1 on b"]);
    let alone = scene(1).worker("a").stopping(NOW).worker("b").stopped(NOW);
    alone.gives(&["create new1: 2 workers: 1 stopping, 1 stopped"]);
    // It is back.
    scene(1)
        .worker("a")
        .replica("r1", 2, "", Pending)
        .gives(&["place r1 on a"]);
}

#[test]
fn its_places_are_filled_at_once_and_it_is_not_told_to_stop() {
    let both = scene(2).worker("a").stopping(NOW).worker("b");
    let both = both
        .replica("r1", 2, "a", Running)
        .replica("r2", 2, "b", Running);
    both.gives(&["create new1 on b"]);
    both.replica("new1", 2, "b", Running).gives(&[]);
    // With nowhere to go they wait for it.
    let alone = scene(1).worker("a").stopping(NOW);
    let alone = alone.replica("r1", 2, "a", Running);
    alone.gives(&["create new1: 1 worker: 1 stopping"]);
    let gone = scene(1).worker("a").stopped(NOW);
    gone.gives(&["create new1: 1 worker: 1 stopped"]);
    // What it was given and never took up does not wait for the worker timeout.
    gone.clone()
        .worker("b")
        .replica("r1", 2, "a", Pending)
        .gives(&["forget r1", "create new1 on b"]);
    // What has ended stays to be seen.
    gone.replica("r1", 2, "a", Completed).gives(&[]);
}

#[test]
fn what_it_keeps_waits_for_it_and_no_longer() {
    for stopped in [false, true] {
        let at = |keeps_for| {
            let scene = scene(1).worker("b").worker("a");
            let scene = match stopped {
                true => scene.stopped(keeps_for),
                false => scene.stopping(keeps_for),
            };
            scene.replica("r1", 2, "a", Pending)
        };
        let plan = at(secs(30)).gives(&[]);
        assert_eq!(plan.wake_after, Some(secs(30)), "stopped: {stopped}");
        match stopped {
            true => at(NOW).gives(&["forget r1", "create new1 on b"]),
            false => at(NOW).gives(&["create new1 on b"]),
        };
    }
    // Deleted, scaled down or replaced by another revision, it does not wait: nothing of it runs.
    let kept = scene(1).worker("a").stopped(secs(30));
    let kept = kept.replica("r1", 2, "a", Pending);
    kept.deleting().gives(&["forget r1", "finish"]);
    let old = scene(1).worker("b").worker("a").stopped(secs(30));
    let old = old.replica("r1", 1, "a", Pending).plan();
    assert!(
        old.actions.contains(&Action::Forget {
            id: "r1".to_owned()
        }),
        "{old:?}"
    );
}

#[test]
fn one_that_is_cut_off_while_it_stops_is_lost_as_any_other() {
    let cut = |silent_for, keeps_for| {
        let scene = scene(1).worker("b").away("a", silent_for);
        let mut scene = scene.stopping(keeps_for);
        scene.workers.last_mut().unwrap().ready = false;
        scene.replica("r1", 2, "a", Running)
    };
    // Its place is free, as it said so.
    let plan = cut(secs(4), NOW).gives(&["create new1 on b"]);
    assert_eq!(plan.wake_after, Some(secs(6)));
    cut(TIMEOUT, NOW).gives(&["lost r1", "create new1 on b"]);
    // Or kept, as it said, too.
    cut(TIMEOUT, secs(5)).gives(&[]);
}

#[test]
fn what_is_exclusive_starts_elsewhere_once_it_has_stopped_for_certain() {
    let of = |scene: Scene| scene.exclusive().worker("b");
    let r1 = |scene: Scene, phase| scene.replica("r1", 2, "a", phase);
    let stopping = || of(scene(1).worker("a").stopping(NOW));
    r1(stopping(), Running).gives(&[]);
    r1(stopping(), Stopping).gives(&[]);
    r1(stopping(), Stopped).gives(&["forget r1", "create new1 on b"]);
    let stopped = |keeps_for| of(scene(1).worker("a").stopped(keeps_for));
    r1(stopped(NOW), Pending).gives(&["forget r1", "create new1 on b"]);
    r1(stopped(secs(9)), Pending).gives(&[]);
    // Killed while it stopped: only the lease says when it is over.
    let mut killed = of(scene(1).away("a", secs(1)).stopping(NOW));
    killed.workers[0].ready = false;
    r1(killed.clone(), Running).gives(&[]);
    killed.workers[0].silent_for = TIMEOUT;
    r1(killed, Running).gives(&["lost r1", "create new1 on b"]);
}

#[test]
fn a_worker_that_drops_assignments_is_given_none() {
    let mut odd = scene(1).worker("a");
    odd.workers[0].follows = false;
    odd.gives(&["create new1: 1 worker: 1 drops assignments"]);
    odd.worker("b").gives(&["create new1 on b"]);
}
