use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use v1::exit::Reason;

use super::*;
use crate::output::Style;

const NOW: u64 = 1_000_000;

fn ago(seconds: u64) -> Option<Timestamp> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW - seconds);
    Some(time.into())
}

fn text() -> Text {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    Text::new(now, Style::plain())
}

fn condition(kind: &str, status: Holds, message: &str) -> v1::Condition {
    v1::Condition {
        r#type: kind.into(),
        status: status.into(),
        message: message.into(),
        last_transition_time: ago(4),
        ..Default::default()
    }
}

fn replica(phase: Phase, worker: &str, conditions: Vec<v1::Condition>) -> v1::Replica {
    v1::Replica {
        id: "c-x7k".into(),
        namespace: "shop".into(),
        workload: "c".into(),
        worker: worker.into(),
        phase: phase.into(),
        conditions,
        revision: 2,
        create_time: ago(300),
        ..Default::default()
    }
}

#[test]
fn each_phase_is_a_sentence() {
    let unmet = |kind: &str, message: &str| vec![condition(kind, Holds::False, message)];
    for (phase, worker, conditions, sentence_is) in [
        (
            Phase::Pending,
            "",
            vec![],
            "waits for a worker: none has been chosen yet",
        ),
        (
            Phase::Pending,
            "",
            unmet("Scheduled", "no worker has zone=a"),
            "waits for a worker: no worker has zone=a",
        ),
        (
            Phase::Pending,
            "w1",
            vec![],
            "is being prepared on worker w1: its components are being fetched or compiled",
        ),
        (Phase::Starting, "w1", vec![], "is starting on worker w1"),
        (
            Phase::Running,
            "w1",
            unmet("Ready", "it does not listen on port 6379"),
            "is running on worker w1 but not ready: it does not listen on port 6379",
        ),
        (
            Phase::Backoff,
            "w1",
            unmet(
                "Ready",
                "the service trapped: unreachable; starting again in 1.6s",
            ),
            "waits on worker w1 to be restarted: the service trapped: unreachable; starting again in 1.6s",
        ),
        (
            Phase::Failed,
            "w1",
            unmet("Started", "127.0.0.1:6379 is in use"),
            "has failed on worker w1: 127.0.0.1:6379 is in use; another replica will replace it",
        ),
        (
            Phase::Completed,
            "w1",
            vec![],
            "has completed on worker w1: its service ended, and its policy wants no restart",
        ),
        (
            Phase::Stopping,
            "w1",
            vec![],
            "is stopping on worker w1: work in flight may finish within its stopGrace",
        ),
        (
            Phase::Lost,
            "w1",
            vec![],
            "is lost: worker w1 stopped sending heartbeats; another replica replaces it",
        ),
    ] {
        let replica = replica(phase, worker, conditions);
        assert_eq!(sentence(&text(), &replica), format!("c-x7k {sentence_is}"));
    }
    let mut ready = replica(
        Phase::Running,
        "w1",
        vec![condition("Ready", Holds::True, "")],
    );
    ready.ready = true;
    ready.restarts = 3;
    assert_eq!(
        sentence(&text(), &ready),
        "c-x7k is ready on worker w1 since 4s; restarted 3 times"
    );
}

#[test]
fn the_next_step_is_described() {
    let mut waiting = replica(
        Phase::Backoff,
        "w1",
        vec![condition("Ready", Holds::False, "it trapped")],
    );
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    for (next, told) in [
        (now + Duration::from_millis(2500), " in 2.5s"),
        (now - Duration::from_millis(1), " at any moment"),
    ] {
        waiting.next_start_time = Some(next.into());
        let expected = format!("c-x7k waits on worker w1 to be restarted{told}: it trapped");
        assert_eq!(sentence(&text(), &waiting), expected);
    }
    for (reason, next) in [
        (
            "NotProbed",
            "it gets work once its readiness probe succeeds",
        ),
        ("NotReady", "it gets work once its readiness probe succeeds"),
        (
            "NotListening",
            "it gets work once it listens on every port that it publishes or routes",
        ),
        ("Unhealthy", "it is being ended and will be restarted"),
    ] {
        let mut ready = condition("Ready", Holds::False, "why");
        ready.reason = reason.into();
        let expected = format!("c-x7k is running on worker w1 but not ready: why; {next}");
        let unready = replica(Phase::Running, "w1", vec![ready]);
        assert_eq!(sentence(&text(), &unready), expected);
    }
}

#[test]
fn endpoints_are_shown_as_others_reach_them() {
    let workers = [v1::Worker {
        name: "w1".into(),
        address: "http://10.0.0.5:7701".into(),
        ..Default::default()
    }];
    for (bound, told) in [
        (
            "127.0.0.1:6379",
            "tcp 127.0.0.1:6379 on worker w1 leads to port 80",
        ),
        (
            "0.0.0.0:6379",
            "tcp 10.0.0.5:6379 (bound to 0.0.0.0:6379) on worker w1 leads to port 80",
        ),
    ] {
        let endpoint = v1::Endpoint {
            protocol: v1::publish::Protocol::Tcp.into(),
            guest_port: 80,
            address: bound.into(),
        };
        assert_eq!(way_in(&endpoint, "w1", &workers), told);
    }
    assert_eq!(host("http://[::1]:7701"), Some("[::1]"));
    assert_eq!(host("nonsense"), None);
}

#[test]
fn reads_as_an_explanation() {
    let mut backoff = replica(
        Phase::Backoff,
        "w1",
        vec![
            condition("Scheduled", Holds::True, ""),
            condition(
                "Ready",
                Holds::False,
                "the service trapped: unreachable; starting again in 1.6s",
            ),
        ],
    );
    backoff.restarts = 3;
    backoff.last_exit = Some(v1::Exit {
        reason: Reason::Trapped.into(),
        message: "wasm trap: unreachable\n  0: cache!main".into(),
        time: ago(4),
        stderr: vec!["panicked at src/main.rs:3".into()],
        ..Default::default()
    });
    let event = v1::Event {
        time: ago(4),
        object: "replica/c-x7k".into(),
        r#type: v1::event::Type::Warning.into(),
        reason: "Exited".into(),
        message: "the service trapped: unreachable\n  0: cache!main".into(),
        count: 3,
        ..Default::default()
    };
    let mut text = text();
    let view = View {
        replica: backoff,
        workers: Vec::new(),
        events: vec![event],
    };
    describe(&mut text, &view);
    assert_eq!(
        text.into_shown().as_str().to_owned(),
        "\
Replica c-x7k of workload c in namespace shop
  c-x7k waits on worker w1 to be restarted: the service trapped: unreachable; starting again in 1.6s (4s ago); restarted 3 times
  revision 2, created 5m ago
  its service was restarted 3 times

Conditions
  Scheduled is TRUE for 4s
  Ready is FALSE for 4s: the service trapped: unreachable; starting again in 1.6s

Last exit
  last ended 4s ago: TRAPPED
    wasm trap: unreachable
      0: cache!main
  its last lines on stderr:
    | panicked at src/main.rs:3

Recent events
  4s ago   WARNING   Exited (x3)   replica/c-x7k   the service trapped: unreachable

What to do next
  warren logs c --replica c-x7k --tail 20 -n shop   what the service wrote before it ended
  warren describe workload c -n shop                the workload and its other replicas
"
    );
}
