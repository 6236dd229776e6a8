//! A client that was built without knowing Warren.

use std::fs;

use futures::StreamExt as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use warren_reflect::Client;
use warren_tests::{SOON, example};

use crate::{cluster, counter::count};

const CHUNK: usize = 64 << 10;

/// The protobuf JSON mapping writes bytes as base64.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0, |bits, at| {
            bits << 8 | u32::from(*group.get(at).unwrap_or(&0))
        });
        for at in 0..4 {
            match at <= group.len() {
                true => text.push(DIGITS[(bits >> (18 - 6 * at) & 63) as usize] as char),
                false => text.push('='),
            }
        }
    }
    text
}

async fn push(client: &Client, file: &str) -> String {
    let bytes = fs::read(file).unwrap();
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(&bytes)));
    let header = json!({ "header": { "digest": digest, "sizeBytes": bytes.len().to_string() } });
    let chunks = bytes
        .chunks(CHUNK)
        .map(|chunk| json!({ "chunk": base64(chunk) }));
    let requests = std::iter::once(header).chain(chunks).collect();
    let response = client
        .upload("warren.v1.ArtifactService/Push", requests)
        .await
        .unwrap();
    assert_eq!(response["artifact"]["digest"], digest, "{response:#}");
    digest
}

#[tokio::test]
async fn a_client_that_knows_reflection_alone_runs_a_workload() {
    let cluster = cluster(1).await;
    let client = Client::connect(&cluster.control.url).await.unwrap();
    for service in ["Artifact", "Fleet", "System", "Worker", "Workload"] {
        let name = format!("warren.v1.{service}Service");
        assert!(client.services().contains(&name), "{:?}", client.services());
    }
    for method in ["Apply", "Get", "List", "Watch", "Delete", "Logs", "Events"] {
        let name = format!("warren.v1.WorkloadService/{method}");
        let methods = client.methods("warren.v1.WorkloadService");
        assert!(methods.contains(&name), "{methods:?}");
    }
    let health = client
        .call("grpc.health.v1.Health/Check", json!({}))
        .await
        .unwrap();
    assert_eq!(health["status"], "SERVING");
    let info = client
        .call("warren.v1.SystemService/GetInfo", json!({}))
        .await
        .unwrap();
    assert!(
        info["version"]
            .as_str()
            .is_some_and(|version| !version.is_empty()),
        "{info:#}"
    );

    let cache = push(&client, &example("cache")).await;
    let counter = push(&client, &example("counter")).await;
    let spec = json!({
        "service": { "component": cache, "stopGrace": "2s" },
        "components": [ {
            "name": "api",
            "component": counter,
            "routes": [ { "host": "reflected.localhost" } ],
        } ],
    });
    let workload = json!({ "workload": { "name": "reflected", "spec": spec } });
    let applied = client
        .call("warren.v1.WorkloadService/Apply", workload)
        .await
        .unwrap();
    assert_eq!(applied["outcome"], "CREATED", "{applied:#}");
    assert_eq!(applied["workload"]["spec"]["service"]["stopGrace"], "2s");

    let ready = ready(&client, "reflected");
    let ready = tokio::time::timeout(SOON, ready).await.unwrap();
    assert_eq!(ready["uid"], applied["workload"]["uid"]);
    assert_eq!(count(cluster.http(), "reflected").await.number, 1);
}

/// Follows a workload until its condition `Ready` holds.
async fn ready(client: &Client, name: &str) -> Value {
    let method = "warren.v1.WorkloadService/Watch";
    let mut watch = client.watch(method, json!({ "name": name })).await.unwrap();
    while let Some(message) = watch.next().await {
        let workload = message.unwrap()["workload"].take();
        let conditions = workload["status"]["conditions"].as_array();
        let holds = |one: &Value| one["type"] == "Ready" && one["status"] == "TRUE";
        if conditions.is_some_and(|conditions| conditions.iter().any(holds)) {
            return workload;
        }
    }
    panic!("the watch ended before {name} was ready")
}
