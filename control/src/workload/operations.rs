//! Apply, Scale, Restart, Rollback and Delete: each is one operation with one way to the store.

use warren_model::{name::WorkloadId, reason};
use warren_proto::v1;

use super::{
    Workloads,
    change::{Change, Changed},
    decide::{self, Effect, Operation},
    refusal::Refusal,
};
use crate::events::Subject;

/// The caller of what the control plane does by itself.
const CONTROL_PLANE: &str = "control-plane";

/// What an operation did.
pub struct Done {
    /// The workload with its present status.
    pub workload: v1::Workload,
    pub effect: Effect,
}

// === impl Workloads ===

impl Workloads {
    /// Carries out an operation, and returns once it is on disk and the index shows it.
    ///
    /// `expected_revision` is the one that the workload must be at; 0 means that it must not exist.
    pub async fn operate(
        &self,
        caller: &str,
        id: &WorkloadId,
        operation: &Operation,
        expected_revision: Option<u32>,
    ) -> Result<Done, Refusal> {
        let change = Change {
            workloads: self,
            caller,
            id,
            operation,
            expected_revision,
        };
        let changed = change.commit().await?;
        if let Some((reason, message)) = event_for(operation, &changed) {
            let (events, subject) = (&self.events, Subject::Workload(id));
            events.record_by(caller, changed.time, subject, reason, message);
        }
        Ok(Done {
            effect: changed.decision.effect,
            workload: self.shown(id, changed.decision.workload),
        })
    }

    /// Goes back from a revision whose rollout stalled, as Rollback does.
    pub async fn roll_back_failed(
        &self,
        id: &WorkloadId,
        failed: u32,
        to: u32,
    ) -> Result<Effect, Refusal> {
        let operation = Operation::RollbackOnFailure(to);
        let done = self.operate(CONTROL_PLANE, id, &operation, Some(failed));
        Ok(done.await?.effect)
    }

    /// Returns a written workload with its present status; as it was written where it is gone
    /// already, or where another one has taken its name.
    fn shown(&self, id: &WorkloadId, written: v1::Workload) -> v1::Workload {
        match self.index.workload(id) {
            Some(shown) if shown.uid == written.uid => v1::Workload::clone(&shown),
            _ => written,
        }
    }
}

/// Returns the reason and the sentence of the event that a change makes.
fn event_for(operation: &Operation, changed: &Changed) -> Option<(&'static str, String)> {
    let Changed {
        before, decision, ..
    } = changed;
    let workload = &decision.workload;
    let (is, was) = (
        decide::replicas(workload),
        before.as_ref().map(decide::replicas),
    );
    let revision = workload.revision;
    Some(match (decision.effect, operation) {
        (Effect::Nothing, _) => return None,
        (Effect::Created, _) => ("Created", format!("created with {}", replicas(is))),
        (Effect::Revision, Operation::Restart) => (
            "Restarted",
            format!("revision {revision} takes the place of every replica"),
        ),
        (Effect::Revision, Operation::Rollback(_) | Operation::RollbackOnFailure(_)) => (
            "RolledBack",
            format!(
                "revision {revision} brings revision {} back",
                workload.source_revision
            ),
        ),
        (Effect::Revision, _) => (
            "Updated",
            format!("revision {revision} is being rolled out"),
        ),
        (Effect::Changed, Operation::Delete) => {
            (reason::DELETING, "deletion was asked for".to_owned())
        }
        (Effect::Changed, _) => match was {
            Some(was) if was != is => ("Scaled", format!("scaled from {was} to {}", replicas(is))),
            _ => ("Labelled", "its labels were changed".to_owned()),
        },
    })
}

fn replicas(number: u32) -> String {
    match number {
        1 => "1 replica".to_owned(),
        n => format!("{n} replicas"),
    }
}
