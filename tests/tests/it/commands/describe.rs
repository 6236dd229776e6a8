//! `warren describe`: what a person reads first when something is wrong.

use warren_tests::{Cluster, eventually, guest};

use crate::{cluster, counter::manifest, lab};

async fn described(cluster: &Cluster, arguments: &[&str]) -> String {
    cluster
        .warren(&[&["describe"], arguments].concat())
        .await
        .ok()
}

#[track_caller]
fn says(text: &str, words: &[&str]) {
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
}

#[tokio::test]
async fn healthy_objects_are_described_briefly() {
    let cluster = cluster(1).await;
    let published = manifest("counter").replace(
        "cache.wasm }",
        "cache.wasm, publish: [ { port: 6379, listen: \"127.0.0.1:0\" } ] }",
    );
    cluster.apply(&published).await;
    let address = cluster.published("counter").await;
    let text = described(&cluster, &["workload", "counter"]).await;
    says(
        &text,
        &[
            "Workload counter in namespace default\n",
            "1 of 1 replica is ready at revision 1\n",
            "revision 1 was created ",
            "http://counter.localhost/   component api\n",
            &format!("tcp {address} on worker w1 leads to port 6379\n"),
            "RUNNING, ready",
            "component api sha256:",
            "Recent events\n",
        ],
    );
    assert!(!text.contains("What to do next"), "{text}");

    let id = cluster.replica("counter").await["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let text = described(&cluster, &["replica", &id[..id.len() - 2]]).await;
    says(
        &text,
        &[
            &format!("{id} is ready on worker w1"),
            "Conditions\n  Scheduled is TRUE",
        ],
    );
    let text = described(&cluster, &["worker", "w1"]).await;
    says(
        &text,
        &["Worker w1\n  ready", "default/counter: ", &id, "worker/w1"],
    );
    let artifact = cluster
        .warren(&["get", "artifacts", "-o", "name"])
        .await
        .ok();
    let digest = artifact
        .lines()
        .next()
        .unwrap()
        .trim_start_matches("artifact/");
    let text = described(&cluster, &["artifact", &digest[..19]]).await;
    says(
        &text,
        &[
            digest,
            "workload/counter as its ",
            "May be used as\n",
            "Exports\n",
        ],
    );
    let unknown = cluster.warren(&["describe", "workload", "countr"]).await;
    unknown.refused(1, &["countr", "did you mean", "counter"]);
}

#[tokio::test]
async fn failing_objects_are_described_with_the_reason_and_a_remedy() {
    let cluster = Cluster::start_with(lab(), 1, &[], &["--memory", "256MiB"]).await;
    let guest = guest("std-net");
    let manifest = |args: &str, more: &str| {
        format!(
            "name: short\nreplicas: 1\nservice:\n  component: {guest}\n  args: {args}\n  \
             restart: {{ initialBackoff: 5m, maxBackoff: 5m }}\n{more}"
        )
    };
    let file = cluster
        .lab
        .write("short.yaml", manifest("[ exit, err ]", ""));
    cluster.warren(&["apply", "-f", &file]).await.ok();
    eventually("the service waits", async || {
        let replicas = cluster.replicas("short").await;
        if replicas.iter().any(|one| one["phase"] == "BACKOFF") {
            Ok(())
        } else {
            Err(replicas)
        }
    })
    .await;
    let text = described(&cluster, &["workload", "short"]).await;
    says(
        &text,
        &[
            "0 of 1 replica is ready at revision 1",
            " waits on worker w1 to be restarted in ",
            ": the service ended with code 1 after ",
            "; starting again in ",
            "last ended ",
            "EXITED with code 1",
            "warren logs short --tail 20",
        ],
    );

    // No worker has that much memory: what is new cannot run, and what is old stays.
    let file = cluster.lab.write(
        "short.yaml",
        manifest(
            "[ exit, err, now ]",
            "  limits: { memory: 1GiB }\n  reserve: { memory: 512MiB }\n",
        ),
    );
    cluster.warren(&["apply", "-f", &file]).await.ok();
    let text = eventually("the new replica cannot be placed", async || {
        let text = described(&cluster, &["workload", "short"]).await;
        if text.contains("waits for a worker: ") {
            Ok(text)
        } else {
            Err(text)
        }
    })
    .await;
    says(
        &text,
        &["at most 1GiB of memory", "warren get workers -o wide"],
    );
}
