//! Replicas of workers that are drained.

use super::{Phase::*, *};

impl Scene {
    /// The last worker's replicas are to leave.
    fn draining(mut self) -> Self {
        let worker = self.workers.last_mut().unwrap();
        (worker.cordoned, worker.draining) = (true, true);
        self
    }

    fn steps(mut self, surge: u32, unavailable: u32) -> Self {
        let desired = self.desired.as_mut().unwrap();
        (desired.max_surge, desired.max_unavailable) = (surge, unavailable);
        self
    }

    fn without_room(mut self) -> Self {
        self.workers.last_mut().unwrap().memory_free = 0;
        self
    }
}

fn drained(id: &str) -> String {
    format!("stop {id}: its worker is drained")
}

#[test]
fn a_replica_leaves_once_another_is_ready_elsewhere() {
    let two = scene(2).worker("a").draining().worker("b");
    let both = two
        .clone()
        .replica("r1", 2, "a", Running)
        .replica("r2", 2, "a", Running);
    both.gives(&["create new1 on b"]);
    both.clone().replica("n1", 2, "b", Starting).gives(&[]);
    both.replica("n1", 2, "b", Running).gives(&[&drained("r2")]);
    // It still runs: with another new one there would be four.
    let next = two
        .clone()
        .replica("r1", 2, "a", Running)
        .replica("n1", 2, "b", Running);
    next.clone().replica("r2", 2, "a", Stopping).gives(&[]);
    next.gives(&["create new1 on b"]);
    // What has ended stays to be seen, and what runs elsewhere is not touched.
    two.replica("r1", 2, "a", Completed)
        .replica("r2", 2, "b", Running)
        .gives(&[]);
}

#[test]
fn what_no_other_worker_can_take_stays_and_says_why() {
    let alone = scene(1).worker("b").without_room().worker("a").draining();
    let waiting = "2 workers: 1 cordoned, 1 lacks memory (1MiB needed, 0B free)";
    let ready = alone.clone().replica("r1", 2, "a", Running);
    ready.gives(&[&format!("create new1: {waiting}")]);
    let wait = |scene: Scene| {
        scene.replica_with("n1", 2, "", Pending, |replica| {
            replica.waiting = super::waiting(waiting);
        })
    };
    wait(ready).gives(&[]);
    wait(alone.clone().replica("r1", 2, "a", Starting)).gives(&[]);
    // Nor is it stopped though one may be missing: nothing would come of it.
    alone.steps(0, 1).replica("r1", 2, "a", Running).gives(&[]);
}

#[test]
fn the_steps_of_an_update_are_those_of_a_drain() {
    let three = |surge, unavailable| {
        let mut scene = scene(3)
            .worker("a")
            .draining()
            .worker("b")
            .steps(surge, unavailable);
        for id in ["r1", "r2", "r3"] {
            scene = scene.replica(id, 2, "a", Running);
        }
        scene
    };
    three(2, 0).gives(&["create new1 on b", "create new2 on b"]);
    three(0, 1).gives(&[&drained("r3")]);
    three(1, 1).gives(&["create new1 on b", &drained("r3")]);
    // Stops before starts: each needs a place, and one is known.
    three(0, 3).gives(&[&drained("r3")]);
    // One that does nothing yet goes at once.
    scene(1)
        .worker("a")
        .draining()
        .worker("b")
        .replica("r1", 2, "a", Starting)
        .gives(&["create new1 on b", &drained("r1")]);
    let mut stop_first = scene(1).worker("a").draining().worker("b");
    stop_first.desired.as_mut().unwrap().stop_first = true;
    let one = stop_first.clone().replica("r1", 2, "a", Running);
    one.gives(&[&drained("r1")]);
    stop_first.replica("r1", 2, "a", Stopping).gives(&[]);
}

#[test]
fn a_drain_that_is_called_off_leaves_what_has_not_moved() {
    let mut back = scene(1)
        .worker("b")
        .worker("a")
        .replica("r1", 2, "a", Running)
        .replica("n1", 2, "b", Starting);
    back.gives(&["stop n1: the workload is scaled to 1"]);
    // An update takes replicas of a drained worker as it takes any.
    back.workers[1].draining = true;
    back.workers[1].cordoned = true;
    back.replicas[0].revision = 1;
    back.replicas[1].ready = true;
    back.replicas[1].available = true;
    back.gives(&["stop r1: revision 2 takes its place"]);
}
