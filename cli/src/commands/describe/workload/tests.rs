use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use v1::{condition::Status as Holds, replica::Phase};

use super::*;
use crate::output::Style;

const NOW: u64 = 1_000_000;

fn ago(seconds: u64) -> Option<Timestamp> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW - seconds);
    Some(time.into())
}

fn proto(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}

fn described(view: &View) -> String {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let mut text = Text::new(now, Style::plain());
    describe(&mut text, view);
    text.into_shown().as_str().to_owned()
}

fn service() -> v1::Service {
    v1::Service {
        component: format!("sha256:{}", "ab".repeat(32)),
        env: vec![v1::EnvVar {
            name: "LOG".into(),
            source: Some(v1::env_var::Source::Value("info".into())),
        }],
        config: vec![v1::EnvVar {
            name: "greeting".into(),
            source: Some(v1::env_var::Source::Value("hello".into())),
        }],
        publish: vec![v1::Publish {
            port: 6379,
            listen: "0.0.0.0:6380".into(),
            protocol: v1::publish::Protocol::Tcp.into(),
        }],
        routes: vec![v1::ServiceRoute {
            host: "ws.localhost".into(),
            path: "/ws".into(),
            port: 8080,
            ..Default::default()
        }],
        restart: Some(v1::RestartPolicy {
            initial_backoff: proto(Duration::from_millis(100)),
            max_backoff: proto(Duration::from_secs(30)),
            max_restarts: Some(10),
            window: proto(Duration::from_secs(300)),
            ..Default::default()
        }),
        readiness: Some(v1::Probe {
            check: Some(v1::probe::Check::Tcp(v1::TcpProbe { port: 6379 })),
            interval: proto(Duration::from_secs(1)),
            failure_threshold: Some(3),
            ..Default::default()
        }),
        limits: Some(v1::ServiceLimits {
            memory_bytes: Some(64 << 20),
            cpu_weight: Some(100),
            ..v1::ServiceLimits::default()
        }),
        ..Default::default()
    }
}

fn workload() -> v1::Workload {
    v1::Workload {
        namespace: "shop".into(),
        name: "counter".into(),
        revision: 3,
        generation: 3,
        caller: "local".into(),
        create_time: ago(86_400 * 3),
        revision_time: ago(300),
        revision_cause: Cause::Applied.into(),
        labels: [("tier".to_owned(), "back".to_owned())].into(),
        spec: Some(v1::WorkloadSpec {
            replicas: Some(2),
            service: Some(service()),
            components: vec![v1::Component {
                name: "api".into(),
                component: format!("sha256:{}", "cd".repeat(32)),
                routes: vec![v1::Route::default()],
                egress: vec!["db.internal:5432".into()],
                ..Default::default()
            }],
            placement: Some(v1::Placement {
                labels: [("zone".to_owned(), "a".to_owned())].into(),
                spread: "rack".into(),
            }),
            ..Default::default()
        }),
        status: Some(v1::WorkloadStatus {
            replicas: 2,
            ready_replicas: 1,
            observed_generation: 3,
            rollout: None,
            conditions: vec![v1::Condition {
                r#type: "Ready".into(),
                status: Holds::False.into(),
                reason: "ReplicaRestarting".into(),
                message: "1 of 2 replicas are ready".into(),
                last_transition_time: ago(4),
            }],
        }),
        ..Default::default()
    }
}

#[test]
fn a_workload_that_is_ill_is_explained() {
    let ready = v1::Replica {
        id: "counter-abc".into(),
        worker: "w1".into(),
        revision: 3,
        phase: Phase::Running.into(),
        ready: true,
        endpoints: vec![v1::Endpoint {
            protocol: v1::publish::Protocol::Tcp.into(),
            guest_port: 6379,
            address: "0.0.0.0:6380".into(),
        }],
        create_time: ago(300),
        ..Default::default()
    };
    let waiting = v1::Replica {
        id: "counter-x7k".into(),
        namespace: "shop".into(),
        worker: "w2".into(),
        revision: 3,
        phase: Phase::Backoff.into(),
        restarts: 3,
        conditions: vec![v1::Condition {
            r#type: "Ready".into(),
            status: Holds::False.into(),
            message: "the service trapped: unreachable; starting again in 1.6s".into(),
            ..Default::default()
        }],
        last_exit: Some(v1::Exit {
            reason: v1::exit::Reason::Trapped.into(),
            message: "unreachable\n  0: cache!main".into(),
            time: ago(4),
            stderr: vec!["about to fall over".into()],
            ..Default::default()
        }),
        create_time: ago(200),
        ..Default::default()
    };
    let event = v1::Event {
        time: ago(4),
        object: "replica/counter-x7k".into(),
        r#type: v1::event::Type::Warning.into(),
        reason: "Exited".into(),
        message: "the service trapped: unreachable\n 0: main".into(),
        count: 3,
        ..Default::default()
    };
    let worker = v1::Worker {
        name: "w1".into(),
        address: "http://10.0.0.5:7701".into(),
        ..Default::default()
    };
    let view = View {
        workload: workload(),
        replicas: vec![ready, waiting],
        workers: vec![worker],
        events: vec![event],
    };
    assert_eq!(
        described(&view),
        "\
Workload counter in namespace shop
  1 of 2 replicas are ready at revision 3
  counter-x7k waits on worker w2 to be restarted: the service trapped: unreachable; starting again in 1.6s (4s ago); restarted 3 times
  revision 3 was created 5m ago by local: it was applied
  created 3d ago
  labels tier=back

How to reach it
  http://<any host>/       component api
  http://ws.localhost/ws   port 8080 of the service
  (at the --http port of any worker, by default 8000)
  tcp 10.0.0.5:6380 (bound to 0.0.0.0:6380) on worker w1 leads to port 6379

Replicas
  counter-x7k on worker w2: BACKOFF, restarted 3 times, created 3m20s ago
    last ended 4s ago: TRAPPED
      unreachable
        0: cache!main
    its last lines on stderr:
      | about to fall over
  counter-abc on worker w1: RUNNING, ready, created 5m ago

Conditions
  Ready is FALSE for 4s (ReplicaRestarting): 1 of 2 replicas are ready

What should run
  2 replicas on workers with zone=a, spread over rack
  service sha256:abababababab
    environment LOG=\"info\"
    is ready while port 6379 accepts a connection, checked every 1s, failing after 3 failures in a row
    may not connect to anything outside the workload
    restarts always, after 100ms doubling to 30s, at most 10 times in 5m
    at most 64MiB of memory, 16MiB of it reserved
    config.greeting: hello
  component api sha256:cdcdcdcdcdcd
    may connect to db.internal:5432

Recent events
  4s ago   WARNING   Exited (x3)   replica/counter-x7k   the service trapped: unreachable

What to do next
  warren logs counter --tail 20 -n shop   what the service wrote before it ended
  warren history counter -n shop          the changes of this revision
  warren rollback counter -n shop         go back to the previous revision
"
    );
}

#[test]
fn a_healthy_workload_has_no_hints() {
    let mut workload = workload();
    workload.namespace = "default".into();
    let spec = workload.spec.get_or_insert_default();
    spec.replicas = Some(1);
    spec.components.clear();
    spec.service = None;
    spec.placement = None;
    workload.source_revision = 1;
    workload.revision_cause = Cause::RolledBack.into();
    workload.status.get_or_insert_default().conditions.clear();
    let view = View {
        workload,
        replicas: Vec::new(),
        workers: Vec::new(),
        events: Vec::new(),
    };
    assert_eq!(
        described(&view),
        "\
Workload counter in namespace default
  1 of 1 replica is ready at revision 3
  revision 3 was created 5m ago by local: a rollback to revision 1
  created 3d ago
  labels tier=back

What should run
  1 replica

No events are kept
"
    );
}

#[test]
fn hints_match_the_state() {
    let hinted = |change: &dyn Fn(&mut v1::Workload, &mut v1::Replica)| {
        let mut workload = workload();
        workload.namespace = "default".into();
        workload.revision = 1;
        let mut replica = v1::Replica {
            revision: 1,
            ready: true,
            phase: Phase::Running.into(),
            ..Default::default()
        };
        change(&mut workload, &mut replica);
        let hints = hints::of_workload(&workload, &[replica]);
        let hints: Vec<String> = hints.into_iter().map(|(what, _)| what).collect();
        hints.join("; ")
    };
    assert_eq!(hinted(&|_, _| {}), "");
    let scaled = hinted(&|workload, _| {
        workload.spec.get_or_insert_default().replicas = Some(0);
    });
    assert_eq!(scaled, "warren scale counter 1");
    let leaving = hinted(&|workload, _| workload.delete_time = ago(1));
    assert_eq!(leaving, "warren get replicas counter -w");
    let hungry = hinted(&|_, replica| {
        replica.last_exit = Some(v1::Exit {
            reason: v1::exit::Reason::OutOfMemory.into(),
            ..Default::default()
        });
    });
    assert_eq!(
        hungry,
        "warren logs counter --previous; set service.limits.memory above 64MiB and apply again; \
         set service.reserve.memory to the amount that it needs and apply again"
    );
    let homeless = hinted(&|_, replica| {
        replica.phase = Phase::Pending.into();
        replica.conditions = vec![v1::Condition {
            r#type: "Scheduled".into(),
            status: Holds::False.into(),
            ..Default::default()
        }];
    });
    assert_eq!(homeless, "warren get workers -o wide");
}

#[test]
fn of_many_replicas_the_worst_are_listed() {
    let mut workload = workload();
    workload.revision = 0;
    let mut replicas = vec![v1::Replica::default(); 100];
    replicas[99].id = "last".into();
    replicas[99].set_phase(Phase::Failed);
    let view = View {
        workload,
        replicas,
        workers: Vec::new(),
        events: Vec::new(),
    };
    let described = described(&view);
    assert!(
        described.contains("revision 0\n  last has failed"),
        "{described}"
    );
    assert!(
        described.contains("\n  and 95 more: `warren get replicas counter`"),
        "{described}"
    );
    assert!(described.contains("\n  and 80 more: "), "{described}");
    assert!(described.lines().count() < 80, "{described}");
}

#[test]
fn replicas_beyond_the_wanted_number_are_counted_separately() {
    for (ready, wanted, described) in [
        (1, 2, "1 of 2 replicas are ready"),
        (1, 1, "1 of 1 replica is ready"),
        (0, 0, "no replicas are wanted"),
        (300, 0, "no replicas are wanted, and 300 still to stop"),
        (5, 2, "2 of 2 replicas are ready, and 3 more still to stop"),
    ] {
        assert_eq!(how_many(ready, wanted), described);
    }
}

#[test]
fn links_name_what_answers_each_import() {
    let link = |importer: &str, import: &str, exporter: &str, export: &str| v1::Link {
        importer: importer.into(),
        import: import.into(),
        exporter: exporter.into(),
        export: export.into(),
    };
    let plan = v1::LinkPlan {
        links: vec![
            link("service", "a:b/c@1.0.0", "library", "a:b/c@1.1.0"),
            link("api", "x:y/z", "library", "x:y/z"),
        ],
        interfaces: vec!["wasi:cli/exit@0.2.3".into(), "wasi:io/poll@0.2.3".into()],
    };
    let view = View {
        workload: v1::Workload {
            link_plan: Some(plan),
            ..workload()
        },
        replicas: vec![],
        workers: vec![],
        events: vec![],
    };
    let text = described(&view);
    let section = "
Links
  service   a:b/c@1.0.0   from library, as a:b/c@1.1.0
  api       x:y/z         from library
  a worker must provide wasi:{cli, io}@0.2.3
";
    assert!(text.contains(section), "{text}");
}
