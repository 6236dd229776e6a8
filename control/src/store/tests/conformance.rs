//! What a user of [`Store`] relies on, whatever the backend.

use super::*;

on_every_backend!(
    values_carry_the_revision_of_their_transaction,
    a_transaction_is_all_or_nothing,
    preconditions_speak_of_the_state_before_the_transaction,
    what_changes_nothing_makes_no_revision,
    a_key_stands_once_in_a_transaction,
    a_list_is_one_revision_of_one_prefix,
    one_of_many_racers_wins,
    counters_lose_no_increment,
    a_dropped_commit_is_whole,
    everything_is_there_after_reopening,
);

/// Everything but what needs a disk.
#[tokio::test]
async fn a_store_in_memory_alone_does_the_same() {
    values_carry_the_revision_of_their_transaction(&VolatileBackend).await;
    a_transaction_is_all_or_nothing(&VolatileBackend).await;
    preconditions_speak_of_the_state_before_the_transaction(&VolatileBackend).await;
    what_changes_nothing_makes_no_revision(&VolatileBackend).await;
    a_key_stands_once_in_a_transaction(&VolatileBackend).await;
    a_list_is_one_revision_of_one_prefix(&VolatileBackend).await;
    one_of_many_racers_wins(&VolatileBackend).await;
    counters_lose_no_increment(&VolatileBackend).await;
    a_dropped_commit_is_whole(&VolatileBackend).await;
}

async fn values_carry_the_revision_of_their_transaction(backend: &dyn Backend) {
    let store = backend.open().await;
    assert_eq!(store.get("a").await.unwrap(), None);

    let writes = vec![Write::put("a", "1"), Write::put("b", "2")];
    let first = store.commit(writes, Durability::Flushed).await.unwrap();
    for (key, expected) in [("a", "1"), ("b", "2")] {
        let versioned = store.get(key).await.unwrap().unwrap();
        assert_eq!(
            (&versioned.value[..], versioned.revision),
            (expected.as_bytes(), first)
        );
    }

    let second = put(&*store, "a", "3").await;
    assert!(second > first);
    assert_eq!(store.get("a").await.unwrap().unwrap().revision, second);
    assert_eq!(store.get("b").await.unwrap().unwrap().revision, first);
}

async fn a_transaction_is_all_or_nothing(backend: &dyn Backend) {
    let store = backend.open().await;
    let revision = put(&*store, "held", "1").await;
    let writes = vec![
        Write::put("new", "x"),
        Write::delete("held"),
        Write::put("other", "x").when(Precondition::Revision(revision)),
    ];
    let error = store.commit(writes, Durability::Flushed).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { key } if key == "other"));
    assert_eq!(value(&*store, "new").await, None);
    assert_eq!(value(&*store, "held").await.as_deref(), Some("1"));
    assert_eq!(store.list("").await.unwrap().revision, revision);
}

async fn preconditions_speak_of_the_state_before_the_transaction(backend: &dyn Backend) {
    use Precondition::{Absent, Exists, Revision};
    let store = backend.open().await;
    let old = put(&*store, "there", "1").await;
    let now = put(&*store, "there", "2").await;
    let cases = [
        ("there", Absent, false),
        ("there", Exists, true),
        ("there", Revision(now), true),
        ("there", Revision(old), false),
        ("missing", Absent, true),
        ("missing", Exists, false),
        ("missing", Revision(now), false),
    ];
    for (key, precondition, holds) in cases {
        let checked = store
            .commit(vec![Write::check(key, precondition)], Durability::Flushed)
            .await;
        match checked {
            Ok(revision) => assert!(holds && revision == now, "{key} {precondition:?}"),
            Err(StoreError::Conflict { key: named }) => {
                assert!(!holds && named == key, "{key} {precondition:?}");
            }
            Err(error) => panic!("{key} {precondition:?}: {error}"),
        }
    }

    // A check guards what others write, and what it guards is left as it is.
    let writes = vec![
        Write::check("there", Revision(now)),
        Write::put("guarded", "x"),
    ];
    store.commit(writes, Durability::Flushed).await.unwrap();
    assert_eq!(store.get("there").await.unwrap().unwrap().revision, now);
    let writes = vec![Write::delete("there").when(Exists)];
    store.commit(writes, Durability::Relaxed).await.unwrap();
    assert_eq!(value(&*store, "there").await, None);
}

async fn what_changes_nothing_makes_no_revision(backend: &dyn Backend) {
    let store = backend.open().await;
    let revision = put(&*store, "a", "1").await;
    let mut watch = store.watch("", revision).unwrap();
    for nothing in [vec![], vec![Write::delete("missing")]] {
        assert_eq!(
            store.commit(nothing, Durability::Flushed).await.unwrap(),
            revision
        );
    }
    // A value that is written again is a change: it has a new revision.
    let again = put(&*store, "a", "1").await;
    assert!(again > revision);
    assert_eq!(next(&mut watch).await.revision, again);
}

async fn a_key_stands_once_in_a_transaction(backend: &dyn Backend) {
    let store = backend.open().await;
    for wrong in [
        vec![Write::put("a", "1"), Write::put("a", "2")],
        vec![
            Write::check("a", Precondition::Absent),
            Write::put("a", "2"),
        ],
        vec![Write::put("", "1")],
    ] {
        let error = store.commit(wrong, Durability::Flushed).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)) && !error.is_transient());
    }
    assert!(store.list("").await.unwrap().entries.is_empty());
}

async fn a_list_is_one_revision_of_one_prefix(backend: &dyn Backend) {
    let store = backend.open().await;
    for key in ["a/2", "a", "b/1", "a/1", "a0", "a/1/x"] {
        put(&*store, key, key).await;
    }
    let snapshot = store.list("a/").await.unwrap();
    let keys: Vec<&str> = snapshot
        .entries
        .iter()
        .map(|(key, _)| key.as_str())
        .collect();
    assert_eq!(keys, ["a/1", "a/1/x", "a/2"]);
    assert_eq!(store.list("").await.unwrap().entries.len(), 6);
    assert_eq!(store.list("c").await.unwrap().entries.len(), 0);

    // Both keys are always written together: no list sees one without the other.
    let writer = tokio::spawn({
        let store = store.clone();
        async move {
            for round in 0..200 {
                let value = round.to_string();
                let writes = vec![
                    Write::put("pair/1", value.clone()),
                    Write::put("pair/2", value),
                ];
                store.commit(writes, Durability::Relaxed).await.unwrap();
            }
        }
    });
    while !writer.is_finished() {
        let snapshot = store.list("pair/").await.unwrap();
        if let [(_, one), (_, two)] = &snapshot.entries[..] {
            assert_eq!(one, two);
            assert!(one.revision <= snapshot.revision);
        } else {
            assert!(snapshot.entries.is_empty());
        }
        tokio::task::yield_now().await;
    }
    writer.await.unwrap();
}

async fn one_of_many_racers_wins(backend: &dyn Backend) {
    let store = backend.open().await;
    for round in 0..20 {
        let key = format!("race/{round}");
        let racers: Vec<_> = (0..16)
            .map(|racer: u32| {
                let (store, key) = (store.clone(), key.clone());
                tokio::spawn(async move {
                    let write = Write::put(key, racer.to_string()).when(Precondition::Absent);
                    match store.commit(vec![write], Durability::Flushed).await {
                        Ok(_) => Some(racer),
                        Err(StoreError::Conflict { .. }) => None,
                        Err(error) => panic!("{error}"),
                    }
                })
            })
            .collect();
        let mut winners = Vec::new();
        for racer in racers {
            winners.extend(racer.await.unwrap());
        }
        assert_eq!(winners.len(), 1);
        assert_eq!(value(&*store, &key).await, Some(winners[0].to_string()));
    }
}

async fn counters_lose_no_increment(backend: &dyn Backend) {
    let store = backend.open().await;
    put(&*store, "counter", "0").await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while done < 25 {
                    let now = store.get("counter").await.unwrap().unwrap();
                    let count: u32 = std::str::from_utf8(&now.value).unwrap().parse().unwrap();
                    let write = Write::put("counter", (count + 1).to_string())
                        .when(Precondition::Revision(now.revision));
                    match store.commit(vec![write], Durability::Flushed).await {
                        Ok(_) => done += 1,
                        Err(error) => assert!(matches!(error, StoreError::Conflict { .. })),
                    }
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(value(&*store, "counter").await.as_deref(), Some("200"));
}

async fn a_dropped_commit_is_whole(backend: &dyn Backend) {
    let store = backend.open().await;
    for n in 0..50 {
        let writes = vec![
            Write::put(format!("one/{n}"), "x"),
            Write::put(format!("two/{n}"), "x"),
        ];
        let commit = store.commit(writes, Durability::Flushed);
        // Polled at most once, then dropped.
        let _ = tokio::time::timeout(std::time::Duration::ZERO, commit).await;
    }
    put(&*store, "end", "x").await;
    for n in 0..50 {
        assert_eq!(
            value(&*store, &format!("one/{n}")).await,
            value(&*store, &format!("two/{n}")).await
        );
    }
}

async fn everything_is_there_after_reopening(backend: &dyn Backend) {
    let mut revision = 0;
    for life in 0..4_u32 {
        let store = backend.open().await;
        let snapshot = store.list("").await.unwrap();
        assert!(snapshot.revision >= revision);
        assert_eq!(snapshot.entries.len(), usize::try_from(life).unwrap() * 9);
        for n in 0..10 {
            let written = put(&*store, &format!("{life}/{n}"), &n.to_string()).await;
            assert!(written > revision);
            revision = written;
        }
        let writes = vec![Write::delete(format!("{life}/0"))];
        revision = store.commit(writes, Durability::Relaxed).await.unwrap();

        // What came before this life is not in its history.
        if life > 0 {
            let asked = snapshot.entries[0].1.revision;
            assert!(matches!(
                store.watch("", asked).err(),
                Some(StoreError::Compacted { .. })
            ));
        }
        let kept = store.get(&format!("{life}/9")).await.unwrap().unwrap();
        drop(store);

        let store = backend.open().await;
        assert_eq!(
            store.get(&format!("{life}/9")).await.unwrap().unwrap(),
            kept
        );
        assert_eq!(value(&*store, &format!("{life}/0")).await, None);
    }
}
