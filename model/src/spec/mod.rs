//! The domain form of a workload's spec: every default filled in, every bound checked.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU16, time::Duration};

use crate::{
    digest::Digest,
    egress::EgressRule,
    name::{Name, WorkloadId},
    route::Route,
};

mod from_proto;
mod to_proto;

pub use from_proto::{DEFAULT_NAMESPACE, validate_workload};

/// A workload whose every field is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidWorkload {
    pub id: WorkloadId,
    pub labels: BTreeMap<String, String>,
    pub spec: WorkloadSpec,
}

/// What should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// How many replicas run at once; `None` keeps the present number.
    pub replicas: Option<u32>,
    pub service: Option<Service>,
    /// By name, in the order of the request.
    pub components: Vec<Component>,
}

/// The long-running half of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub component: Digest,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub restart: RestartPolicy,
    pub publish: Vec<Publish>,
    pub egress: Vec<EgressRule>,
    pub memory_bytes: u64,
    pub stop_grace: Duration,
}

/// A stateless component: a fresh instance for each invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    pub name: Name,
    pub component: Digest,
    pub routes: Vec<Route>,
    pub env: BTreeMap<String, String>,
    pub egress: Vec<EgressRule>,
    pub memory_bytes: u64,
    pub timeout: Duration,
    pub concurrency: u32,
}

/// Which ends of a service are followed by a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// When and how fast an ended service is started again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartPolicy {
    pub restart: Restart,
    pub initial_backoff: Duration,
    /// At least `initial_backoff`.
    pub max_backoff: Duration,
    pub reset_after: Duration,
    pub max_restarts: u32,
    pub window: Duration,
}

/// A TCP port of the service offered on the machine's network by the worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub port: NonZeroU16,
    /// Port 0: the worker chooses.
    pub listen: SocketAddr,
}

/// What the scheduler reserves for one replica: the service's memory and one instance of each component.
pub fn memory_bytes(spec: &WorkloadSpec) -> u64 {
    let service = spec
        .service
        .as_ref()
        .map_or(0, |service| service.memory_bytes);
    let components = spec
        .components
        .iter()
        .map(|component| component.memory_bytes);
    components.fold(service, u64::saturating_add)
}

#[cfg(test)]
pub(crate) mod tests;
