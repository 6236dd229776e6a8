//! Bad input of every kind: each is told with its place and the way out, and nothing is lost by it.

mod components;
mod disk;
mod files;
mod interrupt;
mod links;
mod manifests;
mod names;
mod older;
mod ports;
mod proxy;
mod pushes;
mod servers;
mod stand_in;
mod starts;

use serde_json::Value;
use warren_tests::{Answer, Cluster};

use crate::{
    cluster,
    counter::{count, manifest},
};

/// A cluster where the counter runs and has counted: whatever is refused, it goes on as if nothing
/// had been.
struct Standing {
    cluster: Cluster,
    workload: Value,
    replica: Value,
    service: String,
    counted: u32,
}

/// What says that it is the same workload.
const WORKLOAD: [&str; 5] = ["uid", "generation", "revision", "createTime", "spec"];

/// What says that it is the same replica, and that it never stopped.
const REPLICA: [&str; 5] = ["id", "worker", "phase", "ready", "restarts"];

impl Standing {
    async fn start() -> Self {
        Self::on(cluster(1).await).await
    }

    async fn on(cluster: Cluster) -> Self {
        cluster.apply(&manifest("counter")).await;
        let first = count(cluster.http(), "counter").await;
        Self {
            workload: cluster.workload("counter").await,
            replica: cluster.replica("counter").await,
            service: first.service,
            counted: first.number,
            cluster,
        }
    }

    /// Applies a manifest, which is refused with these words, and whole.
    async fn refused(&mut self, manifest: &str, words: &[&str]) -> String {
        let told = self.cluster.try_apply(manifest).await.refused(1, words);
        self.unharmed().await;
        told
    }

    /// The counter, and nothing else, is there, and its service never stopped.
    async fn unharmed(&mut self) {
        let all = ["get", "workloads", "-A", "-o", "json"];
        let all = self.cluster.warren(&all).await.json();
        let [workload] = all.as_array().unwrap().as_slice() else {
            panic!("something was stored: {all:#}");
        };
        same(workload, &self.workload, &WORKLOAD);
        let replica = self.cluster.replica("counter").await;
        same(&replica, &self.replica, &REPLICA);
        let next = count(self.cluster.http(), "counter").await;
        self.counted += 1;
        assert_eq!((next.number, &next.service), (self.counted, &self.service));
    }
}

#[track_caller]
fn same(now: &Value, before: &Value, fields: &[&str]) {
    for field in fields {
        assert_eq!(now[field], before[field], "{field} of {now:#}");
    }
}

/// The lines of a refusal that begin with a place in a file, without what stands around them.
fn places(told: &str) -> Vec<&str> {
    let lines = told.lines().map(str::trim);
    lines.filter(|line| line.contains(".yaml:")).collect()
}

/// It ended like this, and said nothing on stdout.
#[track_caller]
fn refused_quietly(answer: Answer, words: &[&str]) -> String {
    assert_eq!(answer.stdout, "", "{answer:#?}");
    answer.refused(1, words)
}
