//! Group commit, and what happens when the disk fails.

use std::time::Duration;

use super::{stage::*, *};
use crate::store::sim::Step;

on_every_disk!(
    commits_that_wait_share_one_flush,
    relaxed_commits_wait_for_no_flush,
    a_failed_write_is_told_undone_and_repaired,
    a_failure_after_failures_is_repaired_too,
    a_disk_that_does_not_open_is_left_alone_for_a_while,
);

/// Everything that a write can fail at.
const FAILURES: [Fail; 6] = [
    Fail::Before(Step::Write),
    Fail::After(Step::Write),
    Fail::Before(Step::Flush),
    Fail::After(Step::Flush),
    Fail::Before(Step::Seal),
    Fail::After(Step::Seal),
];

/// The keys that a killed process would leave.
async fn left(place: &dyn Place) -> Vec<String> {
    let left = place.after_kill().remove(0);
    let store = left.open(&Controls::new()).await.unwrap();
    let entries = store.list("").await.unwrap().entries;
    entries.into_iter().map(|(key, _)| key).collect()
}

async fn commits_that_wait_share_one_flush(place: &dyn Place) {
    let disk = Controls::new();
    let store = Arc::new(place.open(&disk).await.unwrap());
    let before = disk.flushes();
    let spawn = |n: u32| {
        let store = store.clone();
        tokio::spawn(async move { put(&*store, &format!("k/{n}"), "x").await })
    };

    disk.close_gate();
    let first = spawn(0);
    disk.flush_waits().await;
    let mut others: Vec<_> = (1..=200).map(spawn).collect();
    // While a flush is under way nothing of it is visible, nor acknowledged.
    assert_eq!(value(&*store, "k/0").await, None);
    assert!(!first.is_finished());
    // All 200 have been polled once the runtime has come to the end of its queue.
    while store.queued() < 200 {
        tokio::task::yield_now().await;
    }
    disk.open_gate();

    let mut revisions = vec![first.await.unwrap()];
    for other in others.drain(..) {
        revisions.push(other.await.unwrap());
    }
    assert_eq!(disk.flushes() - before, 2);
    revisions.sort_unstable();
    revisions.dedup();
    assert_eq!(
        revisions.len(),
        201,
        "each transaction has a revision of its own"
    );
}

async fn relaxed_commits_wait_for_no_flush(place: &dyn Place) {
    let disk = Controls::new();
    let store = place.open(&disk).await.unwrap();
    let before = disk.flushes();
    for _ in 0..10 {
        let writes = vec![Write::put("a", "1")];
        store.commit(writes, Durability::Relaxed).await.unwrap();
    }
    assert_eq!(disk.flushes(), before);
    // Nothing to write, but what it saw has to be safe before it is acknowledged.
    store.commit(vec![], Durability::Flushed).await.unwrap();
    assert_eq!(disk.flushes(), before + 1);
    assert_eq!(left(place).await, ["a"]);
    store.commit(vec![], Durability::Flushed).await.unwrap();
    assert_eq!(disk.flushes(), before + 1);
}

async fn a_failed_write_is_told_undone_and_repaired(place: &dyn Place) {
    for fail in FAILURES {
        let place = place.after_kill().remove(0);
        let disk = Controls::new();
        let store = place.open(&disk).await.unwrap();
        let start = put(&store, "a", "old").await;
        let mut watch = store.watch("", start).unwrap();

        disk.fail(fail);
        let writes = vec![Write::put("a", "new"), Write::put("b", "new")];
        let error = store.commit(writes, Durability::Flushed).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(reason) if reason.contains("no space")));
        assert!(error.is_transient());
        // Reads go on, with what was acknowledged.
        assert_eq!(value(&store, "a").await.as_deref(), Some("old"));
        assert_eq!(value(&store, "b").await, None);

        disk.fail(Fail::Nothing);
        let opens = disk.opens();
        put(&store, "c", "1").await;
        assert_eq!(disk.opens(), opens + 1, "the writer opened it again");
        assert_eq!(next(&mut watch).await.key, "c");
        assert_eq!(left(&*place).await, ["a", "c"], "{fail:?}");
        store.close().await;
        let store = place.open(&Controls::new()).await.unwrap();
        assert_eq!(value(&store, "a").await.as_deref(), Some("old"));
    }
}

/// What failed in a row leaves numbers behind that nobody may mistake for those of what was
/// acknowledged.
async fn a_failure_after_failures_is_repaired_too(place: &dyn Place) {
    let disk = Controls::new();
    let store = place.open(&disk).await.unwrap();
    for (round, fail) in FAILURES.into_iter().chain(FAILURES).enumerate() {
        disk.fail(fail);
        let lost = vec![Write::put("lost", "x"), Write::delete("kept/0")];
        store.commit(lost, Durability::Flushed).await.unwrap_err();
        disk.fail(Fail::Nothing);
        put(&store, &format!("kept/{round}"), "x").await;
        let found = left(place).await;
        assert_eq!(found.len(), round + 1, "{fail:?}: {found:?}");
    }
}

async fn a_disk_that_does_not_open_is_left_alone_for_a_while(place: &dyn Place) {
    let disk = Controls::new();
    let store = place.open(&disk).await.unwrap();
    put(&store, "a", "1").await;
    disk.fail(Fail::Before(Step::Write));
    let writes = vec![Write::put("b", "1")];
    store
        .commit(writes.clone(), Durability::Flushed)
        .await
        .unwrap_err();
    disk.fail(Fail::Before(Step::Open));
    let opens = disk.opens();
    for _ in 0..20 {
        store
            .commit(writes.clone(), Durability::Flushed)
            .await
            .unwrap_err();
    }
    assert_eq!(disk.opens(), opens + 1);

    disk.fail(Fail::Nothing);
    let repaired = async {
        while store
            .commit(writes.clone(), Durability::Flushed)
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), repaired)
        .await
        .unwrap();
    assert_eq!(value(&store, "b").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn acknowledged_relaxed_writes_survive_a_failure_after_them() {
    let disk = SimDisk::default();
    let controls = Controls::new();
    let store = disk.open(&controls).await.unwrap();
    let lost = disk.after_crash(0);
    let writes = vec![Write::put("relaxed", "1")];
    store.commit(writes, Durability::Relaxed).await.unwrap();

    controls.fail(Fail::Before(Step::Write));
    let writes = vec![Write::put("a", "1")];
    store.commit(writes, Durability::Flushed).await.unwrap_err();
    // As sled does: what was not flushed before the error is gone when it is opened again.
    disk.become_again(&lost);
    controls.fail(Fail::Nothing);
    put(&store, "b", "1").await;
    assert_eq!(
        disk.contents().entries.keys().collect::<Vec<_>>(),
        ["b", "relaxed"]
    );
}

#[tokio::test]
async fn no_revision_names_two_states_though_writes_were_lost() {
    let disk = SimDisk::default();
    let store = disk.open(&Controls::new()).await.unwrap();
    put(&store, "a", "1").await;
    let writes = vec![Write::put("a", "2")];
    let lost = store.commit(writes, Durability::Relaxed).await.unwrap();
    let disk = disk.after_crash(0);

    let store = disk.open(&Controls::new()).await.unwrap();
    assert!(matches!(
        store.watch("", lost).err(),
        Some(StoreError::Compacted { .. })
    ));
    assert!(put(&store, "a", "3").await > lost);
    let stale = Write::put("a", "4").when(Precondition::Revision(lost));
    assert!(
        store
            .commit(vec![stale], Durability::Flushed)
            .await
            .is_err()
    );
}
