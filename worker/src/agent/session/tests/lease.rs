//! Tests of the lease: an acknowledgement gives the right to run exclusive services for a while.

use super::*;
use crate::agent::testing::Peer;

impl Fixture {
    /// Waits until the session has renewed the lease.
    async fn held(&self) {
        let held = time::timeout(Duration::from_secs(20), self.lease.held());
        held.await.unwrap();
    }
}

/// Waits until the worker has handled what was sent to it before, without answering its heartbeats.
/// Returns the sequence of the last one.
async fn settle_unanswered(peer: &mut Peer) -> u64 {
    peer.assign((9, 9), false, &[], &["nobody"]).await;
    let mut last = 0;
    loop {
        match peer.receive().await.unwrap() {
            session_request::Message::Heartbeat(beat) => last = beat.sequence,
            session_request::Message::Report(_) => return last,
            other => panic!("not to be told twice: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_lease_counts_from_when_the_acknowledged_heartbeat_was_sent() {
    let mut fixture = Fixture::start().await;
    let mut peer = fixture.control.session().await;
    peer.hello().await;
    let timeout = Duration::from_secs(2);
    peer.welcome(1, timeout).await;
    let first = peer.heartbeat().await;
    assert!(fixture.lease.check().is_err(), "a session alone gives none");
    // The answer takes long to arrive.
    time::sleep(timeout * 3 / 4).await;
    peer.ack(first).await;
    let last = settle_unanswered(&mut peer).await;
    assert!(fixture.lease.check().is_err());
    peer.ack(last).await;
    fixture.held().await;
}

#[tokio::test]
async fn assignments_before_an_acknowledgement_are_followed_before_it_counts() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(1).await;
    let first = peer.heartbeat().await;
    // These must first be written to disk.
    peer.assign((1, 1), true, &["a"], &[]).await;
    peer.ack(first).await;
    fixture.held().await;
    assert_eq!(fixture.told(), ["assign a"]);
}

#[tokio::test]
async fn a_control_plane_without_a_timeout_gives_no_lease() {
    let mut fixture = Fixture::start().await;
    let mut peer = fixture.control.session().await;
    peer.hello().await;
    let welcome = v1::Welcome {
        protocol_version: 1,
        term: 1,
        ..v1::Welcome::default()
    };
    peer.send(Message::Welcome(welcome)).await;
    let first = peer.heartbeat().await;
    peer.ack(first).await;
    peer.settle().await;
    assert!(fixture.lease.check().is_err());
}
