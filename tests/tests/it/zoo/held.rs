//! Guests that make the worker hold memory for them.

use futures::future::join_all;

use super::{Zoo, component, made_service, text};

/// The budget of a small guest, and room for what the worker itself and its allocator need beside
/// it.
const ROOM: u64 = (16 + 80) << 20;

/// What a component of 4 MiB makes the worker hold, by seven requests at once, is bounded for all
/// of them together.
async fn bounded(path: &str, told: &str) {
    let zoo = Zoo::open().await;
    let limits = "  limits: { memory: 4MiB, timeout: 60s }\n";
    zoo.cluster.apply(&component(limits, "")).await;
    assert_eq!(zoo.ask("/").await.status, 200);
    let before = zoo.cluster.workers[0].process.resident();
    for _ in 0..3 {
        let replies = join_all((0..7).map(|_| zoo.ask(path))).await;
        for reply in replies {
            assert_eq!(reply.status, 500, "{reply:?}");
        }
        let after = zoo.cluster.workers[0].process.resident();
        assert!(after < before + ROOM, "from {before} to {after} bytes");
    }
    zoo.log_has(told).await;
    // All of it came back.
    assert_eq!(zoo.ask("/").await.status, 200);
    zoo.close().await;
}

#[tokio::test]
async fn fields() {
    let told = "out of memory: the worker holds at most 16MiB for this guest, and its HTTP fields need more";
    bounded("/fields", told).await;
}

#[tokio::test]
async fn bodies() {
    // The pieces shrink until the handles of one of the seven are used up, or the bytes of all.
    bounded("/bodies", "invocation failed: ").await;
}

#[tokio::test]
async fn handles() {
    let zoo = Zoo::open().await;
    let guest = text::with_resource(
        r#"(loop $again (drop (call $new (i32.const 1))) (br $again)) i32.const 0"#,
    );
    zoo.admit(&made_service(&zoo, &guest)).await;
    let limit = "out of memory: it may have 16384 handles at once";
    zoo.last_exit("OUT_OF_MEMORY", &[limit]).await;
    zoo.close().await;
}
