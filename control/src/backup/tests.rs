#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use bytes::Bytes;
use futures::StreamExt as _;
use tempfile::TempDir;
use warren_model::digest::Digest;
use warren_proto::v1;

use super::{restore::RestoreError, *};
use crate::{
    artifact::ArtifactFiles,
    data_dir::{ARTIFACTS, STORE},
    state::{State, TERMS_PER_LOSS, Transaction, decode, encode, keys},
    store::{Durability, OnLoss, Store, Write, sled::SledStore},
};

/// A data directory as a control plane has it.
struct Data(TempDir);

type Contents = BTreeMap<String, Bytes>;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

impl Data {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn store(&self) -> Arc<SledStore> {
        let path = self.path().join(STORE);
        Arc::new(SledStore::open(&path, OnLoss::Refuse).unwrap())
    }

    fn files(&self) -> ArtifactFiles {
        ArtifactFiles::open(&self.path().join(ARTIFACTS)).unwrap()
    }

    fn contents(&self) -> (Contents, u64) {
        let snapshot = block_on(self.store().list("")).unwrap();
        let entries = snapshot.entries.into_iter();
        let entries = entries.map(|(key, held)| (key, held.value)).collect();
        (entries, snapshot.revision)
    }

    /// Some of everything, and the bytes of its only artifact.
    fn fill(&self) -> Vec<u8> {
        let component = vec![9; 200_000];
        block_on(async {
            let mut upload = self.files().begin().await.unwrap();
            upload.write(component.clone().into()).await.unwrap();
            upload.finish().await.unwrap().keep().await.unwrap();
            let store = self.store();
            State::new(store.clone()).begin_term(7).await.unwrap();
            State::new(store.clone()).next_fence(5).await.unwrap();
            let digest = Digest::of(&component);
            let artifact = v1::Artifact {
                digest: digest.to_string(),
                size_bytes: 200_000,
                unused_since: Some(prost_types::Timestamp::default()),
                ..v1::Artifact::default()
            };
            let mut transaction = Transaction::default();
            transaction.create(keys::artifact(digest), &artifact);
            let state = State::new(store.clone());
            state
                .commit(transaction, Durability::Flushed)
                .await
                .unwrap();
            for n in 0..300_u32 {
                let writes = vec![Write::put(format!("k/{n}"), vec![3; 2000])];
                store.commit(writes, Durability::Relaxed).await.unwrap();
            }
        });
        component
    }

    fn backup(&self) -> Vec<u8> {
        block_on(async {
            let state = State::new(self.store());
            let backup = Backup::take(&state, &self.files()).await.unwrap();
            let size = backup.size_bytes();
            let pieces: Vec<Bytes> = backup.into_stream().collect().await;
            assert!(pieces.iter().all(|piece| piece.len() < 100 << 10));
            let file = pieces.concat();
            let length = file.len() as u64;
            assert!(
                size <= length && length < size + size / 5,
                "{size} {length}"
            );
            file
        })
    }

    fn restore(&self, file: &[u8], force: bool) -> Result<Restored, RestoreError> {
        restore(file, self.path(), force, |_, _| {})
    }

    /// Names in it.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn everything_comes_back_on_another_machine() {
    let source = Data::new();
    let component = source.fill();
    let file = source.backup();
    let (mut expected, revision) = source.contents();

    let target = Data::new();
    let restored = target.restore(&file, false).unwrap();
    assert_eq!((restored.artifacts, restored.replaced), (1, None));
    assert!(restored.missing.is_empty() && restored.time.is_some());
    assert_eq!(target.names(), [ARTIFACTS, STORE]);
    let (found, now) = target.contents();
    // Nobody who heard of a later state of the source takes this one for an earlier one.
    for (key, last) in [(keys::TERM, 7), (keys::FENCE, 5)] {
        let next: u64 = last + TERMS_PER_LOSS;
        expected.insert(key.to_owned(), next.to_string().into());
    }
    // What has passed since then is not held against an artifact that nothing names.
    let key = keys::artifact(Digest::of(&component));
    let artifact = decode::<v1::Artifact>(&key, &expected[&key], 0).unwrap();
    let artifact = v1::Artifact {
        unused_since: None,
        ..artifact.value
    };
    assert_ne!(expected[&key], encode(&artifact));
    expected.insert(key, encode(&artifact));
    assert!(found == expected, "the contents differ");
    assert!(now > revision + (1 << 39));

    let digest = Digest::of(&component);
    let pieces: Vec<_> = block_on(async {
        let stream = target.files().read(digest).await.unwrap();
        stream.map(Result::unwrap).collect().await
    });
    assert!(pieces.concat() == component);
    // What was restored can be backed up and restored again.
    let again = Data::new();
    again.restore(&target.backup(), false).unwrap();
    assert_eq!(again.contents().0.len(), expected.len());
}

#[test]
fn a_file_that_is_not_whole_replaces_nothing() {
    let source = Data::new();
    source.fill();
    let file = source.backup();
    let target = Data::new();
    target.fill();
    let (before, names) = (target.contents().0, target.names());
    let step = file.len() / 20;
    for at in (0..file.len()).step_by(step) {
        let mut flipped = file.clone();
        flipped[at] ^= 4;
        for damaged in [&flipped[..], &file[..at]] {
            let error = target.restore(damaged, true).unwrap_err();
            assert!(matches!(error, RestoreError::Format(_)), "{error}");
            assert_eq!(target.names(), names);
        }
    }
    assert!(target.contents().0 == before);
    // Nor does it leave anything in a directory that was empty.
    let empty = Data::new();
    empty.restore(&file[..1000], false).unwrap_err();
    assert!(empty.names().is_empty(), "{:?}", empty.names());
}

#[test]
fn what_is_there_is_kept_and_only_replaced_by_force() {
    let (source, target) = (Data::new(), Data::new());
    source.fill();
    let file = source.backup();
    let store = target.store();
    let writes = vec![Write::put("mine", "1")];
    block_on(store.commit(writes, Durability::Flushed)).unwrap();
    let in_use = target.restore(&file, true).unwrap_err().to_string();
    assert!(in_use.contains("in use by process"), "{in_use}");
    drop(store);

    let refused = target.restore(&file, false).unwrap_err().to_string();
    for part in [
        target.path().to_str().unwrap(),
        "store",
        "--force",
        "--data",
    ] {
        assert!(refused.contains(part), "{refused}");
    }
    let aside = target.restore(&file, true).unwrap().replaced.unwrap();
    let kept = SledStore::open(&aside, OnLoss::Refuse).unwrap();
    assert!(block_on(kept.get("mine")).unwrap().is_some());
    assert!(!target.contents().0.contains_key("mine"));
    // Another time it gets another name.
    let again = target.restore(&file, true).unwrap().replaced.unwrap();
    assert_ne!(again, aside);

    let foreign = Data::new();
    fs::write(foreign.path().join("holiday.jpg"), "x").unwrap();
    let refused = foreign.restore(&file, false).unwrap_err().to_string();
    assert!(refused.contains("holiday.jpg"), "{refused}");
    assert_eq!(foreign.names(), ["holiday.jpg"]);
    // What a volume has of its own is nothing.
    let volume = Data::new();
    fs::create_dir(volume.path().join("lost+found")).unwrap();
    volume.restore(&file, false).unwrap();
}

#[test]
fn a_restore_that_was_cut_short_is_finished_by_another() {
    let source = Data::new();
    source.fill();
    let file = source.backup();
    let target = Data::new();
    target.restore(&file, false).unwrap();
    assert!(!is_unfinished(target.path()));
    // As it is between the two names.
    fs::create_dir(target.path().join(".restore")).unwrap();
    assert!(!is_unfinished(target.path()), "the old store is in place");
    let aside = target.path().join("store.replaced-1");
    fs::rename(target.path().join(STORE), aside).unwrap();
    assert!(is_unfinished(target.path()));
    target.restore(&file, true).unwrap();
    assert!(!is_unfinished(target.path()));
    assert_eq!(target.contents().0.len(), source.contents().0.len());
}

#[test]
fn a_damaged_artifact_is_left_out_and_named() {
    let source = Data::new();
    let component = source.fill();
    let digest = Digest::of(&component);
    let path = source.path().join(ARTIFACTS).join(digest.hex());
    let mut bytes = component;
    bytes[5] ^= 1;
    fs::write(path, bytes).unwrap();
    let file = source.backup();
    let target = Data::new();
    let restored = target.restore(&file, false).unwrap();
    assert_eq!(restored.missing, [digest.to_string()]);
    assert!(!block_on(target.files().contains(digest)));
}

#[test]
fn an_artifact_that_is_removed_meanwhile_is_in_it() {
    let source = Data::new();
    let component = source.fill();
    let digest = Digest::of(&component);
    let files = source.files();
    let file: Vec<Bytes> = block_on(async {
        let state = State::new(source.store());
        let backup = Backup::take(&state, &files).await.unwrap();
        files.remove(digest).await.unwrap();
        backup.into_stream().collect().await
    });
    let target = Data::new();
    let restored = target.restore(&file.concat(), false).unwrap();
    assert_eq!((restored.artifacts, restored.missing.len()), (1, 0));
    assert!(!block_on(files.contains(digest)), "it went in the end");
}
