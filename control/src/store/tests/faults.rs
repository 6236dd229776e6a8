//! Group commit, and what happens when the disk fails.

use std::time::Duration;

use super::{memory::*, *};

fn open(disk: &MemoryDisk) -> Arc<LocalStore> {
    Arc::new(LocalStore::open(disk.clone(), Bounds::default()).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_that_wait_share_one_flush() {
    let disk = MemoryDisk::default();
    let store = open(&disk);
    let before = disk.flushes();
    let spawn = |n: u32| {
        let store = store.clone();
        tokio::spawn(async move { put(&*store, &format!("k/{n}"), "x").await })
    };

    disk.close_gate();
    let first = spawn(0);
    disk.wait_for_flush();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relaxed_commits_wait_for_no_flush() {
    let disk = MemoryDisk::default();
    let store = open(&disk);
    let before = disk.flushes();
    for _ in 0..10 {
        let writes = vec![Write::put("a", "1")];
        store.commit(writes, Durability::Relaxed).await.unwrap();
    }
    assert_eq!(disk.flushes(), before);
    // Nothing to write, but what it saw has to be safe before it is acknowledged.
    store.commit(vec![], Durability::Flushed).await.unwrap();
    assert_eq!(disk.flushes(), before + 1);
    store.commit(vec![], Durability::Flushed).await.unwrap();
    assert_eq!(disk.flushes(), before + 1);
}

#[tokio::test]
async fn a_failed_write_is_told_undone_and_repaired() {
    for fail in [Fail::Write, Fail::AfterWrite] {
        let disk = MemoryDisk::default();
        let store = open(&disk);
        let start = put(&*store, "a", "old").await;
        let mut watch = store.watch("", start).unwrap();

        disk.fail(fail);
        let writes = vec![Write::put("a", "new"), Write::put("b", "new")];
        let error = store.commit(writes, Durability::Flushed).await.unwrap_err();
        assert!(matches!(&error, StoreError::Unavailable(reason) if reason.contains("no space")));
        assert!(error.is_transient());
        // Reads go on, with what was acknowledged.
        assert_eq!(value(&*store, "a").await.as_deref(), Some("old"));
        assert_eq!(value(&*store, "b").await, None);

        disk.fail(Fail::Nothing);
        let opens = disk.opens();
        put(&*store, "c", "1").await;
        assert_eq!(disk.opens(), opens + 1, "the writer opened it again");
        assert_eq!(next(&mut watch).await.key, "c");
        assert_eq!(
            disk.contents().entries.keys().collect::<Vec<_>>(),
            ["a", "c"]
        );
        drop(store);
        let store = open(&disk);
        assert_eq!(value(&*store, "a").await.as_deref(), Some("old"));
    }
}

#[tokio::test]
async fn acknowledged_relaxed_writes_survive_a_failure_after_them() {
    let disk = MemoryDisk::default();
    let store = open(&disk);
    let lost = disk.contents();
    let writes = vec![Write::put("relaxed", "1")];
    store.commit(writes, Durability::Relaxed).await.unwrap();

    disk.fail(Fail::Write);
    let writes = vec![Write::put("a", "1")];
    store.commit(writes, Durability::Flushed).await.unwrap_err();
    // As sled does: what was not flushed before the error is gone when it is opened again.
    disk.replace(lost);
    disk.fail(Fail::Nothing);
    put(&*store, "b", "1").await;
    assert_eq!(
        disk.contents().entries.keys().collect::<Vec<_>>(),
        ["b", "relaxed"]
    );
}

#[tokio::test]
async fn a_disk_that_does_not_open_is_left_alone_for_a_while() {
    let disk = MemoryDisk::default();
    let store = open(&disk);
    put(&*store, "a", "1").await;
    disk.fail(Fail::Write);
    let writes = vec![Write::put("b", "1")];
    store
        .commit(writes.clone(), Durability::Flushed)
        .await
        .unwrap_err();
    disk.fail(Fail::Open);
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
    assert_eq!(value(&*store, "b").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn no_revision_names_two_states_though_writes_were_lost() {
    let disk = MemoryDisk::default();
    let store = open(&disk);
    put(&*store, "a", "1").await;
    let survived = disk.contents();
    let writes = vec![Write::put("a", "2")];
    let lost = store.commit(writes, Durability::Relaxed).await.unwrap();
    drop(store);
    disk.replace(survived);

    let store = open(&disk);
    assert!(matches!(
        store.watch("", lost).err(),
        Some(StoreError::Compacted { .. })
    ));
    assert!(put(&*store, "a", "3").await > lost);
    let stale = Write::put("a", "4").when(Precondition::Revision(lost));
    assert!(
        store
            .commit(vec![stale], Durability::Flushed)
            .await
            .is_err()
    );
}
