//! `warren.v1.SystemService`.

use tonic::{Request, Response, Status};
use warren_model::feature;
use warren_proto::v1::{self, system_service_server::SystemService};

use crate::{artifact::MAX_ARTIFACT_BYTES, store::SCHEMA};

/// What this server can do beyond the first version of the contract, for clients to ask before they use it.
/// What it honours in a spec comes from the model.
const ABILITIES: [&str; 17] = [
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
    "workers.watch",
];

pub struct SystemApi;

// === impl SystemService for SystemApi ===

#[tonic::async_trait]
impl SystemService for SystemApi {
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
        }))
    }
}
