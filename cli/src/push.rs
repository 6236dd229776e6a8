//! Storing a component file as an artifact: asked for first, sent only when the server does not have it.

use std::path::Path;

use anyhow::Context as _;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tonic::{Code, Status};
use warren_model::digest::Digest;
use warren_proto::v1::{self, push_request::Message};

use crate::{
    client::{Server, incomplete},
    error, progress,
};

/// What became of a file.
#[derive(Debug)]
pub struct Pushed {
    pub artifact: v1::Artifact,
    /// Whether the server had it before.
    pub existed: bool,
}

/// Well below the 1 MiB that a message may hold, so that progress moves on a slow line.
const CHUNK_BYTES: usize = 256 << 10;

/// Stores one file.
pub async fn push(server: &Server, path: &Path) -> anyhow::Result<Pushed> {
    let bytes = tokio::fs::read(path)
        .await
        .with_context(|| format!("cannot read {}", path.display()))?;
    let bytes = Bytes::from(bytes);
    let digest = Digest::of(&bytes).to_string();
    match server.stat_artifact(&digest).await {
        Ok(artifact) => {
            return Ok(Pushed {
                artifact,
                existed: true,
            });
        }
        Err(status) if status.code() == Code::NotFound => {}
        Err(status) => return Err(status.into()),
    }
    let name = path
        .file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy();
    Ok(send(server, &name, digest, bytes).await?)
}

async fn send(server: &Server, name: &str, digest: String, bytes: Bytes) -> Result<Pushed, Status> {
    let size_bytes = bytes.len() as u64;
    let bar = progress::transfer(name, size_bytes);
    let header = Message::Header(v1::PushHeader { digest, size_bytes });
    let chunks = (0..bytes.len()).step_by(CHUNK_BYTES).map(move |start| {
        let chunk = bytes.slice(start..bytes.len().min(start + CHUNK_BYTES));
        bar.advance(chunk.len());
        Message::Chunk(chunk)
    });
    let messages =
        stream::iter(std::iter::once(header).chain(chunks)).map(|message| v1::PushRequest {
            message: Some(message),
        });
    let response = server
        .artifacts()
        .push(messages)
        .await
        .map_err(about_file)?;
    let response = response.into_inner();
    Ok(Pushed {
        artifact: response.artifact.ok_or_else(|| incomplete("artifact"))?,
        existed: response.existed,
    })
}

/// The fields that a refusal names are those of the stream; whoever pushes knows of one file.
fn about_file(status: Status) -> Status {
    let violations = error::field_violations(&status);
    if status.code() != Code::InvalidArgument || violations.is_empty() {
        return status;
    }
    let messages: Vec<String> = violations.into_iter().map(|(_, message)| message).collect();
    Status::invalid_argument(messages.join("; "))
}
