//! Real processes that die at the worst moment, and changes under load.
//!
//! Small by default; `WARREN_CHAOS=full` runs the sizes that `.ci/long` is for, there with the
//! release build that `WARREN_PROGRAM` names. A binary of its own whose tests run one after the
//! other: what they measure is how long clients wait.
#![allow(clippy::unwrap_used)]

mod changes;
mod control;
mod load;
mod workers;

use std::{env, fmt::Write as _, time::Duration};

use tokio::sync::{Mutex, MutexGuard};
use warren_tests::{Lab, example, guest};

/// How much of it.
struct Size {
    workloads: usize,
    /// Of load.
    time: Duration,
    /// Which part of the requests that were to be sent must have been: a debug build that compiles
    /// guests on every core leaves less for clients.
    sent: f64,
    /// Kills of the control plane.
    kills: usize,
}

fn size() -> Size {
    match env::var("WARREN_CHAOS").as_deref() {
        Ok("full") => Size {
            workloads: 30,
            time: Duration::from_secs(60),
            sent: 0.9,
            kills: 50,
        },
        Ok(other) => panic!("WARREN_CHAOS={other}: it is `full` or not set"),
        Err(_) => Size {
            workloads: 6,
            time: Duration::from_secs(10),
            sent: 0.5,
            kills: 5,
        },
    }
}

fn lab() -> Lab {
    let program = env::var("WARREN_PROGRAM");
    let program = program.as_deref();
    Lab::new(
        program.unwrap_or(env!("CARGO_BIN_EXE_warren-under-test")),
        concat!(env!("CARGO_TARGET_TMPDIR"), "/warren-tests"),
    )
}

async fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}

fn host(number: usize) -> String {
    format!("w{number}.localhost")
}

/// So many workloads of two replicas, every other one with a service.
fn manifests(workloads: usize, version: usize) -> String {
    let (echo, cache, counter) = (guest("http-echo"), example("cache"), example("counter"));
    let mut all = String::new();
    for number in 0..workloads {
        let (component, service) = match number % 2 {
            0 => (&echo, String::new()),
            _ => (&counter, format!("service: {{ component: {cache} }}\n")),
        };
        write!(
            all,
            "---\nname: w{number}\nreplicas: 2\n{service}components:\n- name: web\n  component: {component}\n  \
             env: {{ VERSION: \"{version}\" }}\n  routes: [ {{ host: {}, path: / }} ]\n",
            host(number)
        )
        .unwrap();
    }
    all
}
