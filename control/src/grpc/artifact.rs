//! `warren.v1.ArtifactService`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};
use warren_model::digest::Digest;
use warren_proto::v1::{self, artifact_service_server::ArtifactService, push_request::Message};

use super::{
    Responses, Shared, error,
    page::{self, Listing},
};
use crate::{
    artifact::{ArtifactError, FinishedUpload, MAX_ARTIFACT_BYTES, inspection::Inspections},
    clock,
    state::{Stored, Transaction, keys},
    store::{Durability, StoreError},
};

/// How long a push may be silent before its place is given to another.
const PUSH_IDLE: Duration = Duration::from_secs(30);
/// The longest that a push may take in all: its place is one of few.
const PUSH_WITHIN: Duration = Duration::from_secs(15 * 60);

pub struct ArtifactApi {
    shared: Arc<Shared>,
    inspections: Inspections,
}

// === impl ArtifactApi ===

impl ArtifactApi {
    pub fn new(shared: Arc<Shared>) -> Self {
        let inspections = Inspections::new(shared.artifact_limits.clone());
        Self {
            shared,
            inspections,
        }
    }

    /// All the bytes of a push, as announced.
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
            // Before its bytes travel in vain.
            let limit = MAX_ARTIFACT_BYTES;
            return Err(file_error(ArtifactError::TooLarge { limit }));
        }
        let mut upload = self.shared.artifacts.begin().await.map_err(file_error)?;
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
            upload.write(chunk).await.map_err(file_error)?;
        }
        if size < header.size_bytes {
            return Err(wrong_size(header.size_bytes, &size.to_string()));
        }
        let upload = upload.finish().await.map_err(file_error)?;
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

    /// Keeps an upload that turned out to be a component. Whether the store had it before.
    async fn keep(&self, upload: FinishedUpload) -> Result<(v1::Artifact, bool), Status> {
        let (digest, size_bytes) = (upload.digest(), upload.size());
        let bytes = async { upload.bytes().await.map_err(file_error) };
        let info = self.inspections.inspect(bytes).await?;

        // Nobody removes the file between here and its record.
        let _kept = self.shared.references.read().await;
        upload.keep().await.map_err(file_error)?;
        let held = self.shared.state.artifact(digest).await;
        if let Some(held) = held.map_err(error::store)? {
            return Ok((self.pushed_again(digest, held).await?, true));
        }
        let (imports, exports, uses) = info.to_proto_parts();
        let artifact = v1::Artifact {
            digest: digest.to_string(),
            size_bytes,
            create_time: Some(clock::now()),
            imports,
            exports,
            uses,
            unused_since: Some(clock::now()),
            compile_failure: None,
        };
        let mut transaction = Transaction::default();
        transaction.create(keys::artifact(digest), &artifact);
        match self
            .shared
            .state
            .commit(transaction, Durability::Flushed)
            .await
        {
            Ok(_) => Ok((artifact, false)),
            // Pushed twice at once: the other's record says the same.
            Err(StoreError::Conflict { .. }) => Ok((artifact, true)),
            Err(error) => Err(error::store(error)),
        }
    }

    /// Counts the time for which an unused artifact stays from now. The caller holds `references`, so that it is not removed
    /// meanwhile.
    async fn pushed_again(
        &self,
        digest: Digest,
        held: Stored<v1::Artifact>,
    ) -> Result<v1::Artifact, Status> {
        if held.value.unused_since.is_none() {
            return Ok(held.value);
        }
        let artifact = v1::Artifact {
            unused_since: Some(clock::now()),
            ..held.value
        };
        let mut transaction = Transaction::default();
        transaction.replace(keys::artifact(digest), &artifact, held.revision);
        let state = &self.shared.state;
        match state.commit(transaction, Durability::Flushed).await {
            // A concurrent write used or pushed the artifact, which refreshes it as well.
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(artifact),
            Err(error) => Err(error::store(error)),
        }
    }

    /// Workloads that name an artifact, in their present spec or in one that still runs.
    async fn users(&self, digest: Digest) -> Result<BTreeSet<String>, Status> {
        let name = digest.to_string();
        let mut users = BTreeSet::new();
        for (id, workload) in self.shared.index.all_workloads() {
            let mut named = names(workload.spec.as_ref(), &name);
            let running: BTreeSet<_> = self
                .shared
                .index
                .replicas_of(&id)
                .iter()
                .map(|held| held.value.replica.revision)
                .filter(|revision| *revision != workload.revision)
                .collect();
            for revision in running {
                let kept = self
                    .shared
                    .state
                    .revision(&id, revision)
                    .await
                    .map_err(error::store)?;
                named |= kept.is_some_and(|kept| names(kept.spec.as_ref(), &name));
            }
            if named {
                users.insert(id.to_string());
            }
        }
        Ok(users)
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
        let (artifact, existed) = self.keep(upload).await?;
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
        let _kept = self.shared.references.read().await;
        let held = self.shared.state.artifact(digest).await;
        let held = held.map_err(error::store)?;
        let held = held.ok_or_else(|| no_artifact(digest))?;
        // A client that finds it here will not push it.
        let half = self.shared.artifact_retention / 2;
        let since = held.value.unused_since.as_ref();
        let artifact =
            match since.is_some_and(|since| !clock::is_within(since, half, &clock::now())) {
                true => self.pushed_again(digest, held).await?,
                false => held.value,
            };
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
        let all = self.shared.state.artifacts().await.map_err(error::store)?;
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
        // No Apply begins to rely on it meanwhile, and those before are in the index.
        let _alone = self.shared.references.write().await;
        let held = self
            .shared
            .state
            .artifact(digest)
            .await
            .map_err(error::store)?;
        let held = held.ok_or_else(|| no_artifact(digest))?;
        let users = self.users(digest).await?;
        if !users.is_empty() {
            let users: Vec<_> = users.into_iter().collect();
            return Err(error::precondition(
                "ARTIFACT_IN_USE",
                &digest.to_string(),
                format!(
                    "artifact {digest} is in use by {}: delete or change that first",
                    users.join(", ")
                ),
            ));
        }
        let mut transaction = Transaction::default();
        transaction.remove(keys::artifact(digest), held.revision);
        self.shared
            .state
            .commit(transaction, Durability::Flushed)
            .await
            .map_err(error::store)?;
        // After the record: a file without a record is only waste, which the collector removes.
        self.shared
            .artifacts
            .remove(digest)
            .await
            .map_err(file_error)?;
        Ok(Response::new(v1::ArtifactServiceDeleteResponse {}))
    }

    async fn pull(
        &self,
        request: Request<v1::PullRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let digest = parse_digest("digest", &request.into_inner().digest)?;
        let chunks = self
            .shared
            .artifacts
            .read(digest)
            .await
            .map_err(file_error)?;
        let responses = chunks.map(|chunk| {
            chunk
                .map(|chunk| v1::PullResponse { chunk })
                .map_err(file_error)
        });
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

fn names(spec: Option<&v1::WorkloadSpec>, digest: &str) -> bool {
    spec.is_some_and(|spec| {
        spec.service
            .iter()
            .any(|service| service.component == digest)
            || spec
                .components
                .iter()
                .any(|component| component.component == digest)
    })
}

fn parse_digest(field: &str, text: &str) -> Result<Digest, Status> {
    Digest::parse(text).map_err(|error| error::invalid_field(field, error.to_string()))
}

fn no_artifact(digest: Digest) -> Status {
    error::not_found(
        "artifact",
        &digest.to_string(),
        "push it with `warren push FILE`",
    )
}

fn wrong_size(announced: u64, arrived: &str) -> Status {
    error::invalid_field(
        "header.size_bytes",
        format!("{announced} bytes were announced and {arrived} arrived: push the file again"),
    )
}

fn file_error(error: ArtifactError) -> Status {
    match error {
        ArtifactError::NotFound(digest) => no_artifact(digest),
        ArtifactError::TooLarge { .. } => error::too_large("artifact", error.to_string()),
        ArtifactError::Busy => error::exhausted("pushes", error.to_string()),
        ArtifactError::Corrupt(_) => error::data_loss(error.to_string()),
        ArtifactError::Io(_) => {
            tracing::error!(%error, "artifact files");
            error::unavailable("ARTIFACTS_UNAVAILABLE", error.to_string())
        }
    }
}
