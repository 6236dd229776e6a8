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
    runtime::{Code, CompileError, Prepared, ReplicaContext, compile::CompileFailure},
    volumes::Mounts,
};

use super::{SupervisorParts, report::Reporter};

/// Of a replica whose components were not compiled.
const COMPILE_FAILED: &str = "CompileFailed";

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
        if let Some(failure) = parts.runtime.compile_failure(digest) {
            return Err(not_compiled(digest, &failure, reporter));
        }
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
        let compiled = parts
            .runtime
            .load(role, &assignment.id, digest, &path)
            .await;
        let compiled = compiled.map_err(|error| match error {
            CompileError::Compile(digest, failure) => not_compiled(digest, &failure, reporter),
            error => CannotRun {
                reason: COMPILE_FAILED,
                message: error.to_string(),
            },
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

/// What cannot be compiled on other workers either is reported as such: they need not try.
fn not_compiled(digest: Digest, failure: &CompileFailure, reporter: &Reporter) -> CannotRun {
    reporter.not_compiled(digest, failure);
    CannotRun {
        reason: COMPILE_FAILED,
        message: CompileError::Compile(digest, failure.clone()).to_string(),
    }
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
