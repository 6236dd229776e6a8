//! The domain form of a workload's spec: every default filled in, every bound checked.

use std::{collections::BTreeMap, num::NonZeroU16, time::Duration};

use crate::{
    digest::Digest,
    egress::EgressRule,
    host_port::HostPort,
    name::{Name, WorkloadId},
    route::Route,
};

mod defaults;
mod from_proto;
mod to_proto;

pub use defaults::{default_reserve, min_ready, progress_deadline, without_defaults};
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
    /// Each name once.
    pub volumes: Vec<Volume>,
    pub placement: Placement,
    pub update: Update,
}

/// The long-running half of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub component: Digest,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    pub restart: RestartPolicy,
    pub publish: Vec<Publish>,
    pub routes: Vec<ServiceRoute>,
    pub egress: Vec<EgressRule>,
    pub readiness: Option<Probe>,
    pub liveness: Option<Probe>,
    /// Each path once; each name is one of the workload's volumes.
    pub volumes: Vec<VolumeMount>,
    pub memory_bytes: u64,
    /// At most `memory_bytes`: what it is always granted, and what placement counts.
    pub reserve_bytes: u64,
    pub cpu_weight: u32,
    /// Of what its routes carry.
    pub bodies: BodyLimits,
    pub stop_grace: Duration,
    /// Never two replicas at once.
    pub exclusive: bool,
}

/// A stateless component: a fresh instance for each invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    pub name: Name,
    pub component: Digest,
    pub routes: Vec<Route>,
    pub env: BTreeMap<String, String>,
    pub egress: Vec<EgressRule>,
    /// Of one instance.
    pub memory_bytes: u64,
    /// As [`Service::reserve_bytes`], of all instances in one replica together.
    pub reserve_bytes: u64,
    pub timeout: Duration,
    pub concurrency: u32,
    pub bodies: BodyLimits,
    /// `None`: a fresh instance for each invocation.
    pub reuse: Option<Reuse>,
}

/// The largest bodies of HTTP messages, in bytes. `None`: bounded by time and back-pressure alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyLimits {
    pub request: Option<u64>,
    pub response: Option<u64>,
}

/// How many requests one instance of a component serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// In all, then it is dropped.
    pub requests: u32,
    /// At once.
    pub concurrency: u32,
}

/// Which ends of a service are followed by a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    Always,
    OnFailure,
    Never,
}

/// What becomes of the place of a replica that does no more work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Another replica takes it.
    Replace,
    /// The replica keeps it.
    Keep,
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
    /// What follows when a replica whose service has run is FAILED.
    pub on_failed: Recovery,
    pub on_lost: Recovery,
}

/// A service that ran for less than this is not started again at once, however small its backoff.
pub const SHORT_RUN: Duration = Duration::from_secs(1);
/// The least wait after a run that was shorter than [`SHORT_RUN`].
pub const LEAST_BACKOFF: Duration = Duration::from_millis(100);
/// The least wait of a service that goes on crashing as soon as it is started.
pub const LEAST_BACKOFF_OF_A_LOOP: Duration = Duration::from_secs(1);
/// After so many short runs in a row the least wait begins to double.
const QUICK_RESTARTS: u32 = 30;

/// The least wait after so many short runs in a row, whatever the policy says. A service that
/// crashes as soon as it is started would otherwise cost its worker more than one that works.
pub fn least_backoff(short_runs: u32) -> Duration {
    if short_runs == 0 {
        return Duration::ZERO;
    }
    let doublings = short_runs.saturating_sub(QUICK_RESTARTS).min(16);
    (LEAST_BACKOFF * (1 << doublings)).min(LEAST_BACKOFF_OF_A_LOOP)
}

/// A port of the service offered on the machine's network by the worker, by the same transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub port: NonZeroU16,
    /// Port 0: the worker chooses.
    pub listen: HostPort,
}

/// An HTTP route to a port of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRoute {
    pub route: Route,
    pub port: NonZeroU16,
    pub protocol: RouteProtocol,
}

/// How the worker speaks to the service behind a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteProtocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge for gRPC.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    H2c,
}

/// A question that the worker asks the service again and again, inside the workload network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    pub check: ProbeCheck,
    pub interval: Duration,
    pub timeout: Duration,
    pub failure_threshold: u32,
    pub success_threshold: u32,
    pub start_period: Duration,
}

/// What a probe asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeCheck {
    /// Whether the port takes a connection.
    Tcp { port: NonZeroU16 },
    /// Whether a GET is answered with a status from 200 to 399.
    Http { port: NonZeroU16, path: String },
    /// Whether `grpc.health.v1.Health/Check` answers SERVING; an empty service is the whole server.
    Grpc { port: NonZeroU16, service: String },
}

/// A directory that the service may mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    pub name: Name,
    pub source: VolumeSource,
}

/// Where a volume comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumeSource {
    /// Made with the replica and removed with it.
    EmptyDir(EmptyDir),
    /// A directory that the worker offers under this name.
    Host(Name),
}

/// How much a guest may put into an empty directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmptyDir {
    /// Bytes on the disk, in blocks of 4 KiB.
    pub size_limit: u64,
    /// Names of files, directories and links.
    pub inodes: u32,
}

/// One volume as a guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeMount {
    pub name: Name,
    /// Absolute, without `.`, `..` and a slash at its end.
    pub mount_path: String,
    pub read_only: bool,
}

/// Which workers may run a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Placement {
    /// Every one must be the worker's.
    pub labels: BTreeMap<String, String>,
    /// The label over whose values replicas are spread.
    pub spread: Option<String>,
}

/// How a new revision takes the place of the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    pub max_surge: u32,
    /// Not 0 together with `max_surge`.
    pub max_unavailable: u32,
    pub progress_deadline: Duration,
    pub rollback_on_failure: bool,
    /// How long a replica is ready before it counts for a rollout.
    pub min_ready: Duration,
}

// === impl RestartPolicy ===

impl RestartPolicy {
    /// Whether a run that ended with its worker is never followed by another.
    pub fn runs_once(&self) -> bool {
        self.restart == Restart::Never && self.on_lost == Recovery::Keep
    }
}

// === impl ProbeCheck ===

impl ProbeCheck {
    /// The port of the service that is asked.
    pub fn port(&self) -> NonZeroU16 {
        match self {
            Self::Tcp { port } | Self::Http { port, .. } | Self::Grpc { port, .. } => *port,
        }
    }
}

/// What one replica is always granted of its worker's memory, in bytes: the reserves of the service and of each
/// component, which count once however many instances run.
pub fn reserve_bytes(spec: &WorkloadSpec) -> u64 {
    let service = spec.service.as_ref().map(|service| service.reserve_bytes);
    let components = spec.components.iter().map(|c| c.reserve_bytes);
    components.fold(service.unwrap_or(0), u64::saturating_add)
}

/// The limits of the service and of one instance of each component, in bytes: what placement counts on a worker that
/// does not keep reserves.
pub fn limit_bytes(spec: &WorkloadSpec) -> u64 {
    let service = spec.service.as_ref().map(|service| service.memory_bytes);
    let components = spec.components.iter().map(|c| c.memory_bytes);
    components.fold(service.unwrap_or(0), u64::saturating_add)
}

#[cfg(test)]
pub(crate) mod tests;
