//! `warren dev` and versions that are broken: it says why, what runs goes on, and the next change
//! is a new try.

use std::fs;

use warren_tests::{Dev, Lab, Reply, example, get, guest};

use super::answers;
use crate::{http_echo, lab};

/// How often a line with these words was said.
fn times(dev: &Dev, words: &str) -> usize {
    let said = dev.process.stdout();
    said.iter().filter(|line| line.contains(words)).count()
}

/// Waits until it was said so often.
async fn said(dev: &Dev, words: &str, wanted: usize) {
    dev.process
        .said(&format!("`{words}` {wanted} times"), |lines| {
            let count = lines.iter().filter(|line| line.contains(words)).count();
            (count >= wanted).then_some(())
        })
        .await;
}

/// The counter's components in the lab, and a manifest that names them.
fn counter(lab: &Lab, service: &str) -> String {
    for name in ["cache", "counter"] {
        lab.write(&format!("{name}.wasm"), fs::read(example(name)).unwrap());
    }
    format!(
        "name: counter\n\
         service: {{ component: ./cache.wasm{service} }}\n\
         components:\n\
         - {{ name: api, component: ./counter.wasm, routes: [ {{ host: counter.localhost, path: / }} ] }}\n"
    )
}

fn is_ok(reply: &Reply) -> bool {
    reply.status == 200
}

#[tokio::test]
async fn a_broken_first_version_waits_for_a_fix() {
    let lab = lab();
    let manifest = counter(&lab, "");
    let file = lab.write("warren.yaml", manifest.replace("service:", "srevice:"));
    fs::remove_file(lab.path("counter.wasm")).unwrap();
    let dev = Dev::start(&lab, &[&file]).await;
    dev.process
        .said_line("warren.yaml:2:1: unknown field `srevice`")
        .await;
    said(&dev, "waiting for a change", 1).await;

    // Right, but a component is not built yet.
    lab.write("warren.yaml", &manifest);
    dev.process.said_line("counter.wasm: No such file").await;
    said(&dev, "waiting for a change", 2).await;
    lab.write("counter.wasm", fs::read(example("counter")).unwrap());
    dev.process.said_line("workload/counter is ready").await;
    assert_eq!(get(dev.http, "counter.localhost", "/").await.status, 200);
}

#[tokio::test]
async fn the_running_version_continues_whatever_is_wrong_with_the_next() {
    let lab = lab();
    let manifest = counter(&lab, "");
    let file = lab.write("warren.yaml", &manifest);
    let dev = Dev::start(&lab, &[&file]).await;
    dev.process.said_line("workload/counter is ready").await;
    let serves = async || assert_eq!(get(dev.http, "counter.localhost", "/").await.status, 200);
    let goes_on = "running workloads continue";
    let good = fs::read(example("counter")).unwrap();

    lab.write("warren.yaml", "name: counter\n  service: }\n");
    dev.process.said_line("warren.yaml:2:").await;
    said(&dev, goes_on, 1).await;
    serves().await;
    lab.write("warren.yaml", &manifest);
    said(&dev, "workload/counter is unchanged", 1).await;

    lab.write("counter.wasm", "not a component");
    dev.process.said_line("not WebAssembly").await;
    said(&dev, goes_on, 2).await;
    serves().await;

    // It imports what nobody exports.
    lab.write("counter.wasm", fs::read(guest("types-caller")).unwrap());
    dev.process.said_line("warren:kitchen/values").await;
    said(&dev, goes_on, 3).await;
    serves().await;

    // Away for good: told, after a while in which a build may bring it back.
    fs::remove_file(lab.path("counter.wasm")).unwrap();
    dev.process.said_line("counter.wasm: No such file").await;
    said(&dev, goes_on, 4).await;
    serves().await;
    lab.write("counter.wasm", good);
    said(&dev, "workload/counter is unchanged", 2).await;
    assert_eq!(times(&dev, "redeploying"), 0, "{:#?}", dev.process.stdout());
    serves().await;
}

#[tokio::test]
async fn a_service_that_does_not_start_is_rolled_back() {
    let lab = lab();
    let file = lab.write("warren.yaml", counter(&lab, ""));
    let dev = Dev::start(&lab, &[&file]).await;
    dev.process.said_line("workload/counter is ready").await;

    // Another program in its place, which traps for want of an argument.
    lab.write("cache.wasm", fs::read(guest("std-net")).unwrap());
    dev.process
        .said_line("workload/counter did not become ready")
        .await;
    said(&dev, "unknown arguments", 1).await;
    said(
        &dev,
        "workload/counter was rolled back to the previous version",
        1,
    )
    .await;
    answers(&dev, "counter.localhost", "/", is_ok).await;

    lab.write("cache.wasm", fs::read(example("cache")).unwrap());
    said(&dev, "workload/counter is unchanged", 1).await;
    answers(&dev, "counter.localhost", "/", is_ok).await;
}

#[tokio::test]
async fn a_first_version_that_traps_is_reported_and_replaced() {
    let lab = lab();
    let manifest = |how: &str| {
        let guest = guest("std-net");
        format!("name: lonely\nservice: {{ component: {guest}, args: [ {how} ] }}\n")
    };
    let file = lab.write("lonely.yaml", manifest("exit, panic"));
    let dev = Dev::start(&lab, &[&file]).await;
    dev.process.said_line("asked to panic").await;
    dev.process
        .said_line("workload/lonely has no previous version")
        .await;
    lab.write("lonely.yaml", manifest("echo, \"7000\""));
    dev.process.said_line("workload/lonely is ready").await;
}

#[tokio::test]
async fn a_route_of_another_path_is_taken_once_it_is_released() {
    let lab = lab();
    let one = http_echo("");
    let two = one.replace("name: echo", "name: other");
    let (first, second) = (lab.write("one.yaml", &one), lab.write("two.yaml", ""));
    let dev = Dev::start(&lab, &[&first, &second]).await;
    dev.process.said_line("workload/echo is ready").await;
    lab.write("two.yaml", &two);
    let told = dev.process.said_line("echo.localhost/").await;
    let refused = dev
        .process
        .said("who holds it", |lines| {
            let all = lines.join("\n");
            (all.contains("default/echo") && all.contains("two.yaml:")).then_some(all)
        })
        .await;
    assert!(refused.contains("echo.localhost/"), "{told}\n{refused}");
    assert_eq!(get(dev.http, "echo.localhost", "/").await.text(), "hello\n");

    lab.write("one.yaml", one.replace("echo.localhost", "one.localhost"));
    dev.process.said_line("workload/other is ready").await;
    let hello = |reply: &Reply| reply.status == 200 && reply.body == "hello\n";
    answers(&dev, "echo.localhost", "/", hello).await;
    answers(&dev, "one.localhost", "/", hello).await;

    // The same name in two paths would be two minds about one workload.
    lab.write("two.yaml", one.replace("echo.localhost", "two.localhost"));
    dev.process.said_line("workload/echo is also in").await;
}

#[tokio::test]
async fn a_missing_path_is_refused() {
    let lab = lab();
    let any = "127.0.0.1:0";
    let missing = lab.path("nowhere.yaml").display().to_string();
    let directory = lab.path("").display().to_string();
    for (path, told) in [(&missing, "nowhere.yaml"), (&directory, "warren.yaml")] {
        let words = ["dev", path, "--listen", any, "--http", any];
        lab.warren(&words)
            .await
            .refused(1, &[told, "does not exist"]);
    }
}
