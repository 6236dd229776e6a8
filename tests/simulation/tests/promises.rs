//! See the crate's documentation.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::expect_used)]

use std::{
    collections::BTreeSet,
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
    run::{Outcome, Without, run},
};

/// Runs where nothing else is asked for.
const SEEDS: u64 = 200;
/// A guard that is missing is noticed within so many.
const WITHIN: u64 = 200;

fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("{name} should be a number, and is `{text}`")))
}

fn named<T: Debug + Copy>(name: &str, all: &[T]) -> Option<T> {
    let text = env::var(name).ok()?;
    let found = all.iter().find(|it| format!("{it:?}") == text);
    Some(*found.unwrap_or_else(|| panic!("{name} should be one of {all:?}, and is `{text}`")))
}

/// Runs seeds until one of them breaks a promise, on all cores; of those found the first.
fn first_violation(seeds: u64, without: Without) -> Option<(u64, Outcome)> {
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
                    let outcome = run(seed, without);
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

/// The end of a trace: what led there.
fn tail(trace: &str) -> String {
    let lines: Vec<&str> = trace.lines().collect();
    lines[lines.len().saturating_sub(60)..].join("\n")
}

/// The promise that rests on a guard.
fn resting_on(guard: Guard) -> Promise {
    match guard {
        Guard::FlushBeforeAnswer | Guard::CompareAndSet => Promise::AnswersHold,
        Guard::ExclusiveByLease | Guard::ExclusiveWaits => Promise::NeverTwice,
        Guard::LostAfterTimeout => Promise::NothingFlaps,
        Guard::SameWorkerReturns => Promise::NobodyIsRefused,
        Guard::PlanUponOwnWrites => Promise::NoneForNothing,
        Guard::StoppingIsFinal | Guard::KeptBeforeFollowed => Promise::StoppedStaysStopped,
        Guard::CompleteAssignments | Guard::ReportsRepeated => Promise::Converges,
    }
}

#[test]
fn a_fleet_keeps_its_promises() {
    let without = named("WARREN_WITHOUT", &Guard::ALL).map(|guard| (guard, resting_on(guard)));
    if let Some(seed) = number("WARREN_SEED") {
        let outcome = run(seed, without);
        println!("{}", outcome.trace);
        assert_eq!(outcome.violation, None, "seed {seed}");
        return;
    }
    let seeds = number("WARREN_SEEDS").unwrap_or(SEEDS);
    println!("seeds 0 to {}", seeds.saturating_sub(1));
    if let Some((seed, outcome)) = first_violation(seeds, without) {
        panic!(
            "seed {seed}: {:?}\n{}\nall of it: WARREN_SEED={seed} cargo test -p warren-simulation keeps -- --nocapture",
            outcome.violation,
            tail(&outcome.trace)
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 1000..1016 {
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(|| run(seed, None));
            (run(seed, None), other.join().unwrap())
        });
        assert!(one.trace.lines().count() > 50, "{}", one.trace);
        let mut lines = one.trace.lines().zip(other.trace.lines());
        assert_eq!(lines.find(|(a, b)| a != b), None, "seed {seed}");
        assert_eq!(one.trace, other.trace);
    }
}

#[test]
fn other_seeds_give_other_traces() {
    assert_ne!(run(1, None).trace, run(2, None).trace);
}

/// For each guard: without it, the promise that rests on it is broken.
#[test]
fn every_guard_is_needed() {
    let mut needless = Vec::new();
    for guard in Guard::ALL {
        let promise = resting_on(guard);
        match first_violation(WITHIN, Some((guard, promise))) {
            Some((seed, outcome)) => {
                println!("without {guard:?}, seed {seed}: {:?}", outcome.violation);
            }
            None => needless.push((guard, promise)),
        }
    }
    assert_eq!(needless, [], "{WITHIN} seeds found nothing without these");
}

/// No promise is only looked at where it cannot be broken.
#[test]
fn every_promise_rests_on_a_guard() {
    let resting: BTreeSet<Promise> = Guard::ALL.into_iter().map(resting_on).collect();
    assert_eq!(resting.into_iter().collect::<Vec<_>>(), Promise::ALL);
}
