use super::*;

fn workload(replicas: u32) -> v1::Workload {
    v1::Workload {
        name: "w".into(),
        generation: 3,
        revision: 2,
        spec: Some(v1::WorkloadSpec {
            replicas: Some(replicas),
            ..Default::default()
        }),
        create_time: Some(Timestamp {
            seconds: 1,
            nanos: 0,
        }),
        ..Default::default()
    }
}

fn replica(id: &str, revision: u32, phase: Phase, ready: bool) -> v1::Replica {
    v1::Replica {
        id: id.into(),
        revision,
        phase: phase.into(),
        ready,
        worker: "w1".into(),
        create_time: Some(Timestamp {
            seconds: 5,
            nanos: 0,
        }),
        ..Default::default()
    }
}

fn summary(status: &v1::WorkloadStatus) -> (u32, u32, Vec<(String, Status, String)>) {
    let conditions = status
        .conditions
        .iter()
        .map(|held| (held.r#type.clone(), held.status(), held.reason.clone()))
        .collect();
    (status.replicas, status.ready_replicas, conditions)
}

#[test]
fn tells_ready_from_progressing() {
    use Phase::{Backoff, Completed, Failed, Lost, Running};
    use Status::{False, True};
    let cases = [
        (
            1,
            vec![],
            0,
            0,
            (False, "ReplicasNotReady"),
            (True, "Starting"),
        ),
        (
            0,
            vec![],
            0,
            0,
            (True, "ReplicasReady"),
            (False, "Complete"),
        ),
        (
            1,
            vec![("a", 2, Running, true)],
            1,
            1,
            (True, "ReplicasReady"),
            (False, "Complete"),
        ),
        (
            1,
            vec![("a", 1, Running, true), ("b", 2, Running, false)],
            2,
            0,
            (False, "ReplicasNotReady"),
            (True, "RollingOut"),
        ),
        (
            1,
            vec![("a", 1, Running, true), ("b", 2, Running, true)],
            2,
            1,
            (True, "ReplicasReady"),
            (True, "RollingOut"),
        ),
        (
            2,
            vec![("a", 2, Running, true), ("b", 2, Lost, false)],
            1,
            1,
            (False, "ReplicasNotReady"),
            (True, "Starting"),
        ),
        (
            2,
            vec![("a", 2, Backoff, false), ("b", 2, Failed, false)],
            2,
            0,
            (False, "ReplicaFailed"),
            (True, "Starting"),
        ),
        (
            1,
            vec![("a", 2, Running, true), ("b", 2, Running, true)],
            2,
            2,
            (True, "ReplicasReady"),
            (True, "ScalingDown"),
        ),
        (
            1,
            vec![("a", 2, Completed, false)],
            1,
            0,
            (False, "Completed"),
            (False, "Complete"),
        ),
    ];
    for (wanted, replicas, existing, ready, is_ready, progressing) in cases {
        let replicas: Vec<_> = replicas
            .iter()
            .map(|(id, rev, phase, ready)| replica(id, *rev, *phase, *ready))
            .collect();
        let status = derive(&workload(wanted), &replicas);
        let expected = (
            existing,
            ready,
            vec![
                ("Ready".to_owned(), is_ready.0, is_ready.1.to_owned()),
                (
                    "Progressing".to_owned(),
                    progressing.0,
                    progressing.1.to_owned(),
                ),
            ],
        );
        assert_eq!(summary(&status), expected, "{replicas:?}");
        assert_eq!(status.observed_generation, 3);
    }
}

#[test]
fn says_why_nothing_was_placed() {
    let mut pending = replica("a", 2, Phase::Pending, false);
    pending.worker.clear();
    crate::state::records::set_condition(
        &mut pending.conditions,
        "Scheduled",
        Status::False,
        "Unschedulable",
        "no workers",
        Timestamp::default(),
    );
    let status = derive(&workload(1), &[pending]);
    assert_eq!(status.conditions[0].reason, "Unschedulable");
    assert_eq!(
        status.conditions[0].message,
        "0 of 1 replicas are ready: no workers"
    );
}

#[test]
fn more_replicas_than_wanted_are_told_apart() {
    let replicas: Vec<v1::Replica> = ["a", "b", "c"]
        .map(|id| replica(id, 2, Phase::Running, true))
        .into();
    for (wanted, told) in [
        (3, "3 of 3 replicas are ready"),
        (1, "1 of 1 replicas are ready, and 2 more still to stop"),
        (0, "no replicas are wanted, and 3 still to stop"),
    ] {
        let status = derive(&workload(wanted), &replicas);
        assert_eq!(status.conditions[0].message, told);
    }
}

#[test]
fn a_stalled_rollout_is_told_until_it_gets_there() {
    let mut workload = workload(2);
    workload.spec.as_mut().unwrap().update = Some(v1::Update {
        progress_deadline: Some(prost_types::Duration {
            seconds: 90,
            nanos: 0,
        }),
        ..Default::default()
    });
    let stalled = Timestamp {
        seconds: 77,
        nanos: 0,
    };
    rollout::begin(&mut workload, Timestamp::default());
    rollout::stall(&mut workload, "a route is taken".into(), stalled);
    let noted = workload.status.as_mut().unwrap().rollout.as_mut().unwrap();
    noted.ready_replicas = 1;
    let old = replica("a", 1, Phase::Running, true);
    let new = |ready| replica("b", 2, Phase::Running, ready);
    let status = derive(
        &workload,
        &[
            old.clone(),
            new(true),
            replica("c", 2, Phase::Starting, false),
        ],
    );
    let progressing = &status.conditions[1];
    assert_eq!(
        (progressing.status(), progressing.reason.as_str()),
        (Status::False, "ProgressDeadlineExceeded")
    );
    assert_eq!(progressing.last_transition_time, Some(stalled));
    assert_eq!(
        progressing.message,
        "revision 2 made no progress within 1m30s: 1 of 2 replicas are ready, 1 run an older revision; \
         it was not rolled back: a route is taken"
    );
    // One more than it stalled with: it goes on, and is rolled out once that is noted.
    let both = [new(true), replica("c", 2, Phase::Running, true)];
    let status = derive(&workload, &both);
    assert_eq!(
        (
            status.conditions[1].status(),
            status.conditions[1].reason.as_str()
        ),
        (Status::True, "Starting")
    );
    // Of a revision before it says nothing.
    workload.revision = 3;
    let status = derive(&workload, &[old]);
    assert_eq!(
        (status.conditions[1].reason.as_str(), status.rollout),
        ("RollingOut", None)
    );
}
