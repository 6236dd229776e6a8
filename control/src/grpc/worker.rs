//! `warren.v1.WorkerService`.

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status};
use warren_model::{name::Name, quantity::format_duration};
use warren_proto::v1::{self, worker_service_server::WorkerService};

use super::{
    Responses, Shared,
    authz::Caller,
    error,
    page::{self, Listing},
    scope::Selector,
    watch::Watch,
};
use crate::{
    clock,
    events::Subject,
    fleet::{leases::Leases, retire::Removal},
    store::Durability,
    suggest,
};

pub struct WorkerApi(pub Arc<Shared>);

// === impl WorkerApi ===

impl WorkerApi {
    /// Changes what people decided about a worker, and tells of it, unless it was so already.
    async fn decide(
        &self,
        name: &str,
        caller: &Caller,
        news: (&'static str, &'static str),
        change: impl Fn(&mut v1::Worker) + Send + Sync,
    ) -> Result<v1::Worker, Status> {
        let name = parse(name)?;
        let time = clock::now();
        let mut known = false;
        let written = self
            .0
            .state
            .update_worker(&name, Durability::Flushed, |held| {
                known = held.is_some();
                let before = held?;
                let mut after = before.clone();
                change(&mut after);
                (after != before).then_some(after)
            })
            .await
            .map_err(error::store)?;
        if let Some(revision) = written {
            self.0.index.reached(revision).await;
            let subject = Subject::Worker(&name);
            let (reason, message) = news;
            self.0
                .events
                .record_by(caller.as_str(), time, subject, reason, message);
        }
        let held = self.0.index.shown_worker(&name).filter(|_| known);
        let held = held.ok_or_else(|| self.no_worker(&name))?;
        Ok(shown(&self.0.fleet.leases, &held))
    }

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

    async fn cordon(
        &self,
        request: Request<v1::CordonRequest>,
    ) -> Result<Response<v1::CordonResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let news = ("Cordoned", "it takes no new replicas");
        let worker = self.decide(&name, &caller, news, |worker| worker.cordoned = true);
        let worker = Some(worker.await?);
        Ok(Response::new(v1::CordonResponse { worker }))
    }

    async fn uncordon(
        &self,
        request: Request<v1::UncordonRequest>,
    ) -> Result<Response<v1::UncordonResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let news = ("Uncordoned", "it takes replicas again");
        let worker = self.decide(&name, &caller, news, |worker| {
            worker.cordoned = false;
            worker.drain = None;
        });
        let worker = Some(worker.await?);
        Ok(Response::new(v1::UncordonResponse { worker }))
    }

    async fn drain(
        &self,
        request: Request<v1::DrainRequest>,
    ) -> Result<Response<v1::DrainResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = request.into_inner().name;
        let news = ("Draining", "its replicas move to other workers");
        let drain = v1::Drain {
            start_time: Some(clock::now()),
            caller: caller.as_str().to_owned(),
            ..v1::Drain::default()
        };
        let worker = self.decide(&name, &caller, news, |worker| {
            worker.cordoned = true;
            worker.drain.get_or_insert_with(|| drain.clone());
        });
        let worker = Some(worker.await?);
        Ok(Response::new(v1::DrainResponse { worker }))
    }

    async fn delete(
        &self,
        request: Request<v1::WorkerServiceDeleteRequest>,
    ) -> Result<Response<v1::WorkerServiceDeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let name = parse(&request.into_inner().name)?;
        let time = clock::now();
        let removed = self.0.fleet.remove_worker(&name).await;
        match removed.map_err(error::store)? {
            Removal::Done => {
                let (events, subject) = (&self.0.events, Subject::Worker(&name));
                let message = "forgotten, as it was asked for";
                events.record_by(caller.as_str(), time, subject, "Removed", message);
                Ok(Response::new(v1::WorkerServiceDeleteResponse {}))
            }
            Removal::Unknown => Err(self.no_worker(&name)),
            Removal::Connected => Err(error::precondition(
                "WORKER_CONNECTED",
                name.as_str(),
                format!(
                    "worker `{name}` is connected: end its `warren worker` process first, or move its replicas to others \
                     with `warren drain {name} --wait` and end it then"
                ),
            )),
            Removal::MayRun(left) => Err(error::precondition_for_now(
                "WORKER_MAY_RUN",
                name.as_str(),
                format!(
                    "worker `{name}` is not connected, but may still run what it ran: try again in {}, when it counts as \
                     lost",
                    format_duration(whole_seconds(left))
                ),
            )),
        }
    }
}

/// A worker with what is known at present: heartbeats are not written to the store one by one.
fn shown(leases: &Leases, worker: &v1::Worker) -> v1::Worker {
    v1::Worker {
        last_heartbeat: leases.last_heard(&worker.name).or(worker.last_heartbeat),
        ..worker.clone()
    }
}

/// Rounded up: after that it is over.
fn whole_seconds(left: Duration) -> Duration {
    Duration::from_secs(left.as_secs() + u64::from(left.subsec_nanos() > 0))
}

fn parse(name: &str) -> Result<Name, Status> {
    Name::parse(name).map_err(|error| error::invalid_field("name", error.to_string()))
}
