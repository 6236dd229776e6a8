//! Takes a backup: the store at one revision, and every artifact that it names.

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use warren_model::digest::Digest;
use warren_proto::v1;

use super::format::{self, Body, Encoder, Entries, Entry, FORMAT, Header};
use crate::{
    artifact::{ArtifactError, ArtifactFiles, ArtifactStream, Held},
    clock,
    state::{State, decode, keys},
    store::{SCHEMA, Snapshot, StoreError},
};

/// The bytes of keys and values in a record of entries. A record with a single entry may exceed it.
const ENTRIES_BYTES: usize = 64 << 10;

/// The state at one revision and its artifact files, which are kept for as long as this lives.
pub(crate) struct Backup {
    snapshot: Snapshot,
    artifacts: Vec<Digest>,
    held: Held,
    header: Header,
}

// === impl Backup ===

impl Backup {
    /// The caller ensures that no artifact is removed in the meantime.
    pub async fn take(state: &State, files: &ArtifactFiles) -> Result<Self, StoreError> {
        let snapshot = state.list("").await?;
        let mut artifacts = Vec::new();
        let mut header = Header {
            format: FORMAT,
            warren: env!("CARGO_PKG_VERSION").to_owned(),
            schema: SCHEMA,
            revision: snapshot.revision,
            time: Some(clock::now()),
            entries: snapshot.entries.len() as u64,
            ..Header::default()
        };
        for (key, held) in &snapshot.entries {
            header.size_bytes += (key.len() + held.value.len()) as u64;
            if key.starts_with(keys::WORKLOADS) {
                header.workloads += 1;
            }
            if key.starts_with(keys::ARTIFACTS) {
                let artifact = decode::<v1::Artifact>(key, &held.value, held.revision)?.value;
                let digest = Digest::parse(&artifact.digest)
                    .map_err(|error| StoreError::Corrupt(format!("`{key}`: {error}")))?;
                header.size_bytes += artifact.size_bytes;
                artifacts.push(digest);
            }
        }
        header.artifacts = artifacts.len() as u64;
        let held = files.hold(artifacts.iter().copied());
        Ok(Self {
            snapshot,
            artifacts,
            held,
            header,
        })
    }

    /// Returns the approximate size of the file in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.header.size_bytes
    }

    /// The bytes of the file, in pieces of little more than 64 KiB, but for larger entries.
    pub fn into_stream(self) -> impl Stream<Item = Bytes> + Send {
        let Self {
            snapshot,
            artifacts,
            held,
            header,
        } = self;
        let files = held.files().clone();
        let header = stream::once(std::future::ready(Body::Header(header)));
        let entries = stream::iter(batches(snapshot));
        let artifacts = stream::iter(artifacts)
            .flat_map(move |digest| stream::unfold(Step::Begin(files.clone(), digest), next));
        let bodies = header.chain(entries).chain(artifacts);
        let (encoder, mark) = Encoder::begin();
        let frames = bodies
            .map(Some)
            .chain(stream::once(std::future::ready(None)))
            // Held until the last frame, or until the reader is dropped.
            .scan((Some(encoder), held), |(encoder, _held), body| {
                let frame = match body {
                    Some(body) => encoder.as_mut().map(|encoder| encoder.record(body)),
                    None => encoder.take().map(Encoder::end),
                };
                std::future::ready(frame)
            });
        stream::once(std::future::ready(mark)).chain(frames)
    }
}

fn batches(snapshot: Snapshot) -> impl Iterator<Item = Body> {
    let mut entries = snapshot.entries.into_iter().peekable();
    std::iter::from_fn(move || {
        let mut batch = Entries::default();
        let mut bytes = 0;
        while bytes < ENTRIES_BYTES
            && let Some((key, held)) = entries.next()
        {
            bytes += key.len() + held.value.len();
            batch.entries.push(Entry {
                key,
                value: held.value,
                revision: held.revision,
            });
        }
        (!batch.entries.is_empty()).then_some(Body::Entries(batch))
    })
}

/// The next record of an artifact.
enum Step {
    Begin(ArtifactFiles, Digest),
    Open(ArtifactFiles, Digest),
    Read(ArtifactStream),
    Done,
}

async fn next(step: Step) -> Option<(Body, Step)> {
    Some(match step {
        Step::Begin(files, digest) => {
            let digest_text = digest.to_string();
            let artifact = format::Artifact {
                digest: digest_text,
            };
            (Body::Artifact(artifact), Step::Open(files, digest))
        }
        Step::Open(files, digest) => match files.read(digest).await {
            Ok(stream) => read(stream).await,
            Err(error) => (ended(Some(&error)), Step::Done),
        },
        Step::Read(stream) => read(stream).await,
        Step::Done => return None,
    })
}

async fn read(mut stream: ArtifactStream) -> (Body, Step) {
    match stream.next().await {
        Some(Ok(chunk)) => (Body::Chunk(chunk), Step::Read(stream)),
        Some(Err(error)) => (ended(Some(&error)), Step::Done),
        None => (ended(None), Step::Done),
    }
}

fn ended(missing: Option<&ArtifactError>) -> Body {
    let missing = missing.map(ToString::to_string).unwrap_or_default();
    Body::ArtifactEnd(format::ArtifactEnd { missing })
}
