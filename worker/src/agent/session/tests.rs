#![allow(clippy::unwrap_used)]

mod assignments;
mod busy;
mod kept;
mod lease;
mod leaving;
mod strangers;

use tempfile::TempDir;
use tokio::{sync::mpsc::UnboundedReceiver, task::JoinHandle};
use tonic::Status;
use v1::{replica::Phase, session_response::Message};

use super::*;
use crate::{
    agent::testing::{Control, NotedReplicas},
    logs::{LogLimits, Stream},
    replica::{reports::ReplicaState, testing::assignment},
};

/// A worker's session and its surroundings.
struct Fixture {
    control: Control,
    reports: ReportBook,
    logs: LogHub,
    lease: Arc<SharedLease>,
    /// The calls that the replicas received.
    told: UnboundedReceiver<String>,
    ending: Ending,
    source: watch::Receiver<Option<Channel>>,
    /// The reason why a control plane does not admit the worker.
    refused: watch::Receiver<Option<String>>,
    running: JoinHandle<Result<(), SessionError>>,
    /// The directory where the session keeps its assignments.
    data: TempDir,
}

impl Fixture {
    async fn start() -> Self {
        Self::with(Control::start().await, ReportBook::new())
    }

    fn with(control: Control, reports: ReportBook) -> Self {
        Self::on(tempfile::tempdir().unwrap(), control, reports)
    }

    /// Starts the session of a worker on this data directory.
    fn on(data: TempDir, control: Control, reports: ReportBook) -> Self {
        let url = control.url.clone();
        Self::with_urls(data, control, &[url], reports)
    }

    /// Starts the session of a worker with several control planes.
    fn with_urls(data: TempDir, control: Control, urls: &[String], reports: ReportBook) -> Self {
        let (keeper, last) = Keeper::open(data.path().join("replicas")).unwrap();
        let last_seen = last.seen.clone();
        let (left, ended) = last.split();
        for (replica, state) in ended {
            reports.record(&replica, state, None);
        }
        let (replicas, told) = NotedReplicas::new(reports.clone());
        let logs = LogHub::new(LogLimits::default());
        let (source, lease) = (watch::Sender::new(None), SharedLease::new());
        let refused = watch::Sender::new(None);
        let refusals = refused.subscribe();
        let (ending, receiver) = (Ending::default(), source.subscribe());
        let config = SessionConfig {
            control: urls
                .iter()
                .map(|url| Arc::new(endpoint(url).unwrap()) as Arc<dyn Remote>)
                .collect(),
            worker_id: "id-1".to_owned(),
            instance: "instance-1".to_owned(),
            name: Name::parse("worker-1").unwrap(),
            addresses: Addresses {
                address: "http://127.0.0.1:7701".to_owned(),
                http_address: "http://127.0.0.1:8000".to_owned(),
                listen: "127.0.0.1:7701".parse().unwrap(),
            },
            labels: BTreeMap::from([("zone".to_owned(), "a".to_owned())]),
            volumes: Vec::new(),
            publish_allow: vec!["127.0.0.1".to_owned()],
            network: "network-1".to_owned(),
            compile_limits: None,
            interfaces: vec![v1::HostInterface {
                name: "wasi:cli/exit@0.2.12".to_owned(),
                needs_binding: false,
            }],
            capacity: v1::Resources {
                memory_bytes: 1 << 30,
                replicas: 10,
                keeps_reserves: Some(true),
            },
            stop_keeps: Duration::from_secs(7),
        };
        let session = Session {
            config,
            replicas,
            reports: reports.clone(),
            routes: FleetRoutes::new("worker-1", crate::ingress::Router::new()),
            listeners: Arc::default(),
            logs: logs.clone(),
            lease: lease.clone(),
            keeper: keeper.clone(),
            left,
            seen: last_seen,
            told: AtomicBool::new(false),
            source,
            opened: watch::Sender::new(false),
            refused,
            ending: ending.clone(),
        };
        // The task ends with the test.
        tokio::spawn(keeper.watch(reports.clone(), ending.close.clone()));
        let running = tokio::spawn(session.run());
        Self {
            control,
            reports,
            logs,
            lease,
            told,
            ending,
            source: receiver,
            refused: refusals,
            running,
            data,
        }
    }

    fn record(&self, replica: &str, phase: Phase) {
        self.reports.record(replica, ReplicaState::new(phase), None);
    }

    fn told(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.told.try_recv().ok()).collect()
    }
}

#[tokio::test]
async fn hello_describes_the_worker_and_its_replicas() {
    let reports = ReportBook::new();
    let state = ReplicaState {
        restarts: 4,
        ..ReplicaState::new(Phase::Running)
    };
    let step = v1::Transition {
        reason: "Started".to_owned(),
        ..Default::default()
    };
    reports.record("r-1", state, Some(step));
    let mut fixture = Fixture::with(Control::start().await, reports);
    let (mut peer, hello) = fixture.control.welcome(1).await;

    assert_eq!(
        (hello.protocol_version, hello.worker_id.as_str()),
        (1, "id-1")
    );
    assert_eq!(
        (hello.name.as_str(), hello.address.as_str()),
        ("worker-1", "http://127.0.0.1:7701")
    );
    assert_eq!(
        (
            hello.labels["zone"].as_str(),
            hello.capacity.unwrap().replicas
        ),
        ("a", 10)
    );
    assert_eq!(hello.interfaces[0].name, "wasi:cli/exit@0.2.12");
    let report = &hello.replicas[0];
    assert_eq!((report.replica.as_str(), report.restarts), ("r-1", 4));
    assert_eq!(report.transitions[0].reason, "Started");

    // The content of Hello is not reported again. A change is, without the earlier transition.
    assert_eq!(peer.heartbeat().await, 1);
    fixture.record("r-1", Phase::Backoff);
    let report = peer.report().await;
    assert_eq!(
        (report.phase(), report.transitions.len()),
        (Phase::Backoff, 0)
    );
}

#[tokio::test]
async fn a_stopped_replica_is_forgotten_when_its_report_has_arrived() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(1).await;
    fixture.record("r-1", Phase::Stopped);
    assert_eq!(peer.report().await.phase(), Phase::Stopped);
    assert!(fixture.reports.contains("r-1"));
    let beat = peer.heartbeat().await;
    peer.ack(beat).await;
    peer.settle().await;
    assert!(!fixture.reports.contains("r-1"));
}

#[tokio::test]
async fn replicas_keep_running_while_the_control_plane_is_away() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(1).await;
    peer.assign((1, 1), true, &["a"], &[]).await;
    peer.report().await;
    drop(peer);
    fixture.record("a", Phase::Backoff);

    let (mut peer, hello) = fixture.control.welcome(2).await;
    assert_eq!(
        (hello.replicas.len(), hello.replicas[0].phase()),
        (1, Phase::Backoff)
    );
    peer.assign((2, 1), true, &["a"], &[]).await;
    peer.settle().await;
    assert_eq!(fixture.told(), ["assign a"]);
}

#[tokio::test]
async fn a_session_with_a_silent_control_plane_ends() {
    let mut fixture = Fixture::start().await;
    let mut silent = fixture.control.session().await;
    silent.hello().await;
    silent.welcome(1, Duration::from_millis(60)).await;
    // The control plane receives heartbeats but does not answer them.
    let again = fixture.control.welcome(1).await;
    assert_eq!(again.1.worker_id, "id-1");
}

#[tokio::test]
async fn a_taken_name_ends_a_worker_that_never_had_it() {
    let control = Control::start().await;
    control
        .script
        .refuse
        .lock()
        .push_back(Status::already_exists("taken"));
    let fixture = Fixture::with(control, ReportBook::new());
    let error = fixture.running.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, SessionError::NameTaken(name) if name == "worker-1"),
        "{error}"
    );
    assert!(error.to_string().contains("--name"), "{error}");
}

#[tokio::test]
async fn a_rejected_hello_ends_a_worker_that_never_had_a_session() {
    let control = Control::start().await;
    let refused = Status::invalid_argument("hello.labels: should be at most 128");
    control.script.refuse.lock().push_back(refused);
    let fixture = Fixture::with(control, ReportBook::new());
    let error = fixture.running.await.unwrap().unwrap_err();
    assert!(error.to_string().contains("hello.labels"), "{error}");
}

#[tokio::test]
async fn a_control_plane_that_is_full_is_tried_again() {
    let control = Control::start().await;
    let refused = Status::resource_exhausted("too many workers");
    control.script.refuse.lock().push_back(refused);
    let mut fixture = Fixture::with(control, ReportBook::new());
    let told = fixture
        .refused
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone();
    assert_eq!(told.unwrap(), "too many workers");
    fixture.control.welcome(1).await;
}

#[tokio::test]
async fn another_protocol_version_ends_a_worker_that_never_had_a_session() {
    let mut fixture = Fixture::start().await;
    let peer = fixture.control.session().await;
    peer.send(Message::Welcome(v1::Welcome {
        protocol_version: 2,
        ..Default::default()
    }))
    .await;
    let error = fixture.running.await.unwrap().unwrap_err();
    assert!(matches!(error, SessionError::Version(2)), "{error}");
}

#[tokio::test]
async fn a_hello_that_would_be_too_large_is_completed_by_reports() {
    let reports = ReportBook::new();
    for i in 0..100 {
        let exit = v1::Exit {
            stderr: vec!["x".repeat(2 << 10); 20],
            ..Default::default()
        };
        let state = ReplicaState {
            restarts: i,
            last_exit: Some(exit),
            ..ReplicaState::new(Phase::Backoff)
        };
        reports.record(&format!("r-{i}"), state, None);
    }
    let mut fixture = Fixture::with(Control::start().await, reports);
    let (mut peer, hello) = fixture.control.welcome(1).await;
    assert_eq!(hello.replicas.len(), 100);
    assert_eq!(
        (hello.replicas[42].restarts, &hello.replicas[42].last_exit),
        (42, &None)
    );
    for i in 0..100 {
        let report = peer.report().await;
        assert_eq!(
            (report.restarts, report.last_exit.unwrap().stderr.len()),
            (i, 20)
        );
    }
}

#[tokio::test]
async fn lines_are_pushed_on_request() {
    let mut fixture = Fixture::start().await;
    let (peer, _) = fixture.control.welcome(1).await;
    let log = fixture.logs.open("r-1");
    for text in ["one", "two", "three"] {
        log.line("service", Stream::Stdout, text);
    }
    let wanted = v1::LogsWanted {
        request_id: "q".to_owned(),
        replica: "r-1".to_owned(),
        follow: true,
        tail: Some(2),
        ..Default::default()
    };
    peer.send(Message::LogsWanted(wanted.clone())).await;
    let first = fixture.control.pushed().await;
    assert_eq!((first.request_id.as_str(), first.lines.len()), ("q", 0));
    let texts = |push: v1::PushLogsRequest| -> Vec<String> {
        push.lines.into_iter().map(|line| line.line).collect()
    };
    assert_eq!(texts(fixture.control.pushed().await), ["two", "three"]);
    log.line("service", Stream::Stdout, "four");
    assert_eq!(texts(fixture.control.pushed().await), ["four"]);

    // A replica that is not on this worker gets an empty answer.
    peer.send(Message::LogsWanted(v1::LogsWanted {
        replica: "other".to_owned(),
        ..wanted
    }))
    .await;
    assert_eq!(texts(fixture.control.pushed().await), Vec::<String>::new());
}

#[tokio::test]
async fn following_ends_when_the_control_plane_has_enough() {
    let control = Control::start().await;
    *control.script.enough_lines.lock() = Some(1);
    let mut fixture = Fixture::with(control, ReportBook::new());
    let (peer, _) = fixture.control.welcome(1).await;
    fixture.logs.open("r-1");
    let wanted = v1::LogsWanted {
        replica: "r-1".to_owned(),
        follow: true,
        ..Default::default()
    };
    // These are far more than are answered at once, so each has ended when the next one arrives.
    for _ in 0..70 {
        peer.send(Message::LogsWanted(wanted.clone())).await;
        fixture.control.pushed().await;
    }
}

#[tokio::test]
async fn closing_sends_the_last_reports_and_ends() {
    let mut fixture = Fixture::start().await;
    let (mut peer, _) = fixture.control.welcome(1).await;
    peer.assign((1, 1), true, &["a"], &[]).await;
    peer.report().await;
    fixture.ending.draining.cancel();
    peer.assign((1, 2), false, &["too-late"], &[]).await;
    fixture.record("a", Phase::Stopped);
    fixture.ending.close.cancel();
    let report = peer.report().await;
    assert_eq!(
        (report.replica.as_str(), report.phase()),
        ("a", Phase::Stopped)
    );
    // This acknowledges heartbeats until the worker has ended its side.
    while let Some(message) = peer.receive().await {
        if let session_request::Message::Heartbeat(beat) = message {
            peer.ack(beat.sequence).await;
        }
    }
    drop(peer);
    fixture.running.await.unwrap().unwrap();
    assert_eq!(fixture.told.try_recv().unwrap(), "assign a");
    assert!(fixture.told.try_recv().is_err());
    assert!(!fixture.reports.contains("a"));
}

#[tokio::test]
async fn closing_does_not_wait_for_a_session_to_open() {
    let mut fixture = Fixture::start().await;
    let _says_nothing = fixture.control.session().await;
    fixture.ending.close.cancel();
    fixture.running.await.unwrap().unwrap();
    assert!(fixture.source.borrow().is_none());
}

#[test]
fn addresses_of_control_planes_are_checked() {
    for url in [
        "http://127.0.0.1:7700",
        "http://control:7700",
        "http://[::1]:7700",
    ] {
        assert!(endpoint(url).is_ok(), "{url}");
    }
    for url in [
        "",
        "127.0.0.1:7700",
        "https://control:7700",
        "unix:/x",
        "http://",
        "a b",
    ] {
        let error = endpoint(url).unwrap_err();
        assert!(error.to_string().contains("http://"), "{error}");
    }
}

#[test]
fn timing_is_kept_within_reason() {
    let of = |heartbeat: i64, timeout: i64| {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let timing = Timing::of(&v1::Welcome {
            heartbeat_interval: seconds(heartbeat),
            worker_timeout: seconds(timeout),
            ..Default::default()
        });
        (timing.heartbeat.as_secs(), timing.timeout.as_secs())
    };
    assert_eq!(of(3, 10), (3, 10));
    assert_eq!(of(0, 0), (2, 10));
    assert_eq!(of(-1, -1), (2, 10));
    assert_eq!(of(i64::MAX, i64::MAX), (60, 3600));
    assert_eq!(of(30, 1), (30, 60));
}
