//! `warren.v1.WorkerService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use warren_model::name::Name;
use warren_proto::v1::{self, worker_service_server::WorkerService};

use super::{
    Responses,
    authz::Caller,
    error,
    page::{self, Listing},
    scope::Selector,
    watch::Watch,
};
use crate::fleet::{Fleet, leases::Leases};

pub struct WorkerApi(pub Arc<Fleet>);

// === impl WorkerApi ===

impl WorkerApi {
    fn shown(&self, worker: &v1::Worker) -> Option<v1::Worker> {
        Some(shown(&self.0.leases, worker))
    }
}

#[tonic::async_trait]
impl WorkerService for WorkerApi {
    type WatchStream = Responses<v1::WorkerServiceWatchResponse>;

    async fn list(
        &self,
        request: Request<v1::WorkerServiceListRequest>,
    ) -> Result<Response<v1::WorkerServiceListResponse>, Status> {
        let request = request.into_inner();
        let selector = Selector::parse(request.labels)?;
        let listing = selector.narrow(Listing::new("WorkerService.List"));
        let size = page::size(request.page_size);
        let after = listing.after(&request.page_token, |last| Name::parse(last).ok())?;
        let keep = |worker: &v1::Worker| selector.matches(&worker.labels);
        let (found, revision) = self.0.index.shown_workers(after.as_ref(), size + 1, keep);
        let leases = &self.0.leases;
        let mut workers: Vec<_> = found.iter().map(|worker| shown(leases, worker)).collect();
        let more = page::cut(&mut workers, size);
        let last = workers.last().filter(|_| more);
        let next_page_token = last
            .map(|worker| listing.token(&worker.name))
            .unwrap_or_default();
        Ok(Response::new(v1::WorkerServiceListResponse {
            workers,
            next_page_token,
            resource_version: revision.to_string(),
        }))
    }

    async fn get(
        &self,
        request: Request<v1::WorkerServiceGetRequest>,
    ) -> Result<Response<v1::WorkerServiceGetResponse>, Status> {
        let name = parse(&request.into_inner().name)?;
        let held = self.0.index.shown_worker(&name);
        let held = held.ok_or_else(|| self.0.no_worker(&name))?;
        let worker = self.shown(&held);
        Ok(Response::new(v1::WorkerServiceGetResponse { worker }))
    }

    async fn watch(
        &self,
        request: Request<v1::WorkerServiceWatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let name = match request.name.as_str() {
            "" => None,
            name => Some(parse(name)?),
        };
        let selector = Selector::parse(request.labels)?;
        let leases = self.0.leases.clone();
        let watch = Watch {
            selects: move |worker: &v1::Worker| {
                name.as_ref()
                    .is_none_or(|name| name.as_str() == worker.name)
                    && selector.matches(&worker.labels)
            },
            respond: move |kind, worker: Option<&v1::Worker>, resource_version| {
                v1::WorkerServiceWatchResponse {
                    r#type: i32::from(kind),
                    worker: worker.map(|worker| shown(&leases, worker)),
                    resource_version,
                }
            },
        };
        let responses = watch
            .begin(&self.0.index, &request.resource_version)
            .await?;
        Ok(Response::new(responses))
    }

    async fn cordon(
        &self,
        request: Request<v1::CordonRequest>,
    ) -> Result<Response<v1::CordonResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = parse(&request.into_inner().name)?;
        let worker = self.0.cordon(caller.as_str(), &name).await?;
        let worker = self.shown(&worker);
        Ok(Response::new(v1::CordonResponse { worker }))
    }

    async fn uncordon(
        &self,
        request: Request<v1::UncordonRequest>,
    ) -> Result<Response<v1::UncordonResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = parse(&request.into_inner().name)?;
        let worker = self.0.uncordon(caller.as_str(), &name).await?;
        let worker = self.shown(&worker);
        Ok(Response::new(v1::UncordonResponse { worker }))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = parse(&request.into_inner().name)?;
        let worker = self.0.drain(caller.as_str(), &name).await?;
        let worker = self.shown(&worker);
        Ok(Response::new(v1::DrainResponse { worker }))
    }

    async fn delete(
        &self,
        request: Request<v1::WorkerServiceDeleteRequest>,
    ) -> Result<Response<v1::WorkerServiceDeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = parse(&request.into_inner().name)?;
        self.0.delete(caller.as_str(), &name).await?;
        Ok(Response::new(v1::WorkerServiceDeleteResponse {}))
    }
}

/// Returns a worker with its last heartbeat: heartbeats are not written to the store one by one.
fn shown(leases: &Leases, worker: &v1::Worker) -> v1::Worker {
    v1::Worker {
        last_heartbeat: leases.last_heard(&worker.name).or(worker.last_heartbeat),
        ..worker.clone()
    }
}

fn parse(name: &str) -> Result<Name, Status> {
    Name::parse(name).map_err(|error| error::invalid_field("name", error.to_string()))
}
