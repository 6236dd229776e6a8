//! `warren.v1.ArtifactService`.

use std::{sync::Arc, time::Duration};

use futures::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};
use warren_model::digest::Digest;
use warren_proto::v1::{self, artifact_service_server::ArtifactService, push_request::Message};

use super::{
    Responses, error,
    page::{self, Listing},
};
use crate::artifact::{ArtifactError, Artifacts, FinishedUpload, MAX_ARTIFACT_BYTES};

/// How long a push may be silent before it loses its place.
const PUSH_IDLE: Duration = Duration::from_secs(30);
/// The longest that a push may take in all, because it holds one of few places.
const PUSH_WITHIN: Duration = Duration::from_secs(15 * 60);

pub struct ArtifactApi(pub Arc<Artifacts>);

// === impl ArtifactApi ===

impl ArtifactApi {
    /// Receives all the bytes of a push, as announced.
    async fn receive(
        &self,
        mut messages: Streaming<v1::PushRequest>,
    ) -> Result<FinishedUpload, Status> {
        let first = next(&mut messages).await?.and_then(|first| first.message);
        let Some(Message::Header(header)) = first else {
            return Err(error::invalid_field("header", "should come first"));
        };
        let expected = match header.digest.as_str() {
            "" => None,
            digest => Some(parse_digest("header.digest", digest)?),
        };
        if header.size_bytes > MAX_ARTIFACT_BYTES {
            // Refused before its bytes are sent in vain.
            let limit = MAX_ARTIFACT_BYTES;
            return Err(ArtifactError::TooLarge { limit }.into());
        }
        let mut upload = self.0.files().begin().await?;
        let mut size = 0_u64;
        while let Some(message) = next(&mut messages).await? {
            let Some(Message::Chunk(chunk)) = message.message else {
                return Err(error::invalid_field(
                    "chunk",
                    "only bytes follow the header",
                ));
            };
            size = size.saturating_add(chunk.len() as u64);
            if header.size_bytes != 0 && size > header.size_bytes {
                return Err(wrong_size(header.size_bytes, "more"));
            }
            upload.write(chunk).await?;
        }
        if size < header.size_bytes {
            return Err(wrong_size(header.size_bytes, &size.to_string()));
        }
        let upload = upload.finish().await?;
        if let Some(expected) = expected.filter(|expected| *expected != upload.digest()) {
            return Err(error::invalid_field(
                "header.digest",
                format!(
                    "the bytes that arrived are {}, not {expected}: push the file again",
                    upload.digest()
                ),
            ));
        }
        Ok(upload)
    }
}

#[tonic::async_trait]
impl ArtifactService for ArtifactApi {
    type PullStream = Responses<v1::PullResponse>;

    async fn push(
        &self,
        request: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<v1::PushResponse>, Status> {
        let upload = tokio::time::timeout(PUSH_WITHIN, self.receive(request.into_inner()));
        let upload = upload
            .await
            .map_err(|_| error::late(format!("not pushed within {PUSH_WITHIN:?}")))??;
        let (artifact, existed) = self.0.keep(upload).await?;
        Ok(Response::new(v1::PushResponse {
            artifact: Some(artifact),
            existed,
        }))
    }

    async fn stat(
        &self,
        request: Request<v1::StatRequest>,
    ) -> Result<Response<v1::StatResponse>, Status> {
        let digest = parse_digest("digest", &request.into_inner().digest)?;
        let artifact = self.0.stat(digest).await?;
        Ok(Response::new(v1::StatResponse {
            artifact: Some(artifact),
        }))
    }

    async fn list(
        &self,
        request: Request<v1::ArtifactServiceListRequest>,
    ) -> Result<Response<v1::ArtifactServiceListResponse>, Status> {
        let request = request.into_inner();
        let size = page::size(request.page_size);
        let listing = Listing::new("ArtifactService.List");
        let after = listing.after(&request.page_token, |last| Digest::parse(last).ok())?;
        let after = after.map(|digest| digest.to_string());
        let all = self.0.list().await?;
        let mut artifacts: Vec<_> = all
            .into_iter()
            .map(|held| held.value)
            .filter(|held| after.as_ref().is_none_or(|after| held.digest > *after))
            .take(size + 1)
            .collect();
        let more = page::cut(&mut artifacts, size);
        let last = artifacts.last().filter(|_| more);
        let next_page_token = last
            .map(|held| listing.token(&held.digest))
            .unwrap_or_default();
        Ok(Response::new(v1::ArtifactServiceListResponse {
            artifacts,
            next_page_token,
        }))
    }

    async fn delete(
        &self,
        request: Request<v1::ArtifactServiceDeleteRequest>,
    ) -> Result<Response<v1::ArtifactServiceDeleteResponse>, Status> {
        let digest = parse_digest("digest", &request.into_inner().digest)?;
        self.0.delete(digest).await?;
        Ok(Response::new(v1::ArtifactServiceDeleteResponse {}))
    }

    async fn pull(
        &self,
        request: Request<v1::PullRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let digest = parse_digest("digest", &request.into_inner().digest)?;
        let chunks = self.0.files().read(digest).await?;
        let responses = chunks.map(|chunk| Ok(v1::PullResponse { chunk: chunk? }));
        Ok(Response::new(responses.boxed()))
    }
}

async fn next(
    messages: &mut Streaming<v1::PushRequest>,
) -> Result<Option<v1::PushRequest>, Status> {
    tokio::time::timeout(PUSH_IDLE, messages.message())
        .await
        .map_err(|_| error::late(format!("no bytes for {PUSH_IDLE:?}: push it again")))?
}

fn parse_digest(field: &str, text: &str) -> Result<Digest, Status> {
    Digest::parse(text).map_err(|error| error::invalid_field(field, error.to_string()))
}

fn wrong_size(announced: u64, arrived: &str) -> Status {
    error::invalid_field(
        "header.size_bytes",
        format!("{announced} bytes were announced and {arrived} arrived: push the file again"),
    )
}
