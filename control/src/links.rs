//! Computes the link plan of a revision from its stored artifacts.

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
    state::{State, Transaction, keys},
    store::{Durability, StoreError},
};

/// Links a spec, given all of its artifacts, and checks that every component is suitable for its
/// use.
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

/// Plans the links that an earlier version stored without a plan: those of the current revision of
/// each workload, and of the revisions that its replicas run. If that fails because an artifact was
/// deleted or does not link by the current rules, the worker reports the reason.
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
            tracing::info!(workload = %id, "planned the links of a workload that an earlier version stored");
            state.commit(transaction, Durability::Relaxed).await?;
        }
    }
    Ok(())
}

fn lacks_plan(workload: &v1::Workload) -> bool {
    workload.link_plan.is_none() && workload.delete_time.is_none()
}

/// Adds the plan of a stored revision if it can be computed, and returns whether it was.
async fn add_plan(state: &State, workload: &mut v1::Workload) -> Result<bool, StoreError> {
    let spec = workload.spec.clone().unwrap_or_default();
    let Ok(spec) = WorkloadSpec::from_proto(&spec) else {
        return Ok(false);
    };
    let mut artifacts = BTreeMap::new();
    for digest in spec.digests() {
        let Some(held) = state.artifact(digest).await? else {
            return Ok(false);
        };
        artifacts.insert(digest, ComponentInfo::from_proto(&held.value));
    }
    let planned = plan(&spec, &artifacts, HostInterfaces::of_this_version());
    workload.link_plan = planned.ok().map(|plan| plan.to_proto());
    Ok(workload.link_plan.is_some())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use warren_model::name::{Name, WorkloadId};

    use super::*;
    use crate::{
        index::IndexTask,
        state::records::ReplicaRecord,
        store::{OnLoss, sled::SledStore},
    };

    fn id(name: &str) -> WorkloadId {
        WorkloadId {
            namespace: Name::parse("default").unwrap(),
            name: Name::parse(name).unwrap(),
        }
    }

    fn item(name: &str, functions: &[&str]) -> v1::ExternItem {
        let function = |name: &&str| v1::Function {
            name: (*name).to_owned(),
            signature: "func()".to_owned(),
            unlinkable: String::new(),
        };
        v1::ExternItem {
            name: name.to_owned(),
            functions: functions.iter().map(function).collect(),
        }
    }

    /// A workload with a service and a component, as a version without plans stored it.
    fn workload(name: &str, revision: u32, service: Digest, library: Digest) -> v1::Workload {
        v1::Workload {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            uid: name.to_owned(),
            revision,
            spec: Some(v1::WorkloadSpec {
                service: Some(v1::Service {
                    component: service.to_string(),
                    ..v1::Service::default()
                }),
                components: vec![v1::Component {
                    name: "library".to_owned(),
                    component: library.to_string(),
                    ..v1::Component::default()
                }],
                ..v1::WorkloadSpec::default()
            }),
            ..v1::Workload::default()
        }
    }

    #[tokio::test]
    async fn what_an_earlier_version_stored_is_planned_once() {
        let directory = tempfile::TempDir::new().unwrap();
        let store = SledStore::open(directory.path(), OnLoss::Refuse).unwrap();
        let state = State::new(Arc::new(store));
        let (service, library) = (Digest::of(b"service"), Digest::of(b"library"));
        let mut transaction = Transaction::default();
        let artifact = v1::Artifact {
            imports: vec![
                item("a:b/c@1.0.0", &["f"]),
                item("wasi:cli/exit@0.2.3", &[]),
            ],
            uses: vec![v1::artifact::Use::Service.into()],
            ..v1::Artifact::default()
        };
        transaction.create(keys::artifact(service), &artifact);
        let artifact = v1::Artifact {
            exports: vec![item("a:b/c@1.1.0", &["f"]), item("a:b/c@1.0.0", &["f"])],
            ..v1::Artifact::default()
        };
        transaction.create(keys::artifact(library), &artifact);
        let (one, gone) = (id("one"), id("gone"));
        let stored = |revision| workload("one", revision, service, library);
        transaction.create(keys::workload(&one), &stored(3));
        for revision in 1..=3 {
            transaction.create(keys::revision(&one, revision), &stored(revision));
        }
        // A replica of an earlier revision still runs.
        let mut record = ReplicaRecord::default();
        record.replica.revision = 2;
        transaction.create(keys::replica(&one, "one-a"), &record);
        let unplannable = workload("gone", 1, service, Digest::of(b"deleted"));
        transaction.create(keys::workload(&gone), &unplannable);
        let stored = state.commit(transaction, Durability::Flushed).await;
        stored.unwrap();

        let (index, _task) = IndexTask::load(state.clone(), Arc::default())
            .await
            .unwrap();
        plan_earlier(&state, &index).await.unwrap();
        let planned = state.workload(&one).await.unwrap().unwrap();
        let plan = planned.value.link_plan.unwrap();
        assert_eq!(plan.links.len(), 1);
        assert_eq!(plan.links[0].export, "a:b/c@1.1.0");
        assert_eq!(plan.interfaces, ["wasi:cli/exit@0.2.3"]);
        for (revision, is_planned) in [(1, false), (2, true), (3, true)] {
            let kept = state.revision(&one, revision).await.unwrap().unwrap();
            let expected = is_planned.then_some(&plan);
            assert_eq!(kept.link_plan.as_ref(), expected, "revision {revision}");
        }
        let left = state.workload(&gone).await.unwrap().unwrap();
        assert_eq!(left.value, unplannable);

        // The next start finds nothing to do.
        let (index, _task) = IndexTask::load(state.clone(), Arc::default())
            .await
            .unwrap();
        plan_earlier(&state, &index).await.unwrap();
        let again = state.workload(&one).await.unwrap().unwrap();
        assert_eq!(again.revision, planned.revision);
    }
}
