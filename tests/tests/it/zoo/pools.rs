//! Guests that take what all workloads share: tables, core instances, heaps, fibers.

use std::fmt::Write as _;

use warren_tests::{eventually, example, get};

use super::{BEAST, HOST, Zoo, text};

/// More than its share of the tables allows, however large the pools are here.
const REQUESTS: usize = 300;
/// Of one instance, in each of two core instances.
const TABLES: usize = 95;
/// At most this many requests are answered at once by an instance of their own: all requests of the
/// test and more.
const CONCURRENCY: usize = 1_000;

/// Each request waits in an instance with many tables, core instances and a heap, until its time is
/// over.
fn slow_handler() -> String {
    let tables = "(table 1 funcref)".repeat(TABLES);
    let mut instances = String::new();
    for _ in 0..20 {
        write!(instances, "(core instance (instantiate $empty))").unwrap();
    }
    format!(
        r#"(component
            (import "wasi:http/types@0.2.6" (instance $types
                (export "incoming-request" (type (sub resource)))
                (export "response-outparam" (type (sub resource)))))
            (alias export $types "incoming-request" (type $request))
            (alias export $types "response-outparam" (type $outparam))
            (import "wasi:io/poll@0.2.6" (instance $poll
                (export "pollable" (type $p (sub resource)))
                (export "[method]pollable.block" (func (param "self" (borrow $p))))))
            (alias export $poll "pollable" (type $pollable))
            (import "wasi:clocks/monotonic-clock@0.2.6" (instance $clock
                (alias outer 1 $pollable (type $outer))
                (export "pollable" (type $p (eq $outer)))
                (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
            (core func $subscribe (canon lower (func $clock "subscribe-duration")))
            (core func $block (canon lower (func $poll "[method]pollable.block")))
            (core module $empty)
            {instances}
            (core module $tables {tables})
            (core instance (instantiate $tables))
            (core instance (instantiate $tables))
            (core module $m
                (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
                (import "host" "block" (func $block (param i32)))
                (type $s (struct (field i32)))
                (global (ref $s) (struct.new $s (i32.const 1)))
                (func (export "handle") (param i32 i32)
                    (call $block (call $subscribe (i64.const 600_000_000_000)))))
            (core instance $i (instantiate $m (with "host" (instance
                (export "subscribe" (func $subscribe))
                (export "block" (func $block))))))
            (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
                (canon lift (core func $i "handle")))
            (instance $e (export "handle" (func $handle)))
            (export "wasi:http/incoming-handler@0.2.6" (instance $e)))"#
    )
}

#[tokio::test]
async fn slow_requests_that_take_all_tables() {
    let zoo = Zoo::open().await;
    let slow = text::component(&zoo, "slow", &slow_handler());
    let limits = format!("concurrency: {CONCURRENCY}");
    let beast = format!(
        "name: {BEAST}\nreplicas: 1\ncomponents:\n\
             - name: slow\n  component: {slow}\n  routes: [ {{ host: {HOST}, path: / }} ]\n  limits: {{ {limits}, timeout: 10m }}\n\
             - name: quick\n  component: {slow}\n  routes: [ {{ host: {HOST}, path: /quick }} ]\n  limits: {{ timeout: 1s }}\n"
    );
    zoo.cluster.apply(&beast).await;
    let http = zoo.cluster.http();
    let slow: Vec<_> = (0..REQUESTS)
        .map(|_| tokio::spawn(get(http, HOST, "/")))
        .collect();
    // As soon as the others have taken all that the workload may have, this one waits for its
    // second in vain.
    let refused = eventually("the beast has its share", async || {
        let reply = zoo.ask("/quick").await;
        if reply.status == 503 {
            Ok(reply)
        } else {
            Err(reply)
        }
    });
    let refused = String::from_utf8_lossy(&refused.await.body).into_owned();
    for words in [
        "`quick`",
        "pool of tables",
        "its share is",
        "`limits.concurrency`",
    ] {
        assert!(refused.contains(words), "{refused}");
    }
    zoo.log_has("pool of tables").await;
    zoo.goes_on().await;

    // A workload that comes now has its own share, and its service needs none of theirs.
    let (cache, counter) = (example("cache"), example("counter"));
    zoo.cluster
        .apply(&format!(
            "name: newcomer\nreplicas: 1\nservice: {{ component: {cache} }}\ncomponents:\n\
             - {{ name: api, component: {counter}, routes: [ {{ host: newcomer.localhost, path: / }} ] }}\n"
        ))
        .await;
    let reply = get(http, "newcomer.localhost", "/").await;
    assert_eq!(reply.status, 200, "{reply:?}");

    // Those within its share run on.
    let running = slow.iter().filter(|request| !request.is_finished());
    assert!(running.count() > 50);
    zoo.put_down().await;
    for request in slow {
        let reply = request.await.unwrap();
        assert_eq!(reply.status, 503, "{reply:?}");
    }

    // What they held is free again: the guest is called, and its time ends.
    zoo.cluster.apply(&beast).await;
    assert_eq!(zoo.ask("/quick").await.status, 504);
    zoo.close().await;
}

#[tokio::test]
async fn an_instance_that_takes_more_than_any_may() {
    let zoo = Zoo::open().await;
    let tables = "(table 1 funcref)".repeat(70);
    let file = text::component(
        &zoo,
        "large",
        &format!(
            r#"(component
                (core module $m {tables} (func (export "run") (result i32) i32.const 0))
                (core instance $i (instantiate $m))
                (core instance (instantiate $m))
                (core instance (instantiate $m))
                (func $f (result (result)) (canon lift (core func $i "run")))
                (instance $e (export "run" (func $f)))
                (export "wasi:cli/run@0.2.6" (instance $e)))"#
        ),
    );
    zoo.admit(&format!(
        "name: {BEAST}\nreplicas: 1\nservice: {{ component: {file} }}\n"
    ))
    .await;
    let replica = zoo.beast("it is refused", |replica| replica["phase"] == "FAILED");
    let told = format!("{:#}", replica.await);
    assert!(told.contains("TooLarge"), "{told}");
    assert!(told.contains("210 tables, and may take 200"), "{told}");
    zoo.close().await;
}
