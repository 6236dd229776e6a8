//! Mistakes in the input are reported with their position, and nothing of it is stored.

use warren_tests::{Cluster, example, guest};

use crate::{cluster, http_echo, lab};

/// What `apply` says of a manifest that it does not take.
async fn refused(cluster: &Cluster, manifest: &str, words: &[&str]) {
    cluster.try_apply(manifest).await.refused(1, words);
    let stored = cluster
        .warren(&["get", "workloads", "-A", "-o", "json"])
        .await
        .json();
    assert_eq!(stored, serde_json::json!([]), "{manifest}");
}

#[tokio::test]
async fn files_that_are_not_components_are_refused() {
    let cluster = cluster(1).await;
    let text = cluster.lab.write("text.wasm", "this is text\n");
    let module = cluster.lab.write("module.wasm", b"\0asm\x01\0\0\0");
    let broken = &std::fs::read(example("cache")).unwrap()[..1000];
    let broken = cluster.lab.write("broken.wasm", broken);
    let missing = cluster.lab.path("missing.wasm").display().to_string();
    for (file, words) in [
        (&text, &["text.wasm", "not WebAssembly"][..]),
        (&module, &["module.wasm", "core WebAssembly module"]),
        (&broken, &["broken.wasm", "not a valid component"]),
        (&missing, &["missing.wasm", "No such file"]),
    ] {
        let manifest = format!("name: bad\nservice:\n  component: {file}\n");
        let mut told = words.to_vec();
        // Where the manifest names it.
        told.push("applied.yaml:3:14: ");
        refused(&cluster, &manifest, &told).await;
        cluster.warren(&["push", file]).await.refused(1, words);
        cluster.warren(&["inspect", file]).await.refused(1, words);
        let manifest = cluster.lab.write("bad.yaml", &manifest);
        cluster
            .warren(&["validate", "-f", &manifest])
            .await
            .refused(1, words);
    }
    let artifacts = cluster
        .warren(&["get", "artifacts", "-o", "json"])
        .await
        .json();
    assert_eq!(artifacts, serde_json::json!([]));
}

#[tokio::test]
async fn components_that_do_not_fit_the_manifest_are_refused() {
    let cluster = cluster(1).await;
    let unknown = format!("sha256:{}", "12".repeat(32));
    let manifest = format!("name: bad\nservice: {{ component: \"{unknown}\" }}\n");
    refused(&cluster, &manifest, &[&unknown, "push"]).await;

    let caller = guest("types-caller");
    let manifest = format!("name: bad\nservice:\n  component: {caller}\n");
    let words = ["applied.yaml:3:14: ", "warren:kitchen/values"];
    refused(&cluster, &manifest, &words).await;

    let cache = example("cache");
    let manifest = http_echo("").replace(&guest("http-echo"), &cache);
    refused(
        &cluster,
        &manifest,
        &["applied.yaml:5:14: ", "HTTP", "wasi:http"],
    )
    .await;

    let counter = example("counter");
    let manifest = format!("name: bad\nservice: {{ component: {counter} }}\n");
    refused(&cluster, &manifest, &["applied.yaml:2:", "wasi:cli/run"]).await;
}

#[tokio::test]
async fn mistakes_in_a_manifest_are_reported_all_at_once() {
    let cluster = cluster(1).await;
    let manifest = "name: Bad\n\
                    service:\n  \
                      component: a.wasm\n  \
                      stopgrace: 1s\n  \
                      limits: { memory: 64Mi }\n\
                    components:\n\
                    - name: api\n  \
                      component: b.wasm\n  \
                      routes: [ { host: \"a b\", path: api } ]\n";
    let words = [
        "problems",
        "applied.yaml:1:7: ",
        "`Bad`",
        "applied.yaml:4:3: unknown field `stopgrace` in the service: did you mean `stopGrace`?",
        "applied.yaml:5:21: ",
        "`64Mi`",
        "applied.yaml:9:21: ",
        "applied.yaml:9:34: ",
    ];
    refused(&cluster, manifest, &words).await;
    refused(&cluster, "name: [\n", &["applied.yaml:"]).await;
    // Without a server, and from stdin, where the file has no name.
    let validate = ["validate", "-f", "-"];
    let answer = lab().warren_reads(&validate, manifest).await;
    answer.refused(1, &["<stdin>:1:7: ", "<stdin>:4:3: ", "<stdin>:5:21: "]);
    let good = format!(
        "name: good\nservice: {{ component: {} }}\n",
        example("cache")
    );
    assert_eq!(
        lab().warren_reads(&validate, &good).await.ok(),
        "workload/good is valid\n"
    );
}

#[tokio::test]
async fn a_route_belongs_to_one_workload_and_its_holder_is_named() {
    let cluster = cluster(1).await;
    cluster.apply(&http_echo("")).await;
    let second = http_echo("").replace("name: echo\n", "name: second\nnamespace: shop\n");
    let words = ["echo.localhost/", "default/echo", "applied.yaml:7:"];
    cluster.try_apply(&second).await.refused(1, &words);
    let missing = cluster
        .warren(&["get", "workloads", "second", "-n", "shop"])
        .await;
    missing.refused(1, &["second"]);
    cluster
        .warren(&["delete", "workload", "echo", "--wait"])
        .await
        .ok();
    cluster.apply(&second).await;
    assert_eq!(cluster.get("echo.localhost", "/").await.text(), "hello\n");
}

#[tokio::test]
async fn the_same_manifest_twice_changes_nothing() {
    let cluster = cluster(1).await;
    let file = cluster.lab.write("echo.yaml", http_echo(""));
    let apply = async || cluster.warren(&["apply", "-f", &file, "--wait"]).await.ok();
    assert_eq!(
        apply().await,
        "workload/echo created\nworkload/echo ready\n"
    );
    let (workload, replica) = (
        cluster.workload("echo").await,
        cluster.replica("echo").await,
    );
    assert_eq!(
        apply().await,
        "workload/echo unchanged\nworkload/echo ready\n"
    );
    let (again, same) = (
        cluster.workload("echo").await,
        cluster.replica("echo").await,
    );
    for field in ["uid", "generation", "revision", "createTime", "spec"] {
        assert_eq!(again[field], workload[field], "{field}");
    }
    assert_eq!(same["id"], replica["id"]);
    cluster
        .lab
        .write("echo.yaml", http_echo("  env: { A: b }\n"));
    assert_eq!(
        apply().await,
        "workload/echo updated\nworkload/echo ready\n"
    );
    assert_eq!(cluster.workload("echo").await["revision"], 2);
    assert_eq!(cluster.get("echo.localhost", "/env").await.text(), "A=b\n");
    // What is printed as a manifest is one, of the same workload.
    let printed = cluster
        .warren(&["get", "workloads", "echo", "-o", "manifest"])
        .await
        .ok();
    let answer = cluster.try_apply(&printed).await.ok();
    assert!(
        answer.starts_with("workload/echo unchanged"),
        "{answer}\n{printed}"
    );
}
