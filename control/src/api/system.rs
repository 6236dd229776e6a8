//! `warren.v1.SystemService`.

use tonic::{Request, Response, Status};
use warren_proto::v1::{self, system_service_server::SystemService};

use crate::{artifact::MAX_ARTIFACT_BYTES, store::SCHEMA};

/// What this server can do beyond the first version of the contract, for clients to ask before they use it.
const FEATURES: [&str; 4] = ["egress", "logs.follow", "publish.tcp", "watch.resume"];

pub struct SystemApi;

// === impl SystemService for SystemApi ===

#[tonic::async_trait]
impl SystemService for SystemApi {
    async fn get_info(
        &self,
        _: Request<v1::GetInfoRequest>,
    ) -> Result<Response<v1::GetInfoResponse>, Status> {
        Ok(Response::new(v1::GetInfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: FEATURES.map(str::to_owned).to_vec(),
            store_schema: SCHEMA,
            max_artifact_bytes: MAX_ARTIFACT_BYTES,
        }))
    }
}
