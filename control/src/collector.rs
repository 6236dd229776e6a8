//! Removes artifacts that nothing references any more, some time after the last push, or the last
//! revision, that referenced them.
//!
//! The time since which an artifact is unused is stored with it, so that restarts do not matter. A
//! push and an Apply set it themselves. The removal of the last revision is noticed at the next
//! pass, so an artifact is never removed too early.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use prost_types::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use warren_model::{ambient, digest::Digest};
use warren_proto::v1;

use crate::{
    artifact::{ArtifactError, ArtifactFiles},
    clock,
    state::{State, Stored, Transaction, decode, keys},
    store::{Durability, Revision, StoreError},
};

/// The minimum number of passes within the retention time of an unused artifact.
const LOOKS: u32 = 24;
/// The longest and the shortest interval between two passes.
const RARELY: Duration = Duration::from_secs(600);
const OFTEN: Duration = Duration::from_secs(1);
/// The number of artifacts that are processed at once, while every Apply waits.
const BATCH: usize = 32;
/// If the wall clock advances by this much more than the monotonic clock between two passes, it has
/// been set.
const DRIFT: Duration = Duration::from_secs(60);

pub struct Collector {
    state: State,
    artifacts: ArtifactFiles,
    retention: Duration,
}

/// The decision about one artifact.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Keep,
    /// It is referenced, whatever was recorded before.
    InUse,
    /// It has been unused since now, as far as is known.
    Unused,
    Remove,
}

/// The reason why a pass was not completed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
}

// === impl Collector ===

impl Collector {
    pub fn new(state: State, artifacts: ArtifactFiles, retention: Duration) -> Self {
        Self {
            state,
            artifacts,
            retention,
        }
    }

    /// Runs until cancelled.
    pub async fn run(self, shutdown: CancellationToken) {
        let pause = (self.retention / LOOKS).clamp(OFTEN, RARELY);
        let mut before = (ambient::now(), Instant::now());
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let present = (ambient::now(), Instant::now());
            let was_set = is_set_forward(before.0, present.0, present.1 - before.1);
            before = present;
            let now = clock::now();
            let look = self.look(&now, was_set);
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                looked = look => if let Err(error) = looked {
                    tracing::warn!(%error, "cannot remove unused artifacts");
                }
            }
        }
    }

    async fn look(&self, now: &Timestamp, clock_was_set: bool) -> Result<(), Failed> {
        let named = self.named().await?;
        let artifacts = self.state.artifacts().await?;
        let judge = |held: &v1::Artifact| self.judge(held, &named, now, clock_was_set);
        let due = artifacts.iter().map(|held| &held.value);
        let due = due.filter(|held| judge(held) != Verdict::Keep);
        let due: Vec<_> = due
            .filter_map(|held| Digest::parse(&held.digest).ok())
            .collect();
        for batch in due.chunks(BATCH) {
            self.settle(batch, now, clock_was_set).await?;
        }
        self.remove_strays().await
    }

    fn judge(
        &self,
        artifact: &v1::Artifact,
        named: &BTreeSet<String>,
        now: &Timestamp,
        clock_was_set: bool,
    ) -> Verdict {
        let is_named = named.contains(&artifact.digest);
        match judge(artifact, is_named, now, self.retention) {
            // It is unknown how much of its time has passed.
            _ if clock_was_set && !is_named => Verdict::Unused,
            verdict => verdict,
        }
    }

    /// Decides again, now that no push or workload can begin to use an artifact, and acts on the
    /// decision.
    async fn settle(
        &self,
        digests: &[Digest],
        now: &Timestamp,
        clock_was_set: bool,
    ) -> Result<(), Failed> {
        let _alone = self.artifacts.alone().await;
        let named = self.named().await?;
        for digest in digests {
            let Some(Stored { value, revision }) = self.state.artifact(*digest).await? else {
                continue;
            };
            let unused_since = match self.judge(&value, &named, now, clock_was_set) {
                Verdict::Keep => continue,
                Verdict::InUse => None,
                Verdict::Unused => Some(*now),
                Verdict::Remove => {
                    self.remove(*digest, &value, revision).await?;
                    continue;
                }
            };
            let artifact = v1::Artifact {
                unused_since,
                ..value
            };
            let mut transaction = Transaction::default();
            transaction.replace(keys::artifact(*digest), &artifact, revision);
            // A record that a crash loses is made again, with a later time.
            self.state.commit(transaction, Durability::Relaxed).await?;
        }
        Ok(())
    }

    async fn remove(
        &self,
        digest: Digest,
        artifact: &v1::Artifact,
        read: Revision,
    ) -> Result<(), Failed> {
        let mut transaction = Transaction::default();
        transaction.remove(keys::artifact(digest), read);
        self.state.commit(transaction, Durability::Flushed).await?;
        self.artifacts.remove(digest).await?;
        let (size_bytes, unused_for) = (artifact.size_bytes, self.retention);
        tracing::info!(%digest, size_bytes, ?unused_for, "removed an unused artifact");
        Ok(())
    }

    /// Removes files without a record. A restore of an earlier state, or a crash during a removal,
    /// leaves such files.
    async fn remove_strays(&self) -> Result<(), Failed> {
        #[cfg(feature = "simulation")]
        if ambient::simulated::is_entered() {
            return Ok(());
        }
        let Some(before) = SystemTime::now().checked_sub(self.retention) else {
            return Ok(());
        };
        let files = self.artifacts.clone();
        let old = tokio::task::spawn_blocking(move || files.written_before(before)).await;
        let old = old.map_err(std::io::Error::other).flatten();
        for digest in old.map_err(ArtifactError::from)? {
            if self.state.artifact(digest).await?.is_some() {
                continue;
            }
            let _alone = self.artifacts.alone().await;
            if self.state.artifact(digest).await?.is_none() {
                self.artifacts.remove(digest).await?;
                tracing::info!(%digest, "removed an artifact file without a record");
            }
        }
        Ok(())
    }

    /// Returns the digests that a workload references, in its current spec or in one of its kept
    /// revisions.
    async fn named(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut named = BTreeSet::new();
        for prefix in [keys::WORKLOADS, keys::REVISIONS] {
            let snapshot = self.state.list(prefix).await?;
            for (key, held) in &snapshot.entries {
                let workload = decode::<v1::Workload>(key, &held.value, held.revision)?;
                let spec = workload.value.spec.unwrap_or_default();
                named.extend(spec.service.map(|service| service.component));
                named.extend(spec.components.into_iter().map(|one| one.component));
            }
        }
        Ok(named)
    }
}

fn judge(artifact: &v1::Artifact, is_named: bool, now: &Timestamp, retention: Duration) -> Verdict {
    match (&artifact.unused_since, is_named) {
        (Some(_), true) => Verdict::InUse,
        (None, true) => Verdict::Keep,
        (None, false) => Verdict::Unused,
        // The clock was set back.
        (Some(since), false) if clock::millis(since) > clock::millis(now) => Verdict::Unused,
        (Some(since), false) if clock::is_within(since, retention, now) => Verdict::Keep,
        (Some(_), false) => Verdict::Remove,
    }
}

/// Returns whether the wall clock advanced by more than the time that passed, as it does after a
/// start with a wrong clock.
fn is_set_forward(before: SystemTime, now: SystemTime, passed: Duration) -> bool {
    now.duration_since(before)
        .is_ok_and(|shown| shown > passed + DRIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn an_artifact_goes_a_day_after_it_was_last_named() {
        let day = 24 * 3600;
        #[rustfmt::skip]
        let table = [
            // Unused since, named, now: what is done.
            (None, true, 0, Verdict::Keep),
            (None, false, 0, Verdict::Unused),
            (Some(100), true, 101, Verdict::InUse),
            (Some(100), true, 100 + 9 * day, Verdict::InUse),
            (Some(100), false, 100, Verdict::Keep),
            (Some(100), false, 100 + day, Verdict::Keep),
            (Some(100), false, 101 + day, Verdict::Remove),
            (Some(100), false, 99, Verdict::Unused),
        ];
        for (since, named, now, expected) in table {
            let artifact = v1::Artifact {
                unused_since: since.map(at),
                ..v1::Artifact::default()
            };
            let verdict = judge(&artifact, named, &at(now), DAY);
            assert_eq!(verdict, expected, "{since:?} {named} {now}");
        }
    }

    #[test]
    fn a_clock_that_was_set_is_noticed() {
        let start = SystemTime::UNIX_EPOCH;
        let after = |seconds| start + Duration::from_secs(seconds);
        let passed = Duration::from_secs(600);
        for (now, is_set) in [(600, false), (660, false), (662, true), (86_400, true)] {
            assert_eq!(is_set_forward(start, after(now), passed), is_set, "{now}");
        }
        assert!(
            !is_set_forward(after(600), start, passed),
            "it was set back"
        );
    }
}
