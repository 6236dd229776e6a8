//! What a request makes of a workload: a pure function of what is stored and what is asked for.

use prost_types::Timestamp;
use tonic::Status;
use warren_model::{
    name::uid,
    spec::{ValidWorkload, WorkloadSpec, validate_workload},
};
use warren_proto::v1::{self, revision::Cause};

use crate::{grpc::error, state::rollout};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// Replicas of a new workload that names no number.
const DEFAULT_REPLICAS: u32 = 1;

/// What is asked for.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// Boxed: the others are a word each.
    Apply(Box<ValidWorkload>),
    Scale(u32),
    Restart,
    /// To this revision; 0: the newest whose spec differs from the present one.
    Rollback(u32),
    /// The present revision's rollout stalled: to this one.
    RollbackOnFailure(u32),
    Delete,
}

/// Who asks, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Author<'a> {
    pub caller: &'a str,
    pub now: Timestamp,
}

/// What is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing: it is so already.
    Nothing,
    /// A new workload, with its first revision.
    Created,
    /// A revision that needs a snapshot, for replicas to run by.
    Revision,
    /// The workload alone: its labels, its number of replicas, its deletion.
    Changed,
}

/// The workload as it should be stored.
#[derive(Debug)]
pub(super) struct Decision {
    pub effect: Effect,
    pub workload: v1::Workload,
}

/// Decides over what is stored and, for a rollback, the kept revisions, oldest first.
///
/// Specs are compared by meaning, so that a field that a later version of Warren gives a default makes no new revision.
pub(super) fn change(
    stored: &v1::Workload,
    kept: &[v1::Workload],
    wish: &Wish,
    author: Author<'_>,
) -> Result<Decision, Status> {
    if stored.delete_time.is_some() {
        return match wish {
            Wish::Delete => Ok(Decision::nothing(stored)),
            _ => Err(being_deleted(stored)),
        };
    }
    Ok(match wish {
        Wish::Apply(wanted) => applied(stored, wanted, author),
        Wish::Scale(replicas) => scaled(stored, *replicas, author)?,
        Wish::Restart => revised(stored.clone(), Cause::Restarted, 0, author),
        Wish::Rollback(revision) => {
            rolled_back(stored, kept, *revision, Cause::RolledBack, author)?
        }
        Wish::RollbackOnFailure(revision) => {
            rolled_back(stored, kept, *revision, Cause::RolledBackOnFailure, author)?
        }
        Wish::Delete => Decision {
            effect: Effect::Changed,
            workload: v1::Workload {
                delete_time: Some(author.now),
                ..stored.clone()
            },
        },
    })
}

/// A workload of a name that none has.
pub(super) fn create(wanted: &ValidWorkload, author: Author<'_>) -> Decision {
    let replicas = wanted.spec.replicas.unwrap_or(DEFAULT_REPLICAS);
    let workload = v1::Workload {
        namespace: wanted.id.namespace.to_string(),
        name: wanted.id.name.to_string(),
        uid: uid(),
        labels: wanted.labels.clone(),
        create_time: Some(author.now),
        generation: 1,
        spec: Some(with_replicas(&wanted.spec, replicas).to_proto()),
        ..v1::Workload::default()
    };
    Decision {
        effect: Effect::Created,
        ..revised(workload, Cause::Applied, 0, author)
    }
}

/// ABORTED unless the workload is at the revision that the client saw; 0 is that there was none.
pub(super) fn check_revision(
    stored: Option<&v1::Workload>,
    expected: Option<u32>,
) -> Result<(), Status> {
    let present = stored.map_or(0, |stored| stored.revision);
    match expected {
        Some(expected) if expected != present => Err(error::aborted(match (present, expected) {
            (0, _) => format!("revision {expected} was expected and there is no such workload"),
            (_, 0) => format!("no workload was expected and it is at revision {present}"),
            _ => format!("revision {expected} was expected and the workload is at {present}"),
        })),
        _ => Ok(()),
    }
}

/// How many replicas a stored workload has: every stored spec says it.
pub(super) fn replicas(workload: &v1::Workload) -> u32 {
    workload
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(DEFAULT_REPLICAS)
}

fn applied(stored: &v1::Workload, wanted: &ValidWorkload, author: Author<'_>) -> Decision {
    let present = replicas(stored);
    let spec = with_replicas(&wanted.spec, wanted.spec.replicas.unwrap_or(present)).to_proto();
    let mut workload = v1::Workload {
        labels: wanted.labels.clone(),
        spec: Some(spec),
        ..stored.clone()
    };
    let scaled = replicas(&workload) != present;
    let changed = !runs_the_same(stored, &workload);
    if changed || scaled {
        workload.generation += 1;
    } else {
        // Equal in meaning: what is written stays as it is.
        workload.spec.clone_from(&stored.spec);
    }
    if changed {
        return revised(workload, Cause::Applied, 0, author);
    }
    if scaled {
        author.caller.clone_into(&mut workload.caller);
        rollout::give_time(&mut workload, author.now);
    }
    let effect = if scaled || workload.labels != stored.labels {
        Effect::Changed
    } else {
        Effect::Nothing
    };
    Decision { effect, workload }
}

fn scaled(stored: &v1::Workload, number: u32, author: Author<'_>) -> Result<Decision, Status> {
    if replicas(stored) == number {
        return Ok(Decision::nothing(stored));
    }
    let mut workload = stored.clone();
    workload.spec.get_or_insert_default().replicas = Some(number);
    if let Err(violations) = validate_workload(&workload)
        && let Some(refusal) = violations
            .0
            .iter()
            .find(|held| matches!(&*held.field, "spec.replicas" | "spec.service.exclusive"))
    {
        return Err(error::invalid_field("replicas", &refusal.message));
    }
    workload.generation += 1;
    author.caller.clone_into(&mut workload.caller);
    rollout::give_time(&mut workload, author.now);
    Ok(Decision {
        effect: Effect::Changed,
        workload,
    })
}

fn rolled_back(
    stored: &v1::Workload,
    kept: &[v1::Workload],
    revision: u32,
    cause: Cause,
    author: Author<'_>,
) -> Result<Decision, Status> {
    // A name's former life has other revisions of the same numbers.
    let mut kept = kept.iter().filter(|held| held.uid == stored.uid).rev();
    let target = match revision {
        0 => kept.find(|held| !runs_the_same(held, stored)),
        _ => kept.clone().find(|held| held.revision == revision),
    };
    let Some(target) = target else {
        return Err(match revision {
            0 => nothing_before(stored),
            _ => not_kept(stored, revision, kept.map(|held| held.revision)),
        });
    };
    if runs_the_same(target, stored) {
        return Ok(Decision::nothing(stored));
    }
    let mut workload = v1::Workload {
        spec: target.spec.clone(),
        generation: stored.generation + 1,
        ..stored.clone()
    };
    workload.spec.get_or_insert_default().replicas = Some(replicas(stored));
    Ok(revised(workload, cause, target.revision, author))
}

/// The workload with the next revision.
fn revised(
    mut workload: v1::Workload,
    cause: Cause,
    source_revision: u32,
    author: Author<'_>,
) -> Decision {
    workload.revision += 1;
    workload.revision_time = Some(author.now);
    workload.set_revision_cause(cause);
    workload.source_revision = source_revision;
    author.caller.clone_into(&mut workload.caller);
    rollout::begin(&mut workload, author.now);
    Decision {
        effect: Effect::Revision,
        workload,
    }
}

/// Whether two workloads have the same spec but for the number of replicas.
fn runs_the_same(one: &v1::Workload, other: &v1::Workload) -> bool {
    let meaning = |workload: &v1::Workload| {
        let spec = WorkloadSpec::from_proto(workload.spec.as_ref()?).ok()?;
        Some(with_replicas(&spec, 0))
    };
    match (meaning(one), meaning(other)) {
        (Some(one), Some(other)) => one == other,
        // What this version does not understand is only like itself.
        _ => {
            let text = |workload: &v1::Workload| {
                workload.spec.clone().map(|spec| v1::WorkloadSpec {
                    replicas: None,
                    ..spec
                })
            };
            text(one) == text(other)
        }
    }
}

fn with_replicas(spec: &WorkloadSpec, replicas: u32) -> WorkloadSpec {
    WorkloadSpec {
        replicas: Some(replicas),
        ..spec.clone()
    }
}

/// `NAMESPACE/NAME`.
fn id(workload: &v1::Workload) -> String {
    format!("{}/{}", workload.namespace, workload.name)
}

fn being_deleted(stored: &v1::Workload) -> Status {
    let id = id(stored);
    let message = format!("workload `{id}` is being deleted: try again once it is gone");
    error::precondition_for_now("WORKLOAD_DELETING", &id, message)
}

fn nothing_before(stored: &v1::Workload) -> Status {
    let id = id(stored);
    let message = format!(
        "workload `{id}` has no revision to go back to: every one that is kept runs what runs now"
    );
    error::precondition("NO_EARLIER_REVISION", &id, message)
}

fn not_kept(stored: &v1::Workload, revision: u32, kept: impl Iterator<Item = u32>) -> Status {
    let kept: Vec<_> = kept.map(|number| number.to_string()).collect();
    let hint = match kept.as_slice() {
        [] => "none are kept".to_owned(),
        _ => format!("these are kept: {}", kept.join(", ")),
    };
    let name = format!("{}@{revision}", id(stored));
    error::not_found("revision", &name, &hint)
}

// === impl Wish ===

impl Wish {
    /// What to do about an artifact that is not there.
    pub fn about_missing_artifact(&self) -> &'static str {
        match self {
            Self::Apply(_) => "push it with `warren push FILE`, or name the file",
            _ => "it was deleted since that revision; push it again with `warren push FILE`",
        }
    }
}

// === impl Decision ===

impl Decision {
    fn nothing(stored: &v1::Workload) -> Self {
        Self {
            effect: Effect::Nothing,
            workload: stored.clone(),
        }
    }
}
