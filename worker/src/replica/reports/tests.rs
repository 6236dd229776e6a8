#![allow(clippy::unwrap_used)]

use super::*;

fn step(reason: &str) -> Option<v1::Transition> {
    Some(v1::Transition {
        reason: reason.into(),
        ..Default::default()
    })
}

fn told(batch: &Batch) -> Vec<(&str, Phase, Vec<&str>)> {
    let reports = batch.reports.iter();
    reports
        .map(|r| {
            let steps = r.transitions.iter().map(|t| t.reason.as_str()).collect();
            (r.replica.as_str(), r.phase(), steps)
        })
        .collect()
}

#[test]
fn a_batch_contains_what_changed_since_the_last_one() {
    let book = ReportBook::new();
    book.record("a", ReplicaState::new(Phase::Starting), step("Starting"));
    book.record("b", ReplicaState::new(Phase::Starting), None);
    let first = book.since(0);
    assert_eq!(
        told(&first),
        [
            ("a", Phase::Starting, vec!["Starting"]),
            ("b", Phase::Starting, vec![])
        ]
    );

    book.record("a", ReplicaState::new(Phase::Running), step("Started"));
    book.record("b", ReplicaState::new(Phase::Starting), None);
    let second = book.since(first.version);
    assert_eq!(told(&second), [("a", Phase::Running, vec!["Started"])]);
    assert_eq!(book.since(second.version).reports, []);
}

#[test]
fn transitions_stay_until_confirmed_and_are_bounded() {
    let book = ReportBook::new();
    for i in 0..40 {
        book.record("a", ReplicaState::new(Phase::Backoff), step(&i.to_string()));
    }
    let all = book.all();
    let steps = &told(&all)[0].2;
    assert_eq!((steps.len(), steps[0], steps[31]), (32, "8", "39"));

    // Each was a distinct event, so none of the earlier ones is lost.
    assert_eq!(all.reports[0].earlier.len(), 8);

    book.record("a", ReplicaState::new(Phase::Running), step("late"));
    book.confirm(all.version);
    assert_eq!(told(&book.all()), [("a", Phase::Running, vec!["late"])]);
    assert_eq!(book.all().reports[0].earlier, []);
}

#[test]
fn transitions_that_are_no_longer_kept_are_counted() {
    let book = ReportBook::new();
    let mut once = step("Refused").unwrap();
    once.message = "port 80".into();
    once.total = 5;
    let first = [step("Started"), step("Ready"), Some(once)]
        .into_iter()
        .flatten();
    book.record("a", ReplicaState::new(Phase::Running), first);
    for _ in 0..100 {
        let steps = [step("Exited"), step("Backoff"), step("Started")];
        let steps = steps.into_iter().flatten();
        book.record("a", ReplicaState::new(Phase::Backoff), steps);
    }
    let report = book.all().reports.remove(0);
    assert_eq!(report.transitions.len(), MAX_TRANSITIONS);
    let totals = |steps: &[v1::Transition]| -> Vec<(String, u32)> {
        let steps = steps.iter().map(|step| (step.reason.clone(), step.total));
        steps.collect()
    };
    let last = |reason: &str| {
        let mut transitions = totals(&report.transitions).into_iter();
        transitions.rfind(|(other, _)| other == reason)
    };
    assert_eq!(last("Exited").unwrap().1, 100);
    assert_eq!(last("Backoff").unwrap().1, 100);
    assert_eq!(last("Started").unwrap().1, 101);
    let earlier = totals(&report.earlier);
    for told in [("Ready", 1), ("Refused", 5)] {
        assert!(
            earlier.contains(&(told.0.to_owned(), told.1)),
            "{earlier:?}"
        );
    }
    // They are bounded by the number of kinds, and not by how often each occurred.
    assert_eq!(earlier.len(), 5, "{earlier:?}");

    // What is confirmed is not reported again, and its counts continue.
    book.confirm(book.all().version);
    book.record("a", ReplicaState::new(Phase::Backoff), step("Exited"));
    let report = book.all().reports.remove(0);
    assert_eq!(totals(&report.transitions), [("Exited".to_owned(), 101)]);
    assert_eq!(report.earlier, []);
}

#[test]
fn a_stopped_replica_is_forgotten_once_confirmed_and_not_before() {
    let book = ReportBook::new();
    book.record("a", ReplicaState::new(Phase::Stopping), None);
    let before = book.all();
    book.record("a", ReplicaState::new(Phase::Stopped), None);
    book.confirm(before.version);
    assert!(book.contains("a"));
    assert_eq!(book.unstopped(), Vec::<String>::new());
    book.confirm(book.all().version);
    assert!(!book.contains("a"));
    assert!(book.book.lock().order.is_empty());
}

#[test]
fn a_replica_that_is_gone_keeps_its_counts() {
    let book = ReportBook::new();
    let failed = ReplicaState {
        restarts: 7,
        ready: true,
        ..ReplicaState::new(Phase::Failed)
    };
    book.record("a", failed, step("Failed"));
    book.record_gone("a");
    book.record_gone("b");
    let all = book.all();
    assert_eq!(
        told(&all),
        [
            ("a", Phase::Stopped, vec!["Failed"]),
            ("b", Phase::Stopped, vec![])
        ]
    );
    assert_eq!((all.reports[0].restarts, all.reports[0].ready), (7, false));
}

#[test]
fn texts_of_a_guest_are_bounded() {
    let exit = v1::Exit {
        message: "é".repeat(MAX_MESSAGE),
        stderr: vec!["x".repeat(MAX_STDERR_LINE + 1); 2 * MAX_STDERR_LINES],
        ..Default::default()
    };
    let book = ReportBook::new();
    let state = ReplicaState {
        last_exit: Some(exit.clone()),
        last_exits: vec![exit; 2 * MAX_EXITS],
        ..ReplicaState::new(Phase::Failed)
    };
    book.record("a", state, None);
    let report = book.all().reports.remove(0);
    assert_eq!(report.last_exits.len(), MAX_EXITS);
    for exit in &report.last_exits {
        assert!(exit.message.len() <= MAX_OLD_MESSAGE && exit.stderr.is_empty());
    }
    let exit = report.last_exit.unwrap();
    let (cut, message) = ("…", &exit.message);
    assert!(message.len() <= MAX_MESSAGE && message.len() > MAX_MESSAGE - 4);
    assert!(message.ends_with(cut), "{message}");
    let line = "x".repeat(MAX_STDERR_LINE - cut.len()) + cut;
    assert_eq!(exit.stderr, vec![line; MAX_STDERR_LINES]);
}

#[tokio::test]
async fn waiting_ends_with_the_next_record() {
    let book = ReportBook::new();
    let waiter = tokio::spawn({
        let book = book.clone();
        async move { book.changed(0).await }
    });
    book.record("a", ReplicaState::new(Phase::Pending), None);
    waiter.await.unwrap();
}

#[test]
fn a_replica_that_its_worker_keeps_is_reported_as_waiting_and_not_as_stopped() {
    use Phase::{Completed, Failed, Pending, Running, Stopped, Stopping};
    let book = ReportBook::new();
    let before = [
        ("runs", Running),
        ("completed", Completed),
        ("failed", Failed),
        ("goes", Running),
    ];
    for (replica, phase) in before {
        let condition = v1::Condition {
            r#type: "Ready".to_owned(),
            status: v1::condition::Status::True.into(),
            ..v1::Condition::default()
        };
        let state = ReplicaState {
            ready: phase == Running,
            restarts: 2,
            conditions: vec![condition],
            ..ReplicaState::new(phase)
        };
        book.record(replica, state, None);
    }
    book.keep(["runs", "completed", "failed"].map(str::to_owned));
    for (replica, _) in before {
        for phase in [Stopping, Stopped] {
            book.record(replica, ReplicaState::new(phase), None);
        }
    }
    let batch = book.all();
    let phases: BTreeMap<_, _> = batch
        .reports
        .iter()
        .map(|it| (it.replica.as_str(), (it.phase(), it.ready)))
        .collect();
    let expected = [
        ("runs", (Pending, false)),
        ("completed", (Completed, false)),
        ("failed", (Failed, false)),
        ("goes", (Stopped, false)),
    ];
    assert_eq!(phases, BTreeMap::from(expected));
    // Once this was reported, the waiting replica is still known, because its files are kept for
    // the next start.
    book.confirm(batch.version);
    assert!(book.contains("runs") && !book.contains("goes"));
}
