#![allow(clippy::unwrap_used)]

mod crashes;
mod ends;
mod random;

use warren_model::spec::Recovery;

use super::*;

const TRAP: fn() -> ServiceEnd = || ServiceEnd::Trapped("unreachable".into());

fn policy(restart: Restart) -> RestartPolicy {
    RestartPolicy {
        restart,
        initial_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(30),
        reset_after: Duration::from_secs(60),
        max_restarts: 3,
        window: Duration::from_secs(300),
        on_failed: Recovery::Replace,
        on_lost: Recovery::Replace,
    }
}

fn ended(end: ServiceEnd) -> Event {
    Event::Ended { end, jitter: 128 }
}

fn drained() -> Event {
    Event::Drained { late: false }
}

fn reasons(step: &Step) -> Vec<&'static str> {
    step.notes.iter().map(|note| note.reason).collect()
}

fn running(restart: Restart, now: Instant) -> Life {
    let mut life = Life::new(Some(policy(restart)), 0);
    assert_eq!(life.step(Event::Prepared, now).actions, [Action::Start]);
    assert_eq!(life.phase(), Phase::Starting);
    assert_eq!(life.step(Event::Started, now).actions, []);
    assert_eq!(
        life.step(Event::Ready, now).actions,
        [Action::SetReady(true)]
    );
    life
}

/// Starts the service again after its backoff.
fn started_again(life: &mut Life, now: Instant) {
    let step = life.step(Event::BackoffElapsed, now);
    assert_eq!(step.actions, [Action::Start]);
    life.step(Event::Started, now);
    assert_eq!(life.phase(), Phase::Running);
}

fn wait_of(step: &Step) -> Duration {
    let waits: Vec<_> = step
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Wait(wait) => Some(*wait),
            _ => None,
        })
        .collect();
    assert_eq!(waits.len(), 1, "{step:?}");
    waits[0]
}

#[test]
fn which_ends_are_followed_by_a_restart() {
    let cases = [
        (Restart::Always, ServiceEnd::Exited(0), Phase::Backoff),
        (Restart::Always, ServiceEnd::Exited(3), Phase::Backoff),
        (Restart::Always, TRAP(), Phase::Backoff),
        (Restart::OnFailure, ServiceEnd::Exited(0), Phase::Completed),
        (Restart::OnFailure, ServiceEnd::Exited(1), Phase::Backoff),
        (Restart::OnFailure, TRAP(), Phase::Backoff),
        (Restart::Never, ServiceEnd::Exited(0), Phase::Completed),
        (Restart::Never, ServiceEnd::Exited(1), Phase::Failed),
        (Restart::Never, TRAP(), Phase::Failed),
    ];
    for (restart, end, phase) in cases {
        let now = Instant::now();
        let mut life = running(restart, now);
        let step = life.step(ended(end.clone()), now);
        assert_eq!(life.phase(), phase, "{restart:?} {end:?}");
        assert!(!life.ready());
        assert_eq!(step.actions[0], Action::SetReady(false));
    }
}

#[test]
fn backoff_doubles_and_a_healthy_run_resets_it() {
    let mut now = Instant::now();
    let mut life = running(Restart::Always, now);
    let mut waits = Vec::new();
    for _ in 0..3 {
        waits.push(wait_of(&life.step(ended(TRAP()), now)));
        now += Duration::from_secs(1);
        started_again(&mut life, now);
    }
    for pair in waits.windows(2) {
        let ratio = pair[1].as_secs_f64() / pair[0].as_secs_f64();
        assert!((1.99..2.01).contains(&ratio), "{waits:?}");
    }
    assert_eq!(life.restarts(), 3);

    now += Duration::from_secs(301);
    let wait = wait_of(&life.step(ended(TRAP()), now));
    assert_eq!(wait, waits[0]);
}

#[test]
fn backoff_stays_within_a_tenth_and_the_longest() {
    let policy = policy(Restart::Always);
    assert_eq!(backoff(&policy, 0, 0), Duration::from_millis(90));
    assert_eq!(backoff(&policy, 0, 255), Duration::from_millis(110));
    assert_eq!(backoff(&policy, 40, 255), policy.max_backoff);
}

#[test]
fn too_many_restarts_within_the_window_fail_it() {
    let mut now = Instant::now();
    let mut life = running(Restart::Always, now);
    for _ in 0..3 {
        life.step(ended(TRAP()), now);
        now += Duration::from_secs(1);
        started_again(&mut life, now);
    }
    let step = life.step(ended(TRAP()), now);
    assert_eq!(life.phase(), Phase::Failed);
    assert_eq!(step.actions, [Action::Release]);
    assert_eq!(reasons(&step), ["Exited", "TooManyRestarts"]);
    assert_eq!(life.step(Event::BackoffElapsed, now), Step::default());
}

#[test]
fn restarts_outside_the_window_are_forgotten() {
    let mut now = Instant::now();
    let mut life = running(Restart::Always, now);
    for _ in 0..20 {
        life.step(ended(TRAP()), now);
        assert_eq!(life.phase(), Phase::Backoff);
        now += Duration::from_secs(150);
        started_again(&mut life, now);
    }
    assert_eq!(life.restarts(), 20);
}

#[test]
fn a_replica_that_its_worker_forgot_continues_its_count() {
    let mut life = Life::new(Some(policy(Restart::Always)), 4);
    let now = Instant::now();
    life.step(Event::Prepared, now);
    assert_eq!(life.restarts(), 4);
    let step = life.step(Event::Started, now);
    assert!(step.notes[0].message.contains("restart 4"), "{step:?}");
}

#[test]
fn an_unhealthy_service_takes_no_work_is_ended_and_starts_again() {
    let now = Instant::now();
    let mut life = running(Restart::OnFailure, now);
    let why = || "its liveness probe failed 3 times in a row: no answer".to_owned();
    let end = ServiceEnd::Unhealthy(why());
    let step = life.step(Event::Unhealthy { why: why() }, now);
    assert_eq!(
        step.actions,
        [Action::SetReady(false), Action::End(end.clone())]
    );
    assert_eq!(reasons(&step), ["Unhealthy"]);
    assert_eq!(life.step(Event::Ready, now), Step::default());
    let step = life.step(ended(end), now);
    assert_eq!(life.phase(), Phase::Backoff);
    assert_eq!(reasons(&step), ["Killed", "Exited", "Backoff"]);
    for note in &step.notes[..2] {
        assert!(note.message.contains(&why()), "{note:?}");
    }
    started_again(&mut life, now);
    assert_eq!(
        life.step(Event::Ready, now).actions,
        [Action::SetReady(true)]
    );
}

#[test]
fn a_workload_of_components_is_ready_once_it_is_prepared() {
    let mut life = Life::new(None, 0);
    let step = life.step(Event::Prepared, Instant::now());
    assert_eq!(step.actions, [Action::SetReady(true)]);
    assert_eq!((life.phase(), life.ready()), (Phase::Running, true));
}

#[test]
fn a_replica_that_cannot_run_fails_without_a_restart() {
    let mut life = Life::new(Some(policy(Restart::Always)), 0);
    let step = life.step(
        Event::CannotRun {
            reason: "PortUnavailable",
            message: "127.0.0.1:1 is taken".into(),
        },
        Instant::now(),
    );
    assert_eq!(life.phase(), Phase::Failed);
    assert_eq!(step.actions, [Action::Release]);
}

#[test]
fn a_replica_that_has_ended_stays_as_it_is_when_its_worker_ends() {
    let now = Instant::now();
    for (end, phase) in [
        (ServiceEnd::Exited(0), Phase::Completed),
        (TRAP(), Phase::Failed),
    ] {
        let mut life = running(Restart::Never, now);
        life.step(ended(end), now);
        assert!(!life.is_over(), "it may be asked to stop");
        assert_eq!(life.step(Event::WorkerEnds, now), Step::default());
        assert_eq!((life.phase(), life.is_over()), (phase, true));
    }
    // If it is asked to stop, it still reports that it has stopped.
    let mut life = running(Restart::Never, now);
    life.step(ended(ServiceEnd::Exited(0)), now);
    life.step(Event::Stop, now);
    life.step(drained(), now);
    assert_eq!(
        (life.phase(), life.has_completed()),
        (Phase::Stopped, false)
    );
}

#[test]
fn a_service_that_ends_as_its_policy_asks_while_stopping_has_completed() {
    let now = Instant::now();
    for (restart, end, has_completed) in [
        (Restart::OnFailure, ServiceEnd::Exited(0), true),
        (Restart::Never, ServiceEnd::Exited(0), true),
        (Restart::Never, ServiceEnd::Exited(1), false),
        (Restart::OnFailure, TRAP(), false),
        // It should have run for ever and was cut short.
        (Restart::Always, ServiceEnd::Exited(0), false),
    ] {
        for stop in [Event::Stop, Event::WorkerEnds] {
            let mut life = running(restart, now);
            assert_eq!(
                life.step(stop, now).actions,
                [Action::SetReady(false), Action::Drain]
            );
            life.step(ended(end.clone()), now);
            let step = life.step(drained(), now);
            assert_eq!(step.actions, [Action::Release]);
            let told = if has_completed {
                "Completed"
            } else {
                "Stopped"
            };
            assert_eq!(reasons(&step), [told], "{restart:?} {end:?}");
            assert_eq!((life.phase(), life.is_over()), (Phase::Stopped, true));
            assert_eq!(life.has_completed(), has_completed);
        }
    }
}

#[test]
fn stopping_drains_before_it_kills() {
    let now = Instant::now();
    let mut life = running(Restart::Always, now);
    let step = life.step(Event::Stop, now);
    assert_eq!(step.actions, [Action::SetReady(false), Action::Drain]);
    assert_eq!(life.step(Event::Stop, now), Step::default());
    let step = life.step(drained(), now);
    assert_eq!(
        (&step.actions[..], reasons(&step)),
        (&[Action::Kill][..], vec!["Killed"])
    );
    assert!(!step.notes[0].warning, "{step:?}");
    let step = life.step(Event::Killed, now);
    assert_eq!(step.actions, [Action::Release]);
    assert_eq!(reasons(&step), ["Exited", "Stopped"]);
    assert_eq!(life.phase(), Phase::Stopped);
}

#[test]
fn a_service_that_ends_while_stopping_is_not_restarted() {
    let now = Instant::now();
    let mut life = running(Restart::Always, now);
    life.step(Event::Stop, now);
    let step = life.step(ended(ServiceEnd::Exited(0)), now);
    assert_eq!(
        (&step.actions[..], reasons(&step)),
        (&[][..], vec!["Exited"])
    );
    assert_eq!(life.step(drained(), now).actions, [Action::Release]);
    assert_eq!(life.phase(), Phase::Stopped);
}

#[test]
fn a_kill_after_the_grace_is_reported_as_a_warning() {
    let now = Instant::now();
    let mut life = running(Restart::Always, now);
    life.step(Event::Stop, now);
    let step = life.step(Event::Drained { late: true }, now);
    assert_eq!(reasons(&step), ["Killed"]);
    let note = &step.notes[0];
    assert!(
        note.warning && note.message.contains("stopGrace"),
        "{note:?}"
    );
}

/// The time that a service takes to start does not count as a healthy run.
#[test]
fn a_slow_start_does_not_reset_the_backoff() {
    let mut now = Instant::now();
    let mut life = running(Restart::Always, now);
    let first = wait_of(&life.step(ended(TRAP()), now));
    now += Duration::from_secs(1);
    life.step(Event::BackoffElapsed, now);
    now += Duration::from_secs(3600);
    let second = wait_of(&life.step(ended(TRAP()), now));
    assert!(second > first, "{first:?} {second:?}");
}

/// Returns one end more than the budget has restarts.
fn spent() -> Vec<Event> {
    let again = [ended(TRAP()), Event::BackoffElapsed, Event::Started];
    let last = [ended(TRAP())];
    [&again[..], &again, &again, &last].concat()
}

#[test]
fn every_event_in_every_state() {
    let taken = || Event::CannotRun {
        reason: "PortUnavailable",
        message: "127.0.0.1:1 is taken".into(),
    };
    let unready = || Event::NotReady {
        why: "no answer".into(),
    };
    let unhealthy = || Event::Unhealthy {
        why: "no answer".into(),
    };
    let events: [(&str, Event); 12] = [
        ("Prepared", Event::Prepared),
        ("CannotRun", taken()),
        ("Started", Event::Started),
        ("Ready", Event::Ready),
        ("NotReady", unready()),
        ("Unhealthy", unhealthy()),
        ("Ended", ended(TRAP())),
        ("Killed", Event::Killed),
        ("Elapsed", Event::BackoffElapsed),
        ("Stop", Event::Stop),
        ("Drained", drained()),
        ("Late", Event::Drained { late: true }),
    ];
    let after = |more: &[Event]| [&[Event::Prepared, Event::Started], more].concat();
    let ready = after(&[Event::Ready]);
    let trapped = after(&[ended(TRAP())]);
    let exited = after(&[ended(ServiceEnd::Exited(0))]);
    let condemned = after(&[Event::Ready, unhealthy()]);
    let dying = after(&[unhealthy(), Event::Stop, drained()]);
    let stopping = after(&[Event::Stop]);
    let killing = after(&[Event::Stop, drained()]);
    let stopped = vec![Event::Stop, drained()];
    let gone = after(&[Event::Stop, ended(TRAP())]);
    let spent = [after(&[]), spent()].concat();
    let components = vec![Event::Prepared];
    let [always, on_failure, never] =
        [Restart::Always, Restart::OnFailure, Restart::Never].map(Some);
    // A workload of components only.
    let none = None;
    // The events that lead to a phase, and the phase after each event in the order above; `.` means
    // that it results in neither an action nor a note.
    #[rustfmt::skip]
    let table = [
        (always, vec![], Phase::Pending, "Starting Failed . . . . . . . Stopping . ."),
        (always, vec![Event::Prepared], Phase::Starting, ". . Running . . . Backoff . . Stopping . ."),
        (always, after(&[]), Phase::Running, ". . . Running Running Running Backoff . . Stopping . ."),
        (always, ready, Phase::Running, ". . . . Running Running Backoff . . Stopping . ."),
        (always, condemned, Phase::Running, ". . . . . . Backoff . . Stopping . ."),
        (always, trapped.clone(), Phase::Backoff, ". . . . . . . . Starting Stopping . ."),
        (on_failure, exited, Phase::Completed, ". . . . . . . . . Stopping . ."),
        (never, trapped, Phase::Failed, ". . . . . . . . . Stopping . ."),
        (always, spent, Phase::Failed, ". . . . . . . . . Stopping . ."),
        (always, vec![taken()], Phase::Failed, ". . . . . . . . . Stopping . ."),
        (always, stopping, Phase::Stopping, ". . . . . . Stopping . . . Stopping Stopping"),
        (always, gone, Phase::Stopping, ". . . . . . . . . . Stopped Stopped"),
        (always, killing, Phase::Stopping, ". . . . . . Stopped Stopped . . . ."),
        (always, dying, Phase::Stopping, ". . . . . . Stopped Stopped . . . ."),
        (always, stopped, Phase::Stopped, ". . . . . . . . . . . ."),
        (none, vec![], Phase::Pending, "Running Failed . . . . . . . Stopping . ."),
        (none, components, Phase::Running, ". . . . Running . . . . Stopping . ."),
    ];
    for (restart, history, phase, row) in table {
        let wanted: Vec<_> = row.split_whitespace().collect();
        assert_eq!(wanted.len(), events.len(), "{row}");
        for ((name, event), wanted) in events.iter().zip(wanted) {
            let (mut life, now) = (Life::new(restart.map(policy), 0), Instant::now());
            for event in &history {
                life.step(event.clone(), now);
            }
            assert_eq!(life.phase(), phase, "{history:?}");
            let step = life.step(event.clone(), now);
            let (seen, context) = (life.phase(), format!("{name} in {phase:?}, {history:?}"));
            if wanted == "." {
                assert_eq!((seen, step), (phase, Step::default()), "{context}");
            } else {
                assert_eq!(format!("{seen:?}"), wanted, "{context}");
                assert_ne!(step, Step::default(), "{context}");
            }
        }
    }
}
