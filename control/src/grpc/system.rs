//! `warren.v1.SystemService`.

use std::sync::Arc;

use futures::StreamExt as _;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use warren_model::feature;
use warren_proto::v1::{self, system_service_server::SystemService};

use super::{Responses, error};
use crate::{
    artifact::{ArtifactFiles, MAX_ARTIFACT_BYTES},
    backup::Backup,
    state::State,
    store::SCHEMA,
};

/// The abilities of this server beyond the first version of the contract, for clients to check
/// before they use them. Those that a spec relies on come from the model.
const ABILITIES: [&str; 19] = [
    "backup",
    "cordon",
    "drain",
    "egress",
    "labels.select",
    "logs.follow",
    "logs.previous",
    "logs.since",
    "publish.tcp",
    "publish.udp",
    "replicas.watch",
    "restart",
    "revisions.list",
    "rollback",
    "routes.service",
    "scale",
    "watch.resume",
    "workers.delete",
    "workers.watch",
];

/// The number of backups at once: each keeps a state in memory that is outdated elsewhere.
const BACKUPS: usize = 4;

pub struct SystemApi {
    state: State,
    artifacts: ArtifactFiles,
    cluster_id: String,
    backups: Arc<Semaphore>,
}

// === impl SystemApi ===

impl SystemApi {
    pub fn new(state: State, artifacts: ArtifactFiles, cluster_id: String) -> Self {
        Self {
            state,
            artifacts,
            cluster_id,
            backups: Arc::new(Semaphore::new(BACKUPS)),
        }
    }
}

// === impl SystemService for SystemApi ===

#[tonic::async_trait]
impl SystemService for SystemApi {
    type BackupStream = Responses<v1::BackupResponse>;

    async fn get_info(
        &self,
        _: Request<v1::GetInfoRequest>,
    ) -> Result<Response<v1::GetInfoResponse>, Status> {
        let abilities = ABILITIES.iter().map(|&ability| ability.to_owned());
        Ok(Response::new(v1::GetInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: abilities.chain(feature::honoured()).collect(),
            store_schema: SCHEMA,
            max_artifact_bytes: MAX_ARTIFACT_BYTES,
            cluster_id: self.cluster_id.clone(),
        }))
    }

    async fn backup(
        &self,
        _: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let Ok(place) = self.backups.clone().try_acquire_owned() else {
            let message = format!("{BACKUPS} backups are being taken already: try again later");
            return Err(error::exhausted("backups", message));
        };
        let backup = {
            // No artifact is removed before it is held.
            let _relied_on = self.artifacts.rely().await;
            Backup::take(&self.state, &self.artifacts).await?
        };
        let mut size_bytes = backup.size_bytes();
        let responses = backup.into_stream().map(move |chunk| {
            // The backup has its place until its last byte.
            let _place = &place;
            Ok(v1::BackupResponse {
                chunk,
                size_bytes: std::mem::take(&mut size_bytes),
            })
        });
        Ok(Response::new(responses.boxed()))
    }
}
