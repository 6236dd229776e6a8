//! Manifests that `validate` accepts start, linked as `describe` shows.

use warren_tests::{Cluster, eventually};

use crate::cluster;

/// A component that exports `a:b/c` in these versions, in this order; its function returns the
/// minor version.
fn library(minors: [u32; 2]) -> Vec<u8> {
    let export = |minor: u32| {
        format!(
            r#"(core module $m{minor} (func (export "f") (result i32) i32.const {minor}))
            (core instance $i{minor} (instantiate $m{minor}))
            (func $f{minor} (result u32) (canon lift (core func $i{minor} "f")))
            (instance $c{minor} (export "f" (func $f{minor})))
            (export "a:b/c@1.{minor}.0" (instance $c{minor}))"#
        )
    };
    let exports = minors.map(export).join("\n");
    wat::parse_str(format!("(component {exports})")).unwrap()
}

/// A service that ends well if it gets 4 of `a:b/c@1.2.0`, and traps otherwise.
fn service() -> Vec<u8> {
    let text = r#"(component
        (import "a:b/c@1.2.0" (instance $c (export "f" (func (result u32)))))
        (core func $f (canon lower (func $c "f")))
        (core module $m
            (import "" "f" (func $f (result i32)))
            (func (export "run") (result i32)
                (if (i32.ne (call $f) (i32.const 4)) (then unreachable))
                i32.const 0))
        (core instance $i (instantiate $m (with "" (instance (export "f" (func $f))))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $e (export "run" (func $run)))
        (export "wasi:cli/run@0.2.6" (instance $e)))"#;
    wat::parse_str(text).unwrap()
}

async fn completes(cluster: &Cluster, name: &str) {
    eventually("the service gets the number that it expects", async || {
        let replica = cluster.replica(name).await;
        match replica["phase"].as_str() {
            Some("COMPLETED") => Ok(()),
            _ => Err(replica),
        }
    })
    .await;
}

#[tokio::test]
async fn manifests_that_validate_accepts_start_with_the_highest_version_in_any_order() {
    let cluster = cluster(1).await;
    cluster.lab.write("service.wasm", service());
    for (name, minors) in [("up", [2, 4]), ("down", [4, 2])] {
        cluster.lab.write(&format!("{name}.wasm"), library(minors));
        let manifest = format!(
            "name: {name}\n\
             service: {{ component: ./service.wasm, restart: {{ policy: never }} }}\n\
             components: [ {{ name: library, component: ./{name}.wasm }} ]\n"
        );
        let file = cluster.lab.write(&format!("{name}.yaml"), manifest);
        cluster.warren(&["validate", "-f", &file]).await.ok();
        cluster.warren(&["apply", "-f", &file]).await.ok();
        completes(&cluster, name).await;
        let told = cluster.warren(&["describe", "workload", name]).await.ok();
        let line = "  service   a:b/c@1.2.0   from library, as a:b/c@1.4.0\n";
        assert!(told.contains(line), "{told}");
    }

    let worker = cluster.warren(&["describe", "worker", "w1"]).await.ok();
    let drafts = "wasi:logging@0.1.0-draft, \
        wasi:config@0.2.0-draft-2024-09-27, wasi:config@0.2.0-rc.1";
    let packages = "wasi:{cli, clocks, filesystem, http, io, random, sockets}@0.2.12";
    let line = format!("  provides {drafts}, {packages} and ");
    assert!(worker.contains(&line), "{worker}");
}
