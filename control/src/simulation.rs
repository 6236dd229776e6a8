//! A control plane over a simulated disk, whose requests come from a simulated network: everything
//! between is what serves real ones.

use std::{collections::BTreeSet, future::Future, path::Path, sync::Arc};

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio_util::sync::DropGuard;
use tonic::body::Body;
use tonic_health::server::HealthReporter;
use tower::{Service as _, ServiceBuilder, util::BoxCloneSyncService};
use warren_model::{digest::Digest, name::WorkloadId};
use warren_proto::v1;

use crate::{
    artifact::ArtifactFiles,
    fleet::Fleet,
    grpc::{
        authz::{AdmitAll, AuthzLayer},
        details::DetailsLayer,
        limits::LimitsLayer,
        routes,
    },
    index::Index,
    server::{Config, ControlPlane},
    state::{State, Transaction, keys},
    store::{
        Durability, OnLoss, StoreError,
        sim::{SimDisk, SimStore, Stage, Staged},
    },
};

pub use crate::store::sim::Step;

/// The control plane's disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(SimDisk);

/// What happens around each step of the disk: it may take time, and who never comes back from it
/// has died there.
pub type Around = Arc<dyn Fn(Step) -> BoxFuture<'static, ()> + Send + Sync>;

/// A control plane that serves. Dropped, it dies.
pub struct Serving {
    fleet: Arc<Fleet>,
    found: View,
    service:
        BoxCloneSyncService<http::Request<Body>, http::Response<Body>, std::convert::Infallible>,
    _end: DropGuard,
    _dies: Dies,
}

/// What a user would be shown.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By namespace and name.
    pub workloads: Vec<(WorkloadId, Arc<v1::Workload>)>,
    /// By workload and id, those included that users are not shown.
    pub replicas: Vec<v1::Replica>,
    /// Workers that stop in order, or have stopped.
    pub leaving: BTreeSet<String>,
}

/// Ends the writer, wherever it is.
struct Dies(Arc<SimStore>);

struct OnStage(Around);

// === impl Disk ===

impl Disk {
    /// Returns the state after a crash that keeps only this many of the unflushed writes.
    pub fn after_crash(&self, kept: usize) -> Self {
        Self(self.0.after_crash(kept))
    }

    /// Writes that a crash may take.
    pub fn unflushed(&self) -> usize {
        self.0.unflushed()
    }
}

// === impl Serving ===

impl Serving {
    /// Starts over what is on the disk. `artifact` is there as if somebody had pushed it, its file
    /// in `artifacts`.
    pub async fn start(
        disk: &Disk,
        around: Around,
        artifacts: &Path,
        artifact: &v1::Artifact,
        config: Config,
    ) -> Result<Self, StoreError> {
        let stage = Arc::new(OnStage(around));
        let store = SimStore::open(Staged::new(disk.0.clone(), stage), OnLoss::Refuse).await?;
        let store = Arc::new(store);
        let dies = Dies(store.clone());
        let corrupt = |error: &dyn std::fmt::Display| StoreError::Corrupt(error.to_string());
        let digest: Digest = artifact.digest.parse().map_err(|error| corrupt(&error))?;
        let state = State::new(store.clone());
        if state.artifact(digest).await?.is_none() {
            let mut transaction = Transaction::default();
            transaction.put(keys::artifact(digest), artifact);
            state.commit(transaction, Durability::Flushed).await?;
        }
        let files = ArtifactFiles::open(artifacts).map_err(|error| corrupt(&error))?;
        let control = ControlPlane::over(store, 1, None, files, &config).await?;

        let services = control.services().clone();
        let fleet = services.fleet.clone();
        let ending = fleet.shutdown.clone();
        let found = View::of(&fleet.index);
        control.start();
        let routes = routes::routes(&services, &HealthReporter::new());
        let routes = routes.map_err(|error| corrupt(&error))?;
        let methods = Arc::new(routes::methods().map_err(|error| corrupt(&error))?);
        let service = ServiceBuilder::new()
            .layer(DetailsLayer(methods.clone()))
            .layer(AuthzLayer(Arc::new(AdmitAll)))
            .layer(LimitsLayer::new(methods, &config.limits, ending.clone()))
            .service(routes);
        Ok(Self {
            fleet,
            found,
            service: BoxCloneSyncService::new(service),
            _end: ending.drop_guard(),
            _dies: dies,
        })
    }

    /// Answers one request.
    pub fn call(
        &self,
        request: http::Request<Body>,
    ) -> impl Future<Output = http::Response<Body>> + Send + use<> {
        // It is always ready.
        let answer = self.service.clone().call(request);
        async { answer.await.unwrap_or_else(|never| match never {}) }
    }

    /// Starts from one, and grows with every start over the disk.
    pub fn term(&self) -> u64 {
        self.fleet.term
    }

    /// What it found when it started, before it did anything.
    pub fn found(&self) -> &View {
        &self.found
    }

    /// What it knows now.
    pub fn view(&self) -> View {
        View::of(&self.fleet.index)
    }
}

// === impl View ===

impl View {
    fn of(index: &Index) -> Self {
        let workloads = index.all_workloads();
        let replicas = index.ids().into_iter().flat_map(|id| {
            let held = index.replicas_of(&id);
            held.into_iter().map(|held| held.value.replica.clone())
        });
        Self {
            replicas: replicas.collect(),
            leaving: index
                .workers()
                .iter()
                .filter(|held| held.worker.departure.is_some())
                .map(|held| held.worker.name.clone())
                .collect(),
            workloads,
        }
    }
}

// === impl Dies ===

impl Drop for Dies {
    fn drop(&mut self) {
        self.0.crash();
    }
}

// === impl OnStage ===

#[async_trait]
impl Stage for OnStage {
    async fn before(&self, step: Step) -> Result<(), StoreError> {
        (self.0)(step).await;
        Ok(())
    }

    async fn after(&self, step: Step) -> Result<(), StoreError> {
        (self.0)(step).await;
        Ok(())
    }
}
