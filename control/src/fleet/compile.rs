//! Components that workers could not compile. The failure is recorded with the artifact, so that no
//! other worker of the same kind tries it in vain.

use prost_types::Timestamp;
use warren_model::digest::Digest;
use warren_proto::v1::{self, compile_failure::Reason};

/// The maximum number of bytes of a failure's message, which quotes the compiler.
const MAX_MESSAGE: usize = 8 << 10;

/// Returns whether a worker would fail as another one did, because it runs the same version and has
/// no higher limits.
pub fn bars(failure: &v1::CompileFailure, worker: &v1::Worker) -> bool {
    let (held, tried) = (
        worker.compile_limits.unwrap_or_default(),
        failure.limits.unwrap_or_default(),
    );
    let time = |limits: &v1::CompileLimits| {
        limits
            .cpu_time
            .map_or((0, 0), |time| (time.seconds, time.nanos))
    };
    worker.version == failure.version
        && match failure.reason() {
            Reason::Unspecified => false,
            Reason::Memory => held.memory_bytes <= tried.memory_bytes,
            Reason::CpuTime => time(&held) <= time(&tried),
            Reason::Invalid | Reason::Crashed => true,
        }
}

/// Returns the record of a reported failure, or `None` if the report is empty.
pub(super) fn noted(
    told: &v1::CompileFailure,
    worker: &v1::Worker,
    now: Timestamp,
) -> Option<(Digest, v1::CompileFailure)> {
    if told.reason() == Reason::Unspecified {
        return None;
    }
    let mut failure = v1::CompileFailure {
        version: worker.version.clone(),
        limits: worker.compile_limits,
        time: Some(now),
        ..told.clone()
    };
    let end = failure.message.floor_char_boundary(MAX_MESSAGE);
    failure.message.truncate(end);
    Some((Digest::parse(&told.digest).ok()?, failure))
}

/// Returns the artifact with the failure added, or `None` if a known failure already covers the
/// worker.
pub(super) fn note(
    held: Option<v1::Artifact>,
    failure: &v1::CompileFailure,
    worker: &v1::Worker,
) -> Option<v1::Artifact> {
    let held = held?;
    let known = held.compile_failure.as_ref();
    if known.is_some_and(|known| bars(known, worker)) {
        return None;
    }
    Some(v1::Artifact {
        compile_failure: Some(failure.clone()),
        ..held
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn worker(version: &str, memory_bytes: u64, seconds: i64) -> v1::Worker {
        v1::Worker {
            version: version.to_owned(),
            compile_limits: Some(v1::CompileLimits {
                memory_bytes,
                cpu_time: Some(prost_types::Duration { seconds, nanos: 0 }),
            }),
            ..v1::Worker::default()
        }
    }

    fn told(reason: Reason) -> v1::CompileFailure {
        v1::CompileFailure {
            digest: Digest::of(b"bomb").to_string(),
            reason: reason.into(),
            message: "why".to_owned(),
            ..v1::CompileFailure::default()
        }
    }

    #[test]
    fn only_more_room_or_another_version_is_worth_a_try() {
        let now = Timestamp::default();
        let tried = worker("1", 100, 10);
        for (reason, other, barred) in [
            (Reason::Memory, worker("1", 100, 99), true),
            (Reason::Memory, worker("1", 101, 1), false),
            (Reason::Memory, worker("2", 100, 10), false),
            (Reason::CpuTime, worker("1", 999, 10), true),
            (Reason::CpuTime, worker("1", 1, 11), false),
            (Reason::Invalid, worker("1", 999, 999), true),
            (Reason::Crashed, worker("1", 999, 999), true),
            (Reason::Invalid, worker("2", 1, 1), false),
        ] {
            let (_, failure) = noted(&told(reason), &tried, now).unwrap();
            assert_eq!(bars(&failure, &other), barred, "{reason:?} on {other:?}");
        }
        assert_eq!(noted(&told(Reason::Unspecified), &tried, now), None);
    }

    #[test]
    fn a_failure_is_noted_once_and_again_where_more_was_tried() {
        let now = Timestamp::default();
        let (small, large) = (worker("1", 100, 10), worker("1", 200, 10));
        let note_of = |held, by: &v1::Worker| {
            let (_, failure) = noted(&told(Reason::Memory), by, now).unwrap();
            note(Some(held), &failure, by)
        };
        let first = note_of(v1::Artifact::default(), &small).unwrap();
        assert_eq!(note_of(first.clone(), &small), None);
        let more = note_of(first, &large).unwrap();
        let limits = more.compile_failure.clone().unwrap().limits.unwrap();
        assert_eq!(limits.memory_bytes, 200);
        assert_eq!(note_of(more, &small), None);
        // Of an artifact that was removed nothing is kept.
        let (_, failure) = noted(&told(Reason::Memory), &small, now).unwrap();
        assert_eq!(note(None, &failure, &small), None);
    }
}
