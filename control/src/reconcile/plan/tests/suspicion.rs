//! Workloads that may take down the workers on which they are started.

use super::{Phase::*, *};

/// Three workers, of which those named are lost.
fn fleet(lost: &[&str]) -> Scene {
    ["a", "b", "c"]
        .into_iter()
        .fold(scene(1), |scene, name| match lost.contains(&name) {
            true => scene.away(name, secs(11)),
            false => scene.worker(name),
        })
}

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn loss(worker: &str, seconds: u64) -> Loss {
    Loss {
        worker: name(worker),
        ago: secs(seconds),
        returned: false,
        shared: false,
    }
}

impl Scene {
    fn suspected(mut self, losses: &[Loss]) -> Self {
        self.desired.as_mut().unwrap().suspicion.losses = losses.to_vec();
        self
    }

    /// A replica of this age, and as long in its phase and on its worker.
    fn started(self, id: &str, worker: &str, phase: Phase, seconds: u64) -> Self {
        self.replica_with(id, 2, worker, phase, |replica| {
            replica.age = secs(seconds);
            replica.phase_age = secs(seconds);
            replica.placed_for = secs(seconds);
            replica.ready_for = secs(seconds);
            replica.ready = false;
            replica.available = false;
        })
    }
}

const HELD: &str = "it is held, because workers `a`, `b` were lost one after another while it was starting there or shortly \
                    after: find out what it does to them, then apply another revision, or run `warren restart` to try it \
                    once more";

#[test]
fn a_worker_that_is_lost_counts_against_what_was_starting_on_it() {
    for phase in [Pending, Starting, Running, Backoff] {
        let scene = fleet(&["a"]).started("r", "a", phase, 35);
        scene.gives(&["blame for a", "lost r", "create new1 on b"]);
    }
    // What its worker stops or has given up as well: Warren itself works on what it left.
    fleet(&["a"]).started("r", "a", Failed, 20).gives(&[
        "blame for a",
        "forget r",
        "create new1 on b after 1",
    ]);
    let stopping = fleet(&["a"]).started("r", "a", Stopping, 20);
    stopping.gives(&["blame for a", "forget r", "create new1 on b"]);
}

#[test]
fn a_neighbour_that_had_run_for_long_is_not_blamed() {
    // It ran for 41 s, the last 11 of them unheard.
    for (phase, seconds) in [(Running, 41), (Backoff, 41)] {
        let scene = fleet(&["a"]).started("r", "a", phase, seconds);
        scene.gives(&["lost r", "create new1 on b"]);
    }
    // One that compiles may take long.
    let compiling = fleet(&["a"]).started("r", "a", Pending, 600);
    compiling.gives(&["blame for a", "lost r", "create new1 on b"]);
}

#[test]
fn a_revision_that_crashed_two_workers_is_not_tried_on_a_third() {
    let second = fleet(&["a", "b"])
        .suspected(&[loss("a", 25)])
        .started("r", "b", Running, 20);
    second.gives(&[
        "blame for b",
        "lost r",
        &format!("create new1 held: {HELD}"),
    ]);
    let held = |scene: Scene| scene.suspected(&[loss("a", 60), loss("b", 20)]);
    let waits = |replica: &mut ReplicaState| {
        replica.waiting = Some(Waiting {
            reason: HELD.to_owned(),
            cause: Cause::Held,
        });
    };
    held(fleet(&["a", "b"]))
        .replica_with("new1", 2, "", Pending, waits)
        .gives(&[]);
    // Nor is it when a worker returns with it, as another process.
    held(fleet(&[]))
        .replica_with("new1", 2, "", Pending, waits)
        .started("r", "b", Lost, 20)
        .gives(&["stop r: its revision is held"]);
    // What runs stays: it has proved to be harmless there.
    held(fleet(&["a", "b"]))
        .started("r", "c", Running, 100)
        .gives(&[]);
    // Another revision begins with nothing against it.
    fleet(&["a", "b"]).gives(&["create new1 on c"]);
}

#[test]
fn one_that_fails_is_not_replaced_while_it_is_held() {
    let failed = fleet(&["a", "b"])
        .suspected(&[loss("a", 60), loss("b", 20)])
        .started("r", "c", Failed, 100);
    failed.gives(&[&format!("r held: {HELD}")]);
}

#[test]
fn losses_at_the_same_time_count_once() {
    // One switch, or one power supply: it was placed on both before either was lost.
    let mut both = fleet(&["a", "b"])
        .started("r", "a", Starting, 15)
        .started("s", "b", Starting, 15);
    both.desired.as_mut().unwrap().replicas = 2;
    both.gives(&[
        "blame for a",
        "lost r",
        "lost s",
        "create new1 on c",
        "create new2 on c",
    ]);
    let later = fleet(&["a", "b"])
        .suspected(&[loss("a", 2)])
        .started("s", "b", Starting, 17);
    later.gives(&["lost s", "create new1 on c"]);
}

#[test]
fn a_worker_that_comes_back_was_not_lost() {
    let back = |losses: &[Loss]| {
        let mut losses = losses.to_vec();
        losses[0].returned = true;
        fleet(&["b"]).suspected(&losses)
    };
    let held = back(&[loss("a", 60), loss("b", 20)]).replica_with("n", 2, "", Pending, |replica| {
        replica.waiting = Some(Waiting {
            reason: HELD.to_owned(),
            cause: Cause::Held,
        });
    });
    held.gives(&["acquit of a", "place n on a"]);
    let lost = back(&[loss("a", 60)]).started("r", "b", Starting, 20);
    lost.gives(&["acquit of a", "blame for b", "lost r", "create new1 on a"]);
}

#[test]
fn long_ago_is_long_forgotten() {
    let again = fleet(&["b"])
        .suspected(&[loss("a", 3601)])
        .started("r", "b", Starting, 20);
    again.gives(&["blame for b", "lost r", "create new1 on a"]);
}

#[test]
fn an_innocent_one_beside_a_guilty_one_is_not_held() {
    // Both were on trial on `a` and are so on `b`, which is lost as well: nobody knows whose fault
    // it was.
    let mut both = fleet(&["a", "b"])
        .suspected(&[loss("a", 25)])
        .started("r", "b", Running, 20);
    both.desired.as_mut().unwrap().suspicion.shared = [name("a"), name("b")].into();
    both.gives(&["blame for b shared", "lost r", "create new1 on c"]);
    // What was on all three without the other is held.
    let shared = Loss {
        shared: true,
        ..loss("b", 25)
    };
    let mut third = fleet(&["a", "b", "c"])
        .worker("d")
        .suspected(&[loss("a", 50), shared])
        .started("r", "c", Running, 20);
    third.desired.as_mut().unwrap().suspicion.shared = [name("a"), name("b")].into();
    let plan = third.plan();
    assert!(short(&plan.actions[0]) == "blame for c", "{plan:?}");
    assert!(
        short(&plan.actions[2]).starts_with("create new1 held"),
        "{plan:?}"
    );
}

#[test]
fn what_has_been_ready_or_was_started_again_is_proven() {
    let replica = |phase, ready, survived| {
        fleet(&["a"]).replica_with("r", 2, "a", phase, |replica| {
            replica.phase_age = secs(25);
            replica.placed_for = secs(25);
            replica.ready = ready;
            replica.survived = survived;
        })
    };
    let (blamed, lost) = (
        ["blame for a", "lost r", "create new1 on b"],
        ["lost r", "create new1 on b"],
    );
    for phase in [Starting, Running, Backoff] {
        replica(phase, false, false).gives(&blamed);
        replica(phase, false, true).gives(&lost);
    }
    replica(Running, true, false).gives(&lost);
}

#[test]
fn a_worker_that_dies_and_is_back_at_once_counts_as_well() {
    let cut = |losses: &[Loss], ago| {
        fleet(&[])
            .suspected(losses)
            .replica_with("r", 2, "a", Pending, |replica| {
                replica.placed_for = secs(40);
                replica.cut_short = Some(secs(ago));
            })
    };
    cut(&[], 0).gives(&["blame for a"]);
    // The same again is no news.
    cut(&[loss("a", 3)], 3).gives(&[]);
    let again = "it is held, because worker `a` was lost repeatedly while it was starting there or shortly after: \
                 find out what it does to them, then apply another revision, or run `warren restart` to try it once more";
    cut(&[loss("a", 3)], 0).gives(&[
        "blame for a",
        "stop r: its revision is held",
        &format!("create new1 held: {again}"),
    ]);
}

#[test]
fn a_component_that_does_not_compile_is_tried_where_it_may() {
    let mut known = fleet(&[]);
    known.desired.as_mut().unwrap().uncompilable = Some(Uncompilable {
        workers: [name("a"), name("b")].into(),
        message: "it is too large".to_owned(),
    });
    // One with more room, or of another version.
    known.gives(&["create new1 on c"]);
    let nowhere = |scene: &Scene| {
        let mut scene = scene.clone();
        let uncompilable = scene.desired.as_mut().unwrap().uncompilable.as_mut();
        uncompilable.unwrap().workers.insert(name("c"));
        scene
    };
    nowhere(&known)
        .gives(&["create new1 uncompilable: 3 workers: 3 cannot compile it: it is too large"]);
    // One that has failed says so itself. It is not tried elsewhere, however long it waits.
    let failed = |scene: Scene| {
        scene.replica_with("r", 2, "a", Failed, |replica| {
            replica.failure = Failure::CannotRun;
            replica.phase_age = secs(1000);
        })
    };
    let told = "r uncompilable: 3 workers: 3 cannot compile it";
    failed(nowhere(&known)).gives(&[told]);
    failed(known).gives(&[
        "stop r: it failed and another replica takes its place",
        "create new1 on c after 1",
    ]);
}
