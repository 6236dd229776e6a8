//! The examples, beyond what their pages show: `docs` types what stands there.

mod bridge;
mod cron;
mod echo;
mod kitchen_sink;
mod pool;
mod postgres;
mod web;

use std::{fs, path::Path};

use warren_tests::{Cluster, eventually};

/// An example's manifest as a file anywhere may have it, with one change: the worker chooses the
/// ports that it publishes.
fn manifest(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let root = root.canonicalize().unwrap();
    let text = fs::read_to_string(root.join(name).join("warren.yaml")).unwrap();
    let text = text.replace("../components/", &format!("{}/components/", root.display()));
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for line in &mut lines {
        if let Some((before, after)) = line.split_once("listen: \"127.0.0.1:") {
            let (_, rest) = after.split_once('"').expect("an address is quoted");
            *line = format!("{before}listen: \"127.0.0.1:0\"{rest}");
        }
    }
    lines.join("\n")
}

/// What a workload's service has written so far, once it has written this.
async fn logs_with(cluster: &Cluster, name: &str, words: &str) -> String {
    eventually(&format!("`{words}` stands in the log"), async || {
        let logs = cluster.warren(&["logs", name]).await.ok();
        if logs.contains(words) {
            Ok(logs)
        } else {
            Err(logs)
        }
    })
    .await
}

async fn restarts(cluster: &Cluster, name: &str) -> u64 {
    cluster.replica(name).await["restarts"].as_u64().unwrap()
}
