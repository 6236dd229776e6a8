//! `warren.v1.WorkloadService`.

mod apply;
mod decide;
mod events;
mod logs;
mod watch;

use std::sync::Arc;

use tonic::{Request, Response, Status};
use warren_model::name::WorkloadId;
use warren_proto::v1::{self, workload_service_server::WorkloadService};

use super::{
    Responses, Shared, error,
    layers::authz::Caller,
    page,
    scope::{self, Scope},
};
use crate::{
    clock,
    events::Subject,
    state::{Transaction, keys},
    store::{Durability, StoreError},
};

/// How often a request is tried anew when another's write came between.
const ATTEMPTS: u32 = 16;

pub struct WorkloadApi(pub Arc<Shared>);

// === impl WorkloadApi ===

impl WorkloadApi {
    fn shown(&self, id: &WorkloadId) -> Result<v1::Workload, Status> {
        let workload = self
            .0
            .index
            .workload(id)
            .ok_or_else(|| scope::no_workload(id))?;
        Ok(v1::Workload::clone(&workload))
    }

    /// Marks a workload for deletion. False when it was marked already.
    async fn mark_deleted(&self, id: &WorkloadId) -> Result<bool, Status> {
        for _ in 0..ATTEMPTS {
            let held = self.0.state.workload(id).await.map_err(error::store)?;
            let mut held = held.ok_or_else(|| scope::no_workload(id))?;
            if held.value.delete_time.is_some() {
                self.0.index.reached(held.revision).await;
                return Ok(false);
            }
            held.value.delete_time = Some(clock::now());
            let mut transaction = Transaction::default();
            transaction.replace(keys::workload(id), &held.value, held.revision);
            match self.0.state.commit(transaction, Durability::Flushed).await {
                Ok(revision) => {
                    self.0.index.reached(revision).await;
                    return Ok(true);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error::store(error)),
            }
        }
        Err(error::aborted(
            "LOST_UPDATE",
            format!("workload `{id}` keeps changing; try again"),
        ))
    }
}

#[tonic::async_trait]
impl WorkloadService for WorkloadApi {
    type WatchStream = Responses<v1::WatchResponse>;
    type LogsStream = Responses<v1::LogsResponse>;
    type EventsStream = Responses<v1::EventsResponse>;

    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyResponse>, Status> {
        let caller = Caller::of(&request)?;
        let response = apply::apply(&self.0, &caller, request.into_inner()).await?;
        Ok(Response::new(response))
    }

    async fn get(
        &self,
        request: Request<v1::GetRequest>,
    ) -> Result<Response<v1::GetResponse>, Status> {
        let request = request.into_inner();
        let id = scope::workload(&request.namespace, &request.name)?;
        let workload = Some(self.shown(&id)?);
        Ok(Response::new(v1::GetResponse { workload }))
    }

    async fn list(
        &self,
        request: Request<v1::ListRequest>,
    ) -> Result<Response<v1::ListResponse>, Status> {
        let request = request.into_inner();
        let scope = Scope::parse(&request.namespace, "", "name")?;
        let size = page::size(request.page_size);
        let after = page::after(&request.page_token, keys::parse_id)?;
        let labels = &request.labels;
        let (found, revision) = self
            .0
            .index
            .workloads(after.as_ref(), size + 1, |id, workload| {
                scope.contains(id)
                    && labels
                        .iter()
                        .all(|(name, value)| workload.labels.get(name) == Some(value))
            });
        let mut workloads: Vec<_> = found
            .iter()
            .map(|workload| v1::Workload::clone(workload))
            .collect();
        let more = page::cut(&mut workloads, size);
        let last = workloads.last().filter(|_| more);
        let next_page_token = last
            .map(|last| page::token(&format!("{}/{}", last.namespace, last.name)))
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
        let stream = watch::watch(&self.0, &request.into_inner()).await?;
        Ok(Response::new(stream))
    }

    async fn delete(
        &self,
        request: Request<v1::DeleteRequest>,
    ) -> Result<Response<v1::DeleteResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let id = scope::workload(&request.namespace, &request.name)?;
        // Once marked it may be gone at any moment: the last state that was seen is the answer then.
        let before = self.shown(&id);
        if self.mark_deleted(&id).await? {
            let subject = Subject::Workload(&id);
            self.0.events.record_by(
                caller.as_str(),
                subject,
                "Deleting",
                "deletion was asked for",
            );
        }
        let workload = match self.shown(&id) {
            Ok(workload) => workload,
            Err(_) => {
                let mut workload = before?;
                workload.delete_time.get_or_insert_with(clock::now);
                workload
            }
        };
        Ok(Response::new(v1::DeleteResponse {
            workload: Some(workload),
        }))
    }

    async fn list_replicas(
        &self,
        request: Request<v1::ListReplicasRequest>,
    ) -> Result<Response<v1::ListReplicasResponse>, Status> {
        let request = request.into_inner();
        let scope = Scope::parse(&request.namespace, &request.workload, "workload")?;
        let size = page::size(request.page_size);
        let after = page::after(&request.page_token, |last| {
            let (workload, id) = last.rsplit_once('/')?;
            Some((keys::parse_id(workload)?, id.to_owned()))
        })?;
        let mut replicas = self.0.index.replicas(after.as_ref(), size + 1, |workload| {
            scope.contains(workload)
        });
        let more = page::cut(&mut replicas, size);
        let last = replicas.last().filter(|_| more);
        let next_page_token = last
            .map(|last| page::token(&format!("{}/{}/{}", last.namespace, last.workload, last.id)))
            .unwrap_or_default();
        Ok(Response::new(v1::ListReplicasResponse {
            replicas,
            next_page_token,
        }))
    }

    async fn logs(
        &self,
        request: Request<v1::LogsRequest>,
    ) -> Result<Response<Self::LogsStream>, Status> {
        let stream = logs::logs(&self.0, request.into_inner())?;
        Ok(Response::new(stream))
    }

    async fn events(
        &self,
        request: Request<v1::EventsRequest>,
    ) -> Result<Response<Self::EventsStream>, Status> {
        let stream = events::events(&self.0, &request.into_inner())?;
        Ok(Response::new(stream))
    }
}
