//! A connection to a server: connecting to one that answers, and calling it page by page.

mod call;
mod connect;
mod diagnose;
pub mod requests;
mod url;

use std::future::Future;

use tonic::Status;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};
use warren_proto::v1::{
    self, artifact_service_client::ArtifactServiceClient,
    system_service_client::SystemServiceClient, worker_service_client::WorkerServiceClient,
    workload_service_client::WorkloadServiceClient,
};

pub use call::Connection;
pub use url::ServerUrl;

/// A connection to one server.
#[derive(Clone, Debug)]
pub struct Server {
    pub url: ServerUrl,
    connection: Connection,
}

/// A page of 500 workloads, each with a large environment, is far beyond tonic's 4 MiB.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

// === impl Server ===

impl Server {
    /// Returns the control plane's description of itself; empty for any other server.
    pub fn info(&self) -> &v1::GetInfoResponse {
        self.connection.info()
    }

    /// Returns the status of one service, or of the whole server, from
    /// `grpc.health.v1.Health/Check`.
    pub async fn check_health(&self, service: &str) -> Result<HealthCheckResponse, Status> {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        Ok(self.health().check(request).await?.into_inner())
    }

    pub fn workloads(&self) -> WorkloadServiceClient<Connection> {
        WorkloadServiceClient::new(self.connection.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn workers(&self) -> WorkerServiceClient<Connection> {
        WorkerServiceClient::new(self.connection.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn artifacts(&self) -> ArtifactServiceClient<Connection> {
        ArtifactServiceClient::new(self.connection.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn system(&self) -> SystemServiceClient<Connection> {
        SystemServiceClient::new(self.connection.clone())
    }

    pub fn health(&self) -> HealthClient<Connection> {
        HealthClient::new(self.connection.clone())
    }

    /// Returns every workload of a namespace, or of all namespaces with `*`.
    pub async fn list_workloads(&self, namespace: &str) -> Result<Vec<v1::Workload>, Status> {
        pages(|page_token| async {
            let request = v1::ListRequest {
                namespace: namespace.to_owned(),
                page_token,
                ..Default::default()
            };
            let page = self.workloads().list(request).await?.into_inner();
            Ok((page.workloads, page.next_page_token))
        })
        .await
    }

    pub async fn get_workload(&self, namespace: &str, name: &str) -> Result<v1::Workload, Status> {
        let request = v1::GetRequest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let response = self.workloads().get(request).await?.into_inner();
        response.workload.ok_or_else(|| incomplete("workload"))
    }

    /// Returns the replicas of one workload, or of all workloads if the name is empty.
    pub async fn list_replicas(
        &self,
        namespace: &str,
        workload: &str,
    ) -> Result<Vec<v1::Replica>, Status> {
        pages(|page_token| async {
            let request = v1::ListReplicasRequest {
                namespace: namespace.to_owned(),
                workload: workload.to_owned(),
                page_token,
                ..Default::default()
            };
            let page = self.workloads().list_replicas(request).await?.into_inner();
            Ok((page.replicas, page.next_page_token))
        })
        .await
    }

    pub async fn get_worker(&self, name: &str) -> Result<v1::Worker, Status> {
        let request = v1::WorkerServiceGetRequest {
            name: name.to_owned(),
        };
        let response = self.workers().get(request).await?.into_inner();
        response.worker.ok_or_else(|| incomplete("worker"))
    }

    pub async fn list_artifacts(&self) -> Result<Vec<v1::Artifact>, Status> {
        pages(|page_token| async {
            let request = v1::ArtifactServiceListRequest {
                page_token,
                ..Default::default()
            };
            let page = self.artifacts().list(request).await?.into_inner();
            Ok((page.artifacts, page.next_page_token))
        })
        .await
    }

    pub async fn stat_artifact(&self, digest: &str) -> Result<v1::Artifact, Status> {
        let request = v1::StatRequest {
            digest: digest.to_owned(),
        };
        let response = self.artifacts().stat(request).await?.into_inner();
        response.artifact.ok_or_else(|| incomplete("artifact"))
    }
}

/// Requests page after page until the token is empty.
pub async fn pages<T, F>(mut page: impl FnMut(String) -> F) -> Result<Vec<T>, Status>
where
    F: Future<Output = Result<(Vec<T>, String), Status>>,
{
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (items, next) = page(token).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

/// Returns the error for an answer that lacks something the contract promises.
pub fn incomplete(what: &str) -> Status {
    Status::internal(format!("the server answered without the {what}"))
}
