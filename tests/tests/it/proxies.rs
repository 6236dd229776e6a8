//! What guests learn about their clients, and which proxies a worker trusts for it.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use warren_tests::{Cluster, eventually, within};

use crate::{cluster, http_echo, lab};

/// What a client, or a proxy, says before the request comes to the ingress.
const SAID: &str = "X-Forwarded-For: 203.0.113.1\r\nX-Forwarded-For: 203.0.113.2\r\nX-Forwarded-Proto: https\r\n\
                    X-Forwarded-Host: www.example\r\nX-Forwarded-Port: 443\r\nForwarded: for=203.0.113.1\r\n\
                    X-Real-IP: 203.0.113.1\r\nWarren-Route: echo.localhost/\r\nWarren-Client: 203.0.113.1:1\r\n";

/// An answer, head and body.
async fn ask(http: SocketAddr, target: &str, fields: &str) -> String {
    let mut client = TcpStream::connect(http).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = client.read_to_string(&mut answer);
    within("the answer", read).await.unwrap();
    answer
}

/// The fields about the client that the guest was given, by whichever worker the request came to.
async fn given(cluster: &Cluster) -> Vec<String> {
    let mut given = Vec::new();
    for worker in &cluster.workers {
        let fields = format!("Host: echo.localhost:81\r\n{SAID}");
        let answer = eventually("the worker knows the route", async || {
            let answer = ask(worker.http, "/headers", &fields).await;
            match answer.starts_with("HTTP/1.1 200 ") {
                true => Ok(answer),
                false => Err(answer),
            }
        })
        .await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        // The guest prints values as Rust writes texts.
        let body = body.replace("\\\"", "\"");
        let about = ["x-", "forwarded", "warren-"];
        let lines = body.lines().map(str::trim);
        let mut lines: Vec<_> = lines
            .filter(|line| about.iter().any(|name| line.starts_with(name)))
            .collect();
        lines.sort_unstable();
        given.push(lines.join("\n"));
    }
    given
}

#[tokio::test]
async fn forwarding_headers_of_clients_are_ignored_and_userinfo_is_refused() {
    let cluster = cluster(2).await;
    cluster.apply(&http_echo("")).await;
    let ours = "forwarded: for=127.0.0.1;host=\"echo.localhost:81\";proto=http\n\
                x-forwarded-for: 127.0.0.1\n\
                x-forwarded-host: echo.localhost:81\n\
                x-forwarded-port: 81\n\
                x-forwarded-proto: http";
    assert_eq!(given(&cluster).await, [ours, ours]);

    for (target, host) in [
        ("/headers", "user@echo.localhost"),
        ("http://user@echo.localhost/headers", "echo.localhost"),
    ] {
        let answer = ask(cluster.http(), target, &format!("Host: {host}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("before the `@`"), "{answer}");
    }
    // Between workers a route is one of the request's own host and path.
    for worker in &cluster.workers {
        let forged = "Host: other.localhost\r\nWarren-Route: echo.localhost/\r\n";
        let answer = ask(worker.listen, "/headers", forged).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test]
async fn forwarding_headers_of_trusted_proxies_are_used() {
    let trusting = [
        "--trusted-proxy",
        "10.0.0.0/8",
        "--trusted-proxy",
        "127.0.0.1",
    ];
    let cluster = Cluster::start_with(lab(), 2, &[], &trusting).await;
    cluster.apply(&http_echo("")).await;
    let continued = "forwarded: for=203.0.113.1, for=127.0.0.1;host=\"echo.localhost:81\";proto=http\n\
                     x-forwarded-for: 203.0.113.1, 203.0.113.2, 127.0.0.1\n\
                     x-forwarded-host: www.example\n\
                     x-forwarded-port: 443\n\
                     x-forwarded-proto: https\n\
                     x-real-ip: 203.0.113.1";
    assert_eq!(given(&cluster).await, [continued, continued]);
}
