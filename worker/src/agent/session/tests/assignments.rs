//! Tests of how a session handles assignments: valid, old and invalid ones.

use super::*;

#[tokio::test]
async fn assignments_are_followed_and_older_ones_dropped() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(5).await;
    peer.assign((5, 1), true, &["a", "b"], &[]).await;
    peer.assign((5, 3), false, &["c"], &["a"]).await;
    peer.assign((5, 2), false, &["dropped"], &["b"]).await;
    peer.assign((4, 9), true, &["dropped"], &[]).await;
    peer.assign((5, 4), false, &["c"], &[]).await;
    peer.settle().await;
    assert_eq!(
        fixture.told(),
        ["assign a", "assign b", "stop a", "assign c"]
    );
}

#[tokio::test]
async fn a_complete_assignment_stops_replicas_that_it_does_not_list() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(1).await;
    peer.assign((1, 1), true, &["a", "b"], &[]).await;
    peer.assign((1, 2), true, &["b", "c"], &[]).await;
    peer.settle().await;
    assert_eq!(
        fixture.told(),
        ["assign a", "assign b", "stop a", "assign c"]
    );
}

#[tokio::test]
async fn a_replica_that_is_not_held_is_reported_as_stopped() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(1).await;
    peer.assign((1, 1), false, &[], &["long-gone"]).await;
    let report = peer.report().await;
    assert_eq!(
        (report.replica.as_str(), report.phase()),
        ("long-gone", Phase::Stopped)
    );
    assert_eq!(fixture.told(), Vec::<String>::new());
}

#[tokio::test]
async fn a_spec_that_cannot_be_read_fails_its_replica_and_no_other() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(1).await;
    let odd = v1::Assignment {
        spec: None,
        ..assignment("odd")
    };
    let assignments = v1::Assignments {
        term: 1,
        generation: 1,
        complete: true,
        assign: vec![odd, assignment("even")],
        stop: vec![],
    };
    peer.send(Message::Assignments(assignments)).await;
    let mut reports = [peer.report().await, peer.report().await];
    reports.sort_by(|a, b| a.replica.cmp(&b.replica));
    let [even, odd] = reports;
    assert_eq!(
        (even.replica.as_str(), even.phase()),
        ("even", Phase::Running)
    );
    assert_eq!((odd.replica.as_str(), odd.phase()), ("odd", Phase::Failed));
    assert_eq!(odd.conditions[0].reason, "InvalidSpec");
    assert_eq!(odd.transitions.len(), 1);

    // The replica is no longer wanted and not held, so it counts as stopped.
    peer.assign((1, 2), true, &["even"], &[]).await;
    let report = peer.report().await;
    assert_eq!(
        (report.replica.as_str(), report.phase()),
        ("odd", Phase::Stopped)
    );
    assert_eq!(fixture.told(), ["assign even"]);
}

#[tokio::test]
async fn a_control_plane_that_was_replaced_is_not_followed() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(7).await;
    peer.assign((7, 1), true, &["a"], &[]).await;
    peer.report().await;
    drop(peer);
    let (mut old, _) = fixture.control.welcome(6).await;
    assert_eq!(old.receive().await, None);
    let (mut new, _) = fixture.control.welcome(8).await;
    assert_eq!(new.heartbeat().await, 1);
    assert_eq!(fixture.told(), ["assign a"]);
}

#[tokio::test]
async fn invalid_messages_change_nothing() {
    let mut fixture = Fixture::start().await;
    let mut peer = fixture.control.session().await;
    peer.hello().await;
    let nonsense = prost_types::Duration {
        seconds: i64::MIN,
        nanos: i32::MAX,
    };
    let welcome = v1::Welcome {
        protocol_version: 1,
        term: 1,
        heartbeat_interval: Some(nonsense),
        worker_timeout: Some(prost_types::Duration {
            seconds: i64::MAX,
            nanos: -1,
        }),
        cluster_id: "no id".to_owned(),
    };
    peer.send(Message::Welcome(welcome.clone())).await;
    peer.ack(u64::MAX).await;
    peer.ack(0).await;
    peer.send(Message::Welcome(welcome)).await;
    peer.send(Message::LogsWanted(v1::LogsWanted::default()))
        .await;
    let odd = v1::Assignments {
        term: 1,
        generation: 0,
        complete: true,
        assign: vec![v1::Assignment::default(); 3],
        stop: vec![String::new(), "\0".repeat(100)],
    };
    peer.send(Message::Assignments(odd)).await;
    peer.assign((1, 1), false, &["a", "b"], &["b"]).await;
    peer.settle().await;
    assert_eq!(fixture.told(), ["assign a"]);
}
