//! One run: faults for a while, then none, and the fleet comes to rest.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    runtime::{Builder, RngSeed},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use warren_model::{ambient, guard, guard::Guard};

use crate::{
    chance::{Chance, Nature},
    faults::Faults,
    invariants::Watcher,
    promise::Promise,
    trace::{Trace, Violation},
    user::{Expected, User},
    world::{COMPONENT, Perils, World},
};

/// The result of a seed.
pub struct Outcome {
    pub violation: Option<Violation>,
    pub trace: String,
}

/// The time between two checks of the fleet.
const STEP: Duration = Duration::from_millis(100);
const WORKER_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time from the last fault until everything is as it should be: the worker timeout,
/// the longest waits between tries, and the backoff of replicas that failed.
const SETTLES_WITHIN: Duration = Duration::from_secs(400);
/// The time for which it then has to stay so.
const RESTS: Duration = Duration::from_secs(30);
/// The number of replicas that may be made after the last fault, for each that may be asked for.
const CREATED_AT_MOST: u32 = 3;
const WORKLOADS: u32 = 3;
const MOST_REPLICAS: u32 = 3;

/// Runs one seed on this thread until a promise is broken.
///
/// `without` is the guard that is taken away; where `only` is given, no other promise is checked.
pub fn run(seed: u64, without: Option<Guard>, only: Option<Promise>) -> Outcome {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .rng_seed(RngSeed::from_bytes(&seed.to_le_bytes()))
        .build()
        .unwrap();
    let artifacts = tempfile::tempdir().unwrap();
    let digest = COMPONENT.trim_start_matches("sha256:");
    std::fs::write(artifacts.path().join(digest), "x").unwrap();
    let trace = runtime.block_on(async {
        let chance = Chance::of(seed);
        let trace = Trace::new(only);
        let perils = Perils::default();
        let nature = Nature::new(chance.fork(), perils.late.clone());
        let _nature = ambient::simulated::enter(nature);
        let _without = guard::simulated::without(without);
        let path = artifacts.path().to_owned();
        let world = World::new(chance, trace.clone(), perils, path, WORKER_TIMEOUT);
        live(world).await;
        trace
    });
    Outcome {
        violation: trace.violated(),
        trace: trace.text(),
    }
}

async fn live(mut world: World) {
    world.start_control();
    for number in 1..=world.chance.number(2..=4) {
        world.add_worker(&format!("worker-{number}"));
    }
    let expected = Expected::default();
    let enough = Arc::new(AtomicBool::new(false));
    let mut users = JoinSet::new();
    for number in 1..=WORKLOADS {
        let enough = enough.clone();
        let name = format!("app-{number}");
        let user = User {
            component: COMPONENT.to_owned(),
            way: world.add_user(&name),
            exclusive: number == 1,
            name,
            chance: world.chance.fork(),
            trace: world.trace.clone(),
            expected: expected.clone(),
        };
        users.spawn(user.work(move || enough.load(Relaxed)));
    }
    let peers = world
        .workers
        .iter()
        .map(|(name, worker)| (name.clone(), worker.peer.clone()));
    let mut watcher = Watcher::new(
        world.trace.clone(),
        expected,
        world.truth.clone(),
        peers.collect(),
        WORKER_TIMEOUT,
    );

    let mut faults = Faults::begin(&world);
    let trouble = Instant::now() + world.chance.millis(20_000..=80_000);
    while Instant::now() < trouble {
        if !step(&mut world, &mut watcher).await {
            return world.end();
        }
        faults.step(&mut world);
    }
    faults.end(&world);
    world.trace.note("no more faults");
    enough.store(true, Relaxed);
    settle(&mut world, &mut watcher, &mut users).await;
    world.end();
}

async fn settle(world: &mut World, watcher: &mut Watcher, users: &mut JoinSet<()>) {
    let deadline = Instant::now() + SETTLES_WITHIN;
    let created = watcher.created();
    loop {
        if !step(world, watcher).await {
            return;
        }
        while users.try_join_next().is_some() {}
        let left = match &world.control.serving {
            None => Some("the control plane is down".to_owned()),
            Some(_) if !users.is_empty() => Some("a user waits for an answer".to_owned()),
            Some(serving) => watcher.unsettled(&serving.view()),
        };
        let Some(left) = left else { break };
        if Instant::now() > deadline {
            let trace = &world.trace;
            return trace.violation(
                Promise::Converges,
                format_args!("not settled within {SETTLES_WITHIN:?}: {left}"),
            );
        }
    }
    let created = watcher.created() - created;
    if created > CREATED_AT_MOST * WORKLOADS * MOST_REPLICAS {
        world.trace.violation(
            Promise::NoneForNothing,
            format_args!("{created} replicas were made after the last fault"),
        );
    }
    world.trace.note("at rest");
    let (made, starts) = (watcher.created(), world.truth.starts_so_far());
    let end = Instant::now() + RESTS;
    while Instant::now() < end {
        if !step(world, watcher).await {
            return;
        }
        let view = world.control.serving.as_ref().map(|serving| serving.view());
        let left = view.and_then(|view| watcher.unsettled(&view));
        let moved = (made, starts) != (watcher.created(), world.truth.starts_so_far());
        if left.is_some() || moved {
            let what = left.unwrap_or_else(|| "something was started".to_owned());
            world.trace.violation(
                Promise::NothingFlaps,
                format_args!("it does not rest: {what}"),
            );
        }
    }
}

/// Lets time pass and checks the promises. Returns false once one is broken.
async fn step(world: &mut World, watcher: &mut Watcher) -> bool {
    let until = Instant::now() + STEP;
    loop {
        tokio::select! {
            biased;
            Some(news) = world.news.recv() => world.hear(news),
            () = sleep_until(until) => break,
        }
    }
    world.restart();
    let control = &mut world.control;
    if let Some(serving) = &control.serving {
        if std::mem::take(&mut control.found) {
            // This checks the last actions of the one before.
            watcher.look_back(serving.found(), control.since_before);
        }
        watcher.look(&serving.view(), control.since);
    }
    world.trace.violated().is_none()
}
