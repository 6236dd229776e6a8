//! The operations on artifacts: each changes a record and its file so that neither is used without
//! the other.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use warren_model::{component::Limits, digest::Digest};
use warren_proto::v1;

use super::{
    ArtifactError, ArtifactFiles, FinishedUpload,
    inspection::{InspectionError, Inspections},
};
use crate::{
    clock,
    index::Index,
    state::{State, Stored, Transaction, keys},
    store::{Durability, StoreError},
    suggest::Absent,
};

/// The artifacts of the cluster.
pub struct Artifacts {
    state: State,
    index: Arc<Index>,
    files: ArtifactFiles,
    inspections: Inspections,
    /// How long an artifact that no revision names is kept.
    retention: Duration,
}

/// Why an operation on an artifact was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error(transparent)]
    Absent(#[from] Absent),
    #[error("artifact {digest} is in use by {users}: delete or change that first")]
    InUse {
        digest: Digest,
        /// Workloads, separated by commas.
        users: String,
    },
    #[error(transparent)]
    Inspection(#[from] InspectionError),
    #[error(transparent)]
    Files(#[from] ArtifactError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

// === impl Artifacts ===

impl Artifacts {
    /// `limits` bounds what a component that is pushed may hold.
    pub fn new(
        state: State,
        index: Arc<Index>,
        files: ArtifactFiles,
        limits: Limits,
        retention: Duration,
    ) -> Self {
        Self {
            state,
            index,
            files,
            inspections: Inspections::new(limits),
            retention,
        }
    }

    pub fn files(&self) -> &ArtifactFiles {
        &self.files
    }

    /// Keeps an upload that turns out to be a component. Returns its record, and whether there was
    /// one before.
    pub async fn keep(&self, upload: FinishedUpload) -> Result<(v1::Artifact, bool), Refusal> {
        let (digest, size_bytes) = (upload.digest(), upload.size());
        let info = self.inspections.inspect(upload.bytes()).await?;

        // The file must not be removed before it has its record.
        let _kept = self.files.rely().await;
        upload.keep().await?;
        if let Some(held) = self.state.artifact(digest).await? {
            return Ok((self.pushed_again(digest, held).await?, true));
        }
        let (imports, exports, uses) = info.to_proto_parts();
        let artifact = v1::Artifact {
            digest: digest.to_string(),
            size_bytes,
            create_time: Some(clock::now()),
            imports,
            exports,
            uses,
            unused_since: Some(clock::now()),
            compile_failure: None,
        };
        let mut transaction = Transaction::default();
        transaction.create(keys::artifact(digest), &artifact);
        match self.state.commit(transaction, Durability::Flushed).await {
            Ok(_) => Ok((artifact, false)),
            // Pushed twice at once: the record of the other push says the same.
            Err(StoreError::Conflict { .. }) => Ok((artifact, true)),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns the record of an artifact. A client that learns of it will not push it, so an unused
    /// one stays for at least half of the retention from now.
    pub async fn stat(&self, digest: Digest) -> Result<v1::Artifact, Refusal> {
        let _kept = self.files.rely().await;
        let held = self.state.artifact(digest).await?;
        let held = held.ok_or_else(|| no_artifact(digest))?;
        let half = self.retention / 2;
        let since = held.value.unused_since.as_ref();
        match since.is_some_and(|since| !clock::is_within(since, half, &clock::now())) {
            true => Ok(self.pushed_again(digest, held).await?),
            false => Ok(held.value),
        }
    }

    /// Returns every artifact, by digest.
    pub async fn list(&self) -> Result<Vec<Stored<v1::Artifact>>, StoreError> {
        self.state.artifacts().await
    }

    /// Removes an artifact that no workload uses.
    pub async fn delete(&self, digest: Digest) -> Result<(), Refusal> {
        // In the meantime no Apply begins to rely on it, and the index shows those that did.
        let _alone = self.files.alone().await;
        let held = self.state.artifact(digest).await?;
        let held = held.ok_or_else(|| no_artifact(digest))?;
        let users = Vec::from_iter(self.users(digest).await?).join(", ");
        if !users.is_empty() {
            return Err(Refusal::InUse { digest, users });
        }
        let mut transaction = Transaction::default();
        transaction.remove(keys::artifact(digest), held.revision);
        self.state.commit(transaction, Durability::Flushed).await?;
        // After the record: a file without a record is only waste, which the collector removes.
        self.files.remove(digest).await?;
        Ok(())
    }

    /// Restarts the time for which an unused artifact is kept. The caller relies on artifacts, so
    /// that this one is not removed in the meantime.
    async fn pushed_again(
        &self,
        digest: Digest,
        held: Stored<v1::Artifact>,
    ) -> Result<v1::Artifact, StoreError> {
        if held.value.unused_since.is_none() {
            return Ok(held.value);
        }
        let artifact = v1::Artifact {
            unused_since: Some(clock::now()),
            ..held.value
        };
        let mut transaction = Transaction::default();
        transaction.replace(keys::artifact(digest), &artifact, held.revision);
        match self.state.commit(transaction, Durability::Flushed).await {
            // A concurrent write used or pushed the artifact, which refreshes it as well.
            Ok(_) | Err(StoreError::Conflict { .. }) => Ok(artifact),
            Err(error) => Err(error),
        }
    }

    /// Returns the workloads that name an artifact, in their present spec or in one that still
    /// runs.
    async fn users(&self, digest: Digest) -> Result<BTreeSet<String>, StoreError> {
        let name = digest.to_string();
        let mut users = BTreeSet::new();
        for (id, workload) in self.index.all_workloads() {
            let mut named = names(workload.spec.as_ref(), &name);
            let running: BTreeSet<_> = self
                .index
                .replicas_of(&id)
                .iter()
                .map(|held| held.value.replica.revision)
                .filter(|revision| *revision != workload.revision)
                .collect();
            for revision in running {
                let kept = self.state.revision(&id, revision).await?;
                named |= kept.is_some_and(|kept| names(kept.spec.as_ref(), &name));
            }
            if named {
                users.insert(id.to_string());
            }
        }
        Ok(users)
    }
}

/// Says that an artifact does not exist, and what to do.
pub fn no_artifact(digest: Digest) -> Absent {
    Absent {
        kind: "artifact",
        name: digest.to_string(),
        hint: "push it with `warren push FILE`".to_owned(),
    }
}

/// Whether a spec names an artifact. Reads the stored text: a spec that this version cannot run
/// still keeps its artifacts.
fn names(spec: Option<&v1::WorkloadSpec>, digest: &str) -> bool {
    spec.is_some_and(|spec| {
        let mut service = spec.service.iter();
        let mut components = spec.components.iter();
        service.any(|service| service.component == digest)
            || components.any(|component| component.component == digest)
    })
}
