//! Events in any order: the invariants that always hold.

use proptest::prelude::*;

use super::*;

/// A shell that carries out actions, with a guest that is alive or not.
#[derive(Default)]
struct Shell {
    alive: bool,
    killing: bool,
    /// The end that was requested for the guest.
    ending: Option<ServiceEnd>,
    released: bool,
    ready: bool,
}

impl Shell {
    fn apply(&mut self, step: &Step) {
        for action in &step.actions {
            match action {
                Action::Start => {
                    assert!(!self.alive, "two guests at once");
                    assert!(
                        !self.released,
                        "started after its resources were given back"
                    );
                    self.alive = true;
                    self.ending = None;
                }
                Action::Kill => {
                    assert!(self.alive, "killed a guest that is not alive");
                    assert!(!self.killing && self.ending.is_none(), "killed twice");
                    self.killing = true;
                }
                Action::End(end) => {
                    assert!(self.alive, "ended a guest that is not alive");
                    assert!(!self.killing && self.ending.is_none(), "ended twice");
                    self.ending = Some(end.clone());
                }
                Action::SetReady(ready) => {
                    assert_ne!(self.ready, *ready);
                    self.ready = *ready;
                }
                Action::Release => {
                    assert!(!self.alive, "a guest is alive without an owner");
                    self.released = true;
                }
                Action::Wait(wait) => assert!(*wait <= Duration::from_secs(30)),
                Action::AwaitLease | Action::Drain => {}
            }
        }
    }
}

fn any_end() -> impl Strategy<Value = ServiceEnd> {
    prop_oneof![
        (0..3_i32).prop_map(ServiceEnd::Exited),
        Just(TRAP()),
        Just(ServiceEnd::OutOfMemory("out of memory".into())),
        Just(ServiceEnd::StartFailed("no slot".into())),
        Just(ServiceEnd::LeaseExpired),
    ]
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => Just(Event::Prepared),
        4 => Just(Event::Started),
        1 => Just(Event::CannotRun { reason: "Broken", message: String::new() }),
        4 => Just(Event::Ready),
        2 => Just(Event::NotReady { why: String::new() }),
        2 => Just(Event::Unhealthy { why: "no answer".into() }),
        6 => (any_end(), any::<u8>()).prop_map(|(end, jitter)| Event::Ended { end, jitter }),
        6 => Just(Event::BackoffElapsed),
        1 => Just(Event::Stop),
        1 => Just(Event::WorkerEnds),
        2 => any::<bool>().prop_map(|late| Event::Drained { late }),
        2 => Just(Event::Killed),
    ]
}

/// Generates a pause in seconds, mostly too short for the window to pass.
fn any_pause() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..2_u64, 1 => 0..120_u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Events arrive in any order, except that a guest ends only while it is alive and is killed
    /// only on request.
    #[test]
    fn the_invariants_hold_for_events_in_any_order(
        restart in prop_oneof![Just(Restart::Always), Just(Restart::OnFailure), Just(Restart::Never)],
        with_service in any::<bool>(),
        events in prop::collection::vec((any_event(), any_pause()), 0..60),
    ) {
        let policy = policy(restart);
        let mut life = Life::new(with_service.then(|| policy.clone()), 0);
        let mut shell = Shell::default();
        let mut now = Instant::now();
        let mut starts = VecDeque::new();
        let mut final_phase = None;
        for (event, seconds) in events {
            if life.is_over() {
                break;
            }
            now += Duration::from_secs(seconds);
            if matches!(event, Event::Ended { .. } | Event::Killed) {
                let unasked = event == Event::Killed && !shell.killing;
                if !shell.alive || unasked {
                    continue;
                }
                shell.alive = false;
            }
            // A guest that is ended for a reason ends with that reason.
            let event = match (event, shell.ending.take()) {
                (Event::Ended { jitter, .. }, Some(end)) => Event::Ended { end, jitter },
                (event, ending) => {
                    shell.ending = ending;
                    event
                }
            };
            let before = life.phase();
            let unwilling = matches!(event, Event::Ended { end: ServiceEnd::LeaseExpired, .. });
            let step = life.step(event, now);
            shell.apply(&step);
            prop_assert_eq!(shell.ready, life.ready());
            if step.actions.contains(&Action::Start) {
                starts.push_back(now);
            }
            while starts.front().is_some_and(|at| now.duration_since(*at) >= policy.window) {
                starts.pop_front();
            }
            // An end that the service did not cause does not count against the budget.
            if unwilling {
                starts.pop_back();
            }
            // Nor does the first start.
            prop_assert!(starts.len() <= policy.max_restarts as usize + 1, "more restarts than the budget");
            let owns = matches!(life.phase(), Phase::Starting | Phase::Running) && with_service;
            let may_own = owns || life.phase() == Phase::Stopping;
            prop_assert!(!shell.alive || may_own, "a live guest without an owner in {:?}", life.phase());
            prop_assert!(shell.alive || !owns, "no guest in {:?}", life.phase());
            if let Some(phase) = final_phase {
                let stopping = matches!(life.phase(), Phase::Stopping | Phase::Stopped);
                prop_assert!(life.phase() == phase || stopping, "{:?} came back to life", before);
            }
            if matches!(life.phase(), Phase::Completed | Phase::Failed) {
                final_phase = Some(life.phase());
            }
        }
        if life.is_over() {
            prop_assert!(shell.released && !shell.ready && !shell.alive);
            return Ok(());
        }
        // It can be stopped in every state.
        for event in [Event::Stop, drained()] {
            shell.apply(&life.step(event, now));
        }
        if shell.alive {
            shell.alive = false;
            let event = match shell.ending.take() {
                Some(end) => ended(end),
                None => Event::Killed,
            };
            shell.apply(&life.step(event, now));
        }
        prop_assert_eq!(life.phase(), Phase::Stopped);
        prop_assert!(life.is_over());
        prop_assert!(shell.released && !shell.ready);
    }
}
