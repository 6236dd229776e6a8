//! `warren.v1.WorkerService`.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use warren_model::name::Name;
use warren_proto::v1::{self, worker_service_server::WorkerService};

use super::{
    Responses, Shared, error,
    page::{self, Listing},
    scope::Selector,
    suggest,
    watch::Watch,
};
use crate::fleet::leases::Leases;

pub struct WorkerApi(pub Arc<Shared>);

// === impl WorkerApi ===

impl WorkerApi {
    fn no_worker(&self, name: &Name) -> Status {
        let (workers, _) = self.0.index.shown_workers(None, usize::MAX, |_| true);
        let names = workers.iter().map(|worker| worker.name.clone());
        let hint = suggest::did_you_mean(name.as_str(), names);
        error::not_found("worker", name.as_str(), &hint)
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
        let leases = &self.0.fleet.leases;
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
        let held = held.ok_or_else(|| self.no_worker(&name))?;
        let worker = Some(shown(&self.0.fleet.leases, &held));
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
        let leases = self.0.fleet.leases.clone();
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
        let responses = watch.begin(&self.0, &request.resource_version).await?;
        Ok(Response::new(responses))
    }
}

/// A worker with what is known at present: heartbeats are not written to the store one by one.
fn shown(leases: &Leases, worker: &v1::Worker) -> v1::Worker {
    v1::Worker {
        last_heartbeat: leases.last_heard(&worker.name).or(worker.last_heartbeat),
        ..worker.clone()
    }
}

fn parse(name: &str) -> Result<Name, Status> {
    Name::parse(name).map_err(|error| error::invalid_field("name", error.to_string()))
}
