//! Tests of control planes of other clusters and of earlier terms, and of assignments that are
//! older than those seen.

use std::fs;

use super::*;

const A: &str = "cluster-a";
const B: &str = "cluster-b";

/// Opens the next session as a control plane of this cluster, and returns it with its Hello.
async fn welcome(
    control: &mut Control,
    cluster: &str,
    term: u64,
) -> (crate::agent::testing::Peer, v1::Hello) {
    let mut peer = control.session().await;
    let hello = peer.hello().await;
    let long = Duration::from_secs(60);
    peer.welcome_to(cluster, term, long).await;
    (peer, hello)
}

/// Returns a worker that runs `a` for cluster A at term 5, and whose control plane is gone.
async fn follower() -> Fixture {
    let mut fixture = Fixture::start().await;
    let (peer, hello) = welcome(&mut fixture.control, A, 5).await;
    assert_eq!(hello.seen, None);
    assert_eq!(
        (hello.instance.as_str(), hello.may_switch),
        ("instance-1", true)
    );
    assert_eq!(hello.http_address, "http://127.0.0.1:8000");
    peer.assign((5, 9), true, &["a"], &[]).await;
    assert_eq!(fixture.told.recv().await.unwrap(), "assign a");
    drop(peer);
    fixture
}

/// Starts a worker on the data of another one.
fn started_again(fixture: Fixture, control: Control) -> Fixture {
    fixture.running.abort();
    Fixture::on(fixture.data, control, ReportBook::new())
}

#[tokio::test]
async fn a_worker_does_not_follow_another_cluster_before_it_is_started_again() {
    let mut fixture = follower().await;
    for (cluster, term) in [(B, 9), (A, 4)] {
        let (mut stranger, hello) = welcome(&mut fixture.control, cluster, term).await;
        let seen = v1::Seen {
            cluster_id: A.to_owned(),
            term: 5,
            generation: 9,
        };
        assert_eq!((hello.seen, hello.may_switch), (Some(seen), false));
        assert_eq!(stranger.receive().await, None);
        let why = fixture.refused.wait_for(Option::is_some).await.unwrap();
        let why = why.clone().unwrap();
        assert!(why.contains("start this worker again"), "{why}");
    }
    assert_eq!(
        fixture.told(),
        Vec::<String>::new(),
        "its replicas keep running"
    );
    // The known control plane is still followed, and the problem is then gone.
    let (mut peer, _) = welcome(&mut fixture.control, A, 6).await;
    peer.heartbeat().await;
    assert_eq!(*fixture.refused.borrow(), None);
    drop(peer);

    for (cluster, term) in [(B, 1), (B, 3), (A, 2)] {
        let mut again = started_again(fixture, Control::start().await);
        let (mut peer, hello) = welcome(&mut again.control, cluster, term).await;
        assert!(hello.may_switch);
        peer.assign((term, 1), true, &["new"], &[]).await;
        peer.settle().await;
        assert_eq!(again.told(), ["assign new"], "{cluster} {term}");
        fixture = again;
    }
}

#[tokio::test]
async fn a_worker_that_continued_alone_does_not_follow_another_cluster_either() {
    let fixture = follower().await;
    let mut fixture = started_again(fixture, Control::start().await);
    let busy = Status::unavailable("not yet");
    fixture.control.script.refuse.lock().push_back(busy);
    assert_eq!(fixture.told.recv().await.unwrap(), "assign a");
    // It may have connected before it continued alone.
    loop {
        let (mut stranger, hello) = welcome(&mut fixture.control, B, 9).await;
        assert_eq!(stranger.receive().await, None);
        if !hello.may_switch {
            break;
        }
    }
    assert_eq!(fixture.told(), Vec::<String>::new());
}

#[tokio::test]
async fn the_known_cluster_comes_first_if_several_are_named() {
    let fixture = follower().await;
    let (stranger, known) = (Control::start().await, Control::start().await);
    fixture.running.abort();
    let urls = [stranger.url.clone(), known.url.clone()];
    let mut again = Fixture::with_urls(fixture.data, known, &urls, ReportBook::new());
    let mut stranger = stranger;
    let (mut other, hello) = welcome(&mut stranger, B, 9).await;
    assert!(!hello.may_switch);
    assert_eq!(other.receive().await, None);
    let (peer, _) = welcome(&mut again.control, A, 5).await;
    peer.assign((5, 10), true, &["a"], &[]).await;
    assert_eq!(again.told.recv().await.unwrap(), "assign a");
}

#[tokio::test]
async fn dropped_assignments_are_reported_by_the_worker_and_for_each_replica() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = welcome(&mut fixture.control, A, 5).await;
    peer.assign((5, 9), true, &["held"], &[]).await;
    peer.assign((5, 8), false, &["held", "waits"], &["held"])
        .await;
    let session_request::Message::Dropped(dropped) = peer.said().await else {
        panic!("it was not told");
    };
    assert_eq!((dropped.term, dropped.generation), (5, 8));
    assert!(dropped.message.contains("worker worker-1"), "{dropped:?}");
    let report = loop {
        let report = peer.report().await;
        if report.replica != "held" {
            break report;
        }
    };
    assert_eq!(
        (report.replica.as_str(), report.phase()),
        ("waits", Phase::Pending)
    );
    let condition = &report.conditions[0];
    assert_eq!(
        (condition.reason.as_str(), &condition.message),
        ("AssignmentDropped", &dropped.message)
    );
    assert_eq!(report.transitions[0].reason, "AssignmentDropped");
    // It runs as soon as it is assigned with a newer generation.
    peer.assign((5, 10), false, &["waits"], &[]).await;
    peer.settle().await;
    assert_eq!(fixture.told(), ["assign held", "assign waits"]);
}

#[tokio::test]
async fn generations_of_another_name_are_not_compared() {
    for before in ["5 9 cluster-a worker-of-before\n", "5 9\n"] {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir_all(data.path().join("replicas")).unwrap();
        fs::write(data.path().join("replicas/seen"), before).unwrap();
        let mut fixture = Fixture::on(data, Control::start().await, ReportBook::new());
        let (mut peer, hello) = welcome(&mut fixture.control, A, 5).await;
        let seen = hello.seen.unwrap();
        assert_eq!((seen.term, seen.generation), (5, 0), "{before}");
        peer.assign((5, 1), true, &["a"], &[]).await;
        peer.settle().await;
        assert_eq!(fixture.told(), ["assign a"], "{before}");
    }
}
