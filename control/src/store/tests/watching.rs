//! What a watcher relies on, whatever the backend.

use super::*;

on_every_backend!(
    a_watch_sees_every_change_of_its_prefix,
    a_watch_starts_in_the_past_or_is_refused,
    a_slow_watch_ends_and_can_be_taken_up_again,
    a_watch_beside_writers_has_no_gap,
    closing_ends_watches_and_refuses_commits,
);

async fn a_watch_sees_every_change_of_its_prefix(backend: &dyn Backend) {
    let store = backend.open().await;
    let start = put(&*store, "a/0", "0").await;
    let mut watch = store.watch("a/", start).unwrap();
    let first = put(&*store, "a/1", "1").await;
    put(&*store, "b/1", "1").await;
    let writes = vec![
        Write::put("a/2", "2"),
        Write::put("b/2", "2"),
        Write::delete("a/1"),
        Write::put("b/3", "3"),
    ];
    let second = store.commit(writes, Durability::Relaxed).await.unwrap();

    let change = |key: &str, value: Option<&'static str>, revision, last| Change {
        key: key.to_owned(),
        value: value.map(Into::into),
        revision,
        last,
    };
    assert_eq!(
        next(&mut watch).await,
        change("a/1", Some("1"), first, true)
    );
    assert_eq!(
        next(&mut watch).await,
        change("a/2", Some("2"), second, false)
    );
    assert_eq!(next(&mut watch).await, change("a/1", None, second, true));
}

async fn a_watch_starts_in_the_past_or_is_refused(backend: &dyn Backend) {
    let store = backend.open().await;
    let start = store.list("").await.unwrap().revision;
    let mut revisions = Vec::new();
    for n in 0..5 {
        revisions.push(put(&*store, &format!("k/{n}"), "x").await);
    }
    let mut watch = store.watch("k/", revisions[1]).unwrap();
    put(&*store, "k/5", "x").await;
    for n in 2..6 {
        assert_eq!(next(&mut watch).await.key, format!("k/{n}"));
    }
    for unknown in [start.wrapping_sub(1), revisions[4] + 1_000_000_000] {
        assert!(matches!(
            store.watch("", unknown).err(),
            Some(StoreError::Compacted { asked, .. }) if asked == unknown
        ));
    }
}

async fn a_slow_watch_ends_and_can_be_taken_up_again(backend: &dyn Backend) {
    let store = backend.open().await;
    let start = store.list("").await.unwrap().revision;
    let mut slow = store.watch("k/", start).unwrap();
    let mut idle = store.watch("other/", start).unwrap();
    let total = 20_000;
    for n in (0..total).step_by(100) {
        let writes = (n..n + 100)
            .map(|n| Write::put(format!("k/{n}"), "x"))
            .collect();
        store.commit(writes, Durability::Relaxed).await.unwrap();
    }

    // It receives the changes that were sent before, in order, and then the error.
    let (mut seen, mut unfinished) = (0, 0);
    let mut last = start;
    let error = loop {
        match slow.next().await.expect("it ends with an error") {
            Ok(change) => {
                assert!(change.revision > last);
                unfinished += 1;
                if change.last {
                    last = change.revision;
                    seen += std::mem::take(&mut unfinished);
                }
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StoreError::Compacted { asked, .. } if asked == last));
    assert!(seen < total);
    assert!(slow.next().await.is_none());

    // From the last revision that it saw whole, nothing is missing.
    let mut resumed = store.watch("k/", last).unwrap();
    let mut missing: std::collections::BTreeSet<_> =
        (seen..total).map(|n| format!("k/{n}")).collect();
    while !missing.is_empty() {
        assert!(missing.remove(&next(&mut resumed).await.key));
    }
    // One that nothing was sent to has not fallen behind.
    put(&*store, "other/1", "x").await;
    assert_eq!(next(&mut idle).await.key, "other/1");
}

async fn a_watch_beside_writers_has_no_gap(backend: &dyn Backend) {
    let store = backend.open().await;
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                for n in 0..100 {
                    let writes = vec![
                        Write::put(format!("k/{writer}"), n.to_string()),
                        Write::put(format!("l/{writer}"), n.to_string()),
                    ];
                    store.commit(writes, Durability::Relaxed).await.unwrap();
                }
            })
        })
        .collect();

    // Whenever it starts, a list and the watch from it tell the whole story.
    let watchers: Vec<_> = (0..10)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                tokio::task::yield_now().await;
                let snapshot = store.list("k/").await.unwrap();
                let mut state: std::collections::BTreeMap<_, _> = snapshot
                    .entries
                    .into_iter()
                    .map(|(key, versioned)| (key, versioned.value))
                    .collect();
                let mut watch = store.watch("k/", snapshot.revision).unwrap();
                let mut revision = snapshot.revision;
                while state.len() < 4 || state.values().any(|value| value != "99") {
                    let change = next(&mut watch).await;
                    assert!(change.revision > revision && change.last);
                    revision = change.revision;
                    let value = change.value.unwrap();
                    let number = |value: &[u8]| -> u32 {
                        std::str::from_utf8(value).unwrap().parse().unwrap()
                    };
                    if let Some(before) = state.insert(change.key, value.clone()) {
                        assert_eq!(number(&before) + 1, number(&value));
                    }
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(watchers) {
        task.await.unwrap();
    }
}

async fn closing_ends_watches_and_refuses_commits(backend: &dyn Backend) {
    let store = backend.open().await;
    let revision = put(&*store, "a", "1").await;
    let mut watch = store.watch("", revision).unwrap();
    let writes = vec![Write::put("b", "2")];
    store
        .commit(writes.clone(), Durability::Relaxed)
        .await
        .unwrap();
    store.close().await;
    assert_eq!(next(&mut watch).await.key, "b");
    assert!(watch.next().await.is_none());
    assert!(matches!(
        store.commit(writes, Durability::Flushed).await,
        Err(StoreError::Unavailable(_))
    ));
    assert_eq!(value(&*store, "a").await.as_deref(), Some("1"));
    store.close().await;

    let store = backend.open().await;
    assert_eq!(value(&*store, "b").await.as_deref(), Some("2"));
}
