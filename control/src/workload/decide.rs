//! What an operation makes of a workload: a pure function of what is stored and what is wanted.

use prost_types::Timestamp;
use warren_model::{
    error::{Violation, Violations},
    name::uid,
    spec::{ValidWorkload, WorkloadSpec, validate_workload},
};
use warren_proto::v1::{self, revision::Cause};

use super::refusal::Refusal;
use crate::{state::rollout, suggest::Absent};

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;

/// The replicas of a new workload that names no number.
const DEFAULT_REPLICAS: u32 = 1;

/// A change of a workload.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Boxed: the others are a word each.
    Apply(Box<ValidWorkload>),
    Scale(u32),
    Restart,
    /// Goes back to this revision; 0 is the newest one whose spec differs from the present one.
    Rollback(u32),
    /// Goes back to this revision because the rollout of the present one stalled.
    RollbackOnFailure(u32),
    Delete,
}

/// The caller of an operation, and the time of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Author<'a> {
    pub caller: &'a str,
    pub now: Timestamp,
}

/// What an operation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing, because the workload already is as wanted.
    Nothing,
    /// A new workload is made, with its first revision.
    Created,
    /// The workload gets a new revision, whose snapshot replicas run by.
    Revision,
    /// The workload alone changes: its labels, its number of replicas, its deletion.
    Changed,
}

/// A workload, and its spec where this version of Warren can read it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Readable<'a> {
    pub workload: &'a v1::Workload,
    pub spec: Option<&'a WorkloadSpec>,
}

/// A workload as it is to be stored.
#[derive(Debug)]
pub(super) struct Decision {
    pub effect: Effect,
    pub workload: v1::Workload,
}

/// Decides what an operation makes of a stored workload. `kept` are its kept revisions, oldest
/// first, which only a rollback needs.
///
/// Specs are compared by meaning, so that a field to which a later version of Warren gives a
/// default does not make a new revision.
pub(super) fn change(
    current: Readable<'_>,
    kept: &[v1::Workload],
    operation: &Operation,
    author: Author<'_>,
) -> Result<Decision, Refusal> {
    let stored = current.workload;
    if stored.delete_time.is_some() {
        return match operation {
            Operation::Delete => Ok(Decision::nothing(stored)),
            _ => Err(Refusal::Deleting(id(stored))),
        };
    }
    Ok(match operation {
        Operation::Apply(wanted) => applied(current, wanted, author),
        Operation::Scale(replicas) => scaled(stored, *replicas, author)?,
        Operation::Restart => revised(stored.clone(), Cause::Restarted, 0, author),
        Operation::Rollback(revision) => {
            rolled_back(current, kept, *revision, Cause::RolledBack, author)?
        }
        Operation::RollbackOnFailure(revision) => {
            rolled_back(current, kept, *revision, Cause::RolledBackOnFailure, author)?
        }
        Operation::Delete => Decision {
            effect: Effect::Changed,
            workload: v1::Workload {
                delete_time: Some(author.now),
                ..stored.clone()
            },
        },
    })
}

/// Makes a workload whose name is free.
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

/// Fails unless the workload is at the revision that the caller saw; 0 means that there was none.
pub(super) fn check_revision(
    stored: Option<&v1::Workload>,
    expected: Option<u32>,
) -> Result<(), Refusal> {
    let present = stored.map_or(0, |stored| stored.revision);
    match expected {
        Some(expected) if expected != present => Err(Refusal::Overtaken { expected, present }),
        _ => Ok(()),
    }
}

/// Returns how many replicas a stored workload has, which every stored spec says.
pub(super) fn replicas(workload: &v1::Workload) -> u32 {
    workload
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(DEFAULT_REPLICAS)
}

fn applied(current: Readable<'_>, wanted: &ValidWorkload, author: Author<'_>) -> Decision {
    let stored = current.workload;
    let present = replicas(stored);
    let spec = with_replicas(&wanted.spec, wanted.spec.replicas.unwrap_or(present)).to_proto();
    let mut workload = v1::Workload {
        labels: wanted.labels.clone(),
        spec: Some(spec),
        ..stored.clone()
    };
    let scaled = replicas(&workload) != present;
    let wanted = Readable {
        workload: &workload,
        spec: Some(&wanted.spec),
    };
    let changed = !runs_the_same(current, wanted);
    if changed || scaled {
        workload.generation += 1;
    } else {
        // Equal in meaning: what is stored stays as it is.
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

fn scaled(stored: &v1::Workload, number: u32, author: Author<'_>) -> Result<Decision, Refusal> {
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
        return Err(Refusal::Invalid(Violations(vec![Violation {
            field: "replicas".to_owned(),
            message: refusal.message.clone(),
        }])));
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
    current: Readable<'_>,
    kept: &[v1::Workload],
    revision: u32,
    cause: Cause,
    author: Author<'_>,
) -> Result<Decision, Refusal> {
    let stored = current.workload;
    // A former workload of the same name has other revisions with the same numbers.
    let mut kept = kept.iter().filter(|held| held.uid == stored.uid).rev();
    let target = match revision {
        0 => kept.find(|held| !snapshot_runs(held, current)),
        _ => kept.clone().find(|held| held.revision == revision),
    };
    let Some(target) = target else {
        return Err(match revision {
            0 => Refusal::NoEarlierRevision(id(stored)),
            _ => not_kept(stored, revision, kept.map(|held| held.revision)),
        });
    };
    if snapshot_runs(target, current) {
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

/// Returns the workload with its next revision.
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

/// Whether a kept revision runs what the workload runs now.
fn snapshot_runs(kept: &v1::Workload, current: Readable<'_>) -> bool {
    let spec = kept.spec.as_ref();
    let spec = spec.and_then(|spec| WorkloadSpec::from_proto(spec).ok());
    let kept = Readable {
        workload: kept,
        spec: spec.as_ref(),
    };
    runs_the_same(kept, current)
}

/// Whether two workloads have the same spec apart from the number of replicas.
fn runs_the_same(one: Readable<'_>, other: Readable<'_>) -> bool {
    if let (Some(one), Some(other)) = (one.spec, other.spec) {
        return with_replicas(one, 0) == with_replicas(other, 0);
    }
    // A spec that this version cannot read is equal to its own text alone.
    let text = |held: Readable<'_>| {
        held.workload.spec.clone().map(|spec| v1::WorkloadSpec {
            replicas: None,
            ..spec
        })
    };
    text(one) == text(other)
}

fn with_replicas(spec: &WorkloadSpec, replicas: u32) -> WorkloadSpec {
    WorkloadSpec {
        replicas: Some(replicas),
        ..spec.clone()
    }
}

/// Returns `NAMESPACE/NAME`.
fn id(workload: &v1::Workload) -> String {
    format!("{}/{}", workload.namespace, workload.name)
}

fn not_kept(stored: &v1::Workload, revision: u32, kept: impl Iterator<Item = u32>) -> Refusal {
    let kept: Vec<_> = kept.map(|number| number.to_string()).collect();
    let hint = match kept.as_slice() {
        [] => "none are kept".to_owned(),
        _ => format!("these are kept: {}", kept.join(", ")),
    };
    Refusal::Absent(Absent {
        kind: "revision",
        name: format!("{}@{revision}", id(stored)),
        hint,
    })
}

// === impl Operation ===

impl Operation {
    /// Returns what to do about an artifact that is missing.
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
