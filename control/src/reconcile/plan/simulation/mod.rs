//! Random histories of a workload on a few workers. The plan is carried out as the shell does it;
//! messages to and from workers are delayed as far as the history says. After each step the plan
//! keeps its promises, and in the end, once everybody behaves, the workload is as it should be.

#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, prelude::*};

use super::*;

mod execute;
mod guests;
mod promises;
mod revisions;
mod world;

use world::World;

const WORKERS: usize = 3;
const TIMEOUT: Duration = Duration::from_secs(10);
const MIB: u64 = 1024 * 1024;
const DEADLINE: Duration = Duration::from_secs(120);
const MIN_READY: Duration = Duration::from_secs(5);

/// What happens next.
#[derive(Clone, Debug)]
enum Step {
    Scale(u32),
    Update {
        port: Option<u16>,
        /// Surge and unavailable, not both 0.
        steps: (u32, u32),
        /// Whether its guests can get ready.
        works: bool,
        /// Whether it goes back when it stalls.
        returns: bool,
    },
    /// A program takes this port on the machine that the last two workers share, or gives up what
    /// it has.
    Stranger(Option<u16>),
    /// The control plane is killed and started again: at first it knows of no session.
    Restart,
    Delete,
    /// Its session ends; its guests go on.
    Away(usize),
    Back(usize),
    Cordon(usize, bool),
    /// Cordoned as well. Uncordoning ends it.
    Drain(usize),
    Wait(u64),
    /// A guest goes on in its life and its worker says so.
    Advance(usize, u8),
    Fail(usize, u8),
    Complete(usize, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let worker = 0..WORKERS;
    let steps = prop_oneof![
        3 => Just((1, 0)),
        1 => (1..3_u32, 0..3_u32),
        1 => (0..3_u32, 1..3_u32),
    ];
    let port = prop_oneof![3 => Just(None), 2 => (80..82_u16).prop_map(Some)];
    prop_oneof![
        3 => (0..5_u32).prop_map(Step::Scale),
        3 => (port, steps, prop::bool::weighted(0.7), any::<bool>())
            .prop_map(|(port, steps, works, returns)| Step::Update { port, steps, works, returns }),
        1 => prop::option::of(80..82_u16).prop_map(Step::Stranger),
        1 => Just(Step::Restart),
        1 => Just(Step::Delete),
        3 => worker.clone().prop_map(Step::Away),
        5 => worker.clone().prop_map(Step::Back),
        2 => (worker.clone(), any::<bool>()).prop_map(|(worker, cordon)| Step::Cordon(worker, cordon)),
        2 => worker.clone().prop_map(Step::Drain),
        6 => prop::sample::select(vec![1, 5, 11, 60, 700]).prop_map(Step::Wait),
        30 => (worker.clone(), any::<u8>()).prop_map(|(worker, guest)| Step::Advance(worker, guest)),
        3 => (worker.clone(), any::<u8>()).prop_map(|(worker, guest)| Step::Fail(worker, guest)),
        2 => (worker, any::<u8>()).prop_map(|(worker, guest)| Step::Complete(worker, guest)),
    ]
}

impl World {
    /// Everybody behaves until nothing changes any more.
    fn settle(&mut self) {
        self.happen(Step::Stranger(None));
        for worker in 0..WORKERS {
            // One is drained to the end, if it is.
            let drained = worker == 0 && self.workers[worker].view.draining;
            self.happen(Step::Cordon(worker, drained));
            self.happen(Step::Back(worker));
            self.reconcile();
        }
        for _ in 0..100 {
            let before = self.states();
            for worker in 0..WORKERS {
                for guest in 0..8 {
                    self.happen(Step::Advance(worker, guest));
                }
                self.reconcile();
            }
            // Longer than every backoff.
            self.happen(Step::Wait(700));
            self.reconcile();
            self.check_workers();
            if self.states() == before {
                return;
            }
        }
        panic!("it never comes to rest: {:#?}", self.records);
    }

    /// What has to stay the same at rest. One that is given a worker is PENDING before and after.
    fn states(&self) -> Vec<(String, Option<Name>, Phase, bool)> {
        let states = self.records.values().map(|record| &record.state);
        states
            .map(|state| {
                let (id, worker) = (state.id.clone(), state.worker.clone());
                (id, worker, state.phase, state.ready)
            })
            .collect()
    }
}

fn run(mut world: World, steps: Vec<Step>) {
    world.reconcile();
    for step in steps {
        world.happen(step);
        world.reconcile();
        world.check_workers();
    }
    world.settle();
    world.check_settled();
}

/// The service of the second revision returns from a lost worker and never gets ready, while the
/// rollout of the third has stalled before anything of it had a place.
#[test]
fn an_exclusive_one_that_never_gets_ready_gives_way_to_a_stalled_rollout() {
    let update = |works| Step::Update {
        port: None,
        steps: (1, 0),
        works,
        returns: false,
    };
    let steps = vec![
        update(false),
        Step::Away(1),
        Step::Advance(0, 0),
        Step::Restart,
        Step::Wait(11),
        update(true),
        Step::Wait(700),
    ];
    run(World::exclusive(), steps);
}

/// A lost replica that comes back and is stopped holds its port until it has ended, and what waits
/// says so at once.
#[test]
fn one_that_returns_only_to_stop_holds_its_port_in_the_same_round() {
    let steps = vec![
        Step::Away(1),
        Step::Update {
            port: Some(80),
            steps: (1, 0),
            works: false,
            returns: false,
        },
        Step::Restart,
        Step::Back(1),
        Step::Wait(11),
        Step::Drain(1),
        Step::Back(2),
    ];
    run(World::new(), steps);
}

impl World {
    /// The worker that runs the workload is gone for good, if there is one. How many workers are
    /// gone.
    fn lose_holder(&mut self) -> usize {
        let holds = |worker: &world::Worker| worker.view.ready && !worker.guests.is_empty();
        if let Some(worker) = self.workers.iter().position(holds) {
            self.happen(Step::Away(worker));
        }
        self.happen(Step::Wait(11));
        self.reconcile();
        let ready = self.workers.iter().filter(|worker| worker.view.ready);
        WORKERS - ready.count()
    }
}

#[test]
fn a_revision_that_crashes_every_worker_at_its_start_crashes_only_two() {
    let mut world = World::new();
    world.reconcile();
    let gone: Vec<_> = (0..6).map(|_| world.lose_holder()).collect();
    assert_eq!(gone, [1, 2, 2, 2, 2, 2]);
    // Another revision is tried again.
    world.happen(Step::Update {
        port: None,
        steps: (1, 0),
        works: true,
        returns: false,
    });
    world.reconcile();
    assert_eq!(world.lose_holder(), 3);
}

#[test]
fn what_has_worked_for_a_while_is_moved_however_many_workers_are_lost() {
    let mut world = World::new();
    world.reconcile();
    for gone in 1..=WORKERS {
        for worker in 0..WORKERS {
            for _ in 0..4 {
                world.happen(Step::Advance(worker, 0));
                world.reconcile();
            }
        }
        world.happen(Step::Wait(60));
        world.reconcile();
        assert_eq!(world.lose_holder(), gone);
        assert!(world.losses.is_empty(), "{:?}", world.losses);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_converges(steps in vec(step(), 0..120)) {
        run(World::new(), steps);
    }

    #[test]
    fn whatever_happens_an_exclusive_one_never_runs_twice(steps in vec(step(), 0..120)) {
        run(World::exclusive(), steps);
    }
}
