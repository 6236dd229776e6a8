//! Guests that end: with a code, by a panic, or by a trap.

use warren_tests::try_get;

use super::{ENDS_ONCE, HOST, Zoo, component, service};

#[tokio::test]
async fn well() {
    let zoo = Zoo::open().await;
    zoo.admit(&service(
        "exit, \"0\"",
        "  restart: { policy: on-failure }\n",
    ))
    .await;
    let replica = zoo.beast("it is done", |replica| replica["phase"] == "COMPLETED");
    let exit = &replica.await["lastExit"];
    assert_eq!(
        (&exit["reason"], &exit["code"]),
        (&"EXITED".into(), &0.into())
    );
    zoo.goes_on().await;
    zoo.close().await;
}

#[tokio::test]
async fn with_a_code() {
    let zoo = Zoo::open().await;
    zoo.admit(&service("exit, \"3\"", ENDS_ONCE)).await;
    let exit = zoo.last_exit("EXITED", &[]).await;
    assert_eq!(exit["code"], 3, "{exit:#}");
    zoo.goes_on().await;
    zoo.close().await;
}

#[tokio::test]
async fn by_a_panic() {
    let zoo = Zoo::open().await;
    zoo.admit(&service("panic", ENDS_ONCE)).await;
    zoo.last_exit("TRAPPED", &["unreachable", "hostile"]).await;
    zoo.log_has("asked to panic").await;
    zoo.cluster.apply(&component("", "")).await;
    let reply = zoo.ask("/panic").await;
    assert_eq!(reply.status, 500, "{reply:?}");
    zoo.log_has("asked to panic").await;
    zoo.close().await;
}

#[tokio::test]
async fn by_a_trap_in_drop() {
    let zoo = Zoo::open().await;
    zoo.admit(&service("drop", ENDS_ONCE)).await;
    zoo.last_exit("TRAPPED", &["unreachable", "drop"]).await;
    zoo.log_has("asked to panic while dropped").await;
    // It fell over after it had answered: its client has a part of that, or a connection that was
    // cut before.
    zoo.cluster.apply(&component("", "")).await;
    if let Ok(reply) = try_get(zoo.cluster.http(), HOST, "/drop").await {
        assert_eq!(reply.status, 200, "{reply:?}");
        assert!(
            b"about to be dropped\n".starts_with(&reply.body),
            "{reply:?}"
        );
    }
    zoo.log_has("asked to panic while dropped").await;
    zoo.log_has("invocation failed: it trapped").await;
    zoo.close().await;
}
