//! `warren.v1.WorkloadService`.

mod events;
mod logs;
mod revisions;

use std::sync::Arc;

use tonic::{Request, Response, Status};
use warren_model::feature;
use warren_proto::v1::{self, apply_response::Outcome, workload_service_server::WorkloadService};

use super::{
    Responses,
    authz::Caller,
    error,
    page::{self, Listing},
    scope::{self, Scope, Selector},
    watch::Watch,
};
use crate::{
    fleet::Fleet,
    index::{Index, ShownReplica},
    state::keys,
    suggest::Absent,
    workload::{Effect, Operation, Workloads},
};

pub struct WorkloadApi {
    pub workloads: Arc<Workloads>,
    pub fleet: Arc<Fleet>,
}

// === impl WorkloadApi ===

impl WorkloadApi {
    /// Carries out an operation on a workload that exists, and returns the workload.
    async fn operate(
        &self,
        caller: &Caller,
        (namespace, name): (&str, &str),
        operation: Operation,
        expected_revision: Option<u32>,
    ) -> Result<Option<v1::Workload>, Status> {
        let id = scope::workload(namespace, name)?;
        let caller = caller.as_str();
        let done = self
            .workloads
            .operate(caller, &id, &operation, expected_revision);
        Ok(Some(done.await?.workload))
    }

    fn index(&self) -> &Arc<Index> {
        &self.workloads.index
    }
}

#[tonic::async_trait]
impl WorkloadService for WorkloadApi {
    type WatchStream = Responses<v1::WatchResponse>;
    type WatchReplicasStream = Responses<v1::WatchReplicasResponse>;
    type LogsStream = Responses<v1::LogsResponse>;
    type EventsStream = Responses<v1::EventsResponse>;

    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let wanted = feature::admit(&request.workload.unwrap_or_default())
            .map_err(|violations| error::invalid(&violations))?;
        let id = wanted.id.clone();
        let operation = Operation::Apply(Box::new(wanted));
        let expected = request.expected_revision;
        let done = self
            .workloads
            .operate(caller.as_str(), &id, &operation, expected)
            .await?;
        let outcome = match done.effect {
            Effect::Nothing => Outcome::Unchanged,
            Effect::Created => Outcome::Created,
            Effect::Revision | Effect::Changed => Outcome::Updated,
        };
        Ok(Response::new(v1::ApplyResponse {
            workload: Some(done.workload),
            outcome: outcome.into(),
        }))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let request = request.into_inner();
        let id = scope::workload(&request.namespace, &request.name)?;
        let held = self.index().workload(&id);
        let held = held.ok_or_else(|| Absent::workload(self.index(), &id))?;
        let workload = Some(v1::Workload::clone(&held));
        Ok(Response::new(v1::GetResponse { workload }))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let request = request.into_inner();
        let scope = Scope::parse(&request.namespace, "", "name")?;
        let selector = Selector::parse(request.labels)?;
        let listing = scope.narrow(Listing::new("WorkloadService.List"));
        let listing = selector.narrow(listing);
        let size = page::size(request.page_size);
        let after = listing.after(&request.page_token, keys::parse_id)?;
        let keep = |workload: &v1::Workload| {
            scope.contains(&workload.namespace, &workload.name)
                && selector.matches(&workload.labels)
        };
        let (found, revision) = self.index().workloads(after.as_ref(), size + 1, keep);
        let mut workloads: Vec<_> = found
            .iter()
            .map(|workload| v1::Workload::clone(workload))
            .collect();
        let more = page::cut(&mut workloads, size);
        let last = workloads.last().filter(|_| more);
        let next_page_token = last
            .map(|last| listing.token(&format!("{}/{}", last.namespace, last.name)))
            .unwrap_or_default();
        Ok(Response::new(v1::ListResponse {
            workloads,
            next_page_token,
            resource_version: revision.to_string(),
        }))
    }

    async fn watch(
        &self,
        request: Request<v1::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let request = request.into_inner();
        let scope = Scope::parse(&request.namespace, &request.name, "name")?;
        let selector = Selector::parse(request.labels)?;
        let watch = Watch {
            selects: move |workload: &v1::Workload| {
                scope.contains(&workload.namespace, &workload.name)
                    && selector.matches(&workload.labels)
            },
            respond: |kind, workload: Option<&v1::Workload>, resource_version| v1::WatchResponse {
                r#type: i32::from(kind),
                workload: workload.cloned(),
                resource_version,
            },
        };
        let responses = watch.begin(self.index(), &request.resource_version).await?;
        Ok(Response::new(responses))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = (&*request.namespace, &*request.name);
        let operation = Operation::Delete;
        let workload = self.operate(&caller, name, operation, None).await?;
        Ok(Response::new(v1::DeleteResponse { workload }))
    }

    async fn scale(
        &self,
        request: Request<v1::ScaleRequest>,
    ) -> Result<Response<v1::ScaleResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = (&*request.namespace, &*request.name);
        let operation = Operation::Scale(request.replicas);
        let workload = self
            .operate(&caller, name, operation, request.expected_revision)
            .await?;
        Ok(Response::new(v1::ScaleResponse { workload }))
    }

    async fn restart(
        &self,
        request: Request<v1::RestartRequest>,
    ) -> Result<Response<v1::RestartResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = (&*request.namespace, &*request.name);
        let operation = Operation::Restart;
        let workload = self
            .operate(&caller, name, operation, request.expected_revision)
            .await?;
        Ok(Response::new(v1::RestartResponse { workload }))
    }

    async fn list_revisions(
        &self,
        request: Request<v1::ListRevisionsRequest>,
    ) -> Result<Response<v1::ListRevisionsResponse>, Status> {
        let response = revisions::list(&self.workloads, &request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn rollback(
        &self,
        request: Request<v1::RollbackRequest>,
    ) -> Result<Response<v1::RollbackResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let name = (&*request.namespace, &*request.name);
        let operation = Operation::Rollback(request.revision);
        let workload = self
            .operate(&caller, name, operation, request.expected_revision)
            .await?;
        Ok(Response::new(v1::RollbackResponse { workload }))
    }

    async fn list_replicas(
        &self,
        request: Request<v1::ListReplicasRequest>,
    ) -> Result<Response<v1::ListReplicasResponse>, Status> {
        let request = request.into_inner();
        let scope = Scope::parse(&request.namespace, &request.workload, "workload")?;
        let selector = Selector::parse(request.labels)?;
        let listing = scope.narrow(Listing::new("WorkloadService.ListReplicas"));
        let listing = selector.narrow(listing);
        let size = page::size(request.page_size);
        let after = listing.after(&request.page_token, |last| {
            let (workload, id) = last.rsplit_once('/')?;
            Some((keys::parse_id(workload)?, id.to_owned()))
        })?;
        let keep = |held: &ShownReplica| belongs(&scope, &selector, held);
        let (found, revision) = self.index().replicas(after.as_ref(), size + 1, keep);
        let usages = &self.fleet.usages;
        let shown = found.iter().map(|held| usages.shown(&held.replica));
        let mut replicas: Vec<_> = shown.collect();
        let more = page::cut(&mut replicas, size);
        let last = replicas.last().filter(|_| more);
        let next_page_token = last
            .map(|last| listing.token(&format!("{}/{}/{}", last.namespace, last.workload, last.id)))
            .unwrap_or_default();
        Ok(Response::new(v1::ListReplicasResponse {
            replicas,
            next_page_token,
            resource_version: revision.to_string(),
        }))
    }

    async fn watch_replicas(
        &self,
        request: Request<v1::WatchReplicasRequest>,
    ) -> Result<Response<Self::WatchReplicasStream>, Status> {
        let request = request.into_inner();
        let scope = Scope::parse(&request.namespace, &request.workload, "workload")?;
        let selector = Selector::parse(request.labels)?;
        let watch = Watch {
            selects: move |held: &ShownReplica| belongs(&scope, &selector, held),
            respond: |kind, held: Option<&ShownReplica>, resource_version| {
                v1::WatchReplicasResponse {
                    r#type: i32::from(kind),
                    replica: held.map(|held| held.replica.clone()),
                    resource_version,
                }
            },
        };
        let responses = watch.begin(self.index(), &request.resource_version).await?;
        Ok(Response::new(responses))
    }

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let stream = logs::logs(&self.fleet, request.into_inner())?;
        Ok(Response::new(stream))
    }

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let stream = events::events(&self.workloads.events, &request.into_inner())?;
        Ok(Response::new(stream))
    }
}

fn belongs(scope: &Scope, selector: &Selector, held: &ShownReplica) -> bool {
    scope.contains(&held.replica.namespace, &held.replica.workload)
        && selector.matches(&held.labels)
}
