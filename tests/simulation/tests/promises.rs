//! A fleet keeps its promises, the same seed gives the same trace, and the simulation notices a
//! broken promise.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::expect_used)]

use std::{
    env,
    fmt::Debug,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use warren_model::guard::Guard;
use warren_simulation::{
    promise::Promise,
    run::{Outcome, run},
};

/// The number of seeds that run unless `WARREN_SEEDS` names another.
const SEEDS: u64 = 200;
/// The number of seeds within which a missing guard is noticed.
const WITHIN: u64 = 200;

/// Changes of the source without which a promise is broken.
const CHANGES: &str = include_str!("../../../.ci/without");

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} is `{text}`, which is not a number")))
}

fn named<T: Debug + Copy>(name: &str, all: &[T]) -> Option<T> {
    let text = env::var(name).ok()?;
    let found = all.iter().find(|it| format!("{it:?}") == text);
    Some(*found.unwrap_or_else(|| panic!("{name} is `{text}`, which is not one of {all:?}")))
}

/// Runs seeds on all cores until one of them breaks a promise, and returns the first that does.
fn first_violation(
    seeds: u64,
    without: Option<Guard>,
    only: Option<Promise>,
) -> Option<(u64, Outcome)> {
    let next = AtomicU64::new(0);
    let found: Mutex<Option<(u64, Outcome)>> = Mutex::new(None);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds || found.lock().unwrap().is_some() {
                        return;
                    }
                    let outcome = run(seed, without, only);
                    if outcome.violation.is_some() {
                        let mut found = found.lock().unwrap();
                        if found.as_ref().is_none_or(|(first, _)| seed < *first) {
                            *found = Some((seed, outcome));
                        }
                    }
                }
            });
        }
    });
    found.into_inner().unwrap()
}

/// Returns the end of a trace, which led to the violation.
fn tail(trace: &str) -> String {
    let lines: Vec<&str> = trace.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// Returns the promise that rests on a guard.
fn resting_on(guard: Guard) -> Promise {
    match guard {
        Guard::ExclusiveByLease | Guard::ExclusiveWaits => Promise::NeverTwice,
        Guard::LostAfterTimeout => Promise::NothingFlaps,
        Guard::SameWorkerReturns => Promise::NobodyIsRefused,
        Guard::StoppingIsFinal => Promise::StoppedStaysStopped,
    }
}

#[test]
fn a_fleet_keeps_its_promises() {
    let without = named("WARREN_WITHOUT", &Guard::ALL);
    let only = named("WARREN_PROMISE", &Promise::ALL).or(without.map(resting_on));
    if let Some(seed) = number("WARREN_SEED") {
        let outcome = run(seed, without, only);
        println!("{}", outcome.trace);
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let seeds = number("WARREN_SEEDS").unwrap_or(SEEDS);
    println!("seeds 0 to {}", seeds.saturating_sub(1));
    if let Some((seed, outcome)) = first_violation(seeds, without, only) {
        panic!(
            "seed {seed}: {:?}\n{}\nfor the whole trace: WARREN_SEED={seed} cargo test keeps -- --nocapture",
            outcome.violation,
            tail(&outcome.trace)
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1000..1016 {
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(|| run(seed, None, None));
            (run(seed, None, None), other.join().unwrap())
        });
        assert!(one.trace.lines().count() > 50, "{}", one.trace);
        let mut lines = one.trace.lines().zip(other.trace.lines());
        assert_eq!(lines.find(|(a, b)| a != b), None, "seed {seed}");
        assert_eq!(one.trace, other.trace);
    }
}

#[test]
fn other_seeds_give_other_traces() {
    assert_ne!(run(1, None, None).trace, run(2, None, None).trace);
}

/// Without any one of the guards, the promise that rests on it is broken.
#[test]
fn every_guard_is_needed() {
    let mut needless = Vec::new();
    for guard in Guard::ALL {
        let promise = resting_on(guard);
        match first_violation(WITHIN, Some(guard), Some(promise)) {
            Some((seed, outcome)) => {
                println!("without {guard:?}, seed {seed}: {:?}", outcome.violation);
            }
            None => needless.push((guard, promise)),
        }
    }
    assert_eq!(needless, [], "{WITHIN} seeds found nothing without these");
}

/// Each promise is known to be breakable: by taking away a guard, or by a change in `.ci/without`.
#[test]
fn every_promise_can_be_broken() {
    let guarded = Guard::ALL.map(resting_on);
    let unbroken = Promise::ALL.into_iter().filter(|promise| {
        !guarded.contains(promise) && !CHANGES.contains(&format!("\nbreaks {promise:?} "))
    });
    assert_eq!(unbroken.collect::<Vec<_>>(), []);
}
