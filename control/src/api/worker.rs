//! `warren.v1.WorkerService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use warren_model::name::Name;
use warren_proto::v1::{self, worker_service_server::WorkerService};

use super::{Shared, error, page};
use crate::index::WorkerUsage;

pub struct WorkerApi(pub Arc<Shared>);

// === impl WorkerApi ===

impl WorkerApi {
    /// A worker with what is known at present: heartbeats are not written to the store one by one.
    fn shown(&self, held: &WorkerUsage) -> v1::Worker {
        let mut worker = v1::Worker::clone(&held.worker);
        worker.allocated = Some(v1::Resources {
            memory_bytes: held.usage.memory_bytes,
            replicas: held.usage.replicas,
        });
        worker.last_heartbeat = self
            .0
            .fleet
            .leases
            .last_heard(&worker.name)
            .or(worker.last_heartbeat);
        worker.resource_version = held.revision.to_string();
        worker
    }
}

#[tonic::async_trait]
impl WorkerService for WorkerApi {
    async fn list(
        &self,
        request: Request<v1::WorkerServiceListRequest>,
    ) -> Result<Response<v1::WorkerServiceListResponse>, Status> {
        let request = request.into_inner();
        let size = page::size(request.page_size);
        let after = page::after(&request.page_token, |last| Some(last.to_owned()))?;
        let mut workers: Vec<_> = self
            .0
            .index
            .workers()
            .iter()
            .filter(|held| after.as_ref().is_none_or(|after| held.worker.name > *after))
            .take(size + 1)
            .map(|held| self.shown(held))
            .collect();
        let more = page::cut(&mut workers, size);
        let last = workers.last().filter(|_| more);
        let next_page_token = last
            .map(|worker| page::token(&worker.name))
            .unwrap_or_default();
        Ok(Response::new(v1::WorkerServiceListResponse {
            workers,
            next_page_token,
        }))
    }

    async fn get(
        &self,
        request: Request<v1::WorkerServiceGetRequest>,
    ) -> Result<Response<v1::WorkerServiceGetResponse>, Status> {
        let request = request.into_inner();
        let name = Name::parse(&request.name)
            .map_err(|error| error::invalid_field("name", error.to_string()))?;
        let held = self.0.index.worker(&name);
        let held = held.ok_or_else(|| error::not_found("worker", name.as_str()))?;
        let worker = Some(self.shown(&held));
        Ok(Response::new(v1::WorkerServiceGetResponse { worker }))
    }
}
