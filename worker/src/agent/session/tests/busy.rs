//! Tests of a session whose worker has much to report.

use super::*;

/// A replica changes constantly, and the control plane reads every report.
#[tokio::test]
async fn reports_of_a_restless_replica_are_few_and_delay_no_heartbeat() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(1).await;
    let step = |restarts| v1::Transition {
        reason: "Exited".to_owned(),
        message: format!("restart {restarts}"),
        ..v1::Transition::default()
    };
    let reports = fixture.reports.clone();
    let restless = tokio::spawn(async move {
        for restarts in 1..=20_000 {
            let state = ReplicaState {
                restarts,
                ..ReplicaState::new(Phase::Backoff)
            };
            reports.record("loop", state, Some(step(restarts)));
            if restarts % 100 == 0 {
                time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    let began = std::time::Instant::now();
    let (mut told, mut beats, mut last) = (0_u64, 0_u64, 0);
    while last < 20_000 {
        match peer.receive().await.unwrap() {
            session_request::Message::Report(report) => {
                told += 1;
                last = report.restarts;
                let newest = report.transitions.last().unwrap();
                assert_eq!(newest.total, report.restarts, "each is counted");
            }
            session_request::Message::Heartbeat(beat) => {
                beats += 1;
                peer.ack(beat.sequence).await;
            }
            other => panic!("{other:?}"),
        }
    }
    restless.await.unwrap();
    let took = began.elapsed();
    assert!(
        told <= 16 + took.as_secs() + 1,
        "{told} reports in {took:?}"
    );
    // A heartbeat is requested every 20 ms.
    assert!(beats >= 10, "{beats} heartbeats in {took:?}");

    // The end of a replica is reported at once.
    fixture.record("loop", Phase::Failed);
    let ended = std::time::Instant::now();
    while peer.report().await.phase() != Phase::Failed {}
    assert!(ended.elapsed() < Duration::from_millis(900));
}

/// The control plane reads nothing for a while, so the session's queue is full of reports.
#[tokio::test]
async fn a_heartbeat_overtakes_reports() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(1).await;
    let long = "x".repeat(16 << 10);
    for number in 0..2000 {
        let step = v1::Transition {
            message: long.clone(),
            ..v1::Transition::default()
        };
        let id = format!("r-{number}");
        fixture
            .reports
            .record(&id, ReplicaState::new(Phase::Running), Some(step));
    }
    let mut before = 0;
    let sequence = loop {
        match peer.receive().await.unwrap() {
            session_request::Message::Report(_) => before += 1,
            session_request::Message::Heartbeat(beat) => break beat.sequence,
            other => panic!("{other:?}"),
        }
        time::sleep(Duration::from_millis(1)).await;
    };
    assert!(
        before < 500,
        "the heartbeat came after {before} of 2000 reports"
    );
    // It overtook the reports, so it confirms only what was sent before it.
    peer.ack(sequence).await;
    let mut rest = 2000 - before;
    while rest > 0 {
        peer.report().await;
        rest -= 1;
    }
}
