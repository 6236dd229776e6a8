//! Reads that succeed only if the bytes match the digest.

use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};
use tokio::{fs::File, io::AsyncReadExt};
use warren_model::digest::{Digest, Hasher};

use super::{ArtifactError, CHUNK_BYTES};

/// Pieces of at most [`CHUNK_BYTES`]. The stream ends after the first error.
pub type ArtifactStream = Pin<Box<dyn Stream<Item = Result<Bytes, ArtifactError>> + Send>>;

struct Reader {
    file: File,
    digest: Digest,
    hasher: Hasher,
    /// The last piece that was read and is not returned yet: a reader that has it has every byte,
    /// and must not mistake damaged ones for the whole.
    held_back: Option<Bytes>,
}

pub(super) fn verified(file: File, digest: Digest) -> ArtifactStream {
    let reader = Reader {
        file,
        digest,
        hasher: Hasher::new(),
        held_back: None,
    };
    Box::pin(stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        match reader.next().await {
            Ok((piece, false)) => Some((Ok(piece), Some(reader))),
            Ok((piece, true)) => Some((Ok(piece), None)),
            Err(error) => Some((Err(error), None)),
        }
    }))
}

impl Reader {
    /// Returns the next piece, and whether it is the last.
    async fn next(&mut self) -> Result<(Bytes, bool), ArtifactError> {
        loop {
            let piece = self.read().await?;
            self.hasher.update(&piece);
            if piece.is_empty() {
                let found = std::mem::take(&mut self.hasher).finish();
                return match self.held_back.take() {
                    Some(last) if found == self.digest => Ok((last, true)),
                    _ => Err(ArtifactError::Corrupt(self.digest)),
                };
            }
            if let Some(before) = self.held_back.replace(piece) {
                return Ok((before, false));
            }
        }
    }

    /// Reads a full piece, or the rest.
    async fn read(&mut self) -> Result<Bytes, ArtifactError> {
        let mut piece = BytesMut::with_capacity(CHUNK_BYTES);
        while piece.len() < CHUNK_BYTES {
            let room = CHUNK_BYTES - piece.len();
            let mut rest = (&mut self.file).take(u64::try_from(room).unwrap_or(0));
            if rest.read_buf(&mut piece).await? == 0 {
                break;
            }
        }
        Ok(piece.freeze())
    }
}
