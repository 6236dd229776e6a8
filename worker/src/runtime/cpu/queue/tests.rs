#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

const SLICE: u64 = 1_000;

/// Simulates shares that each ask for a turn whenever fewer than `tasks` of theirs are open.
/// Returns the time that each share got out of `turns` turns of `SLICE`.
fn shares(places: usize, shares: &[(u32, usize)], turns: usize) -> Vec<u64> {
    let mut queue = FairQueue::new(places, SLICE);
    let mut progress: Vec<_> = shares.iter().map(|(w, _)| Progress::new(*w)).collect();
    let mut got = vec![0; shares.len()];
    let mut running = Vec::new();
    for (share, (_, tasks)) in shares.iter().enumerate() {
        for _ in 0..*tasks {
            if queue.ask(&mut progress[share], || share).is_none() {
                running.push(share);
            }
        }
    }
    for _ in 0..turns {
        let share = running.remove(0);
        got[share] += SLICE;
        // The share asks for its next turn before this one ends.
        if queue.ask(&mut progress[share], || share).is_none() {
            running.push(share);
        }
        running.extend(queue.end(&mut progress[share], SLICE));
    }
    got
}

#[test]
fn equal_weights_get_equal_time_however_many_tasks_they_have() {
    let got = shares(2, &[(100, 1), (100, 200), (100, 3)], 3_000);
    for time in &got {
        assert!(time.abs_diff(1_000 * SLICE) <= 8 * SLICE, "{got:?}");
    }
}

#[test]
fn time_follows_weights() {
    let got = shares(1, &[(100, 1), (300, 1), (50, 9)], 4_500);
    for (time, expected) in got.iter().zip([1_000, 3_000, 500]) {
        assert!(time.abs_diff(expected * SLICE) <= 20 * SLICE, "{got:?}");
    }
}

#[test]
fn a_share_that_rested_goes_first_but_does_not_make_up_for_it() {
    let mut queue = FairQueue::new(1, SLICE);
    let (mut busy, mut rested) = (Progress::new(100), Progress::new(100));
    for _ in 0..100 {
        assert_eq!(queue.ask(&mut busy, || "busy"), None);
        assert_eq!(queue.end(&mut busy, SLICE), None);
    }
    assert_eq!(queue.ask(&mut busy, || "busy"), None);
    queue.ask(&mut busy, || "busy").unwrap();
    queue.ask(&mut rested, || "rested").unwrap();
    queue.ask(&mut rested, || "rested").unwrap();
    let mut order = Vec::new();
    for _ in 0..3 {
        let ended = match order.last() {
            Some(&"rested") => &mut rested,
            _ => &mut busy,
        };
        order.push(queue.end(ended, SLICE).unwrap());
    }
    // Although it is a hundred turns behind, it is let in before the busy one only once.
    assert_eq!(order, ["rested", "busy", "rested"]);
}

#[test]
fn a_turn_costs_what_it_took() {
    let mut queue = FairQueue::new(1, SLICE);
    let (mut short, mut long) = (Progress::new(100), Progress::new(100));
    let mut got = [0_u64; 2];
    let mut turn = 0;
    assert_eq!(queue.ask(&mut short, || 0), None);
    assert!(queue.ask(&mut long, || 1).is_some());
    for _ in 0..1_100 {
        let (share, took) = match turn {
            0 => (&mut short, SLICE / 10),
            _ => (&mut long, SLICE),
        };
        got[turn] += took;
        assert!(queue.ask(share, || turn).is_some());
        turn = queue.end(share, took).unwrap();
    }
    assert!(got[0].abs_diff(got[1]) <= 4 * SLICE, "{got:?}");
}

#[test]
fn one_that_leaves_is_not_charged_and_frees_its_place() {
    let mut queue = FairQueue::new(1, SLICE);
    let (mut a, mut b) = (Progress::new(100), Progress::new(100));
    assert_eq!(queue.ask(&mut a, || 'a'), None);
    let before = b.next;
    let tag = queue.ask(&mut b, || 'b').unwrap();
    assert_eq!(queue.leave(&mut b, tag), Some('b'));
    assert_eq!(b.next, before.max(queue.now));
    assert_eq!(queue.leave(&mut b, tag), None);
    assert_eq!(queue.shares(), 1);
    assert_eq!((queue.end(&mut a, SLICE), queue.shares()), (None, 0));
}

proptest! {
    /// No more turns run than there are places, and no turn waits while a place is free.
    #[test]
    fn places_are_never_exceeded_nor_idle(
        places in 1_usize..4,
        steps in prop::collection::vec((0_usize..5, 0_u8..3, 0_u64..3 * SLICE, any::<prop::sample::Index>()), 1..300),
    ) {
        let mut queue = FairQueue::new(places, SLICE);
        let mut progress: Vec<_> = (1..=5).map(|n| Progress::new(n * 40)).collect();
        let (mut running, mut waiting) = (Vec::new(), HashMap::new());
        let mut count = 0_u32;
        for (share, what, took, which) in steps {
            match what {
                0 => {
                    count += 1;
                    match queue.ask(&mut progress[share], || count) {
                        None => running.push((share, count)),
                        Some(tag) => { waiting.insert(count, (share, tag)); }
                    }
                }
                1 if !running.is_empty() => {
                    let (share, _) = running.remove(which.index(running.len()));
                    if let Some(next) = queue.end(&mut progress[share], took) {
                        let (share, _) = waiting.remove(&next).unwrap();
                        running.push((share, next));
                    }
                }
                2 if !waiting.is_empty() => {
                    let who = *waiting.keys().min().unwrap();
                    let (share, tag) = waiting.remove(&who).unwrap();
                    prop_assert_eq!(queue.waiter(tag).copied(), Some(who));
                    prop_assert_eq!(queue.leave(&mut progress[share], tag), Some(who));
                }
                _ => {}
            }
            prop_assert!(running.len() <= places);
            prop_assert!(waiting.is_empty() || running.len() == places);
            let open = running.iter().map(|(share, _)| share);
            let open: HashSet<_> = open.chain(waiting.values().map(|(share, _)| share)).collect();
            prop_assert_eq!(queue.shares(), open.len());
        }
    }
}
