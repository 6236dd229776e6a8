//! One workload's change: read, decide, check what can be known before anything runs, write once. Anew while the writes
//! of others come between.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use tonic::Status;
use warren_model::{
    component::ComponentInfo, digest::Digest, error::Violations, feature, link, name::WorkloadId,
    route::Route, spec::WorkloadSpec,
};
use warren_proto::v1;

use super::decide::{self, Author, Decision, Effect, Wish};
use crate::{
    clock,
    grpc::{Shared, authz::Caller, error, scope},
    state::{Stored, Transaction, claims, keys, rollout},
    store::{Durability, StoreError},
};

/// How often a request is tried anew when another's write came between.
const ATTEMPTS: u32 = 16;

/// A change of one workload that somebody asks for.
pub(super) struct Change<'a> {
    pub shared: &'a Shared,
    pub caller: &'a Caller,
    pub id: &'a WorkloadId,
    pub wish: &'a Wish,
    /// ABORTED unless this is the present revision; 0: unless there is no such workload.
    pub expected_revision: Option<u32>,
}

/// What became of it.
pub(super) struct Changed {
    /// As it was stored before.
    pub before: Option<v1::Workload>,
    pub decision: Decision,
    /// When it was decided: before anything that follows from it could happen.
    pub time: Timestamp,
}

// === impl Change ===

impl Change<'_> {
    /// Does it, and returns once it is on disk and every reader of this server sees it.
    pub async fn commit(&self) -> Result<Changed, Status> {
        // Until the index knows of this workload, the artifacts that it names must stay.
        let _references = self.shared.references.read().await;
        for _ in 0..ATTEMPTS {
            let stored = self.shared.state.workload(self.id).await;
            let stored = stored.map_err(error::store)?;
            let time = clock::now();
            let decision = self.decide(stored.as_ref(), time).await?;
            let written = if decision.effect == Effect::Nothing {
                Ok(stored.as_ref().map_or(0, |stored| stored.revision))
            } else {
                let transaction = self.transaction(stored.as_ref(), &decision).await?;
                let state = &self.shared.state;
                state.commit(transaction, Durability::Flushed).await
            };
            match written {
                Ok(revision) => {
                    self.shared.index.reached(revision).await;
                    return Ok(Changed {
                        before: stored.map(|stored| stored.value),
                        decision,
                        time,
                    });
                }
                // A writer came between: what it wrote decides anew.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error::store(error)),
            }
        }
        let message = format!("workload `{}` keeps changing; try again", self.id);
        Err(error::aborted(message))
    }

    async fn decide(
        &self,
        stored: Option<&Stored<v1::Workload>>,
        now: Timestamp,
    ) -> Result<Decision, Status> {
        let stored = stored.map(|stored| &stored.value);
        let author = Author {
            caller: self.caller.as_str(),
            now,
        };
        match (stored, self.wish) {
            (Some(stored), wish) => {
                decide::check_revision(Some(stored), self.expected_revision)?;
                let kept = match wish {
                    Wish::Rollback(_) | Wish::RollbackOnFailure(_) => {
                        self.shared.state.snapshots(self.id).await
                    }
                    _ => Ok(Vec::new()),
                };
                decide::change(stored, &kept.map_err(error::store)?, wish, author)
            }
            (None, Wish::Apply(wanted)) => {
                decide::check_revision(None, self.expected_revision)?;
                Ok(decide::create(wanted, author))
            }
            (None, _) => Err(scope::no_workload(&self.shared.index, self.id)),
        }
    }

    /// All that is written for a decision, under the condition that it still holds by then.
    async fn transaction(
        &self,
        stored: Option<&Stored<v1::Workload>>,
        decision: &Decision,
    ) -> Result<Transaction, Status> {
        let workload = &decision.workload;
        let mut transaction = Transaction::default();
        let key = keys::workload(self.id);
        match stored {
            Some(stored) => transaction.replace(key, workload, stored.revision),
            None => transaction.create(key, workload),
        };
        if matches!(decision.effect, Effect::Created | Effect::Revision) {
            let spec = self.runnable(workload)?;
            let artifacts = self.artifacts(&spec).await?;
            check_links(&spec, &artifacts)?;
            for digest in artifacts.keys() {
                self.use_artifact(*digest, &mut transaction).await?;
            }
            let before = stored.map(|stored| &stored.value);
            self.claim_routes(&spec, before, &mut transaction).await?;
            transaction.put(keys::revision(self.id, workload.revision), workload);
            self.drop_old_revisions(workload, &mut transaction).await?;
        }
        Ok(transaction)
    }

    /// The spec as this version runs it. What Apply was given is checked by then; an earlier revision may come from
    /// another version.
    fn runnable(&self, workload: &v1::Workload) -> Result<WorkloadSpec, Status> {
        feature::admit(workload)
            .map(|valid| valid.spec)
            .map_err(|violations| error::preconditions("REVISION_NOT_SUPPORTED", &violations))
    }

    /// What was pushed under each digest of the spec. Every one that is missing is named.
    async fn artifacts(
        &self,
        spec: &WorkloadSpec,
    ) -> Result<BTreeMap<Digest, ComponentInfo>, Status> {
        let mut found = BTreeMap::new();
        let mut missing = Violations::default();
        for (field, digest) in uses(spec) {
            if found.contains_key(&digest) {
                continue;
            }
            let held = self.shared.state.artifact(digest).await;
            // Without its file a worker would wait for it in vain; pushing it again brings that back.
            match held.map_err(error::store)? {
                Some(held) if self.shared.artifacts.contains(digest).await => {
                    found.insert(digest, ComponentInfo::from_proto(&held.value));
                }
                _ => {
                    let advice = self.wish.about_missing_artifact();
                    missing.push(field, format!("artifact {digest} is not here: {advice}"));
                }
            }
        }
        if missing.0.is_empty() {
            Ok(found)
        } else {
            Err(error::preconditions("ARTIFACT_MISSING", &missing))
        }
    }

    /// Demands that an artifact is there when the revision that names it is, and notes that it is in use.
    async fn use_artifact(
        &self,
        digest: Digest,
        transaction: &mut Transaction,
    ) -> Result<(), Status> {
        let held = self.shared.state.artifact(digest).await;
        let key = keys::artifact(digest);
        match held.map_err(error::store)? {
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

    /// Claims the routes that are new and gives up those that are gone, in the same transaction as the workload.
    async fn claim_routes(
        &self,
        spec: &WorkloadSpec,
        before: Option<&v1::Workload>,
        transaction: &mut Transaction,
    ) -> Result<(), Status> {
        let wanted = claims::routes(spec);
        let mut held_by_others = Violations::default();
        for (field, route) in &wanted {
            let holder = self.shared.state.route_holder(route).await;
            match holder.map_err(error::store)? {
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
            return Err(error::preconditions("ROUTE_TAKEN", &held_by_others));
        }
        let before = before.and_then(|stored| stored.spec.as_ref());
        let before = before.and_then(|spec| WorkloadSpec::from_proto(spec).ok());
        let before: Vec<&Route> = before
            .iter()
            .flat_map(claims::routes)
            .map(|(_, route)| route)
            .collect();
        for route in before {
            if wanted.iter().all(|(_, kept)| *kept != route) {
                transaction.clear(keys::route(route));
            }
        }
        Ok(())
    }

    /// Keeps the newest snapshots, those that a replica may still be assigned by, the one that a rollout which stalls goes
    /// back to, and the one that this revision went back to.
    async fn drop_old_revisions(
        &self,
        workload: &v1::Workload,
        transaction: &mut Transaction,
    ) -> Result<(), Status> {
        let kept = self.shared.state.revisions(self.id).await;
        let kept = kept.map_err(error::store)?;
        let replicas = self.shared.index.replicas_of(self.id);
        // One more comes with this transaction.
        let surplus = (kept.len() + 1).saturating_sub(self.shared.revision_history_limit);
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

/// The fields of a spec that name artifacts.
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

/// Whether every import has one export, and every component is used as what it is.
fn check_links(
    spec: &WorkloadSpec,
    artifacts: &BTreeMap<Digest, ComponentInfo>,
) -> Result<(), Status> {
    // Every digest of the spec is there: `artifacts` returned.
    let service = spec
        .service
        .as_ref()
        .and_then(|service| artifacts.get(&service.component));
    let components: Vec<_> = spec
        .components
        .iter()
        .filter_map(|held| Some((held.name.clone(), artifacts.get(&held.component)?)))
        .collect();
    match link::check(spec, service, &components) {
        Ok(_) => Ok(()),
        Err(errors) => {
            let mut violations = Violations::default();
            for error in errors {
                violations.push(error.field(), &error);
            }
            Err(error::invalid(&violations))
        }
    }
}
