//! Services that end as soon as they are started.

use super::*;

/// Returns a life whose policy permits a restart every millisecond, without limit.
fn restless(now: Instant) -> Life {
    let tiny = Duration::from_millis(1);
    let policy = RestartPolicy {
        initial_backoff: tiny,
        max_backoff: tiny,
        reset_after: Duration::ZERO,
        max_restarts: u32::MAX,
        ..policy(Restart::Always)
    };
    let mut life = Life::new(Some(policy), 0);
    life.step(Event::Prepared, now);
    life.step(Event::Started, now);
    life
}

/// Returns the waits in milliseconds if each run takes this long.
fn waits_of(life: &mut Life, now: &mut Instant, runs: usize, each: Duration) -> Vec<u128> {
    let waits = (0..runs).map(|_| {
        *now += each;
        let wait = wait_of(&life.step(ended(TRAP()), *now));
        *now += wait;
        started_again(life, *now);
        wait.as_millis()
    });
    waits.collect()
}

#[test]
fn a_service_that_crashes_at_once_is_slowed_down_whatever_its_policy() {
    let mut now = Instant::now();
    let mut life = restless(now);
    let began = now;
    let first = waits_of(&mut life, &mut now, 30, Duration::ZERO);
    assert_eq!(first, [100; 30]);
    let then = waits_of(&mut life, &mut now, 4, Duration::ZERO);
    assert_eq!(then, [200, 400, 800, 1000]);
    let later = waits_of(&mut life, &mut now, 1000, Duration::from_millis(999));
    assert_eq!(later, [1000; 1000]);
    assert!(now - began > Duration::from_secs(900));
}

#[test]
fn a_service_that_ran_for_a_while_is_restarted_as_soon_as_its_policy_permits() {
    let mut now = Instant::now();
    let mut life = restless(now);
    waits_of(&mut life, &mut now, 40, Duration::ZERO);
    let waits = waits_of(&mut life, &mut now, 5, SHORT_RUN);
    assert!(waits.iter().all(|wait| *wait <= 1), "{waits:?}");
    // Earlier crashes no longer count.
    let waits = waits_of(&mut life, &mut now, 2, Duration::ZERO);
    assert_eq!(waits, [100; 2]);
}
