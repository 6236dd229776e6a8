//! `warren.v1.SystemService`.

use std::sync::Arc;

use futures::StreamExt as _;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status};
use warren_model::feature;
use warren_proto::v1::{self, system_service_server::SystemService};

use super::{Responses, Shared, error};
use crate::{artifact::MAX_ARTIFACT_BYTES, backup::Backup, store::SCHEMA};

/// What this server can do beyond the first version of the contract, for clients to ask before they use it.
/// What it honours in a spec comes from the model.
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

/// Backups at once: each holds a state that others have left behind.
const BACKUPS: usize = 4;

pub struct SystemApi {
    shared: Arc<Shared>,
    backups: Arc<Semaphore>,
}

// === impl SystemApi ===

impl SystemApi {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
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
            cluster_id: self.shared.fleet.cluster_id.clone(),
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
            // Nobody removes an artifact before it is held.
            let _references = self.shared.references.read().await;
            Backup::take(&self.shared.state, &self.shared.artifacts).await
        };
        let backup = backup.map_err(error::store)?;
        let mut size_bytes = backup.size_bytes();
        let responses = backup.into_stream().map(move |chunk| {
            // It has its place until its last byte.
            let _place = &place;
            Ok(v1::BackupResponse {
                chunk,
                size_bytes: std::mem::take(&mut size_bytes),
            })
        });
        Ok(Response::new(responses.boxed()))
    }
}
