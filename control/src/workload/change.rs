//! One workload's change: it is read, decided, checked by all that can be known before anything
//! runs, and written once. Where the write of another comes between, all of that is done again.

use std::{collections::BTreeMap, sync::Arc};

use prost_types::Timestamp;
use warren_model::{
    component::ComponentInfo, digest::Digest, error::Violations, feature, link::LinkError,
    name::WorkloadId, spec::WorkloadSpec,
};
use warren_proto::v1;

use super::{
    Workloads,
    decide::{self, Author, Decision, Effect, Operation, Readable},
    refusal::Refusal,
};
use crate::{
    clock,
    index::parse_spec,
    links,
    state::{Stored, Transaction, claims, keys, rollout},
    store::{Durability, StoreError},
    suggest::Absent,
};

/// How often a change is tried when the writes of others come between.
const ATTEMPTS: u32 = 16;

/// A change of one workload that a caller wants.
pub(super) struct Change<'a> {
    pub workloads: &'a Workloads,
    pub caller: &'a str,
    pub id: &'a WorkloadId,
    pub operation: &'a Operation,
    /// The revision that the workload must be at; 0 means that it must not exist.
    pub expected_revision: Option<u32>,
}

/// A change that was made.
pub(super) struct Changed {
    /// The workload as it was stored before.
    pub before: Option<v1::Workload>,
    pub decision: Decision,
    /// The time of the decision, which is before anything that follows from it.
    pub time: Timestamp,
}

// === impl Change ===

impl Change<'_> {
    /// Makes the change, and returns once it is on disk and every reader of the index sees it.
    pub async fn commit(&self) -> Result<Changed, Refusal> {
        // The artifacts that the workload names must stay until the index shows that it names them.
        let _relied_on = self.workloads.artifacts.rely().await;
        for _ in 0..ATTEMPTS {
            let stored = self.workloads.state.workload(self.id).await?;
            let spec = stored.as_ref().and_then(|stored| self.spec(stored));
            let time = clock::now();
            let mut decision = self.decide(stored.as_ref(), spec.as_deref(), time).await?;
            let written = if decision.effect == Effect::Nothing {
                Ok(stored.as_ref().map_or(0, |stored| stored.revision))
            } else {
                let transaction = self
                    .transaction(stored.as_ref(), spec.as_deref(), &mut decision)
                    .await?;
                let state = &self.workloads.state;
                state.commit(transaction, Durability::Flushed).await
            };
            match written {
                Ok(revision) => {
                    self.workloads.index.reached(revision).await;
                    return Ok(Changed {
                        before: stored.map(|stored| stored.value),
                        decision,
                        time,
                    });
                }
                // Another writer came between: its write is what is decided upon next.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Refusal::Contended(self.id.clone()))
    }

    /// The stored spec as this version reads it, which the index has done unless it is behind the
    /// store.
    fn spec(&self, stored: &Stored<v1::Workload>) -> Option<Arc<WorkloadSpec>> {
        let spec = self.workloads.index.spec_at(self.id, stored.revision);
        spec.unwrap_or_else(|| parse_spec(&stored.value))
    }

    async fn decide(
        &self,
        stored: Option<&Stored<v1::Workload>>,
        spec: Option<&WorkloadSpec>,
        now: Timestamp,
    ) -> Result<Decision, Refusal> {
        let stored = stored.map(|stored| &stored.value);
        let author = Author {
            caller: self.caller,
            now,
        };
        match (stored, self.operation) {
            (Some(stored), operation) => {
                decide::check_revision(Some(stored), self.expected_revision)?;
                let kept = match operation {
                    Operation::Rollback(_) | Operation::RollbackOnFailure(_) => {
                        self.workloads.state.snapshots(self.id).await?
                    }
                    _ => Vec::new(),
                };
                let current = Readable {
                    workload: stored,
                    spec,
                };
                decide::change(current, &kept, operation, author)
            }
            (None, Operation::Apply(wanted)) => {
                decide::check_revision(None, self.expected_revision)?;
                Ok(decide::create(wanted, author))
            }
            (None, _) => Err(Absent::workload(&self.workloads.index, self.id).into()),
        }
    }

    /// Returns all that is written for a decision, on the condition that nothing that it relies on
    /// has changed since, and adds its links to a new revision. `before` is the stored spec.
    async fn transaction(
        &self,
        stored: Option<&Stored<v1::Workload>>,
        before: Option<&WorkloadSpec>,
        decision: &mut Decision,
    ) -> Result<Transaction, Refusal> {
        let runs = match decision.effect {
            Effect::Created | Effect::Revision => {
                let spec = self.runnable(&decision.workload)?;
                let artifacts = self.artifacts(&spec).await?;
                let plan = links::plan(&spec, &artifacts, &self.workloads.index.interfaces());
                let plan = plan.map_err(unlinked)?.to_proto();
                decision.workload.link_plan = Some(plan);
                Some((spec, artifacts))
            }
            Effect::Changed | Effect::Nothing => None,
        };
        let workload = &decision.workload;
        let mut transaction = Transaction::default();
        let key = keys::workload(self.id);
        match stored {
            Some(stored) => transaction.replace(key, workload, stored.revision),
            None => transaction.create(key, workload),
        };
        if let Some((spec, artifacts)) = runs {
            for digest in artifacts.keys() {
                self.use_artifact(*digest, &mut transaction).await?;
            }
            self.claim_routes(&spec, before, &mut transaction).await?;
            transaction.put(keys::revision(self.id, workload.revision), workload);
            self.drop_old_revisions(workload, &mut transaction).await?;
        }
        Ok(transaction)
    }

    /// Returns the spec as this version runs it. The spec that Apply was given has been checked
    /// before; that of an earlier revision may come from another version.
    fn runnable(&self, workload: &v1::Workload) -> Result<WorkloadSpec, Refusal> {
        feature::admit(workload)
            .map(|valid| valid.spec)
            .map_err(Refusal::RevisionNotSupported)
    }

    /// Returns what was pushed under each digest of the spec. The refusal names every one that is
    /// missing.
    async fn artifacts(
        &self,
        spec: &WorkloadSpec,
    ) -> Result<BTreeMap<Digest, ComponentInfo>, Refusal> {
        let mut found = BTreeMap::new();
        let mut missing = Violations::default();
        for (field, digest) in uses(spec) {
            if found.contains_key(&digest) {
                continue;
            }
            // A worker would wait in vain for an artifact whose file is missing; a push brings it
            // back.
            match self.workloads.state.artifact(digest).await? {
                Some(held) if self.workloads.artifacts.contains(digest).await => {
                    found.insert(digest, ComponentInfo::from_proto(&held.value));
                }
                _ => {
                    let advice = self.operation.about_missing_artifact();
                    missing.push(field, format!("artifact {digest} is not here: {advice}"));
                }
            }
        }
        if missing.0.is_empty() {
            Ok(found)
        } else {
            Err(Refusal::ArtifactMissing(missing))
        }
    }

    /// Requires that an artifact still exists when the revision that names it is written, and notes
    /// that it is in use.
    async fn use_artifact(
        &self,
        digest: Digest,
        transaction: &mut Transaction,
    ) -> Result<(), Refusal> {
        let key = keys::artifact(digest);
        match self.workloads.state.artifact(digest).await? {
            Some(held) if held.value.unused_since.is_some() => {
                let used = v1::Artifact {
                    unused_since: None,
                    ..held.value
                };
                transaction.replace(key, &used, held.revision)
            }
            _ => transaction.require(key),
        };
        Ok(())
    }

    /// Claims the routes that are new and gives up those that are gone, in the same transaction as
    /// the workload. `before` is the stored spec.
    async fn claim_routes(
        &self,
        spec: &WorkloadSpec,
        before: Option<&WorkloadSpec>,
        transaction: &mut Transaction,
    ) -> Result<(), Refusal> {
        let wanted = claims::routes(spec);
        let mut held_by_others = Violations::default();
        for (field, route) in &wanted {
            match self.workloads.state.route_holder(route).await? {
                Some(holder) if holder == *self.id => {}
                Some(holder) => held_by_others.push(
                    field,
                    format!(
                        "route {route} belongs to workload `{holder}`: choose another, or delete that one"
                    ),
                ),
                None => {
                    transaction.claim(route, self.id);
                }
            }
        }
        if !held_by_others.0.is_empty() {
            return Err(Refusal::RouteTaken(held_by_others));
        }
        for (_, route) in before.into_iter().flat_map(claims::routes) {
            if wanted.iter().all(|(_, kept)| *kept != route) {
                transaction.clear(keys::route(route));
            }
        }
        Ok(())
    }

    /// Removes old snapshots. It keeps the newest ones, those that a replica may still be assigned
    /// by, the one that a rollout goes back to if it stalls, and the one that this revision went
    /// back to.
    async fn drop_old_revisions(
        &self,
        workload: &v1::Workload,
        transaction: &mut Transaction,
    ) -> Result<(), Refusal> {
        let kept = self.workloads.state.revisions(self.id).await?;
        let replicas = self.workloads.index.replicas_of(self.id);
        // This transaction adds one more.
        let surplus = (kept.len() + 1).saturating_sub(self.workloads.revision_history_limit);
        for number in kept.into_iter().take(surplus) {
            let runs = replicas
                .iter()
                .any(|held| held.value.replica.revision == number);
            let source = [rollout::stable_revision(workload), workload.source_revision];
            if !runs && !source.contains(&number) {
                transaction.clear(keys::revision(self.id, number));
            }
        }
        Ok(())
    }
}

/// Returns the fields of a spec that name artifacts.
fn uses(spec: &WorkloadSpec) -> Vec<(String, Digest)> {
    let service = spec
        .service
        .iter()
        .map(|service| ("spec.service.component".to_owned(), service.component));
    let components = spec.components.iter().enumerate().map(|(i, component)| {
        (
            format!("spec.components[{i}].component"),
            component.component,
        )
    });
    service.chain(components).collect()
}

fn unlinked(errors: Vec<LinkError>) -> Refusal {
    let mut violations = Violations::default();
    for error in errors {
        violations.push(error.field(), &error);
    }
    Refusal::Invalid(violations)
}
