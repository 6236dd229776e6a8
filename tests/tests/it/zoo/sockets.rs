//! Guests that open sockets for ever. What they are told exactly, and what a network takes at most,
//! the worker's own tests show.

use super::{Zoo, component, service};

/// Descriptors that the worker's process has open.
fn descriptors(zoo: &Zoo) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", zoo.process))
        .unwrap()
        .count()
}

#[tokio::test]
async fn flood() {
    let zoo = Zoo::open().await;
    let before = descriptors(&zoo);
    zoo.admit(&service("sockets", "")).await;
    // How many there were, and the error of a system that has no more.
    zoo.log_has("had ").await;
    zoo.goes_on().await;
    let replica = zoo.beast("it goes on", |replica| replica["phase"] == "RUNNING");
    assert_eq!(replica.await["restarts"], 0);
    let during = descriptors(&zoo);
    assert!(during < before + 100, "from {before} to {during}");
    zoo.put_down().await;

    zoo.cluster
        .apply(&component("  limits: { timeout: 1s }\n", ""))
        .await;
    let reply = zoo.ask("/sockets").await;
    assert_eq!(reply.status, 504, "{reply:?}");
    zoo.close().await;
}
