#![allow(clippy::unwrap_used)]

use std::{fs, path::PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

struct Fixture {
    directory: TempDir,
    files: ArtifactFiles,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = ArtifactFiles::open(&directory.path().join("artifacts")).unwrap();
        Self { directory, files }
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.directory.path().join("artifacts").join(digest.hex())
    }

    /// Names in the directory.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path().join("artifacts")).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    async fn store(&self, bytes: &[u8]) -> Digest {
        let finished = self.upload(bytes, 10_000).await;
        let digest = finished.digest();
        finished.keep().await.unwrap();
        digest
    }

    async fn upload(&self, bytes: &[u8], piece: usize) -> FinishedUpload {
        let mut upload = self.files.begin().await.unwrap();
        for piece in bytes.chunks(piece) {
            upload.write(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        upload.finish().await.unwrap()
    }
}

/// All pieces, and the error at the end if there is one.
async fn read(files: &ArtifactFiles, digest: Digest) -> (Vec<Bytes>, Option<ArtifactError>) {
    let mut stream = files.read(digest).await.unwrap();
    let mut pieces = Vec::new();
    let mut error = None;
    while let Some(piece) = stream.next().await {
        assert!(error.is_none(), "nothing comes after an error");
        match piece {
            Ok(piece) => pieces.push(piece),
            Err(found) => error = Some(found),
        }
    }
    (pieces, error)
}

fn bytes(length: usize) -> Vec<u8> {
    (0..251).cycle().take(length).collect()
}

#[tokio::test]
async fn what_was_pushed_is_read_again() {
    let fixture = Fixture::new();
    for length in [
        1,
        CHUNK_BYTES - 1,
        CHUNK_BYTES,
        CHUNK_BYTES + 1,
        3 * CHUNK_BYTES,
    ] {
        let bytes = bytes(length);
        let finished = fixture.upload(&bytes, 10_000).await;
        let digest = finished.digest();
        assert_eq!(digest, Digest::of(&bytes));
        assert_eq!(finished.size(), u64::try_from(length).unwrap());
        assert_eq!(finished.bytes().await.unwrap(), bytes);
        assert!(
            !fixture.files.contains(digest).await,
            "not before it is kept"
        );
        finished.keep().await.unwrap();
        assert!(fixture.files.contains(digest).await);

        let (pieces, error) = read(&fixture.files, digest).await;
        assert!(error.is_none());
        assert!(pieces.iter().all(|piece| piece.len() <= CHUNK_BYTES));
        assert_eq!(pieces.concat(), bytes);
    }
}

#[tokio::test]
async fn an_unknown_artifact_is_not_found() {
    let fixture = Fixture::new();
    let digest = Digest::of(b"nowhere");
    assert!(matches!(
        fixture.files.read(digest).await.err(),
        Some(ArtifactError::NotFound(named)) if named == digest
    ));
    fixture.files.remove(digest).await.unwrap();
}

#[tokio::test]
async fn a_removed_artifact_is_gone_for_new_readers() {
    let fixture = Fixture::new();
    let digest = fixture.store(&bytes(200_000)).await;
    let mut reading = fixture.files.read(digest).await.unwrap();
    fixture.files.remove(digest).await.unwrap();
    assert!(!fixture.files.contains(digest).await);
    let mut length = 0;
    while let Some(piece) = reading.next().await {
        length += piece.unwrap().len();
    }
    assert_eq!(length, 200_000);
    assert!(fixture.names().is_empty());
}

#[tokio::test]
async fn what_is_held_stays_until_the_last_lets_go() {
    let fixture = Fixture::new();
    let digest = fixture.store(b"held").await;
    let other = fixture.store(b"other").await;
    let (one, two) = (fixture.files.hold([digest]), fixture.files.hold([digest]));
    fixture.files.remove(digest).await.unwrap();
    fixture.files.remove(other).await.unwrap();
    assert!(!fixture.files.contains(digest).await, "removed for others");
    drop(one);
    let (pieces, error) = read(two.files(), digest).await;
    assert!(error.is_none() && pieces.concat() == b"held");
    drop(two);
    assert!(fixture.names().is_empty());
}

#[tokio::test]
async fn what_is_held_and_pushed_again_stays_for_good() {
    let fixture = Fixture::new();
    let digest = fixture.store(b"held").await;
    let held = fixture.files.hold([digest]);
    fixture.files.remove(digest).await.unwrap();
    fixture.store(b"held").await;
    assert!(fixture.files.contains(digest).await);
    drop(held);
    assert_eq!(fixture.names(), [digest.hex()]);
}

#[tokio::test]
async fn damage_withholds_the_last_piece_and_pushing_again_heals() {
    let original = bytes(3 * CHUNK_BYTES);
    let mut flipped = original.clone();
    flipped[5] ^= 1;
    let longer = [&original[..], b"x"].concat();
    let cases = [
        flipped,
        longer,
        original[..original.len() - 1].to_vec(),
        Vec::new(),
    ];
    for damaged in cases {
        let fixture = Fixture::new();
        let digest = fixture.store(&original).await;
        fs::write(fixture.path(digest), &damaged).unwrap();

        let (pieces, error) = read(&fixture.files, digest).await;
        assert!(matches!(error, Some(ArtifactError::Corrupt(named)) if named == digest));
        let length: usize = pieces.iter().map(Bytes::len).sum();
        assert!(length < damaged.len().max(1));

        fixture.store(&original).await;
        let (pieces, error) = read(&fixture.files, digest).await;
        assert!(error.is_none());
        assert_eq!(pieces.concat(), original);
    }
}

#[tokio::test]
async fn a_dropped_upload_leaves_nothing() {
    let fixture = Fixture::new();
    let mut upload = fixture.files.begin().await.unwrap();
    upload.write(Bytes::from_static(b"half")).await.unwrap();
    assert_eq!(fixture.names().len(), 1);
    drop(upload);
    assert!(fixture.names().is_empty());

    let finished = fixture.upload(b"whole but unwanted", 5).await;
    assert_eq!(fixture.names().len(), 1);
    drop(finished);
    assert!(fixture.names().is_empty());
}

#[tokio::test]
async fn opening_clears_away_what_a_crash_left() {
    let fixture = Fixture::new();
    let digest = fixture.store(b"kept").await;
    fs::write(fixture.path(digest).with_file_name(".upload-123"), "left").unwrap();
    let files = ArtifactFiles::open(&fixture.directory.path().join("artifacts")).unwrap();
    assert_eq!(fixture.names(), [digest.hex()]);
    assert!(files.contains(digest).await);
}

#[tokio::test]
async fn an_artifact_has_at_most_so_many_bytes() {
    let mut fixture = Fixture::new();
    fixture.files.limit = 10;
    let mut upload = fixture.files.begin().await.unwrap();
    upload
        .write(Bytes::from_static(b"0123456789"))
        .await
        .unwrap();
    let error = upload.write(Bytes::from_static(b"x")).await.unwrap_err();
    assert!(matches!(error, ArtifactError::TooLarge { limit: 10 }));
    drop(upload);
    assert!(fixture.names().is_empty());
}

#[tokio::test]
async fn so_many_uploads_at_once() {
    let fixture = Fixture::new();
    let mut uploads = Vec::new();
    for _ in 0..MAX_UPLOADS {
        uploads.push(fixture.files.begin().await.unwrap());
    }
    assert!(matches!(
        fixture.files.begin().await,
        Err(ArtifactError::Busy)
    ));
    uploads.pop();
    fixture.files.begin().await.unwrap();
}

#[tokio::test]
async fn the_same_bytes_may_be_pushed_at_once() {
    let fixture = Fixture::new();
    let one = fixture.upload(b"same", 2).await;
    let two = fixture.upload(b"same", 3).await;
    let digest = one.digest();
    one.keep().await.unwrap();
    two.keep().await.unwrap();
    assert_eq!(fixture.names(), [digest.hex()]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn pieces_do_not_matter(length in 1..200_000_usize, piece in 1..100_000_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new();
            let bytes = bytes(length);
            let finished = fixture.upload(&bytes, piece).await;
            let digest = finished.digest();
            finished.keep().await.unwrap();
            let (pieces, error) = read(&fixture.files, digest).await;
            assert!(error.is_none() && pieces.concat() == bytes);
        });
    }
}
