//! The promises of the README and the design, tested with real processes.
#![allow(clippy::unwrap_used)]

mod answers;
mod backup;
mod bad;
mod bounds;
mod clients;
mod commands;
mod counter;
mod delete;
mod dev;
mod docs;
mod drain;
mod egress;
mod ends;
mod examples;
mod exclusive;
mod fixed_ports;
mod fleet;
mod formats;
mod http;
mod http3;
mod input;
mod links;
mod localhost;
mod memory;
mod observe;
mod outage;
mod outgoing;
mod presence;
mod private;
mod probes;
mod proxies;
mod publish_allow;
mod publish_udp;
mod reboot;
mod reflection;
mod refusals;
mod restarts;
mod stop;
mod terminal;
mod updates;
mod volumes;
mod wit;
mod zoo;

use warren_tests::{Cluster, Lab, guest};

/// A place for one test of the program as it was just built.
fn lab() -> Lab {
    Lab::new(
        env!("CARGO_BIN_EXE_warren-under-test"),
        concat!(env!("CARGO_TARGET_TMPDIR"), "/warren-tests"),
    )
}

/// A control plane and so many workers.
async fn cluster(workers: usize) -> Cluster {
    Cluster::start(lab(), workers).await
}

/// A workload that is one HTTP component with a behaviour for each path, at `echo.localhost`;
/// `more` are further fields of the component.
fn http_echo(more: &str) -> String {
    let component = guest("http-echo");
    format!(
        "name: echo\n\
         replicas: 1\n\
         components:\n\
         - name: web\n  \
           component: {component}\n  \
           routes: [ {{ host: echo.localhost, path: / }} ]\n\
         {more}"
    )
}
