//! Tests of how a worker that starts uses the assignments of an earlier one.

use std::{fs, path::PathBuf};

use super::*;
use crate::agent::state::{Restored, Saved};

/// Ends like a machine that loses power: at once.
impl Fixture {
    fn killed(self) -> TempDir {
        self.running.abort();
        self.data
    }

    fn file(&self, replica: &str) -> PathBuf {
        let replicas = self.data.path().join("replicas");
        replicas.join(format!("{replica}.replica"))
    }

    fn kept(&self, replica: &str) -> Saved {
        Saved::from_bytes(&fs::read(self.file(replica)).unwrap()).unwrap()
    }
}

/// Waits until something has happened on disk.
async fn eventually(mut holds: impl FnMut() -> bool) {
    let held = async {
        while !holds() {
            time::sleep(Duration::from_millis(5)).await;
        }
    };
    time::timeout(Duration::from_secs(20), held).await.unwrap();
}

/// Returns a control plane that does not answer.
async fn nobody() -> Control {
    let mut control = Control::start().await;
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    control.url = format!("http://{}", gone.local_addr().unwrap());
    control
}

fn restarts(fixture: &Fixture) -> BTreeMap<String, u32> {
    let reports = fixture.reports.all().reports.into_iter();
    reports.map(|it| (it.replica, it.restarts)).collect()
}

/// Returns the data of a worker that was killed after it was ordered to run `a`, `b` and `c`, and
/// then to stop `a`.
async fn before() -> TempDir {
    let mut fixture = Fixture::start().await;
    let (peer, _) = fixture.control.welcome(5).await;
    peer.assign((5, 1), true, &["a", "b", "c"], &[]).await;
    for _ in 0..3 {
        fixture.told.recv().await.unwrap();
    }
    peer.assign((5, 2), false, &[], &["a"]).await;
    assert_eq!(fixture.told.recv().await.unwrap(), "stop a");
    // The file is removed before the stop is ordered, and therefore before it is reported.
    assert!(!fixture.file("a").exists());
    eventually(|| {
        ["b", "c"]
            .iter()
            .all(|id| fixture.kept(id).next_start() == 1)
    })
    .await;
    fixture.killed()
}

#[tokio::test]
async fn without_a_control_plane_it_continues_with_its_last_assignments() {
    let data = before().await;
    let mut fixture = Fixture::on(data, nobody().await, ReportBook::new());
    let mut told = vec![
        fixture.told.recv().await.unwrap(),
        fixture.told.recv().await.unwrap(),
    ];
    told.sort();
    assert_eq!(told, ["assign b", "assign c"]);
    let expected = [("b".to_owned(), 1), ("c".to_owned(), 1)];
    assert_eq!(restarts(&fixture), BTreeMap::from(expected));
}

#[tokio::test]
async fn a_control_planes_assignments_take_precedence_over_the_last_ones() {
    let data = before().await;
    let mut fixture = Fixture::on(data, Control::start().await, ReportBook::new());
    let (mut peer, hello) = fixture.control.welcome(5).await;
    assert_eq!(hello.replicas, []);
    // These are older than what the worker saw before it was killed.
    peer.assign((5, 1), true, &["a", "b", "c"], &[]).await;
    peer.assign((5, 3), true, &["b", "d"], &[]).await;
    peer.settle().await;
    assert_eq!(fixture.told(), ["assign b", "assign d"]);
    // The start counts, although the control plane does not know of the first one.
    let restarts = restarts(&fixture);
    assert_eq!((restarts["b"], restarts["d"]), (1, 0));
    assert!(fixture.file("d").exists() && !fixture.file("c").exists());
}

#[tokio::test]
async fn a_replica_started_without_a_control_plane_stops_if_it_was_replaced() {
    let data = before().await;
    let control = Control::start().await;
    // The control plane is there, but too busy.
    let busy = Status::unavailable("not yet");
    control.script.refuse.lock().push_back(busy);
    let mut fixture = Fixture::on(data, control, ReportBook::new());
    for _ in 0..2 {
        fixture.told.recv().await.unwrap();
    }
    let (mut peer, hello) = fixture.control.welcome(6).await;
    let held: Vec<&str> = hello
        .replicas
        .iter()
        .map(|it| it.replica.as_str())
        .collect();
    assert_eq!(held, ["b", "c"]);
    peer.assign((6, 1), true, &["c", "d"], &[]).await;
    peer.settle().await;
    assert_eq!(fixture.told(), ["stop b", "assign d"]);
    assert!(!fixture.file("b").exists());
}

#[tokio::test]
async fn an_exclusive_replica_waits_for_a_control_plane() {
    let mut fixture = Fixture::start().await;
    let (peer, _) = fixture.control.welcome(5).await;
    let mut exclusive = assignment("one");
    exclusive.fence = 3;
    let spec = exclusive.spec.as_mut().unwrap();
    spec.service.as_mut().unwrap().exclusive = true;
    let assign = vec![exclusive, assignment("b")];
    let assignments = v1::Assignments {
        term: 5,
        generation: 1,
        complete: true,
        assign,
        stop: vec![],
    };
    peer.send(Message::Assignments(assignments.clone())).await;
    for _ in 0..2 {
        fixture.told.recv().await.unwrap();
    }
    let next = |fixture: &Fixture, id| fixture.kept(id).next_start();
    eventually(|| next(&fixture, "one") == 1 && next(&fixture, "b") == 1).await;

    let mut fixture = Fixture::on(fixture.killed(), nobody().await, ReportBook::new());
    assert_eq!(fixture.told.recv().await.unwrap(), "assign b");
    assert_eq!(fixture.told(), Vec::<String>::new());
    eventually(|| next(&fixture, "b") == 2).await;

    let mut fixture = Fixture::on(fixture.killed(), Control::start().await, ReportBook::new());
    let (mut peer, hello) = fixture.control.welcome(5).await;
    assert_eq!(hello.replicas, []);
    peer.send(Message::Assignments(assignments)).await;
    peer.settle().await;
    assert_eq!(fixture.told(), ["assign one", "assign b"]);
    // Its count of starts continues.
    assert_eq!(restarts(&fixture)["one"], 1);
}

#[tokio::test]
async fn a_replica_that_has_ended_is_reported_and_does_not_run_again() {
    let mut fixture = Fixture::start().await;
    let (peer, _) = fixture.control.welcome(1).await;
    peer.assign((1, 1), true, &["a", "b"], &[]).await;
    for _ in 0..2 {
        fixture.told.recv().await.unwrap();
    }
    let ended = |phase| ReplicaState {
        restarts: 3,
        ..ReplicaState::new(phase)
    };
    fixture.reports.record("a", ended(Phase::Completed), None);
    let is_kept = || matches!(fixture.kept("a").restore(), Ok(Restored::Ended(..)));
    eventually(is_kept).await;

    let data = fixture.killed();
    let mut fixture = Fixture::on(data, Control::start().await, ReportBook::new());
    let (mut peer, hello) = fixture.control.welcome(1).await;
    let told = &hello.replicas[0];
    assert_eq!(
        (told.replica.as_str(), told.phase(), told.restarts),
        ("a", Phase::Completed, 3)
    );
    peer.assign((1, 2), true, &["a", "b"], &[]).await;
    peer.assign((1, 3), false, &[], &["a"]).await;
    let report = loop {
        let report = peer.report().await;
        if report.replica == "a" {
            break report;
        }
    };
    assert_eq!((report.phase(), report.restarts), (Phase::Stopped, 3));
    assert_eq!(fixture.told(), ["assign b"]);
}

#[tokio::test]
async fn a_replica_stopped_while_the_worker_ends_does_not_come_back() {
    let mut fixture = Fixture::start().await;
    let (peer, _) = fixture.control.welcome(1).await;
    peer.assign((1, 1), true, &["a", "b"], &[]).await;
    for _ in 0..2 {
        fixture.told.recv().await.unwrap();
    }
    fixture.ending.draining.cancel();
    peer.assign((1, 2), false, &["c"], &["a"]).await;
    eventually(|| !fixture.file("a").exists()).await;
    assert!(fixture.file("b").exists() && !fixture.file("c").exists());
    assert_eq!(fixture.told(), Vec::<String>::new());
}
