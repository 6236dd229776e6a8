//! The memory of a worker: every guest has its reserve, and what is lent beyond it ends in growth
//! that fails.

use serde_json::Value;
use warren_tests::{Cluster, eventually, get, guest};

use crate::lab;

const MIB: u64 = 1 << 20;

/// Starts a worker whose guests have this memory together.
async fn cluster(memory: &str) -> Cluster {
    Cluster::start_with(lab(), 1, &[], &["--memory", memory]).await
}

/// A service that grows to `target` MiB by one at a time, `pause` milliseconds apart, and keeps
/// what it has. When growth fails it does `refused`, in WebAssembly text.
fn growing(cluster: &Cluster, target: u64, pause: u64, refused: &str) -> String {
    let (pages, nanos) = (target * 16, pause * 1_000_000);
    let text = format!(
        r#"(component
          (import "wasi:io/poll@0.2.0" (instance $poll
            (export "pollable" (type $pollable (sub resource)))
            (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
          (alias export $poll "pollable" (type $pollable))
          (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
            (alias outer 1 $pollable (type $outer))
            (export "pollable" (type $its (eq $outer)))
            (export "subscribe-duration" (func (param "when" u64) (result (own $its))))))
          (core func $subscribe (canon lower (func $clock "subscribe-duration")))
          (core func $block (canon lower (func $poll "[method]pollable.block")))
          (core func $drop (canon resource.drop $pollable))
          (core module $m
            (import "wasi" "subscribe" (func $subscribe (param i64) (result i32)))
            (import "wasi" "block" (func $block (param i32)))
            (import "wasi" "drop" (func $drop (param i32)))
            (memory 16)
            (func $sleep (param $nanos i64) (local $pollable i32)
              (local.set $pollable (call $subscribe (local.get $nanos)))
              (call $block (local.get $pollable))
              (call $drop (local.get $pollable)))
            (func (export "run") (result i32)
              (loop $again
                (call $sleep (i64.const {nanos}))
                (if (i32.lt_u (memory.size) (i32.const {pages}))
                  (then
                    (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then {refused}))))
                (br $again))
              i32.const 0))
          (core instance $wasi
            (export "subscribe" (func $subscribe)) (export "block" (func $block)) (export "drop" (func $drop)))
          (core instance $i (instantiate $m (with "wasi" (instance $wasi))))
          (func $run (result (result)) (canon lift (core func $i "run")))
          (instance $e (export "run" (func $run)))
          (export "wasi:cli/run@0.2.0" (instance $e)))"#
    );
    let bytes = wat::parse_str(text).expect("the component is well-formed");
    let name = format!("growing-{target}-{pause}-{}.wasm", refused.len());
    cluster.lab.write(&name, bytes)
}

/// A workload of such a service.
fn workload(name: &str, component: &str, limit: u64, reserve: u64) -> String {
    format!(
        "name: {name}\nreplicas: 1\nservice:\n  component: {component}\n  stopGrace: 0s\n  \
         limits: {{ memory: {limit}MiB }}\n  reserve: {{ memory: {reserve}MiB }}\n  \
         restart: {{ initialBackoff: 1h, maxBackoff: 1h }}\n"
    )
}

async fn admit(cluster: &Cluster, name: &str, manifest: &str) {
    let file = cluster.lab.write(&format!("{name}.yaml"), manifest);
    cluster.warren(&["apply", "-f", &file]).await.ok();
}

/// Returns a workload's only replica, once there is one: apply returns before it is placed.
async fn replica(cluster: &Cluster, workload: &str) -> Value {
    eventually(&format!("{workload} has a replica"), async || {
        cluster.replicas(workload).await.pop().ok_or(())
    })
    .await
}

/// What a workload's only replica uses, in bytes.
async fn used(cluster: &Cluster, workload: &str) -> u64 {
    let replica = replica(cluster, workload).await;
    let used = replica["usage"]["memoryBytes"].as_str();
    used.map_or(0, |bytes| bytes.parse().expect("a number of bytes"))
}

/// Waits until a workload's only replica uses at least so many MiB.
async fn uses(cluster: &Cluster, workload: &str, least: u64) {
    eventually(&format!("{workload} has {least}MiB"), async || {
        let used = used(cluster, workload).await;
        if used >= least * MIB {
            Ok(())
        } else {
            Err(used)
        }
    })
    .await;
}

/// The last exit of a workload's only replica, once there is one.
async fn last_exit(cluster: &Cluster, workload: &str) -> Value {
    eventually(&format!("{workload} has ended"), async || {
        let replica = replica(cluster, workload).await;
        if replica["phase"] == "BACKOFF" {
            Ok(replica["lastExit"].clone())
        } else {
            Err(replica)
        }
    })
    .await
}

async fn never_ended(cluster: &Cluster, workload: &str) {
    let replica = replica(cluster, workload).await;
    assert_eq!(replica["phase"], "RUNNING", "{replica:#}");
    assert!(replica.get("lastExit").is_none(), "{replica:#}");
}

#[tokio::test]
async fn neighbours_have_their_reserved_memory_whatever_others_take() {
    let mut cluster = cluster("96MiB").await;
    // Its reserve is counted before it uses it.
    let modest = growing(&cluster, 32, 50, "unreachable");
    admit(&cluster, "modest", &workload("modest", &modest, 64, 32)).await;
    uses(&cluster, "modest", 1).await;
    let greedy = growing(&cluster, 90, 1, "");
    for name in ["greedy-1", "greedy-2"] {
        admit(&cluster, name, &workload(name, &greedy, 96, 8)).await;
    }
    // 48MiB can be lent. The first to start may borrow eight ninths of them before the other
    // starts, which then borrows eight ninths of the rest.
    for name in ["greedy-1", "greedy-2"] {
        uses(&cluster, name, 8 + 5).await;
    }
    uses(&cluster, "modest", 32).await;
    let mut all = 0;
    for name in ["modest", "greedy-1", "greedy-2"] {
        never_ended(&cluster, name).await;
        all += used(&cluster, name).await;
    }
    assert!(all <= 96 * MIB, "{all} bytes");
    let workers = cluster.warren(&["get", "workers", "-o", "json"]).await;
    let worker = &workers.json()[0];
    assert_eq!(worker["allocated"]["memoryBytes"], (48 * MIB).to_string());
    assert_eq!(worker["capacity"]["keepsReserves"], true);
    assert!(cluster.workers[0].process.is_alive());
}

#[tokio::test]
async fn a_guest_that_dies_of_a_refused_allocation_reports_the_workers_limit() {
    let cluster = cluster("64MiB").await;
    let fragile = growing(&cluster, 100, 1, "unreachable");
    admit(&cluster, "fragile", &workload("fragile", &fragile, 128, 16)).await;
    let exit = last_exit(&cluster, "fragile").await;
    assert_eq!(exit["reason"], "OUT_OF_MEMORY", "{exit:#}");
    let message = exit["message"].as_str().unwrap_or_default();
    for words in [
        "out of memory: the worker has too little memory left",
        "with a reserve of 16MiB",
        "of the worker's 64MiB",
    ] {
        assert!(message.contains(words), "{message}");
    }
    let text = cluster.warren(&["describe", "workload", "fragile"]).await;
    let text = text.ok();
    assert!(text.contains("service.reserve.memory"), "{text}");
}

#[tokio::test]
async fn a_later_reserve_is_reclaimed_from_its_borrowers() {
    let cluster = cluster("64MiB").await;
    let greedy = growing(&cluster, 60, 1, "");
    admit(&cluster, "greedy", &workload("greedy", &greedy, 64, 8)).await;
    // Alone it may have all.
    uses(&cluster, "greedy", 60).await;
    let late = growing(&cluster, 32, 1, "unreachable");
    admit(&cluster, "late", &workload("late", &late, 32, 32)).await;
    uses(&cluster, "late", 32).await;
    never_ended(&cluster, "late").await;
    let exit = last_exit(&cluster, "greedy").await;
    assert_eq!(exit["reason"], "OUT_OF_MEMORY", "{exit:#}");
    let message = exit["message"].as_str().unwrap_or_default();
    assert!(message.contains("for the reserves of others"), "{message}");
}

#[tokio::test]
async fn an_instance_without_its_first_memory_is_answered_503() {
    let cluster = cluster("32MiB").await;
    let greedy = growing(&cluster, 40, 1, "");
    let web = guest("http-echo");
    let manifest = format!(
        "{}components:\n- name: web\n  component: {web}\n  \
         routes: [ {{ host: web.localhost, path: / }} ]\n  reserve: {{ memory: 16KiB }}\n",
        workload("full", &greedy, 64, 1)
    );
    admit(&cluster, "full", &manifest).await;
    uses(&cluster, "full", 31).await;
    let reply = get(cluster.http(), "web.localhost", "/").await;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    assert_eq!(reply.status, 503, "{text}");
    let words = "out of memory: the worker has too little memory left";
    assert!(text.contains(words), "{text}");
    let log = cluster.warren(&["logs", "full", "--source", "web"]).await;
    assert!(log.ok().contains(words));
}

#[tokio::test]
async fn placement_counts_reserves() {
    let cluster = cluster("64MiB").await;
    let small = growing(&cluster, 1, 1000, "");
    // A quarter of 64MiB each, unless it is named.
    let manifest = format!(
        "name: many\nreplicas: 5\nservice:\n  component: {small}\n  stopGrace: 0s\n  limits: {{ memory: 64MiB }}\n"
    );
    admit(&cluster, "many", &manifest).await;
    eventually("four of five replicas are placed", async || {
        let replicas = cluster.replicas("many").await;
        let running = replicas.iter().filter(|one| one["phase"] == "RUNNING");
        let waiting = format!("{replicas:?}").contains("1 lacks memory (16MiB needed, 0B free)");
        if running.count() == 4 && waiting {
            Ok(())
        } else {
            Err(replicas)
        }
    })
    .await;
    let delete = ["delete", "workload", "many", "--wait"];
    cluster.warren(&delete).await.ok();
    // Less is reserved, and all of them fit.
    let manifest = format!("{manifest}  reserve: {{ memory: 1MiB }}\n");
    let manifest = manifest.replace("name: many", "name: modest");
    cluster.apply(&manifest).await;
}
