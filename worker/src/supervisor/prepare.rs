//! Prepares an assignment so that it can be started: artifacts, code, links and ports.

use std::{collections::BTreeSet, io, sync::Arc};

use tokio::{sync::mpsc, task};
use warren_model::{digest::Digest, reason, spec::WorkloadSpec};
use warren_net::{NetLimits, Network};

use crate::{
    lease::SharedLease,
    logs::ReplicaLog,
    policy::{Refusal, Role},
    publish::{PublishPolicy, Published},
    replica::Assignment,
    runtime::{Code, CompileError, Prepared, ReplicaContext, compile::CompileFailure},
    volumes::Mounts,
};

use super::{SupervisorParts, report::Reporter};

/// Everything of a replica that persists when its service restarts.
pub(super) struct Ready {
    pub(super) prepared: Prepared,
    pub(super) network: Network,
    pub(super) published: Vec<Published>,
    pub(super) mounts: Mounts,
}

/// Why a replica can never run in its present form.
pub(super) struct CannotRun {
    pub(super) reason: &'static str,
    pub(super) message: String,
}

/// Prepares a replica. If an artifact is missing, it waits for as long as the control plane is
/// unreachable. Dropping the future releases everything.
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
            reporter.artifacts_unready(reason::COMPILING, message);
            added = true;
        }
        let compiled = parts
            .runtime
            .load(role, &assignment.id, digest, &path)
            .await;
        let compiled = compiled.map_err(|error| match error {
            CompileError::Compile(digest, failure) => not_compiled(digest, &failure, reporter),
            error => CannotRun {
                reason: reason::COMPILE_FAILED,
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
        .prepare(&assignment.spec, assignment.links.as_ref(), &code, &context)
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

/// Reports an artifact that could not be compiled, so that other workers need not try if it would
/// fail there too.
fn not_compiled(digest: Digest, failure: &CompileFailure, reporter: &Reporter) -> CannotRun {
    reporter.not_compiled(digest, failure);
    CannotRun {
        reason: reason::COMPILE_FAILED,
        message: CompileError::Compile(digest, failure.clone()).to_string(),
    }
}

/// Frees disk space. What cannot be removed now may be removed the next time.
async fn collect(parts: &SupervisorParts) {
    let (artifacts, runtime) = (Arc::clone(&parts.artifacts), Arc::clone(&parts.runtime));
    let collecting = task::spawn_blocking(move || {
        artifacts.collect(|digest| runtime.is_loaded(digest))?;
        runtime.collect()
    });
    if let Err(error) = collecting.await.map_err(io::Error::other).flatten() {
        tracing::warn!(%error, "cannot remove unused artifacts and compiled code");
    }
}

/// Returns the lease under which the replica's guests run, if its service is exclusive.
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

/// Returns the artifacts to load, each with the role in which it runs.
fn artifacts(spec: &WorkloadSpec) -> BTreeSet<(Digest, Role)> {
    let service = spec.service.iter();
    let service = service.map(|service| (service.component, Role::Service));
    let components = spec.components.iter();
    let components = components.map(|component| (component.component, Role::Component));
    service.chain(components).collect()
}
