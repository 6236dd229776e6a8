//! `warren dev` notices every way of changing a file, once, and soon.

use std::{
    fs,
    time::{Duration, Instant},
};

use warren_tests::{Dev, Lab, Reply, example, get, within};

use super::answers;
use crate::{http_echo, lab};

/// Far beyond what a redeployment takes on a machine that is busy with other tests. What it does
/// take is printed.
const LENIENT: Duration = Duration::from_secs(5);

/// The same where a component is compiled, with whatever the other tests leave of the cores.
const LENIENT_COLD: Duration = Duration::from_secs(30);

/// A component's bytes with a custom section behind them: the same program, and another artifact.
fn variant(name: &str, number: u32) -> Vec<u8> {
    let mut bytes = fs::read(example(name)).unwrap();
    let section = [&[4_u8][..], b"mark", &number.to_le_bytes()].concat();
    bytes.push(0);
    bytes.push(u8::try_from(section.len()).unwrap());
    bytes.extend(section);
    bytes
}

fn manifest(mark: &str) -> String {
    format!(
        "name: counter\n\
         service: {{ component: ./cache.wasm, env: {{ MARK: \"{mark}\" }} }}\n\
         components:\n\
         - {{ name: api, component: ./counter.wasm, routes: [ {{ host: counter.localhost, path: / }} ] }}\n"
    )
}

async fn counter(lab: &Lab) -> Dev {
    for name in ["cache", "counter"] {
        lab.write(&format!("{name}.wasm"), fs::read(example(name)).unwrap());
    }
    let file = lab.write("warren.yaml", manifest("0"));
    let dev = Dev::start(lab, &[&file]).await;
    ready(&dev, 1).await;
    dev
}

/// Waits until the workload was ready so often.
async fn ready(dev: &Dev, times: usize) {
    dev.process
        .said(&format!("ready, {times} times"), |lines| {
            let ready = lines
                .iter()
                .filter(|line| *line == "workload/counter is ready");
            (ready.count() >= times).then_some(())
        })
        .await;
}

fn redeployed(dev: &Dev) -> usize {
    let said = dev.process.stdout();
    said.iter()
        .filter(|line| line.ends_with("redeploying"))
        .count()
}

#[tokio::test]
async fn a_change_runs_soon_after_it_is_written() {
    const ROUNDS: u32 = 3;
    let lab = lab();
    let dev = counter(&lab).await;
    let mut count = 1;
    // A number of this run, so that nothing is in the cache of compiled code.
    let run = std::process::id() * 100;
    for (what, limit) in [
        ("warm: the manifest", LENIENT),
        ("cold: a component", LENIENT_COLD),
        ("cold: the service", LENIENT_COLD),
    ] {
        let mut took = Vec::new();
        for round in 1..=ROUNDS {
            let (name, contents) = match what {
                "cold: a component" => ("counter.wasm", variant("counter", run + round)),
                "cold: the service" => ("cache.wasm", variant("cache", run + round)),
                _ => ("warren.yaml", manifest(&round.to_string()).into_bytes()),
            };
            lab.write(name, contents);
            let written = Instant::now();
            count += 1;
            ready(&dev, count).await;
            took.push(written.elapsed());
            assert_eq!(get(dev.http, "counter.localhost", "/").await.status, 200);
        }
        took.sort();
        let median = took[took.len() / 2];
        eprintln!("from written to ready, {what}: median {median:?} of {took:?}");
        assert!(median < limit, "{what}: {took:?}");
    }
    assert_eq!(redeployed(&dev), 3 * ROUNDS as usize);
}

#[tokio::test]
async fn files_that_are_written_together_make_one_redeployment() {
    let lab = lab();
    let dev = counter(&lab).await;
    let run = std::process::id() * 100;
    lab.write("counter.wasm", variant("counter", run + 50));
    lab.write("cache.wasm", variant("cache", run + 51));
    lab.write("warren.yaml", manifest("together"));
    ready(&dev, 2).await;
    // By rename, as most editors do, and made anew, as builds do: each is one more.
    lab.write("new", manifest("renamed"));
    fs::rename(lab.path("new"), lab.path("warren.yaml")).unwrap();
    ready(&dev, 3).await;
    fs::remove_file(lab.path("warren.yaml")).unwrap();
    lab.write("warren.yaml", manifest("made anew"));
    ready(&dev, 4).await;
    assert_eq!(redeployed(&dev), 3, "{:#?}", dev.process.stdout());

    // Touched, but as it was: nothing to do, and nothing stops.
    let workload = ["get", "workloads", "counter", "-o", "json"];
    let revision = dev.warren(&lab, &workload).await.json()["revision"].clone();
    lab.write("warren.yaml", manifest("made anew"));
    lab.write("new", manifest("last"));
    fs::rename(lab.path("new"), lab.path("warren.yaml")).unwrap();
    ready(&dev, 5).await;
    let last = dev.warren(&lab, &workload).await.json()["revision"].clone();
    assert_eq!(last.as_u64(), revision.as_u64().map(|before| before + 1));
}

#[tokio::test]
async fn documents_are_deployed_and_deleted_with_their_manifest() {
    let lab = lab();
    let one = http_echo("");
    let two = one
        .replace("name: echo", "name: two")
        .replace("echo.localhost", "two.localhost");
    let file = lab.write("warren.yaml", &one);
    let dev = Dev::start(&lab, &[&file]).await;
    let hello = |reply: &Reply| reply.status == 200 && reply.body == "hello\n";
    answers(&dev, "echo.localhost", "/", hello).await;
    lab.write("warren.yaml", format!("{one}---\n{two}"));
    dev.process.said_line("workload/two is ready").await;
    answers(&dev, "two.localhost", "/", hello).await;
    lab.write("warren.yaml", &two);
    dev.process.said_line("workload/echo is no longer in").await;
    answers(&dev, "echo.localhost", "/", |reply| reply.status == 404).await;
    assert_eq!(get(dev.http, "two.localhost", "/").await.text(), "hello\n");
    // Renamed: the new one has the route that the old one had.
    lab.write("warren.yaml", two.replace("name: two", "name: three"));
    dev.process.said_line("workload/three is ready").await;
    answers(&dev, "two.localhost", "/", hello).await;
}

#[tokio::test]
async fn an_open_connection_delays_neither_a_change_nor_the_exit() {
    let lab = lab();
    lab.write("cache.wasm", fs::read(example("cache")).unwrap());
    let manifest = |mark: &str| {
        format!(
            "name: counter\n\
             service:\n  \
               component: ./cache.wasm\n  \
               env: {{ MARK: \"{mark}\" }}\n  \
               publish: [ {{ port: 6379, listen: \"127.0.0.1:0\" }} ]\n"
        )
    };
    let file = lab.write("warren.yaml", manifest("0"));
    let mut dev = Dev::start(&lab, &[&file]).await;
    let connect = async |dev: &Dev, nth: usize| {
        let found = dev.process.said("its port", |lines| {
            let mut ports = lines.iter().filter_map(|line| {
                line.trim()
                    .strip_prefix("tcp ")?
                    .split(' ')
                    .next()
                    .map(str::to_owned)
            });
            ports.nth(nth)
        });
        let address = found.await.parse().unwrap();
        let mut client = warren_tests::Resp::connect(address).await;
        assert_eq!(client.ask(&["PING"]).await, "PONG");
        client
    };
    let first = connect(&dev, 0).await;
    ready(&dev, 1).await;
    lab.write("warren.yaml", manifest("1"));
    let written = Instant::now();
    ready(&dev, 2).await;
    assert!(
        written.elapsed() < LENIENT,
        "it waits for the grace: {:?}",
        written.elapsed()
    );
    drop(first);
    let _second = connect(&dev, 1).await;
    let asked = Instant::now();
    let status = within("its end", dev.process.interrupt()).await;
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() < LENIENT, "{:?}", asked.elapsed());
}
