use std::time::Duration;

use super::*;

fn proto(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

#[test]
fn reads_as_sentences() {
    let workload = v1::Workload {
        namespace: "default".into(),
        name: "counter".into(),
        revision: 3,
        generation: 3,
        caller: "local".into(),
        spec: Some(v1::WorkloadSpec {
            replicas: Some(1),
            service: Some(v1::Service {
                component: "sha256:aa".into(),
                env: vec![v1::EnvVar {
                    name: "LOG".into(),
                    source: Some(v1::env_var::Source::Value("info".into())),
                }],
                publish: vec![v1::Publish {
                    port: 6379,
                    listen: "127.0.0.1:6380".into(),
                    ..Default::default()
                }],
                restart: Some(v1::RestartPolicy {
                    initial_backoff: proto(Duration::from_millis(100)),
                    max_backoff: proto(Duration::from_secs(30)),
                    max_restarts: Some(10),
                    window: proto(Duration::from_secs(300)),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            components: vec![v1::Component {
                name: "api".into(),
                component: "sha256:bb".into(),
                routes: vec![v1::Route::default()],
                egress: vec!["db.internal:5432".into()],
                ..Default::default()
            }],
        }),
        ..Default::default()
    };
    let replica = v1::Replica {
        id: "counter-abc".into(),
        worker: "w1".into(),
        phase: v1::replica::Phase::Running.into(),
        ready: true,
        restarts: 1,
        endpoints: vec![v1::Endpoint {
            guest_port: 6379,
            address: "127.0.0.1:6380".into(),
            ..Default::default()
        }],
        ..Default::default()
    };
    let event = v1::Event {
        object: "replica/counter-abc".into(),
        reason: "Trapped".into(),
        message: "wasm trap: unreachable\n 0: main".into(),
        count: 2,
        ..Default::default()
    };
    assert_eq!(
        text(&workload, &[replica], &[event]),
        "\
Workload counter in namespace default
  0 of 1 replicas ready at revision 3
  created never, last written by local
  its last change has not been acted on yet
Service
  component sha256:aa
  environment LOG=\"info\"
  publishes its port 6379 at 127.0.0.1:6380
  may connect to nothing outside the workload
  restarts always, after 100ms doubling to 30s, at most 10 times in 5m
Component api
  component sha256:bb
  answers HTTP at */
  may connect to db.internal:5432
Replicas
  counter-abc on worker w1: RUNNING, ready, restarted once
    port 6379 is at 127.0.0.1:6380
Events
  Trapped replica/counter-abc never, 2 times: wasm trap: unreachable
"
    );
}
