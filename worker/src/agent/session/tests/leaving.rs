//! Tests of a worker that reports that it is stopping.

use super::*;

fn leave(stopped: bool) -> session_request::Message {
    let keep = prost_types::Duration {
        seconds: 7,
        nanos: 0,
    };
    session_request::Message::Leave(v1::Leave {
        keep: Some(keep),
        stopped,
    })
}

#[tokio::test]
async fn it_reports_before_anything_stops_and_when_everything_has_stopped() {
    let mut fixture = Fixture::start().await;
    let (mut peer, hello) = fixture.control.welcome(1).await;
    assert_eq!(hello.leave, None);
    peer.assign((1, 1), true, &["a"], &[]).await;
    peer.report().await;
    fixture.ending.draining.cancel();
    fixture.record("a", Phase::Stopping);
    let first = loop {
        match peer.receive().await.unwrap() {
            session_request::Message::Heartbeat(beat) => peer.ack(beat.sequence).await,
            message => break message,
        }
    };
    assert_eq!(first, leave(false), "before its consequences");
    fixture.record("a", Phase::Stopped);
    fixture.ending.stopped.cancel();
    fixture.ending.close.cancel();
    assert_eq!(peer.said().await, leave(true));
    while let Some(message) = peer.receive().await {
        if let session_request::Message::Heartbeat(beat) = message {
            peer.ack(beat.sequence).await;
        }
    }
    drop(peer);
    fixture.running.await.unwrap().unwrap();
    assert!(!fixture.reports.contains("a"));
}

#[tokio::test]
async fn it_does_not_report_that_all_has_stopped_while_something_may_run() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(1).await;
    fixture.ending.draining.cancel();
    assert_eq!(peer.said().await, leave(false));
    fixture.ending.close.cancel();
    while let Some(message) = peer.receive().await {
        match message {
            session_request::Message::Heartbeat(beat) => peer.ack(beat.sequence).await,
            message => panic!("{message:?}"),
        }
    }
}

#[tokio::test]
async fn a_control_plane_that_returns_in_the_meantime_learns_it_from_hello() {
    let mut fixture = Fixture::start().await;
    let (peer, _) = fixture.control.welcome(1).await;
    drop(peer);
    let again = fixture.control.session().await;
    fixture.ending.draining.cancel();
    drop(again);
    // A Hello that was already on its way may lack this. It is then reported at once.
    let (mut peer, hello) = fixture.control.welcome(1).await;
    let said = hello.leave.map(session_request::Message::Leave);
    let said = match said {
        Some(said) => said,
        None => peer.said().await,
    };
    assert_eq!(said, leave(false));
}
