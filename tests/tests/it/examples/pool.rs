//! A few connections to a real PostgreSQL for many requests.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::Method;
use warren_tests::{Dev, eventually, request, tools};

use super::{
    manifest,
    postgres::{Postgres, server_binaries},
};
use crate::lab;

/// As the manifest says.
const POOL_SIZE: usize = 4;

// What its page tells a reader to type.
const ROLE: &str = r#"psql -c "create role warren login password 'warren'""#;
const START: &str = "cargo run --release -- dev examples/pool --allow-host-loopback";
const ASK: &str = r#"curl http://pool.localhost:8000/ -d "select 6 * 7 as answer""#;
const ANSWER: &str = r#"{"answer":42}"#;
const SESSIONS: &str = r#"curl http://pool.localhost:8000/ -d "select sessions from pg_stat_database where datname = current_database()""#;

/// Sends queries, several at once, and returns what came back for each.
async fn ask(dev: &Dev, query: &'static str, times: usize) -> Vec<String> {
    let requests = (0..times).map(|_| async {
        let body = Bytes::from_static(query.as_bytes());
        request(dev.http, Method::POST, "pool.localhost", "/", body)
            .await
            .text()
    });
    stream::iter(requests).buffer_unordered(16).collect().await
}

/// Ends all connections to the database, as an administrator may, and returns how many there have
/// been in its life. A connection is counted for certain once it has ended.
async fn sessions(postgres: &Postgres) -> usize {
    const OTHERS: &str =
        "from pg_stat_activity where datname = 'postgres' and backend_type = 'client backend'";
    postgres
        .value(&format!("select count(pg_terminate_backend(pid)) {OTHERS}"))
        .await;
    eventually("they have ended", async || {
        match postgres
            .value(&format!("select count(*) {OTHERS}"))
            .await
            .as_str()
        {
            "0" => Ok(()),
            more => Err(more.to_owned()),
        }
    })
    .await;
    let count = "select sessions from pg_stat_database where datname = 'postgres'";
    postgres.value(count).await.parse().unwrap()
}

#[tokio::test]
async fn a_thousand_requests_share_the_connections_of_the_pool() {
    let Some(bin) = server_binaries() else {
        tools::skip("PostgreSQL's server is not installed (apt-get install postgresql)");
        return;
    };
    let lab = lab();
    let postgres = Postgres::start(&lab, bin).await;
    postgres.shell(ROLE).await;
    let before = sessions(&postgres).await;

    let database = format!("host.warren.internal:{}", postgres.port);
    let manifest = manifest("pool").replace("host.warren.internal:5432", &database);
    let file = lab.write("pool.yaml", manifest);
    let (_, flags) = START.split_once("examples/pool ").unwrap();
    let mut dev = Dev::start(&lab, &[&file, flags]).await;
    dev.process.said_line("workload/pool is ready").await;
    let here = |command: &str| command.replace(":8000", &format!(":{}", dev.http.port()));
    assert_eq!(postgres.shell(&here(ASK)).await, ANSWER);

    let answers = ask(
        &dev,
        "select pg_backend_pid() as id, pg_sleep(0.001) as z",
        1000,
    )
    .await;
    let connections: BTreeSet<String> = answers.into_iter().collect();
    assert!(connections.len() <= POOL_SIZE, "{connections:?}");
    let shown = postgres.shell(&here(SESSIONS)).await;
    assert!(shown.starts_with(r#"{"sessions":"#), "{shown}");
    let opened = sessions(&postgres).await - before;
    assert!(
        (1..=POOL_SIZE).contains(&opened),
        "{opened} sessions, {connections:?}"
    );

    // Those connections are gone now, and the pool makes others.
    eventually("it is connected again", async || {
        let body = Bytes::from_static(b"select 1 as one");
        let reply = request(dev.http, Method::POST, "pool.localhost", "/", body).await;
        match reply.status.as_u16() {
            200 => Ok(()),
            _ => Err(reply),
        }
    })
    .await;
    assert!(dev.process.interrupt().await.success());
    postgres.stop().await;
}
