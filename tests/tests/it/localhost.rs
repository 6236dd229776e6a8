//! A service's localhost is its workload's own.

use std::{collections::HashSet, fs, net::SocketAddr, process::Command, time::Duration};

use tokio::net::TcpListener;
use warren_tests::{Resp, example, get, tools};

use crate::{
    cluster,
    counter::{count, manifest},
};

/// The cache with its port published where the worker likes.
fn published_cache() -> String {
    let cache = example("cache");
    format!(
        "name: cache\n\
         replicas: 1\n\
         service: {{ component: {cache}, publish: [ {{ port: 6379, listen: \"127.0.0.1:0\" }} ] }}\n"
    )
}

#[tokio::test]
async fn two_workloads_listen_on_one_port_and_never_meet() {
    let cluster = cluster(1).await;
    for name in ["red", "blue"] {
        cluster.apply(&manifest(name)).await;
    }
    let http = cluster.http();
    for expected in 1..=3 {
        assert_eq!(count(http, "red").await.number, expected);
    }
    let blue = count(http, "blue").await;
    assert_eq!(blue.number, 1, "blue counted a request to red");
    let red = count(http, "red").await;
    assert_eq!(red.number, 4);
    assert_ne!(red.service, blue.service);

    let listening = listening(cluster.workers[0].process.id());
    assert!(
        listening.contains(&http),
        "the look at /proc misses the worker's own ingress: {listening:?}"
    );
    assert!(
        listening.iter().all(|address| address.port() != 6379),
        "the worker listens on the machine's port 6379: {listening:?}"
    );
}

/// IPv4 and IPv6 addresses on which a process listens, by Linux's own account.
fn listening(process: u32) -> Vec<SocketAddr> {
    const LISTEN: &str = "0A";
    let descriptors = fs::read_dir(format!("/proc/{process}/fd")).unwrap();
    let sockets: HashSet<String> = descriptors
        .filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok())
        .filter_map(|link| {
            let link = link.to_str()?.strip_prefix("socket:[")?;
            Some(link.strip_suffix(']')?.to_owned())
        })
        .collect();
    let mut addresses = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table = fs::read_to_string(format!("/proc/{process}/net/{table}"));
        // A machine without IPv6 has one table.
        for line in table.unwrap_or_default().lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if fields[3] == LISTEN && sockets.contains(fields[9]) {
                let (host, port) = fields[1].rsplit_once(':').unwrap();
                let port = u16::from_str_radix(port, 16).unwrap();
                // Of the hosts only 127.0.0.1 is compared by whoever asks.
                let host = if host == "0100007F" {
                    [127, 0, 0, 1]
                } else {
                    [0; 4]
                };
                addresses.push((host, port).into());
            }
        }
    }
    addresses
}

#[tokio::test]
async fn a_published_port_speaks_to_the_service() {
    let cluster = cluster(1).await;
    cluster.apply(&published_cache()).await;
    let address = cluster.published("cache").await;
    assert_eq!(address.ip().to_string(), "127.0.0.1");
    let (mut one, mut other) = (Resp::connect(address).await, Resp::connect(address).await);
    assert_eq!(one.ask(&["PING"]).await, "PONG");
    assert_eq!(one.ask(&["SET", "greeting", "hello, world"]).await, "OK");
    assert_eq!(other.ask(&["GET", "greeting"]).await, "hello, world");
    let large = "warren ".repeat(100_000);
    assert_eq!(one.ask(&["SET", "large", &large]).await, "OK");
    assert_eq!(other.ask(&["GET", "large"]).await, large);
}

#[tokio::test]
async fn redis_tools_speak_to_the_cache() {
    for tool in ["redis-cli", "redis-benchmark"] {
        if Command::new(tool).arg("--version").output().is_err() {
            tools::skip(&format!(
                "{tool} is not installed (apt-get install redis-tools)"
            ));
            return;
        }
    }
    let cluster = cluster(1).await;
    cluster.apply(&published_cache()).await;
    let port = cluster.published("cache").await.port().to_string();
    let run = async |tool: &str, arguments: &[&str]| {
        let mut command = tokio::process::Command::new(tool);
        command
            .args(["-h", "127.0.0.1", "-p", &port])
            .args(arguments);
        let output =
            tokio::time::timeout(Duration::from_secs(60), command.kill_on_drop(true).output());
        let output = output.await.unwrap().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
        text
    };
    assert_eq!(
        run("redis-cli", &["set", "greeting", "hello"]).await,
        "OK\n"
    );
    assert_eq!(run("redis-cli", &["get", "greeting"]).await, "hello\n");
    assert_eq!(run("redis-cli", &["incr", "count"]).await, "1\n");
    let work = [
        "-t",
        "set,get,incr,lpush",
        "-n",
        "1000",
        "-c",
        "20",
        "-P",
        "4",
        "--csv",
    ];
    let table = run("redis-benchmark", &work).await;
    for test in ["SET", "GET", "INCR", "LPUSH"] {
        assert!(
            table.contains(&format!("\"{test}\",")),
            "{test} is missing: {table}"
        );
    }
    assert!(!table.to_lowercase().contains("error"), "{table}");
    assert_eq!(run("redis-cli", &["get", "greeting"]).await, "hello\n");
}

#[tokio::test]
async fn a_published_port_in_use_fails_the_replica_and_is_reported() {
    let cluster = cluster(1).await;
    let holder = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let manifest = published_cache().replace("127.0.0.1:0", &taken);
    let answer = cluster.try_apply(&manifest).await;
    answer.refused(1, &["cache", "FAILED", "PortUnavailable", &taken]);
    let replicas = cluster.replicas("cache").await;
    let failed = replicas.iter().find(|replica| replica["phase"] == "FAILED");
    let failed = failed.unwrap_or_else(|| panic!("none failed: {replicas:#?}"));
    let conditions = failed["conditions"].as_array().unwrap();
    let started = conditions
        .iter()
        .find(|one| one["type"] == "Started")
        .unwrap();
    assert_eq!(started["status"], "FALSE", "{started:#}");
    assert_eq!(started["reason"], "PortUnavailable", "{started:#}");
    // Once the port is free the next try has it.
    drop(holder);
    cluster.try_apply(&manifest).await;
    warren_tests::eventually("a replica has the port", async || {
        let replicas = cluster.replicas("cache").await;
        match replicas.iter().any(|replica| replica["ready"] == true) {
            true => Ok(()),
            false => Err(replicas),
        }
    })
    .await;
    assert_eq!(
        Resp::connect(taken.parse().unwrap())
            .await
            .ask(&["PING"])
            .await,
        "PONG"
    );
    assert_eq!(
        get(cluster.http(), "cache.localhost", "/").await.status,
        404
    );
}
