//! From an assignment to something that can be started: artifacts, code, links, ports.

use std::{collections::BTreeSet, io, sync::Arc};

use tokio::{sync::mpsc, task};
use warren_model::{digest::Digest, spec::WorkloadSpec};

use crate::{
    agent::Assignment,
    lease::SharedLease,
    logs::ReplicaLog,
    net::{NetLimits, Network},
    policy::{Refusal, Role},
    publish::{PublishPolicy, Published},
    runtime::{Code, Prepared, ReplicaContext},
    volumes::Mounts,
};

use super::{SupervisorParts, report::Reporter};

/// Everything of a replica that outlives a restart of its service.
pub(super) struct Ready {
    pub(super) prepared: Prepared,
    pub(super) network: Network,
    pub(super) published: Vec<Published>,
    pub(super) mounts: Mounts,
}

/// Why a replica can never run as it is.
pub(super) struct CannotRun {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Brings everything together. Takes as long as the control plane is away and an artifact is missing;
/// dropping it gives back what it has.
pub(super) async fn prepare(
    assignment: &Assignment,
    parts: &SupervisorParts,
    log: ReplicaLog,
    refusals: mpsc::Sender<Refusal>,
    reporter: &Reporter,
) -> Result<Ready, CannotRun> {
    let mut code = Code::new();
    let mut added = false;
    for (digest, role) in artifacts(&assignment.spec) {
        reporter.artifacts_unready("Pulling", format!("pulling artifact {}", digest.short()));
        let path = parts
            .artifacts
            .ensure(digest)
            .await
            .map_err(|error| CannotRun {
                reason: "ArtifactUnavailable",
                message: error.to_string(),
            })?;
        if !parts.runtime.is_compiled(digest) {
            let message = format!("compiling artifact {}", digest.short());
            reporter.artifacts_unready("Compiling", message);
            added = true;
        }
        let compiled = parts.runtime.load(role, digest, &path).await;
        let compiled = compiled.map_err(|error| CannotRun {
            reason: "CompileFailed",
            message: error.to_string(),
        })?;
        code.insert((role, digest), compiled);
    }
    reporter.artifacts_ready();
    if added {
        collect(parts).await;
    }

    let mounts = parts.volumes.mount(&assignment.replica, &assignment.spec);
    let mounts = mounts.map_err(|error| CannotRun {
        reason: "VolumeUnavailable",
        message: error.to_string(),
    })?;
    let network = Network::new(NetLimits::default());
    let context = ReplicaContext {
        workload: assignment.id.clone(),
        mounts: mounts.list(),
        network: network.clone(),
        log,
        host: parts.host.clone(),
        lease: lease(assignment, parts),
        refusals,
    };
    let prepared = parts
        .runtime
        .prepare(&assignment.spec, &code, &context)
        .map_err(|error| CannotRun {
            reason: error.reason(),
            message: error.to_string(),
        })?;
    let published = publish(&assignment.spec, &network, &parts.publish, reporter).await?;
    Ok(Ready {
        prepared,
        network,
        published,
        mounts,
    })
}

/// Makes room on the disk. What cannot be removed now may be the next time.
async fn collect(parts: &SupervisorParts) {
    let (artifacts, runtime) = (Arc::clone(&parts.artifacts), Arc::clone(&parts.runtime));
    let collecting = task::spawn_blocking(move || {
        artifacts.collect(|digest| runtime.is_loaded(digest))?;
        runtime.collect()
    });
    if let Err(error) = collecting.await.map_err(io::Error::other).flatten() {
        tracing::warn!(%error, "cannot remove what nothing uses");
    }
}

/// What its guests may run by, if they are of an exclusive service's.
pub(super) fn lease(assignment: &Assignment, parts: &SupervisorParts) -> Option<Arc<SharedLease>> {
    assignment.fence.map(|_| Arc::clone(&parts.lease))
}

async fn publish(
    spec: &WorkloadSpec,
    network: &Network,
    policy: &PublishPolicy,
    reporter: &Reporter,
) -> Result<Vec<Published>, CannotRun> {
    let ports = spec.service.iter().flat_map(|service| &service.publish);
    let mut published = Vec::new();
    for port in ports {
        let bound = crate::publish::bind(port, network, policy).await;
        published.push(bound.map_err(|error| CannotRun {
            reason: error.reason(),
            message: error.to_string(),
        })?);
    }
    reporter.endpoints(published.iter().map(Published::endpoint).collect());
    Ok(published)
}

/// What has to be loaded, and as what it runs.
fn artifacts(spec: &WorkloadSpec) -> BTreeSet<(Digest, Role)> {
    let service = spec.service.iter();
    let service = service.map(|service| (service.component, Role::Service));
    let components = spec.components.iter();
    let components = components.map(|component| (component.component, Role::Component));
    service.chain(components).collect()
}
