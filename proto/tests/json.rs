//! The JSON that `-o json` prints and others parse, compared with files. `UPDATE_GOLDEN=1` writes them anew.
#![allow(clippy::unwrap_used)]

use std::{env, fmt::Debug, fs, path::Path};

use prost::{Message, Name};
use prost_types::{Duration, Timestamp};
use warren_proto::{json, v1};

#[track_caller]
fn golden<M: Message + Name + Default + Debug + PartialEq>(name: &str, message: &M) {
    let printed = json::to_value(message).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"));
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, format!("{printed:#}\n")).unwrap();
    }
    let expected: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(printed, expected, "{name} is {printed:#}");
    assert_eq!(&json::from_value::<M>(printed).unwrap(), message);
}

fn time(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: 1_767_322_445 + seconds,
        nanos: 0,
    })
}

fn labels() -> std::collections::BTreeMap<String, String> {
    [("zone".to_owned(), "a".to_owned())].into()
}

fn condition(ty: &str, status: v1::condition::Status) -> v1::Condition {
    v1::Condition {
        r#type: ty.into(),
        status: status.into(),
        reason: "ReplicasReady".into(),
        message: "2 of 2 replicas are ready".into(),
        last_transition_time: time(7),
    }
}

fn env_value() -> v1::EnvVar {
    v1::EnvVar {
        name: "LOG".into(),
        source: Some(v1::env_var::Source::Value("info".into())),
    }
}

fn env_secret() -> v1::EnvVar {
    let source = v1::env_var::Source::Secret("database/password".into());
    v1::EnvVar {
        name: "PASSWORD".into(),
        source: Some(source),
    }
}

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

fn spec() -> v1::WorkloadSpec {
    let restart = v1::RestartPolicy {
        policy: v1::restart_policy::Policy::OnFailure.into(),
        initial_backoff: Some(Duration {
            seconds: 0,
            nanos: 100_000_000,
        }),
        max_backoff: seconds(30),
        reset_after: seconds(60),
        max_restarts: Some(10),
        window: seconds(300),
    };
    let service = v1::Service {
        component: digest("1"),
        args: vec!["--verbose".into()],
        env: vec![env_value(), env_secret()],
        restart: Some(restart),
        publish: vec![v1::Publish {
            port: 6379,
            listen: "127.0.0.1:0".into(),
            protocol: v1::publish::Protocol::Tcp.into(),
        }],
        egress: vec!["db.internal:5432".into()],
        limits: Some(v1::ServiceLimits {
            memory_bytes: Some(64 << 20),
        }),
        stop_grace: seconds(10),
    };
    let api = v1::Component {
        name: "api".into(),
        component: digest("2"),
        routes: vec![v1::Route {
            host: "counter.localhost".into(),
            path: "/".into(),
        }],
        limits: Some(v1::ComponentLimits {
            memory_bytes: Some(32 << 20),
            timeout: seconds(30),
            concurrency: Some(256),
        }),
        ..Default::default()
    };
    // Nothing but what is required, to show what is printed of the rest.
    let bare = v1::Component {
        name: "words".into(),
        component: digest("3"),
        ..Default::default()
    };
    v1::WorkloadSpec {
        replicas: Some(2),
        service: Some(service),
        components: vec![api, bare],
    }
}

#[test]
fn workload() {
    let status = v1::WorkloadStatus {
        replicas: 2,
        ready_replicas: 2,
        observed_generation: 3,
        conditions: vec![
            condition("Ready", v1::condition::Status::True),
            condition("Progressing", v1::condition::Status::False),
        ],
    };
    let workload = v1::Workload {
        namespace: "default".into(),
        name: "counter".into(),
        uid: "0190c5b8-6f7a-7cc0-8000-000000000001".into(),
        labels: labels(),
        create_time: time(0),
        delete_time: time(60),
        generation: 3,
        revision: 2,
        resource_version: "17".into(),
        spec: Some(spec()),
        status: Some(status),
        caller: "anonymous".into(),
    };
    golden("workload", &workload);
    golden("workload_default", &v1::Workload::default());
    let spec = v1::WorkloadSpec {
        service: Some(v1::Service::default()),
        ..Default::default()
    };
    golden("workload_spec_default", &spec);
}

#[test]
fn replica() {
    let last_exit = v1::Exit {
        reason: v1::exit::Reason::Trapped.into(),
        code: 0,
        message: "wasm trap: unreachable".into(),
        time: time(5),
        stderr: vec!["panicked at src/main.rs:3:5".into()],
    };
    let replica = v1::Replica {
        id: "counter-abcdefgh23".into(),
        namespace: "default".into(),
        workload: "counter".into(),
        workload_uid: "0190c5b8-6f7a-7cc0-8000-000000000001".into(),
        revision: 2,
        worker: "worker-1".into(),
        phase: v1::replica::Phase::Running.into(),
        ready: true,
        restarts: 1,
        last_exit: Some(last_exit),
        conditions: vec![condition("Started", v1::condition::Status::Unknown)],
        endpoints: vec![v1::Endpoint {
            protocol: v1::publish::Protocol::Tcp.into(),
            guest_port: 6379,
            address: "127.0.0.1:40001".into(),
        }],
        create_time: time(1),
        resource_version: "18".into(),
    };
    golden("replica", &replica);
    golden("replica_default", &v1::Replica::default());
}

#[test]
fn worker() {
    let resources = |memory_bytes, replicas| {
        Some(v1::Resources {
            memory_bytes,
            replicas,
        })
    };
    let worker = v1::Worker {
        id: "0190c5b8-6f7a-7cc0-8000-000000000002".into(),
        name: "worker-1".into(),
        address: "http://127.0.0.1:7701".into(),
        ready: true,
        cordoned: false,
        labels: labels(),
        capacity: resources(8 << 30, 1000),
        allocated: resources(96 << 20, 1),
        last_heartbeat: Some(Timestamp {
            seconds: 1_767_322_445,
            nanos: 250_000_000,
        }),
        version: "0.1.0".into(),
        resource_version: "19".into(),
    };
    golden("worker", &worker);
    golden("worker_default", &v1::Worker::default());
}

#[test]
fn event() {
    let event = v1::Event {
        namespace: "default".into(),
        time: time(3),
        object: "replica/counter-abcdefgh23".into(),
        r#type: v1::event::Type::Warning.into(),
        reason: "Trapped".into(),
        message: "wasm trap: unreachable".into(),
        count: 4,
        workload: "counter".into(),
        caller: String::new(),
    };
    golden("event", &event);
    golden("event_default", &v1::Event::default());
}

#[test]
fn log_line() {
    let line = v1::LogLine {
        time: Some(Timestamp {
            seconds: 1_767_322_445,
            nanos: 123_456_789,
        }),
        replica: "counter-abcdefgh23".into(),
        source: "service".into(),
        stream: v1::log_line::Stream::Stderr.into(),
        line: "listening on \"127.0.0.1:6379\" – ready".into(),
        dropped_before: 0,
    };
    golden("log_line", &line);
    golden("log_line_default", &v1::LogLine::default());
}

#[test]
fn env_var() {
    golden("env_var_value", &env_value());
    golden("env_var_secret", &env_secret());
    let empty = v1::env_var::Source::Value(String::new());
    golden(
        "env_var_empty",
        &v1::EnvVar {
            name: "EMPTY".into(),
            source: Some(empty),
        },
    );
    golden("env_var_default", &v1::EnvVar::default());
}

#[test]
fn unknown_fields_and_names_are_refused() {
    for value in [
        serde_json::json!({ "name": "a", "nmae": "b" }),
        serde_json::json!({ "name": 1 }),
        serde_json::json!({ "status": { "conditions": [ { "status": "MAYBE" } ] } }),
    ] {
        let error = json::from_value::<v1::Workload>(value.clone());
        assert!(error.is_err(), "{value} was read as {error:?}");
    }
}
