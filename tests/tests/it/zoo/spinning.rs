//! Guests that never yield the CPU.

use std::time::{Duration, Instant};

use warren_tests::get;

use super::{BEAST, HOST, Zoo, component, made_service, service, text};

#[tokio::test]
async fn in_start() {
    let zoo = Zoo::open().await;
    let guest = text::service(
        r#"(func $start (loop (br 0))) (start $start)
        (func (export "run") (result i32) i32.const 0)"#,
    );
    zoo.admit(&made_service(&zoo, &guest)).await;
    let replica = zoo.beast("it is being started", |replica| {
        replica["phase"] == "STARTING"
    });
    let replica = replica.await;
    assert_eq!(
        (&replica["ready"], &replica["restarts"]),
        (&false.into(), &0.into())
    );
    zoo.goes_on().await;
    let still = zoo.cluster.replica(BEAST).await;
    assert_eq!(still["phase"], "STARTING", "{still:#}");
    zoo.put_down().await;
    zoo.close().await;
}

#[tokio::test]
async fn in_run_on_every_core_and_more() {
    let zoo = Zoo::open().await;
    let cores = std::thread::available_parallelism().unwrap().get();
    let spins = service("spin", "").replace("replicas: 1", &format!("replicas: {}", cores + 2));
    zoo.admit(&spins).await;
    zoo.beast("one of them runs", |replica| replica["phase"] == "RUNNING")
        .await;
    zoo.goes_on().await;
    for replica in zoo.cluster.replicas(BEAST).await {
        assert_eq!(replica["restarts"], 0, "{replica:#}");
        assert!(replica["lastExit"].is_null(), "{replica:#}");
    }
    zoo.put_down().await;
    zoo.close().await;
}

#[tokio::test]
async fn in_a_handler() {
    let zoo = Zoo::open().await;
    zoo.cluster
        .apply(&component("  limits: { timeout: 2s }\n", ""))
        .await;
    let began = Instant::now();
    let http = zoo.cluster.http();
    let spins: Vec<_> = (0..4)
        .map(|_| tokio::spawn(get(http, HOST, "/spin")))
        .collect();
    zoo.goes_on().await;
    for spin in spins {
        let reply = spin.await.unwrap();
        assert_eq!(reply.status, 504, "{reply:?}");
        assert!(began.elapsed() >= Duration::from_secs(2));
    }
    zoo.log_has("invocation failed: it did not answer within 2s")
        .await;
    zoo.close().await;
}

#[tokio::test]
async fn in_a_wit_export() {
    let zoo = Zoo::open().await;
    zoo.cluster
        .apply(&component("", "  limits: { timeout: 2s }\n"))
        .await;
    let http = zoo.cluster.http();
    let calls: Vec<_> = (0..4)
        .map(|_| tokio::spawn(get(http, HOST, "/wit/spin")))
        .collect();
    zoo.goes_on().await;
    for call in calls {
        let reply = call.await.unwrap();
        assert_eq!(reply.status, 502, "{reply:?}");
        let error = String::from_utf8_lossy(&reply.body);
        let words = "component `kitchen`, function `warren:kitchen/values#spin`: it did not answer within 2s\n";
        assert_eq!(error, words);
    }
    assert_eq!(zoo.ask("/wit/ok").await.text(), "6\n");
    zoo.close().await;
}

/// What its caller calls is never reached: the callee's time is over while its instance is made.
#[tokio::test]
async fn in_the_start_of_a_wit_callee() {
    let zoo = Zoo::open().await;
    let callee = text::component(&zoo, "callee", &text::link_that_never_starts(1));
    let caller = made_service(&zoo, &text::chain_service(1));
    let limits = "{ timeout: 1s }";
    zoo.admit(&format!(
        "{caller}components:\n- {{ name: callee, component: {callee}, limits: {limits} }}\n"
    ))
    .await;
    let words = ["`callee`", "zoo:chain/link1@1.0.0#call", "within 1s"];
    zoo.last_exit("TRAPPED", &words).await;
    zoo.close().await;
}
