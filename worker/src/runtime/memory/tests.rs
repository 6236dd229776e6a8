#![allow(clippy::unwrap_used)]

use std::thread;

use proptest::{collection::vec, prelude::*};
use tokio::time::{Duration, timeout};

use super::{rules::lends, *};

/// Returns a request of a replica whose excess will be `excess` once it is granted.
fn ask(bytes: u64, excess: u64, alone: bool) -> Ask {
    Ask {
        bytes,
        excess,
        alone,
    }
}

#[test]
fn loans_are_first_refused_to_the_replica_that_exceeds_most() {
    #[rustfmt::skip]
    let table = [
        // Capacity, committed, bytes, excess, alone, and whether it is lent.
        (100, 0, 10, 10, false, true),
        (100, 90, 10, 10, true, true),
        (100, 91, 10, 10, true, false),
        // Nine are left; the excess may be at most eight times as much.
        (100, 90, 1, 72, false, true),
        (100, 90, 1, 73, false, false),
        (100, 98, 1, 8, false, true),
        (100, 98, 1, 9, false, false),
        (100, 99, 1, 1, false, false),
        // Reserves were added while more was lent than is left for them.
        (100, 101, 1, 1, false, false),
        (100, 101, 1, 1, true, false),
        (u64::MAX, 0, 1 << 40, 1 << 40, false, true),
    ];
    for (capacity, committed, bytes, excess, alone, expected) in table {
        let ask = ask(bytes, excess, alone);
        assert_eq!(lends(capacity, committed, ask), expected, "{ask:?}");
    }
}

#[test]
fn memory_is_taken_back_from_the_replica_that_exceeds_most() {
    let guest = |replica, excess| Borrower { replica, excess };
    let guests = [
        guest(1, 50),
        guest(2, 40),
        guest(2, 30),
        guest(3, 0),
        guest(4, 60),
    ];
    assert_eq!(rules::order(&guests), [1, 2, 4, 0]);
    assert_eq!(rules::order(&[guest(3, 0)]), [0_usize; 0]);
}

#[test]
fn a_reserve_is_always_granted_however_much_others_want() {
    let budget = MemoryBudget::new(100);
    let (greedy, modest) = (budget.replica(), budget.replica());
    let (greedy, modest) = (greedy.guest(10), modest.guest(40));
    let (hog, neighbour) = (greedy.instance(), modest.instance());
    let mut taken = 0;
    while hog.grow(1).is_ok() {
        taken += 1;
    }
    // 50 can be lent. With 44 of them lent 6 are left, and one more would exceed 8 times 5.
    assert_eq!(taken, 10 + 44);
    neighbour.grow(40).unwrap();
    // A replica that exceeds its reserve less may still have some.
    neighbour.grow(4).unwrap();
    assert!(hog.grow(1).is_err());
    assert_eq!(budget.used(), 98);
    assert!(!hog.is_ending());
    hog.release();
    neighbour.release();
    assert_eq!((budget.used(), budget.free()), (0, 50));
    drop((hog, neighbour, greedy, modest));
    assert_eq!(budget.free(), 100);
}

#[tokio::test]
async fn lent_memory_is_taken_back_for_a_reserve_that_was_added_later() {
    let budget = MemoryBudget::new(100);
    let (a, b) = (budget.replica(), budget.replica());
    let (large, small) = (a.guest(10), b.guest(10));
    let (large, other) = (large.instance(), small.instance());
    large.grow(60).unwrap();
    other.grow(15).unwrap();

    let late = budget.replica().guest(60);
    let late = late.instance();
    assert!(other.grow(1).is_err(), "nothing is left to lend");
    late.grow(25).unwrap();
    assert!(!large.is_ending(), "the reserve is still free");
    late.grow(10).unwrap();
    let shortage = timeout(Duration::from_secs(60), large.taken_back()).await;
    let told = shortage.unwrap().to_string();
    assert!(told.contains("for the reserves of others"), "{told}");
    assert!(large.grow(1).is_err(), "it is ending and must not grow");
    // It returns what is needed, so no other guest has to end, however much is asked for before it
    // has.
    late.grow(25).unwrap();
    assert!(!other.is_ending());
    large.release();
    assert_eq!(budget.used(), 75);
    assert_eq!(budget.returning.load(Relaxed), 0);
}

#[tokio::test]
async fn no_more_instances_of_a_component_end_than_necessary() {
    let budget = MemoryBudget::new(100);
    let (a, b) = (budget.replica().guest(10), budget.replica().guest(0));
    let instances: Vec<_> = (0..6).map(|_| a.instance()).collect();
    for instance in &instances {
        instance.grow(10).unwrap();
    }
    b.instance().grow(0).unwrap();
    let late = budget.replica().guest(50).instance();
    late.grow(50).unwrap();
    let ending = instances.iter().filter(|one| one.is_ending()).count();
    assert_eq!(ending, 1);
}

#[test]
fn reserves_beyond_the_capacity_are_refused_and_leave_nothing_committed() {
    let budget = MemoryBudget::new(100);
    let (a, b) = (budget.replica().guest(80), budget.replica().guest(80));
    let (a, b) = (a.instance(), b.instance());
    a.grow(80).unwrap();
    let shortage = b.grow(21).unwrap_err();
    assert!(shortage.to_string().contains("reserves on this worker"));
    assert_eq!(budget.used(), 80);
    b.grow(20).unwrap();
}

/// A step of guests of several replicas.
#[derive(Clone, Copy, Debug)]
enum Step {
    Grow { guest: usize, bytes: u64 },
    End { guest: usize },
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_usize, 0..40_u64).prop_map(|(guest, bytes)| Step::Grow { guest, bytes }),
        1 => (0..6_usize).prop_map(|guest| Step::End { guest }),
    ]
}

proptest! {
    #[test]
    fn a_replica_that_exceeds_less_is_not_refused_first(
        capacity in 0..1000_u64, committed in 0..1000_u64, bytes in 0..100_u64, excess in 0..1000_u64, less in 0..1000_u64,
    ) {
        if lends(capacity, committed, ask(bytes, excess, false)) {
            prop_assert!(lends(capacity, committed, ask(bytes, excess.min(less), false)));
            prop_assert!(committed + bytes <= capacity);
        }
    }

    /// Each replica has two guests, and all reserves fit the worker.
    #[test]
    fn reserves_are_granted_and_the_capacity_holds(
        reserves in vec(0..30_u64, 6), spare in 0..100_u64, steps in vec(any_step(), 0..60),
    ) {
        let capacity = reserves.iter().sum::<u64>() + spare;
        let budget = MemoryBudget::new(capacity);
        let replicas: Vec<_> = (0..3).map(|_| budget.replica()).collect();
        let guests: Vec<_> = reserves.iter().enumerate().map(|(i, reserve)| replicas[i / 2].guest(*reserve)).collect();
        let mut instances: Vec<_> = guests.iter().map(GuestMemory::instance).collect();
        let mut used = [0_u64; 6];
        for step in steps {
            match step {
                Step::Grow { guest, bytes } => {
                    let granted = instances[guest].grow(bytes).is_ok();
                    if used[guest] + bytes <= reserves[guest] {
                        prop_assert!(granted, "a reserve was refused");
                    }
                    if granted {
                        used[guest] += bytes;
                    }
                }
                Step::End { guest } => {
                    instances[guest].release();
                    instances[guest] = guests[guest].instance();
                    used[guest] = 0;
                }
            }
            prop_assert!(budget.used() <= capacity);
            prop_assert_eq!(budget.used(), used.iter().sum::<u64>());
            let committed = used.iter().zip(&reserves).map(|(used, reserve)| used.max(reserve));
            prop_assert_eq!(budget.committed.load(Relaxed), committed.sum::<u64>());
            // All reserves existed from the start, so nothing is ever taken back.
            prop_assert!(instances.iter().all(|instance| !instance.is_ending()));
        }
    }
}

#[test]
fn counts_are_exact_when_many_threads_take_and_return_memory() {
    let budget = MemoryBudget::new(2_000);
    let replicas: Vec<_> = (0..2).map(|_| budget.replica()).collect();
    let guests: Vec<_> = replicas.iter().map(|replica| replica.guest(100)).collect();
    thread::scope(|scope| {
        for thread in 0..8_u64 {
            let guest = &guests[usize::from(thread % 2 == 0)];
            let budget = &budget;
            scope.spawn(move || {
                for turn in 0..2_000 {
                    let instance = guest.instance();
                    for _ in 0..5 {
                        let _ = instance.grow((turn + thread) % 100);
                    }
                    assert!(budget.used() <= 2_000);
                    instance.release();
                }
            });
        }
    });
    assert_eq!((budget.used(), budget.free()), (0, 1_800));
    assert_eq!(replicas[0].excess.load(Relaxed), 0);
    assert!(guests.iter().all(|guest| guest.borrowers.lock().is_empty()));
}
