use v1::replica::Phase;

use super::*;

fn look(everywhere: bool, wide: bool) -> Look {
    Look {
        everywhere,
        wide,
        short: false,
        now: SystemTime::UNIX_EPOCH,
    }
}

fn condition(kind: &str, status: Status, reason: &str) -> v1::Condition {
    v1::Condition {
        r#type: kind.into(),
        status: status.into(),
        reason: reason.into(),
        ..Default::default()
    }
}

fn counter() -> v1::Workload {
    v1::Workload {
        namespace: "shop".into(),
        name: "counter".into(),
        revision: 3,
        labels: [("tier".to_owned(), "back".to_owned())].into(),
        spec: Some(v1::WorkloadSpec {
            replicas: Some(2),
            service: Some(v1::Service {
                publish: vec![
                    v1::Publish {
                        port: 6379,
                        listen: "127.0.0.1:6379".into(),
                        ..Default::default()
                    },
                    v1::Publish {
                        port: 53,
                        listen: "0.0.0.0:53".into(),
                        protocol: v1::publish::Protocol::Udp.into(),
                    },
                ],
                routes: vec![v1::ServiceRoute {
                    path: "/ws".into(),
                    port: 8080,
                    ..Default::default()
                }],
                ..Default::default()
            }),
            components: vec![v1::Component {
                routes: vec![v1::Route {
                    host: "counter.localhost".into(),
                    path: "/".into(),
                }],
                ..Default::default()
            }],
            ..Default::default()
        }),
        status: Some(v1::WorkloadStatus {
            ready_replicas: 1,
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[test]
fn workloads_with_and_without_more() {
    let counter = [counter()];
    assert_eq!(
        table(&counter, &look(false, false)).to_string(),
        "NAME      READY   STATUS     REVISION   AGE\n\
         counter   1/2     NotReady   3          -\n"
    );
    assert_eq!(
        table(&counter, &look(true, true)).to_string(),
        "NAMESPACE   NAME      READY   STATUS     REVISION   AGE   ROUTES                    PUBLISH                                   LABELS\n\
         shop        counter   1/2     NotReady   3          -     counter.localhost/,*/ws   127.0.0.1:6379->6379,0.0.0.0:53->53/udp   tier=back\n"
    );
}

#[test]
fn the_state_of_a_workload_is_one_word() {
    let with = |conditions: Vec<v1::Condition>| {
        let mut workload = counter();
        workload.status.get_or_insert_default().conditions = conditions;
        workload
    };
    for (conditions, word) in [
        (vec![], "NotReady"),
        (
            vec![
                condition("Ready", Status::True, "ReplicasReady"),
                condition("Progressing", Status::False, "Complete"),
            ],
            "Ready",
        ),
        (
            vec![
                condition("Ready", Status::True, "ReplicasReady"),
                condition("Progressing", Status::True, "RollingOut"),
            ],
            "RollingOut",
        ),
        (
            vec![
                condition("Ready", Status::False, "Unschedulable"),
                condition("Progressing", Status::True, "Starting"),
            ],
            "Unschedulable",
        ),
    ] {
        assert_eq!(state(&with(conditions)), word);
    }
    let mut leaving = counter();
    leaving.delete_time = Some(prost_types::Timestamp::default());
    assert_eq!(state(&leaving), "Deleting");
    assert_eq!(leaving.row(&look(false, false), true)[2], "Deleted");
}

#[test]
fn replicas_without_a_worker_and_after_an_end() {
    let pending = v1::Replica {
        id: "counter-abc".into(),
        workload: "counter".into(),
        phase: Phase::Pending.into(),
        ..Default::default()
    };
    assert_eq!(
        table(std::slice::from_ref(&pending), &look(false, false)).to_string(),
        "NAME          WORKLOAD   PHASE     READY   RESTARTS   WORKER   AGE\n\
         counter-abc   counter    PENDING   no      0          -        -\n"
    );
    for (reason, shown) in [
        ("Pulling", "PENDING,pulling"),
        ("Compiling", "PENDING,compiling"),
        ("Pending", "PENDING"),
    ] {
        let preparing = v1::Replica {
            conditions: vec![v1::Condition {
                r#type: "ArtifactsReady".into(),
                status: Status::False.into(),
                reason: reason.into(),
                ..Default::default()
            }],
            ..pending.clone()
        };
        assert_eq!(preparing.row(&look(false, false), false)[2], shown);
    }
    let ended = v1::Replica {
        phase: Phase::Backoff.into(),
        worker: "w1".into(),
        revision: 2,
        restarts: 4,
        last_exit: Some(v1::Exit {
            reason: v1::exit::Reason::Exited.into(),
            code: 3,
            ..Default::default()
        }),
        usage: Some(v1::ReplicaUsage {
            memory_bytes: 3 << 20,
            cpu_millicores: Some(250),
            ..Default::default()
        }),
        ..pending
    };
    assert_eq!(
        table(&[ended], &look(true, true)).body(),
        "-   counter-abc   counter   BACKOFF   no   4   w1   -   2   3MiB   25%   -   EXITED with code 3\n"
    );
}

#[test]
fn at_80_columns_names_phases_and_reasons_are_whole() {
    let name = "a-workload-of-a-long-name";
    let replica = v1::Replica {
        id: format!("{name}-abcdefghij"),
        workload: name.into(),
        namespace: "shop".into(),
        worker: "worker-7".into(),
        phase: Phase::Completed.into(),
        ..Default::default()
    };
    let mut workload = counter();
    workload.name = name.into();
    workload.status.get_or_insert_default().conditions = vec![condition(
        "Ready",
        Status::False,
        "ProgressDeadlineExceeded",
    )];
    let worker = v1::Worker {
        name: "worker-with-the-name-of-a-machine-example-com".into(),
        cordoned: true,
        version: "0.1.0".into(),
        ..Default::default()
    };
    let look = look(true, false);
    let replicas = table(std::slice::from_ref(&replica), &look).within(80);
    let workloads = table(std::slice::from_ref(&workload), &look).within(80);
    let workers = table(std::slice::from_ref(&worker), &look).within(80);
    for (text, parts) in [
        (&replicas, [&*replica.id, "COMPLETED", "worker-7"]),
        (&workloads, [name, "ProgressDeadlineExceeded", "1/2"]),
        (&workers, [&*worker.name, "no,cordoned", "REPLICAS"]),
    ] {
        for part in parts {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        for line in text.lines() {
            assert!(line.len() <= 80, "{line}");
        }
    }
    // With enough room, or with `-o wide`, all columns are shown.
    assert!(table(&[replica], &look).within(200).contains("RESTARTS"));
    let wide = Look { wide: true, ..look };
    assert!(table(&[workload], &wide).within(80).contains("LABELS"));
}

#[test]
fn workers_and_artifacts() {
    let worker = v1::Worker {
        name: "w1".into(),
        ready: true,
        cordoned: true,
        version: "0.1.0".into(),
        capacity: Some(v1::Resources {
            memory_bytes: 8 << 30,
            replicas: 0,
            keeps_reserves: Some(true),
        }),
        allocated: Some(v1::Resources {
            memory_bytes: 96 << 20,
            replicas: 1,
            keeps_reserves: None,
        }),
        ..Default::default()
    };
    assert_eq!(
        table(&[worker], &look(false, false)).to_string(),
        "NAME   READY      REPLICAS   MEMORY       VERSION   HEARTBEAT\n\
         w1     cordoned   1          96MiB/8GiB   0.1.0     -\n"
    );
    let artifact = v1::Artifact {
        digest: format!("sha256:{}", "ab".repeat(32)),
        size_bytes: 68_000,
        uses: vec![
            v1::artifact::Use::Service.into(),
            v1::artifact::Use::Http.into(),
        ],
        ..Default::default()
    };
    let short = Look {
        short: true,
        ..look(false, false)
    };
    assert_eq!(
        table(&[artifact], &short).to_string(),
        "DIGEST                SIZE    USES           AGE\n\
         sha256:abababababab   66KiB   SERVICE,HTTP   -\n"
    );
}

#[test]
fn a_worker_that_is_not_ready_says_why() {
    let condition = |kind: &str, reason: &str| v1::Condition {
        r#type: kind.into(),
        status: Status::False.into(),
        reason: reason.into(),
        ..Default::default()
    };
    let worker = |ready, conditions: &[(&str, &str)]| v1::Worker {
        ready,
        conditions: conditions
            .iter()
            .map(|(kind, reason)| condition(kind, reason))
            .collect(),
        ..Default::default()
    };
    let departing = |worker| v1::Worker {
        departure: Some(v1::Departure::default()),
        ..worker
    };
    let drained = |worker| v1::Worker {
        cordoned: true,
        drain: Some(v1::Drain::default()),
        ..worker
    };
    let other = ("Ready", "OtherCluster");
    let cases = [
        (worker(true, &[]), "yes"),
        (worker(false, &[]), "no"),
        (worker(false, &[other]), "no,OtherCluster"),
        (drained(worker(false, &[other])), "no,OtherCluster,drained"),
        (drained(worker(true, &[])), "drained"),
        (departing(worker(true, &[])), "stopping"),
        (
            departing(worker(false, &[("Ready", "Stopped")])),
            "no,Stopped",
        ),
        (
            worker(true, &[("Assignments", "Dropped")]),
            "AssignmentsDropped",
        ),
    ];
    for (worker, expected) in cases {
        assert_eq!(worker.row(&look(false, false), false)[1], expected);
    }
    let wide = v1::Worker {
        http_address: "http://127.0.0.1:8000".into(),
        ..v1::Worker::default()
    };
    let at = v1::Worker::header(&look(false, true))
        .iter()
        .position(|title| *title == "HTTP");
    let row = wide.row(&look(false, true), false);
    assert_eq!(row[at.expect("a column")], "http://127.0.0.1:8000");
}
