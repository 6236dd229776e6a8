//! The link plan of a revision, from what is stored of its artifacts.

use std::collections::BTreeMap;

use warren_model::{
    component::ComponentInfo,
    digest::Digest,
    link::{self, HostInterfaces, LinkError, LinkPlan},
    spec::WorkloadSpec,
};
use warren_proto::v1;

use crate::{
    index::Index,
    reconcile::observe,
    state::{State, Transaction, keys},
    store::{Durability, StoreError},
};

/// Links a spec whose artifacts are all given, and checks that every component is used as what it is.
pub fn plan(
    spec: &WorkloadSpec,
    artifacts: &BTreeMap<Digest, ComponentInfo>,
    provided: &HostInterfaces,
) -> Result<LinkPlan, Vec<LinkError>> {
    let service = spec
        .service
        .as_ref()
        .and_then(|service| artifacts.get(&service.component));
    let components: Vec<_> = spec
        .components
        .iter()
        .filter_map(|held| Some((held.name.clone(), artifacts.get(&held.component)?)))
        .collect();
    link::check(spec, service, &components, provided)
}

/// Plans what an earlier version stored without a plan: the present revision of each workload, and
/// those that its replicas run. Where that cannot be, because an artifact was deleted or does not
/// link by today's rule, the worker says why.
pub async fn plan_earlier(state: &State, index: &Index) -> Result<(), StoreError> {
    for id in index.ids() {
        let observed = index.observe(&id);
        let Some(stored) = observed.workload.filter(|held| lacks_plan(&held.value)) else {
            continue;
        };
        let mut transaction = Transaction::default();
        let mut workload = v1::Workload::clone(&stored.value);
        if add_plan(state, &mut workload).await? {
            transaction.replace(keys::workload(&id), &workload, stored.revision);
        }
        let run = observed.replicas.iter();
        let mut run: Vec<u32> = run.map(|held| held.value.replica.revision).collect();
        run.push(workload.revision);
        run.sort_unstable();
        run.dedup();
        for revision in run {
            let Some(mut kept) = state.revision(&id, revision).await?.filter(lacks_plan) else {
                continue;
            };
            if add_plan(state, &mut kept).await? {
                transaction.put(keys::revision(&id, revision), &kept);
            }
        }
        if !transaction.is_empty() {
            tracing::info!(workload = %id, "planned the links of what an earlier version stored");
            state.commit(transaction, Durability::Relaxed).await?;
        }
    }
    Ok(())
}

fn lacks_plan(workload: &v1::Workload) -> bool {
    workload.link_plan.is_none() && workload.delete_time.is_none()
}

/// Adds the plan of a stored revision, if it can be made. Returns whether it was.
async fn add_plan(state: &State, workload: &mut v1::Workload) -> Result<bool, StoreError> {
    let spec = workload.spec.clone().unwrap_or_default();
    let Ok(spec) = WorkloadSpec::from_proto(&spec) else {
        return Ok(false);
    };
    let mut artifacts = BTreeMap::new();
    for digest in observe::digests(&spec) {
        let Some(held) = state.artifact(digest).await? else {
            return Ok(false);
        };
        artifacts.insert(digest, ComponentInfo::from_proto(&held.value));
    }
    let planned = plan(&spec, &artifacts, HostInterfaces::of_this_version());
    workload.link_plan = planned.ok().map(|plan| plan.to_proto());
    Ok(workload.link_plan.is_some())
}
