//! Guests that take all the memory they can get.

use super::{ENDS_ONCE, Zoo, component, made_service, service, text};

/// More than a worker grows by for one guest that takes all it may: that is 64 MiB, and some for
/// the worker itself.
const ROOM: u64 = 128 << 20;

#[tokio::test]
async fn bomb() {
    let zoo = Zoo::open().await;
    let before = zoo.cluster.workers[0].process.resident();
    zoo.admit(&service("alloc", ENDS_ONCE)).await;
    let limit = format!("out of memory: its limit is {} bytes", 64 << 20);
    zoo.last_exit("OUT_OF_MEMORY", &[&limit, "alloc"]).await;
    zoo.cluster.apply(&component("", "")).await;
    for _ in 0..10 {
        let reply = zoo.ask("/alloc").await;
        assert_eq!(reply.status, 500, "{reply:?}");
        let text = String::from_utf8_lossy(&reply.body);
        assert!(text.contains("out of memory"), "{text}");
    }
    let limit = format!(
        "invocation failed: out of memory: its limit is {} bytes",
        32 << 20
    );
    zoo.log_has(&limit).await;
    let after = zoo.cluster.workers[0].process.resident();
    assert!(after < before + ROOM, "from {before} to {after} bytes");
    zoo.close().await;
}

#[tokio::test]
async fn table_that_grows() {
    let zoo = Zoo::open().await;
    // Each time by more than before, so that a small limit is not met by chance alone.
    let guest = text::service(
        r#"(table $t 1 funcref)
        (func (export "run") (result i32) (local $by i32)
            (local.set $by (i32.const 1))
            (loop $again
                (if (i32.eq (table.grow $t (ref.null func) (local.get $by)) (i32.const -1))
                    (then unreachable))
                (local.set $by (i32.mul (local.get $by) (i32.const 2)))
                (br $again))
            i32.const 0)"#,
    );
    zoo.admit(&made_service(&zoo, &guest)).await;
    let limit = "out of memory: its tables may have 100000 elements";
    zoo.last_exit("OUT_OF_MEMORY", &[limit]).await;
    zoo.close().await;
}

#[tokio::test]
async fn table_that_is_huge_from_the_start() {
    let zoo = Zoo::open().await;
    let guest = text::service(
        r#"(table 100000000 funcref)
        (func (export "run") (result i32) i32.const 0)"#,
    );
    zoo.admit(&made_service(&zoo, &guest)).await;
    let replica = zoo.beast("it cannot be started", |replica| {
        replica["phase"] == "FAILED" || replica["phase"] == "BACKOFF"
    });
    let replica = replica.await;
    let told = format!("{replica:#}");
    assert!(told.contains("table"), "{told}");
    zoo.close().await;
}

#[tokio::test]
async fn stack_overflow() {
    let zoo = Zoo::open().await;
    zoo.admit(&service("overflow", ENDS_ONCE)).await;
    zoo.last_exit("TRAPPED", &["call stack exhausted", "overflow"])
        .await;
    zoo.cluster.apply(&component("", "")).await;
    for _ in 0..10 {
        let reply = zoo.ask("/overflow").await;
        assert_eq!(reply.status, 500, "{reply:?}");
    }
    zoo.log_has("call stack exhausted").await;
    zoo.close().await;
}
