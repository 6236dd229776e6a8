//! Apply, Scale, Restart, Rollback, Delete: each a wish, what is told of it, and its answer.

use tonic::{Code, Status};
use warren_model::{feature, name::WorkloadId};
use warren_proto::v1::{self, apply_response::Outcome};

use super::{
    change::{Change, Changed},
    decide::{self, Effect, Wish},
};
use crate::{
    events::Subject,
    grpc::{Shared, authz::Caller, error, scope},
};

/// The caller of what the control plane does by itself.
const CONTROL_PLANE: &str = "control-plane";

/// One request's way to the store and back.
pub struct Verbs<'a> {
    pub shared: &'a Shared,
    pub caller: &'a Caller,
}

// === impl Verbs ===

impl Verbs<'_> {
    pub async fn apply(&self, request: v1::ApplyRequest) -> Result<v1::ApplyResponse, Status> {
        let wanted = feature::admit(&request.workload.unwrap_or_default())
            .map_err(|violations| error::invalid(&violations))?;
        let id = wanted.id.clone();
        let wish = Wish::Apply(Box::new(wanted));
        let changed = self.commit(&id, &wish, request.expected_revision).await?;
        let outcome = match changed.decision.effect {
            Effect::Nothing => Outcome::Unchanged,
            Effect::Created => Outcome::Created,
            Effect::Revision | Effect::Changed => Outcome::Updated,
        };
        Ok(v1::ApplyResponse {
            workload: Some(self.shown(&id, changed)),
            outcome: outcome.into(),
        })
    }

    pub async fn scale(&self, request: v1::ScaleRequest) -> Result<v1::ScaleResponse, Status> {
        let id = scope::workload(&request.namespace, &request.name)?;
        let wish = Wish::Scale(request.replicas);
        let changed = self.commit(&id, &wish, request.expected_revision).await?;
        let workload = Some(self.shown(&id, changed));
        Ok(v1::ScaleResponse { workload })
    }

    pub async fn restart(
        &self,
        request: v1::RestartRequest,
    ) -> Result<v1::RestartResponse, Status> {
        let id = scope::workload(&request.namespace, &request.name)?;
        let changed = self
            .commit(&id, &Wish::Restart, request.expected_revision)
            .await?;
        let workload = Some(self.shown(&id, changed));
        Ok(v1::RestartResponse { workload })
    }

    pub async fn rollback(
        &self,
        request: v1::RollbackRequest,
    ) -> Result<v1::RollbackResponse, Status> {
        let id = scope::workload(&request.namespace, &request.name)?;
        let wish = Wish::Rollback(request.revision);
        let changed = self.commit(&id, &wish, request.expected_revision).await?;
        let workload = Some(self.shown(&id, changed));
        Ok(v1::RollbackResponse { workload })
    }

    pub async fn delete(&self, request: v1::DeleteRequest) -> Result<v1::DeleteResponse, Status> {
        let id = scope::workload(&request.namespace, &request.name)?;
        let changed = self.commit(&id, &Wish::Delete, None).await?;
        let workload = Some(self.shown(&id, changed));
        Ok(v1::DeleteResponse { workload })
    }

    async fn commit(
        &self,
        id: &WorkloadId,
        wish: &Wish,
        expected_revision: Option<u32>,
    ) -> Result<Changed, Status> {
        let change = Change {
            shared: self.shared,
            caller: self.caller,
            id,
            wish,
            expected_revision,
        };
        let changed = change.commit().await?;
        if let Some((reason, message)) = news(wish, &changed) {
            let subject = Subject::Workload(id);
            let caller = self.caller.as_str();
            self.shared
                .events
                .record_by(caller, changed.time, subject, reason, message);
        }
        Ok(changed)
    }

    /// With the status of now; as it was written if it is gone already, or if the name has another life by now.
    fn shown(&self, id: &WorkloadId, changed: Changed) -> v1::Workload {
        let written = changed.decision.workload;
        match self.shared.index.workload(id) {
            Some(shown) if shown.uid == written.uid => v1::Workload::clone(&shown),
            _ => written,
        }
    }
}

/// What became of taking a rollout back.
pub enum RolledBack {
    Done,
    /// The workload has changed since it stalled.
    Overtaken,
    /// It cannot be, for this reason; trying again does not help.
    Refused(String),
}

/// Goes back from a revision whose rollout stalled, by the same way as Rollback. An error is for a later try.
pub async fn roll_back_failed(
    shared: &Shared,
    id: &WorkloadId,
    failed: u32,
    to: u32,
) -> Result<RolledBack, Status> {
    let verbs = Verbs {
        shared,
        caller: &Caller::new(CONTROL_PLANE),
    };
    let changed = verbs
        .commit(id, &Wish::RollbackOnFailure(to), Some(failed))
        .await;
    match changed {
        Ok(changed) if changed.decision.effect == Effect::Nothing => Ok(RolledBack::Refused(
            format!("revision {to} runs the same, but for the number"),
        )),
        Ok(_) => Ok(RolledBack::Done),
        Err(status) if status.code() == Code::Aborted => Ok(RolledBack::Overtaken),
        Err(status) if status.code() == Code::Unavailable => Err(status),
        Err(status) => Ok(RolledBack::Refused(status.message().to_owned())),
    }
}

/// What is told of a change: a reason and a sentence.
fn news(wish: &Wish, changed: &Changed) -> Option<(&'static str, String)> {
    let Changed {
        before, decision, ..
    } = changed;
    let workload = &decision.workload;
    let (is, was) = (
        decide::replicas(workload),
        before.as_ref().map(decide::replicas),
    );
    let revision = workload.revision;
    Some(match (decision.effect, wish) {
        (Effect::Nothing, _) => return None,
        (Effect::Created, _) => ("Created", format!("created with {}", replicas(is))),
        (Effect::Revision, Wish::Restart) => (
            "Restarted",
            format!("revision {revision} takes the place of every replica"),
        ),
        (Effect::Revision, Wish::Rollback(_) | Wish::RollbackOnFailure(_)) => (
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
        (Effect::Changed, Wish::Delete) => ("Deleting", "deletion was asked for".to_owned()),
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
