//! The job that the service of this workload runs every second.

// In what `export!` writes.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use exports::example::cron::job::Guest;

wit_bindgen::generate!({ path: "../wit", world: "work" });

/// Would count the runs, but each one finds it new: what shall last belongs in a service.
static RUNS: AtomicU32 = AtomicU32::new(0);

struct Job;

export!(Job);

impl Guest for Job {
    fn run(tick: u64) -> Result<String, String> {
        let run = RUNS.fetch_add(1, Relaxed) + 1;
        // Work fails now and then, and the schedule goes on.
        if tick.is_multiple_of(5) {
            return Err("as every fifth run does".to_owned());
        }
        Ok(format!("done, run {run} of this instance"))
    }
}
