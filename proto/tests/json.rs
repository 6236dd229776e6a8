//! The JSON that `-o json` prints and others parse, compared with files. `UPDATE_GOLDEN=1` writes
//! them anew.
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
        on_failed: v1::restart_policy::Recovery::Replace.into(),
        on_lost: v1::restart_policy::Recovery::Keep.into(),
    };
    let service = v1::Service {
        component: digest("1"),
        args: vec!["--verbose".into()],
        env: vec![env_value(), env_secret()],
        config: vec![env_value()],
        restart: Some(restart),
        publish: vec![v1::Publish {
            port: 6379,
            listen: "127.0.0.1:0".into(),
            protocol: v1::publish::Protocol::Tcp.into(),
        }],
        egress: vec!["db.internal:5432".into()],
        limits: Some(v1::ServiceLimits {
            memory_bytes: Some(64 << 20),
            cpu_weight: Some(100),
            request_body_bytes: Some(1 << 20),
            response_body_bytes: Some(1 << 30),
        }),
        stop_grace: seconds(10),
        readiness: Some(readiness()),
        liveness: Some(liveness()),
        routes: vec![v1::ServiceRoute {
            host: "db.localhost".into(),
            path: "/".into(),
            port: 8080,
            protocol: v1::service_route::Protocol::H2c.into(),
        }],
        volumes: vec![v1::VolumeMount {
            name: "data".into(),
            mount_path: "/data".into(),
            read_only: true,
        }],
        exclusive: true,
        reserve: Some(v1::Reserve {
            memory_bytes: Some(24 << 20),
        }),
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
            request_body_bytes: Some(1 << 20),
            response_body_bytes: Some(1 << 30),
        }),
        reuse: Some(v1::Reuse {
            requests: Some(128),
            concurrency: Some(16),
        }),
        reserve: Some(v1::Reserve {
            memory_bytes: Some(8 << 20),
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
        volumes: vec![
            v1::Volume {
                name: "data".into(),
                source: Some(v1::volume::Source::EmptyDir(v1::EmptyDir {
                    size_limit_bytes: Some(2 << 30),
                    inodes: Some(1000),
                })),
            },
            v1::Volume {
                name: "shared".into(),
                source: Some(v1::volume::Source::Host("nfs".into())),
            },
        ],
        placement: Some(v1::Placement {
            labels: labels(),
            spread: "zone".into(),
        }),
        update: Some(v1::Update {
            max_surge: Some(1),
            max_unavailable: Some(0),
            progress_deadline: seconds(120),
            rollback_on_failure: Some(true),
            min_ready: seconds(1),
        }),
    }
}

fn readiness() -> v1::Probe {
    v1::Probe {
        check: Some(v1::probe::Check::Http(v1::HttpProbe {
            port: 8080,
            path: "/healthz".into(),
        })),
        interval: seconds(1),
        timeout: Some(Duration {
            seconds: 0,
            nanos: 500_000_000,
        }),
        failure_threshold: Some(3),
        success_threshold: Some(1),
        start_period: seconds(0),
    }
}

/// Nothing but what is required.
fn liveness() -> v1::Probe {
    v1::Probe {
        check: Some(v1::probe::Check::Tcp(v1::TcpProbe { port: 6379 })),
        ..Default::default()
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
        rollout: Some(v1::Rollout {
            revision: 2,
            state: v1::rollout::State::Stalled.into(),
            state_time: time(50),
            progress_time: time(40),
            ready_replicas: 1,
            earlier_replicas: Some(0),
            stable_revision: 1,
            message: "an artifact was deleted".into(),
            losses: Vec::new(),
        }),
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
        revision_time: time(30),
        revision_cause: v1::revision::Cause::RolledBack.into(),
        source_revision: 1,
        link_plan: Some(v1::LinkPlan {
            links: vec![v1::Link {
                importer: "service".into(),
                import: "demo:words/count@1.0.0".into(),
                exporter: "words".into(),
                export: "demo:words/count@1.1.0".into(),
            }],
            interfaces: vec!["wasi:cli/stdout@0.2.6".into()],
        }),
    };
    golden("workload", &workload);
    golden("workload_default", &v1::Workload::default());
    golden("rollout_default", &v1::Rollout::default());
    let spec = v1::WorkloadSpec {
        service: Some(v1::Service::default()),
        ..Default::default()
    };
    golden("workload_spec_default", &spec);
}

#[test]
fn parts_of_a_spec() {
    let grpc = v1::probe::Check::Grpc(v1::GrpcProbe {
        port: 9090,
        service: "store.v1.Store".into(),
    });
    golden(
        "probe_grpc",
        &v1::Probe {
            check: Some(grpc),
            ..Default::default()
        },
    );
    golden("probe_default", &v1::Probe::default());
    golden("service_route_default", &v1::ServiceRoute::default());
    golden("service_limits_default", &v1::ServiceLimits::default());
    golden("volume_default", &v1::Volume::default());
    golden("volume_mount_default", &v1::VolumeMount::default());
    golden("placement_default", &v1::Placement::default());
    golden("update_default", &v1::Update::default());
    golden("reuse_default", &v1::Reuse::default());
}

#[test]
fn revision() {
    let revision = v1::Revision {
        revision: 4,
        create_time: time(90),
        caller: "anonymous".into(),
        cause: v1::revision::Cause::RolledBack.into(),
        source_revision: 2,
        current: true,
        spec: Some(v1::WorkloadSpec {
            replicas: None,
            ..spec()
        }),
    };
    golden("revision", &revision);
    golden("revision_default", &v1::Revision::default());
}

#[test]
fn get_info_response() {
    let info = v1::GetInfoResponse {
        version: "0.1.0".into(),
        features: vec!["watch.resume".into(), "spec.service.routes.port".into()],
        store_schema: 1,
        max_artifact_bytes: 256 << 20,
        cluster_id: "0190c5b8-6f7a-7cc0-8000-000000000001".into(),
    };
    golden("get_info_response", &info);
}

#[test]
fn replica() {
    let last_exit = v1::Exit {
        reason: v1::exit::Reason::Trapped.into(),
        code: 0,
        message: "wasm trap: unreachable".into(),
        time: time(5),
        stderr: vec!["panicked at src/main.rs:3:5".into()],
        run_duration: Some(Duration {
            seconds: 1,
            nanos: 500_000_000,
        }),
    };
    let kept = v1::Exit {
        stderr: Vec::new(),
        ..last_exit.clone()
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
        last_exits: vec![kept],
        next_start_time: time(7),
        usage: Some(v1::ReplicaUsage {
            memory_bytes: 3 << 20,
            cpu_time: Some(Duration {
                seconds: 2,
                nanos: 250_000_000,
            }),
            cpu_millicores: Some(250),
            time: time(8),
        }),
        available: Some(true),
    };
    golden("replica", &replica);
    golden("replica_default", &v1::Replica::default());
}

#[test]
fn worker() {
    let resources = |memory_bytes, replicas, keeps_reserves| {
        Some(v1::Resources {
            memory_bytes,
            replicas,
            keeps_reserves,
        })
    };
    let worker = v1::Worker {
        id: "0190c5b8-6f7a-7cc0-8000-000000000002".into(),
        name: "worker-1".into(),
        address: "http://127.0.0.1:7701".into(),
        ready: true,
        cordoned: false,
        labels: labels(),
        capacity: resources(8 << 30, 1000, Some(true)),
        allocated: resources(96 << 20, 1, None),
        last_heartbeat: Some(Timestamp {
            seconds: 1_767_322_445,
            nanos: 250_000_000,
        }),
        version: "0.1.0".into(),
        resource_version: "19".into(),
        volumes: vec![v1::HostVolume {
            name: "data".into(),
            read_only: true,
        }],
        drain: Some(v1::Drain {
            start_time: time(20),
            caller: "anonymous".into(),
            replicas: 2,
            obstacles: vec![v1::drain::Obstacle {
                namespace: "default".into(),
                workload: "counter".into(),
                replicas: 2,
                message: "2 replicas have no other worker: no workers".into(),
                reason: "PortUnavailable".into(),
            }],
        }),
        http_address: "http://127.0.0.1:8000".into(),
        conditions: vec![condition("Ready", v1::condition::Status::True)],
        departure: Some(v1::Departure {
            start_time: time(30),
            keep_until: time(60),
            stopped: true,
        }),
        network: "5f2c".into(),
        publish_allow: vec!["127.0.0.1".into(), "0.0.0.0:30000-30999".into()],
        has_run: Some(true),
        compile_limits: Some(v1::CompileLimits {
            memory_bytes: 2 << 30,
            cpu_time: Some(Duration {
                seconds: 120,
                nanos: 0,
            }),
        }),
        instance: "8b1f".into(),
        interfaces: vec![v1::HostInterface {
            name: "wasi:cli/stdout@0.2.12".into(),
            needs_binding: false,
        }],
        features: vec!["spec.service.config".into()],
    };
    golden("worker", &worker);
    golden("departure_default", &v1::Departure::default());
    golden("drain_default", &v1::Drain::default());
    golden("worker_default", &v1::Worker::default());
}

#[test]
fn event() {
    let event = v1::Event {
        namespace: "default".into(),
        time: time(3),
        object: "replica/counter-abcdefgh23".into(),
        r#type: v1::event::Type::Warning.into(),
        reason: "Exited".into(),
        message: "the service trapped after 1.5s: wasm trap: unreachable".into(),
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
        restarts: 2,
        truncated: true,
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
