//! What an Apply comes to: a pure function of what is stored and what is asked for.

use prost_types::Timestamp;
use tonic::Status;
use warren_model::{
    name::uid,
    spec::{ValidWorkload, WorkloadSpec},
};
use warren_proto::v1::{self, apply_response::Outcome};

use crate::api::error;

/// Replicas of a new workload that names no number.
const DEFAULT_REPLICAS: u32 = 1;

/// The workload as it should be stored.
#[derive(Debug)]
pub(super) struct Decision {
    pub outcome: Outcome,
    pub workload: v1::Workload,
    /// A revision that needs a snapshot, for replicas to run by.
    pub new_revision: bool,
}

/// Compares by meaning, so that a field that a later version of Warren gives a default makes no new revision.
pub(super) fn decide(
    stored: Option<&v1::Workload>,
    wanted: &ValidWorkload,
    caller: &str,
    now: Timestamp,
) -> Result<Decision, Status> {
    let Some(stored) = stored else {
        return Ok(created(wanted, caller, now));
    };
    if stored.delete_time.is_some() {
        return Err(error::precondition_for_now(
            "WORKLOAD_DELETING",
            &wanted.id.to_string(),
            format!(
                "workload `{}` is being deleted: apply it again once it is gone",
                wanted.id
            ),
        ));
    }
    let before = stored
        .spec
        .as_ref()
        .map(WorkloadSpec::from_proto)
        .and_then(Result::ok);
    let present = before
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(DEFAULT_REPLICAS);
    let spec = with_replicas(&wanted.spec, wanted.spec.replicas.unwrap_or(present));
    let scaled = spec.replicas != Some(present);
    let changed = before.is_none_or(|before| with_replicas(&before, 0) != with_replicas(&spec, 0));
    let relabelled = stored.labels != wanted.labels;
    let mut workload = stored.clone();
    let outcome = if changed || scaled || relabelled {
        Outcome::Updated
    } else {
        Outcome::Unchanged
    };
    if changed || scaled {
        workload.spec = Some(spec.to_proto());
        workload.generation += 1;
        caller.clone_into(&mut workload.caller);
    }
    if changed {
        workload.revision += 1;
    }
    workload.labels.clone_from(&wanted.labels);
    Ok(Decision {
        outcome,
        workload,
        new_revision: changed,
    })
}

fn created(wanted: &ValidWorkload, caller: &str, now: Timestamp) -> Decision {
    let replicas = wanted.spec.replicas.unwrap_or(DEFAULT_REPLICAS);
    let workload = v1::Workload {
        namespace: wanted.id.namespace.to_string(),
        name: wanted.id.name.to_string(),
        uid: uid(),
        labels: wanted.labels.clone(),
        create_time: Some(now),
        generation: 1,
        revision: 1,
        spec: Some(with_replicas(&wanted.spec, replicas).to_proto()),
        caller: caller.to_owned(),
        ..v1::Workload::default()
    };
    Decision {
        outcome: Outcome::Created,
        workload,
        new_revision: true,
    }
}

/// ABORTED unless the workload is at the revision that the client saw; 0 is that there was none.
pub(super) fn check_revision(
    stored: Option<&v1::Workload>,
    expected: Option<u32>,
) -> Result<(), Status> {
    let present = stored.map_or(0, |stored| stored.revision);
    match expected {
        Some(expected) if expected != present => Err(error::aborted(
            "LOST_UPDATE",
            match (present, expected) {
                (0, _) => format!("revision {expected} was expected and there is no such workload"),
                (_, 0) => format!("no workload was expected and it is at revision {present}"),
                _ => format!("revision {expected} was expected and the workload is at {present}"),
            },
        )),
        _ => Ok(()),
    }
}

fn with_replicas(spec: &WorkloadSpec, replicas: u32) -> WorkloadSpec {
    WorkloadSpec {
        replicas: Some(replicas),
        ..spec.clone()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use warren_model::spec::validate_workload;

    use super::*;

    const NOW: Timestamp = Timestamp {
        seconds: 7,
        nanos: 0,
    };

    fn wanted(replicas: Option<u32>, args: &[&str], labels: &[(&str, &str)]) -> ValidWorkload {
        validate_workload(&v1::Workload {
            name: "w".into(),
            labels: labels
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            spec: Some(v1::WorkloadSpec {
                replicas,
                service: Some(v1::Service {
                    component: warren_model::digest::Digest::of(b"").to_string(),
                    args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        })
        .unwrap()
    }

    #[test]
    fn numbers_move_as_the_contract_says() {
        let first = decide(None, &wanted(None, &[], &[]), "a", NOW).unwrap();
        assert_eq!(first.outcome, Outcome::Created);
        let stored = first.workload;
        assert_eq!((stored.generation, stored.revision), (1, 1));
        assert_eq!(stored.spec.as_ref().unwrap().replicas, Some(1));

        let cases = [
            (wanted(None, &[], &[]), Outcome::Unchanged, 1, 1, false, "a"),
            (
                wanted(Some(1), &[], &[]),
                Outcome::Unchanged,
                1,
                1,
                false,
                "a",
            ),
            (
                wanted(Some(3), &[], &[]),
                Outcome::Updated,
                2,
                1,
                false,
                "b",
            ),
            (wanted(None, &["x"], &[]), Outcome::Updated, 2, 2, true, "b"),
            (
                wanted(None, &[], &[("k", "v")]),
                Outcome::Updated,
                1,
                1,
                false,
                "a",
            ),
        ];
        for (wanted, outcome, generation, revision, new_revision, caller) in cases {
            let got = decide(Some(&stored), &wanted, "b", NOW).unwrap();
            assert_eq!(
                (
                    got.outcome,
                    got.workload.generation,
                    got.workload.revision,
                    got.new_revision
                ),
                (outcome, generation, revision, new_revision),
                "{wanted:?}"
            );
            assert_eq!(got.workload.caller, caller, "{wanted:?}");
            assert_eq!(got.workload.uid, stored.uid);
        }
    }

    #[test]
    fn a_number_that_is_absent_stays() {
        let stored = decide(None, &wanted(Some(5), &[], &[]), "a", NOW)
            .unwrap()
            .workload;
        let got = decide(Some(&stored), &wanted(None, &["x"], &[]), "a", NOW).unwrap();
        assert_eq!(got.workload.spec.unwrap().replicas, Some(5));
    }

    #[test]
    fn what_is_being_deleted_is_not_changed() {
        let mut stored = decide(None, &wanted(None, &[], &[]), "a", NOW)
            .unwrap()
            .workload;
        stored.delete_time = Some(NOW);
        let refused = decide(Some(&stored), &wanted(None, &[], &[]), "a", NOW).unwrap_err();
        assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    }

    #[test]
    fn an_expected_revision_must_be_the_present_one() {
        let stored = decide(None, &wanted(None, &[], &[]), "a", NOW)
            .unwrap()
            .workload;
        for (present, expected, passes) in [
            (None, None, true),
            (None, Some(0), true),
            (None, Some(1), false),
            (Some(&stored), Some(1), true),
            (Some(&stored), Some(0), false),
            (Some(&stored), Some(2), false),
        ] {
            assert_eq!(
                check_revision(present, expected).is_ok(),
                passes,
                "{expected:?}"
            );
        }
    }
}
