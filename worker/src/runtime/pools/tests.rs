#![allow(clippy::unwrap_used)]

use std::{pin::pin, time::Duration};

use futures::{FutureExt as _, future::join_all, poll};
use proptest::prelude::*;
use warren_model::name::Name;

use super::*;
use crate::policy::Role;

const TABLES: u32 = 800;

/// Returns pools in which tables are scarce.
fn pools() -> Arc<Pools> {
    let mut sizes = Amounts::default();
    for pool in POOLS {
        sizes[pool] = 1_000_000;
    }
    sizes[Pool::P2Tables] = TABLES;
    Pools::new(sizes)
}

fn account(pools: &Arc<Pools>, name: &str) -> Arc<Account> {
    pools.account(&WorkloadId {
        namespace: Name::parse("default").unwrap(),
        name: Name::parse(name).unwrap(),
    })
}

fn cost(tables: u32) -> Cost {
    Cost::new(Generation::P2, Role::Component, [1, 1, tables])
}

fn claim(pools: &Arc<Pools>, name: &str, tables: u32) -> Claim {
    account(pools, name).claim(cost(tables)).unwrap()
}

fn later() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

fn take_all(claim: &Claim) -> Vec<Place> {
    std::iter::from_fn(|| claim.now().ok()).collect()
}

fn used(pools: &Pools, pool: Pool) -> u32 {
    pools.ledger.lock().used(pool)
}

#[test]
fn a_workload_that_takes_all_leaves_others_their_share_and_learns_why() {
    let pools = pools();
    let (hog, neighbour) = (claim(&pools, "hog", 50), claim(&pools, "neighbour", 1));
    let held = take_all(&hog);
    // A quarter is its own, and it gets half of what is lent.
    assert_eq!(held.len(), 8);
    let told = hog.now().err().unwrap().to_string();
    for words in [
        "pool of tables",
        "of 800 tables it holds 400",
        "its share is 200",
        "one more instance takes 50",
        "`limits.concurrency`",
    ] {
        assert!(told.contains(words), "{told}");
    }
    let theirs = take_all(&neighbour);
    assert_eq!(theirs.len(), 267);
    // The next workload has a share, too.
    let next = claim(&pools, "next", 1);
    assert_eq!(take_all(&next).len(), 133);
}

#[test]
fn replicas_of_a_workload_share_one_account_whose_end_frees_its_share() {
    let pools = pools();
    let (one, two) = (claim(&pools, "hog", 50), claim(&pools, "hog", 50));
    let held = take_all(&one);
    assert_eq!((held.len(), take_all(&two).len()), (12, 0));
    drop((held, one, two));
    assert_eq!(used(&pools, Pool::P2Tables), 0);
    let alone = claim(&pools, "other", 50);
    assert_eq!(
        take_all(&alone).len(),
        12,
        "nothing is reserved for the other"
    );
}

#[test]
fn services_and_components_of_either_generation_have_pools_of_their_own() {
    let pools = pools();
    let hog = claim(&pools, "hog", 50);
    let _held = take_all(&hog);
    let account = account(&pools, "hog");
    for (generation, role) in [
        (Generation::P3, Role::Component),
        (Generation::P2, Role::Service),
        (Generation::P3, Role::Service),
    ] {
        let cost = Cost::new(generation, role, [1, 1, 50]);
        let place = account.claim(cost).unwrap().now();
        assert!(place.is_ok(), "{generation:?} {role:?}");
    }
}

#[test]
fn an_instance_that_can_never_fit_is_refused() {
    let pools = pools();
    let account = account(&pools, "hog");
    assert!(account.claim(cost(TABLES / 8)).is_ok());
    let told = account.claim(cost(TABLES / 8 + 1)).err().unwrap();
    let told = told.to_string();
    assert!(
        told.contains("101 tables") && told.contains("may take 100"),
        "{told}"
    );
}

#[tokio::test]
async fn waiters_are_served_in_order_and_none_is_overtaken() {
    let pools = pools();
    let hog = claim(&pools, "hog", 50);
    let mut held = take_all(&hog);
    let mut first = pin!(hog.wait(later()));
    let mut second = pin!(hog.wait(later()));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    held.pop();
    assert!(hog.now().is_err(), "it is the first one's");
    assert!(poll!(&mut second).is_pending());
    let first = first.await.unwrap();
    drop(first);
    assert!(second.await.is_ok());
    drop(held);
    assert_eq!(used(&pools, Pool::P2Tables), 0);
}

#[tokio::test]
async fn a_waiter_that_gives_up_or_waited_long_enough_leaves_the_queue() {
    let pools = pools();
    let hog = claim(&pools, "hog", 50);
    let mut held = take_all(&hog);
    {
        let mut gone = pin!(hog.wait(later()));
        assert!(poll!(&mut gone).is_pending());
        // A place is granted to it, but it gives up before it has noticed.
        held.pop();
    }
    let again = hog.now().unwrap();
    let waited = hog.wait(Instant::now() + Duration::from_millis(5)).await;
    let told = waited.err().unwrap().to_string();
    assert!(told.starts_with("it waited"), "{told}");
    drop(again);
    assert!(hog.wait(later()).now_or_never().unwrap().is_ok());
    held.clear();
    assert_eq!(used(&pools, Pool::P2Tables), 0);
}

#[tokio::test]
async fn a_small_instance_does_not_wait_behind_a_large_one_of_another_pool() {
    let pools = pools();
    let hog = claim(&pools, "hog", 50);
    let _held = take_all(&hog);
    let mut waiting = pin!(hog.wait(later()));
    assert!(poll!(&mut waiting).is_pending());
    assert!(claim(&pools, "hog", 0).now().is_ok());
}

#[tokio::test]
async fn workloads_that_wait_take_turns() {
    let pools = pools();
    let claims = [claim(&pools, "one", 50), claim(&pools, "two", 50)];
    let mut held: Vec<_> = claims.iter().flat_map(take_all).collect();
    let waiting: Vec<_> = (0..8)
        .map(|index| claims[index % 2].wait(later()))
        .collect();
    let mut waiting = pin!(join_all(waiting));
    assert!(poll!(&mut waiting).is_pending());
    held.clear();
    let places = waiting.await;
    assert!(places.iter().all(Result::is_ok));
    drop(places);
    assert_eq!(used(&pools, Pool::P2Tables), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    Drop(usize),
    Wait(usize),
    GiveUp(usize),
    Poll(usize),
}

fn step() -> impl Strategy<Value = Step> {
    (0_usize..5, 0_usize..64).prop_map(|(kind, which)| match kind {
        0 => Step::Take(which),
        1 => Step::Drop(which),
        2 => Step::Wait(which),
        3 => Step::GiveUp(which),
        _ => Step::Poll(which),
    })
}

proptest! {
    /// Whatever comes and goes, and in whatever order, nothing is granted twice or lost, and no
    /// waiter waits for something that is free.
    #[test]
    fn the_sum_is_right(steps in prop::collection::vec(step(), 0..300)) {
        let timers = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = timers.enter();
        let pools = pools();
        let claims: Vec<_> = (0..6)
            .map(|index| claim(&pools, &format!("w{}", index / 2), [7, 60][index % 2]))
            .collect();
        let mut held = Vec::new();
        let mut waiting = Vec::new();
        for step in steps {
            match step {
                Step::Take(which) => held.extend(claims[which % claims.len()].now()),
                Step::Drop(which) if !held.is_empty() => drop(held.swap_remove(which % held.len())),
                Step::Wait(which) => waiting.push(Box::pin(claims[which % claims.len()].wait(later()))),
                Step::GiveUp(which) if !waiting.is_empty() => {
                    drop(waiting.swap_remove(which % waiting.len()));
                }
                Step::Poll(which) if !waiting.is_empty() => {
                    let index = which % waiting.len();
                    if let Some(place) = waiting[index].as_mut().now_or_never() {
                        drop(waiting.swap_remove(index));
                        held.extend(place);
                    }
                }
                _ => {}
            }
            prop_assert!(used(&pools, Pool::P2Tables) <= TABLES);
        }
        drop(waiting);
        let sum: u32 = held.iter().map(|place| place.cost.0[Pool::P2Tables]).sum();
        prop_assert_eq!(used(&pools, Pool::P2Tables), sum);
        drop(held);
        prop_assert_eq!(used(&pools, Pool::P2Tables), 0);
        prop_assert!(claims[0].now().is_ok());
    }
}
