//! `warren dev`: one command, a whole cluster.

mod broken;
mod changes;
mod ends;
mod given;

use std::{
    fs,
    path::{Path, PathBuf},
};

use warren_tests::{Dev, Lab, Reply, Resp, eventually, example, get, guest};

use crate::{counter::count, http_echo, lab};

fn examples(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.join("examples").join(name).display().to_string()
}

/// The temporary directories of `warren dev` in this lab.
fn temporary(lab: &Lab) -> Vec<PathBuf> {
    let entries = fs::read_dir(lab.path("")).unwrap();
    let entries = entries.map(|entry| entry.unwrap());
    entries
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("warren-dev-")
        })
        .map(|entry| entry.path())
        .collect()
}

/// Asks until the answer is this one.
async fn answers(dev: &Dev, host: &str, path: &str, wanted: impl Fn(&Reply) -> bool) {
    eventually(&format!("{host}{path} answers as expected"), async || {
        let reply = get(dev.http, host, path).await;
        if wanted(&reply) { Ok(()) } else { Err(reply) }
    })
    .await;
}

#[tokio::test]
async fn runs_the_counter_and_cleans_up() {
    let lab = lab();
    let mut dev = Dev::start(&lab, &[&examples("counter")]).await;
    let line = format!("curl http://counter.localhost:{}/", dev.http.port());
    dev.process.said_line(&line).await;
    dev.process.said_line("workload/counter is ready").await;
    for number in 1..=3 {
        assert_eq!(count(dev.http, "counter").await.number, number);
    }
    dev.process
        .said_line(" service | cache: listening on 127.0.0.1:6379")
        .await;
    let workloads = dev
        .warren(&lab, &["get", "workloads", "-o", "json"])
        .await
        .json();
    assert_eq!(workloads[0]["name"], "counter");
    let data = temporary(&lab);
    assert_eq!(data.len(), 1);
    let stored = data[0].join("control/store");
    assert!(!stored.exists(), "temporary state was written to the disk");

    let status = dev.process.interrupt().await;
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(temporary(&lab).is_empty(), "its data was left behind");
    assert!(tokio::net::TcpStream::connect(dev.http).await.is_err());
}

#[tokio::test]
async fn a_changed_manifest_is_deployed_and_a_broken_one_is_not() {
    let lab = lab();
    let manifest = |colour: &str| http_echo(&format!("  env: {{ COLOUR: {colour} }}\n"));
    let file = lab.write("warren.yaml", manifest("red"));
    let dev = Dev::start(&lab, &[&file]).await;
    dev.process.said_line("workload/echo is ready").await;
    let env = async || get(dev.http, "echo.localhost", "/env").await.text();
    assert_eq!(env().await, "COLOUR=red\n");

    lab.write("warren.yaml", manifest("green"));
    dev.process
        .said_line("workload/echo changed: redeploying")
        .await;
    let green = |reply: &Reply| reply.status == 200 && reply.body == "COLOUR=green\n";
    answers(&dev, "echo.localhost", "/env", green).await;

    lab.write("warren.yaml", manifest("blue").replace("routes:", "route:"));
    dev.process
        .said_line("unknown field `route` in a component: did you mean `routes`?")
        .await;
    assert_eq!(env().await, "COLOUR=green\n");

    lab.write("warren.yaml", manifest("blue"));
    let blue = |reply: &Reply| reply.status == 200 && reply.body == "COLOUR=blue\n";
    answers(&dev, "echo.localhost", "/env", blue).await;
}

#[tokio::test]
async fn a_bare_component_gets_a_route_and_is_followed() {
    let lab = lab();
    let file = lab.write("app.wasm", fs::read(guest("http-echo")).unwrap());
    let dev = Dev::start(&lab, &[&file]).await;
    dev.process
        .said_line(&format!("curl http://{}/", dev.http))
        .await;
    assert_eq!(get(dev.http, "any.host", "/").await.text(), "hello\n");
    // Another program in its place: this one answers 502 to everybody, for it has no service.
    lab.write("app.wasm", fs::read(guest("trapper-front")).unwrap());
    answers(&dev, "any.host", "/", |reply| reply.status == 502).await;
}

#[tokio::test]
async fn published_ports_are_printed() {
    let lab = lab();
    let cache = example("cache");
    let file = lab.write(
        "cache.yaml",
        format!(
            "name: cache\nservice: {{ component: {cache}, publish: [ {{ port: 6379, listen: \"127.0.0.1:0\" }} ] }}\n"
        ),
    );
    let dev = Dev::start(&lab, &[&file]).await;
    let line = dev.process.said_line("(port 6379 of cache-").await;
    let address = line
        .trim()
        .strip_prefix("tcp ")
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    assert_eq!(
        Resp::connect(address.parse().unwrap())
            .await
            .ask(&["PING"])
            .await,
        "PONG"
    );
}

#[tokio::test]
async fn a_named_data_directory_is_kept() {
    let lab = lab();
    let data = lab.path("data").display().to_string();
    let manifest = examples("counter");
    let mut dev = Dev::start(&lab, &[&manifest, "--data", &data]).await;
    dev.process.said_line("workload/counter is ready").await;
    let list = &["get", "workloads", "counter", "-o", "json"];
    let uid = dev.warren(&lab, list).await.json()["uid"].clone();
    assert_eq!(dev.process.interrupt().await.code(), Some(0));
    assert!(Path::new(&data).join("control/store").exists());
    let dev = Dev::start(&lab, &["--data", &data]).await;
    assert_eq!(dev.warren(&lab, list).await.json()["uid"], uid);
    eventually("it runs again", async || {
        let reply = get(dev.http, "counter.localhost", "/").await;
        if reply.status == 200 {
            Ok(())
        } else {
            Err(reply)
        }
    })
    .await;
}
