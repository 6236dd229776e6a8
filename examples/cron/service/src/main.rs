//! Runs a job every second. This half keeps the schedule; the work is a component's, which has a
//! fresh instance for each run, so that a run that fails leaves nothing behind.

use std::thread;
use std::time::{Duration, Instant};

use example::cron::job;

wit_bindgen::generate!({ path: "../wit", world: "schedule" });

const EVERY: Duration = Duration::from_secs(1);

fn main() {
    let mut due = Instant::now();
    for tick in 1.. {
        // An import like any other: Warren finds the component that exports it.
        match job::run(tick) {
            Ok(said) => println!("tick {tick}: {said}"),
            // A job that panics or runs too long ends up here too, and the schedule goes on.
            Err(error) => println!("tick {tick} failed: {error}"),
        }
        // Counted from when this run was due, so that slow ones do not shift those to come; what a
        // very slow one has missed is left out.
        while due <= Instant::now() {
            due += EVERY;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}
