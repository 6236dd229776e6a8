//! The workloads that `warren dev` makes from the paths on its command line.

use std::fs;

use warren_tests::{Dev, example, get, guest};

use crate::lab;

#[tokio::test]
async fn bare_components_together_are_one_workload() {
    let lab = lab();
    let copy = |name: &str, from: String| lab.write(name, fs::read(from).unwrap());
    let api = copy("api.wasm", guest("http-echo"));
    let cache = copy("cache.wasm", example("cache"));
    let dev = Dev::start(&lab, &[&api, &cache]).await;
    dev.process.said_line("workload/cache is ready").await;
    dev.process
        .said_line(&format!("curl http://{}/", dev.http))
        .await;
    assert_eq!(get(dev.http, "any.host", "/").await.text(), "hello\n");
    let workloads = dev.warren(&lab, &["get", "workloads", "-o", "json"]).await;
    let workloads = workloads.json();
    assert_eq!(workloads.as_array().map(Vec::len), Some(1), "{workloads}");
    let spec = &workloads[0]["spec"];
    assert!(spec["service"]["component"].is_string(), "{spec}");
    assert_eq!(spec["components"][0]["name"], "api", "{spec}");

    // A second service in the place of the component is refused, and what runs goes on.
    lab.write("api.wasm", fs::read(example("cache")).unwrap());
    let line = dev
        .process
        .said_line("a workload has at most one service")
        .await;
    assert!(line.contains(&format!("{api}, {cache}")), "{line}");
    assert_eq!(get(dev.http, "any.host", "/").await.text(), "hello\n");
}

#[tokio::test]
async fn without_a_path_dev_takes_the_manifest_of_the_current_directory() {
    let lab = lab();
    let component = guest("http-echo");
    let project = lab.path("project");
    fs::create_dir(&project).unwrap();
    let words = ["dev", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let start = || {
        let mut command = lab.command(&words);
        command.current_dir(&project);
        lab.start("dev", command)
    };
    let empty = start();
    empty.said_line("control plane at ").await;
    let note = "there is no ./warren.yaml: the cluster is empty";
    assert!(empty.stderr().contains(note), "{}", empty.stderr());
    drop(empty);

    let manifest = format!("name: here\ncomponents: [ {{ name: web, component: {component} }} ]\n");
    fs::write(project.join("warren.yaml"), manifest).unwrap();
    start().said_line("workload/here is ready").await;
}
