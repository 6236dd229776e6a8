//! Stores a component file as an artifact. The server is queried first, and the file is sent only
//! if the server does not have it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::anyhow;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use tokio::{task, time};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use warren_model::digest::Digest;
use warren_proto::v1::{self, push_request::Message};

use crate::{
    client::{Server, incomplete},
    error,
    output::progress,
    source,
};

/// The result of pushing a file.
#[derive(Debug)]
pub struct Pushed {
    pub artifact: v1::Artifact,
    /// Whether the server already had it.
    pub existed: bool,
}

/// Well below the 1 MiB that a message may have, so that progress is visible on a slow connection.
const CHUNK_BYTES: usize = 256 << 10;

/// The number of times that a broken push is retried.
const RETRIES: usize = 1;

/// The maximum delay before a retry, whatever the server asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Stores one file.
pub async fn push(server: &Server, path: &Path) -> anyhow::Result<Pushed> {
    let most = match server.info().max_artifact_bytes {
        0 => source::MOST_BYTES,
        most => most,
    };
    let bytes = read(path.to_path_buf(), most)
        .await
        .map_err(|why| anyhow!("cannot read {}: {why}", path.display()))?;
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
    let mut left = RETRIES;
    loop {
        match send(server, &name, digest.clone(), bytes.clone()).await {
            Err(status) if left > 0 && status.code() == Code::Unavailable => {
                left -= 1;
                // The server may say when to retry; after a broken connection, the push is retried
                // at once.
                let info = status.get_details_retry_info();
                let pause = info.and_then(|info| info.retry_delay).unwrap_or_default();
                time::sleep(pause.min(LONGEST_PAUSE)).await;
            }
            result => return Ok(result?),
        }
    }
}

async fn read(path: PathBuf, most: u64) -> Result<Vec<u8>, String> {
    let read = task::spawn_blocking(move || source::read_component(&path, most));
    read.await.map_err(|error| error.to_string())?
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

/// Removes the field names from a refusal: they are those of the stream, but the user knows only
/// one file.
fn about_file(status: Status) -> Status {
    let violations = error::field_violations(&status);
    if status.code() != Code::InvalidArgument || violations.is_empty() {
        return status;
    }
    let messages: Vec<String> = violations.into_iter().map(|(_, message)| message).collect();
    Status::invalid_argument(messages.join("; "))
}
