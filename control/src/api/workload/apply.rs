//! Apply: checks everything that can be known before anything runs, then writes once.

use std::collections::BTreeMap;

use tonic::Status;
use warren_model::{
    component::ComponentInfo,
    digest::Digest,
    error::Violations,
    link,
    route::Route,
    spec::{ValidWorkload, WorkloadSpec, validate_workload},
};
use warren_proto::v1::{self, apply_response::Outcome};

use super::{ATTEMPTS, decide};
use crate::{
    api::{Shared, error, layers::authz::Caller},
    clock,
    events::Subject,
    state::{Transaction, keys},
    store::{Durability, StoreError},
};

/// Snapshots of revisions that are kept of a workload, beside those that replicas still run.
const KEPT_REVISIONS: usize = 10;

pub(super) async fn apply(
    shared: &Shared,
    caller: &Caller,
    request: v1::ApplyRequest,
) -> Result<v1::ApplyResponse, Status> {
    let wanted = validate_workload(&request.workload.unwrap_or_default())
        .map_err(|violations| error::invalid(&violations))?;
    // Until the index knows of this workload, the artifacts that it names must stay.
    let _references = shared.references.read().await;
    for _ in 0..ATTEMPTS {
        let stored = shared
            .state
            .workload(&wanted.id)
            .await
            .map_err(error::store)?;
        let present = stored.as_ref().map(|stored| &stored.value);
        decide::check_revision(present, request.expected_revision)?;
        let decision = decide::decide(present, &wanted, caller.as_str(), clock::now())?;
        let outcome = decision.outcome;
        if outcome == Outcome::Unchanged {
            let revision = stored.as_ref().map_or(0, |stored| stored.revision);
            shared.index.reached(revision).await;
            return Ok(response(shared, &wanted, decision.workload, outcome));
        }
        let artifacts = artifacts(shared, &wanted.spec).await?;
        check_links(&wanted.spec, &artifacts)?;
        let mut transaction = Transaction::default();
        claim_routes(shared, &wanted, present, &mut transaction).await?;
        for digest in artifacts.keys() {
            transaction.require(keys::artifact(*digest));
        }
        let key = keys::workload(&wanted.id);
        match &stored {
            Some(stored) => transaction.replace(key, &decision.workload, stored.revision),
            None => transaction.create(key, &decision.workload),
        };
        if decision.new_revision {
            let number = decision.workload.revision;
            transaction.put(keys::revision(&wanted.id, number), &decision.workload);
            drop_old_revisions(shared, &wanted, &mut transaction).await?;
        }
        match shared.state.commit(transaction, Durability::Flushed).await {
            Ok(revision) => {
                shared.index.reached(revision).await;
                tell(shared, caller, &wanted, present, &decision);
                return Ok(response(shared, &wanted, decision.workload, outcome));
            }
            // A writer came between: what it wrote decides anew.
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(error::store(error)),
        }
    }
    let message = format!("workload `{}` keeps changing; try again", wanted.id);
    Err(error::aborted("LOST_UPDATE", message))
}

/// What was pushed under each digest of the spec. Every one that is missing is named.
async fn artifacts(
    shared: &Shared,
    spec: &WorkloadSpec,
) -> Result<BTreeMap<Digest, ComponentInfo>, Status> {
    let mut found = BTreeMap::new();
    let mut missing = Violations::default();
    for (field, digest) in uses(spec) {
        if found.contains_key(&digest) {
            continue;
        }
        let held = shared.state.artifact(digest).await.map_err(error::store)?;
        // Without its file a worker would wait for it in vain; pushing it again brings that back.
        match held {
            Some(held) if shared.artifacts.contains(digest).await => {
                found.insert(digest, ComponentInfo::from_proto(&held.value));
            }
            _ => missing.push(
                field,
                format!("artifact {digest} is not here: push it with `warren push FILE`, or name the file"),
            ),
        }
    }
    if missing.0.is_empty() {
        Ok(found)
    } else {
        Err(error::preconditions("ARTIFACT_MISSING", &missing))
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

/// Claims the routes that are new and gives up those that are gone, in the same transaction as the workload.
async fn claim_routes(
    shared: &Shared,
    wanted: &ValidWorkload,
    stored: Option<&v1::Workload>,
    transaction: &mut Transaction,
) -> Result<(), Status> {
    let before = stored
        .and_then(|stored| stored.spec.as_ref())
        .and_then(|spec| WorkloadSpec::from_proto(spec).ok());
    let before: Vec<&Route> = before
        .iter()
        .flat_map(routes)
        .map(|(_, route)| route)
        .collect();
    let mut held_by_others = Violations::default();
    for (field, route) in routes(&wanted.spec) {
        match shared.state.route_holder(route).await.map_err(error::store)? {
            Some(holder) if holder == wanted.id => {}
            Some(holder) => held_by_others.push(
                field,
                format!("route {route} belongs to workload `{holder}`: choose another, or delete that one"),
            ),
            None => {
                transaction.claim(route, &wanted.id);
            }
        }
    }
    if !held_by_others.0.is_empty() {
        return Err(error::preconditions("ROUTE_TAKEN", &held_by_others));
    }
    for route in before {
        if routes(&wanted.spec).iter().all(|(_, kept)| *kept != route) {
            transaction.clear(keys::route(route));
        }
    }
    Ok(())
}

/// Every route of a spec with its field.
fn routes(spec: &WorkloadSpec) -> Vec<(String, &Route)> {
    let components = spec.components.iter().enumerate();
    components
        .flat_map(|(i, component)| {
            component
                .routes
                .iter()
                .enumerate()
                .map(move |(j, route)| (format!("spec.components[{i}].routes[{j}]"), route))
        })
        .collect()
}

/// Keeps the newest snapshots, and those that a replica may still be assigned by.
async fn drop_old_revisions(
    shared: &Shared,
    wanted: &ValidWorkload,
    transaction: &mut Transaction,
) -> Result<(), Status> {
    let kept = shared
        .state
        .revisions(&wanted.id)
        .await
        .map_err(error::store)?;
    let replicas = shared.index.replicas_of(&wanted.id);
    // One more comes with this transaction.
    let surplus = (kept.len() + 1).saturating_sub(KEPT_REVISIONS);
    for number in kept.into_iter().take(surplus) {
        if replicas
            .iter()
            .all(|held| held.value.replica.revision != number)
        {
            transaction.clear(keys::revision(&wanted.id, number));
        }
    }
    Ok(())
}

fn tell(
    shared: &Shared,
    caller: &Caller,
    wanted: &ValidWorkload,
    before: Option<&v1::Workload>,
    decision: &decide::Decision,
) {
    let replicas = |workload: &v1::Workload| {
        workload
            .spec
            .as_ref()
            .and_then(|spec| spec.replicas)
            .unwrap_or(1)
    };
    let (is, was) = (replicas(&decision.workload), before.map(replicas));
    let (reason, message) = match decision.outcome {
        Outcome::Created => ("Created", format!("created with {}", replicas_in_words(is))),
        _ if decision.new_revision => (
            "Updated",
            format!(
                "revision {} is being rolled out",
                decision.workload.revision
            ),
        ),
        _ => match was {
            Some(was) if was != is => (
                "Scaled",
                format!("scaled from {was} to {}", replicas_in_words(is)),
            ),
            _ => ("Labelled", "its labels were changed".to_owned()),
        },
    };
    shared.events.record_by(
        caller.as_str(),
        Subject::Workload(&wanted.id),
        reason,
        message,
    );
}

/// With the status of now; as it was written if it is gone already.
fn response(
    shared: &Shared,
    wanted: &ValidWorkload,
    written: v1::Workload,
    outcome: Outcome,
) -> v1::ApplyResponse {
    let shown = shared.index.workload(&wanted.id);
    let workload = shown.map_or(written, |shown| v1::Workload::clone(&shown));
    v1::ApplyResponse {
        workload: Some(workload),
        outcome: outcome.into(),
    }
}

fn replicas_in_words(replicas: u32) -> String {
    match replicas {
        1 => "1 replica".to_owned(),
        n => format!("{n} replicas"),
    }
}
