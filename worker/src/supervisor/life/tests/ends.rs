//! How a service may end, and what follows.

use super::*;

/// The message of every end contains its reason, code or cause, and how long the service ran.
#[test]
fn every_end_is_an_exit_and_a_kill_if_warren_caused_it() {
    let cases = [
        (
            ServiceEnd::Exited(0),
            false,
            "the service ended with code 0 after 1.5s",
        ),
        (
            ServiceEnd::Exited(3),
            false,
            "the service ended with code 3 after 1.5s",
        ),
        (
            ServiceEnd::Trapped("wasm trap: unreachable\n  0: main".into()),
            false,
            "the service trapped after 1.5s: wasm trap: unreachable",
        ),
        (
            ServiceEnd::OutOfMemory("out of memory: its limit is 65536 bytes\nmore".into()),
            true,
            "the service ran out of memory: its limit is 65536 bytes after 1.5s",
        ),
        (
            ServiceEnd::StartFailed("no slot".into()),
            false,
            "the service could not be started: no slot",
        ),
        (
            ServiceEnd::Unhealthy("its liveness probe failed".into()),
            true,
            "the service was ended after 1.5s: its liveness probe failed",
        ),
    ];
    for (end, killed, words) in cases {
        let now = Instant::now();
        let mut life = running(Restart::Always, now);
        let step = life.step(ended(end.clone()), now + Duration::from_millis(1500));
        let expected = match killed {
            true => vec!["Killed", "Exited", "Backoff"],
            false => vec!["Exited", "Backoff"],
        };
        assert_eq!(reasons(&step), expected, "{end:?}");
        let exited = &step.notes[expected.len() - 2];
        assert_eq!(exited.message, words);
        assert_eq!(exited.warning, end != ServiceEnd::Exited(0), "{end:?}");
        let backoff = &step.notes[expected.len() - 1].message;
        let wait = wait_of(&step).as_millis();
        assert_eq!(wait, 100, "{backoff}");
        assert!(backoff.starts_with("starting again in 100."), "{backoff}");
        assert!(
            backoff.ends_with(", restart 1 of at most 3 within 5m"),
            "{backoff}"
        );
    }
}

#[test]
fn a_service_that_ends_with_the_lease_waits_for_the_next_and_uses_up_no_restart() {
    let mut now = Instant::now();
    for restart in [Restart::Always, Restart::OnFailure, Restart::Never] {
        let mut life = running(restart, now);
        for restarts in 1..10 {
            let step = life.step(ended(ServiceEnd::LeaseExpired), now);
            assert_eq!(step.actions.last(), Some(&Action::AwaitLease));
            assert_eq!(reasons(&step), ["Killed", "Exited", "LeaseExpired"]);
            assert!(step.notes.iter().all(|note| note.warning));
            assert_eq!(life.phase(), Phase::Backoff);
            now += Duration::from_secs(1);
            started_again(&mut life, now);
            assert_eq!(life.restarts(), restarts);
        }
        // The lease may expire again before the service has started, and while it stops.
        life.step(ended(ServiceEnd::LeaseExpired), now);
        life.step(Event::BackoffElapsed, now);
        life.step(ended(ServiceEnd::LeaseExpired), now);
        assert_eq!(life.phase(), Phase::Backoff);
        started_again(&mut life, now);
        life.step(Event::Stop, now);
        life.step(ended(ServiceEnd::LeaseExpired), now);
        life.step(drained(), now);
        assert_eq!(life.phase(), Phase::Stopped);
    }
}

#[test]
fn a_service_that_ends_before_it_had_started_is_started_again_or_fails() {
    let end = || ended(ServiceEnd::StartFailed("no slot".into()));
    for (restart, phase) in [
        (Restart::Always, Phase::Backoff),
        (Restart::Never, Phase::Failed),
    ] {
        let now = Instant::now();
        let mut life = Life::new(Some(policy(restart)), 0);
        life.step(Event::Prepared, now);
        let step = life.step(end(), now);
        let note = &step.notes[0];
        assert_eq!((life.phase(), note.reason), (phase, "Exited"));
        assert!(note.warning && note.message.contains("no slot"), "{note:?}");
    }
}
