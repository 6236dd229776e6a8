#![allow(clippy::unwrap_used)]

use std::{
    future::{pending, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

fn at(millis: u64) -> BootTime {
    BootTime(Duration::from_millis(millis))
}

/// A clock that only moves when it is set.
#[derive(Clone, Default)]
struct SetClock(Arc<AtomicU64>);

impl SetClock {
    fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }
}

impl Clock for SetClock {
    fn now(&self) -> BootTime {
        at(self.0.load(Ordering::Relaxed))
    }
}

#[test]
fn a_lease_is_held_for_seven_tenths_of_the_timeout_from_when_the_heartbeat_was_sent() {
    let lease = Lease::of_heartbeat(at(2_000), TIMEOUT);
    for (now, held, left) in [
        (2_000, true, 7_000),
        (8_999, true, 1),
        (9_000, false, 0),
        (12_000, false, 0),
        (u64::MAX, false, 0),
    ] {
        assert_eq!(lease.is_held(at(now)), held, "{now}");
        assert_eq!(lease.left(at(now)), Duration::from_millis(left), "{now}");
    }
}

#[test]
fn no_lease_is_held_before_the_first_heartbeat_or_with_a_zero_timeout() {
    for now in [0, 1, u64::MAX] {
        assert!(!Lease::default().is_held(at(now)));
        assert!(!Lease::of_heartbeat(at(now), Duration::ZERO).is_held(at(now)));
    }
}

#[test]
fn the_longest_timeout_does_not_overflow() {
    let lease = Lease::of_heartbeat(at(u64::MAX), Duration::MAX);
    assert!(lease.is_held(at(u64::MAX)));
}

#[test]
fn the_clock_goes_forward_and_counts_from_the_boot() {
    let before = BootClock.now();
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    let after = BootClock.now();
    // The file has a resolution of a hundredth of a second.
    assert!(before.0.as_secs_f64() - 0.01 <= uptime && uptime <= after.0.as_secs_f64());
}

#[tokio::test]
async fn an_acknowledgement_replaces_the_one_before() {
    let clock = SetClock::default();
    let lease = SharedLease::with_clock(clock.clone());
    assert_eq!(lease.check(), Err(LeaseExpired));
    lease.renew(Lease::of_heartbeat(at(0), 6 * TIMEOUT));
    clock.set(1_000);
    lease.held().await;
    // Another control plane, with a shorter timeout.
    lease.renew(Lease::of_heartbeat(at(1_000), TIMEOUT));
    clock.set(8_000);
    assert_eq!(lease.check(), Err(LeaseExpired));
}

#[tokio::test]
async fn work_ends_when_nothing_wakes_it() {
    let lease = SharedLease::new();
    let soon = Duration::from_millis(100);
    lease.renew(Lease::of_heartbeat(BootClock.now(), soon));
    let begun = BootClock.now().0;
    assert_eq!(
        lease.tenure().guard(pending::<()>()).await,
        Err(LeaseExpired)
    );
    let took = BootClock.now().0 - begun;
    assert!(took >= soon / 2, "{took:?}");
}

#[tokio::test]
async fn work_that_is_woken_after_the_end_is_not_polled_again() {
    let clock = SetClock::default();
    let lease = SharedLease::with_clock(clock.clone());
    lease.renew(Lease::of_heartbeat(at(0), TIMEOUT));
    let mut polls = 0;
    let work = poll_fn(|context: &mut Context<'_>| {
        polls += 1;
        // As if the process was stopped here and continued much later.
        clock.set(7_000);
        context.waker().wake_by_ref();
        Poll::<()>::Pending
    });
    assert_eq!(lease.tenure().guard(work).await, Err(LeaseExpired));
    assert_eq!(polls, 1);
}

/// The process was stopped for so long that another worker took over, and its session renews the
/// lease before the work continues.
#[tokio::test]
async fn work_that_began_before_a_gap_does_not_continue_after_it() {
    let clock = SetClock::default();
    let lease = SharedLease::with_clock(clock.clone());
    let early = lease.tenure();
    lease.renew(Lease::of_heartbeat(at(0), TIMEOUT));
    assert_eq!(early.check(), Err(LeaseExpired));
    let before = lease.tenure();
    clock.set(6_999);
    lease.renew(Lease::of_heartbeat(at(6_000), TIMEOUT));
    clock.set(12_999);
    assert_eq!(before.check(), Ok(()), "there was no gap");

    clock.set(13_000);
    assert_eq!(before.check(), Err(LeaseExpired));
    lease.renew(Lease::of_heartbeat(at(13_000), TIMEOUT));
    assert_eq!(lease.check(), Ok(()));
    assert_eq!(before.check(), Err(LeaseExpired));
    assert_eq!(before.guard(async {}).await, Err(LeaseExpired));
    assert_eq!(lease.tenure().guard(async { 7 }).await, Ok(7));
}

#[tokio::test]
async fn work_continues_while_the_lease_is_renewed_and_ends_by_itself() {
    let lease = SharedLease::new();
    let length = Duration::from_millis(200);
    lease.renew(Lease::of_heartbeat(BootClock.now(), length));
    let work = async {
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(40)).await;
            lease.renew(Lease::of_heartbeat(BootClock.now(), length));
        }
        7
    };
    assert_eq!(lease.tenure().guard(work).await, Ok(7));
}
