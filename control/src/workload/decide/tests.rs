use std::collections::BTreeMap;

use warren_model::digest::Digest;

use super::*;

const NOW: Timestamp = Timestamp {
    seconds: 7,
    nanos: 0,
};

/// Decides over a workload whose spec this version reads.
fn change(
    stored: &v1::Workload,
    kept: &[v1::Workload],
    operation: &Operation,
    author: Author<'_>,
) -> Result<Decision, Refusal> {
    let spec = WorkloadSpec::from_proto(stored.spec.as_ref().unwrap()).unwrap();
    let current = Readable {
        workload: stored,
        spec: Some(&spec),
    };
    super::change(current, kept, operation, author)
}

fn author(caller: &str) -> Author<'_> {
    Author { caller, now: NOW }
}

fn wanted(replicas: Option<u32>, args: &[&str], labels: &[(&str, &str)]) -> Box<ValidWorkload> {
    let labels = labels.iter();
    Box::new(
        validate_workload(&v1::Workload {
            name: "w".into(),
            labels: labels
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            spec: Some(v1::WorkloadSpec {
                replicas,
                service: Some(v1::Service {
                    component: Digest::of(b"").to_string(),
                    args: args.iter().map(|arg| (*arg).to_owned()).collect(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        })
        .unwrap(),
    )
}

fn stored(replicas: u32, args: &[&str]) -> v1::Workload {
    create(&wanted(Some(replicas), args, &[]), author("a")).workload
}

/// The snapshots of a workload that was applied with these arguments one after the other.
fn history(all: &[&[&str]]) -> Vec<v1::Workload> {
    let mut kept = vec![stored(1, all[0])];
    for args in &all[1..] {
        let operation = Operation::Apply(wanted(None, args, &[]));
        let next = change(kept.last().unwrap(), &[], &operation, author("a")).unwrap();
        assert_eq!(next.effect, Effect::Revision);
        kept.push(next.workload);
    }
    kept
}

fn args(workload: &v1::Workload) -> Vec<String> {
    let spec = workload.spec.as_ref().unwrap();
    spec.service.as_ref().unwrap().args.clone()
}

#[test]
fn numbers_move_as_the_contract_says() {
    use Effect::{Changed, Nothing, Revision};
    let stored = stored(1, &[]);
    assert_eq!((stored.generation, stored.revision), (1, 1));
    assert_eq!(stored.revision_time, Some(NOW));
    assert_eq!(stored.revision_cause(), Cause::Applied);

    let apply = |replicas, args: &[&str], labels: &[(&str, &str)]| {
        Operation::Apply(wanted(replicas, args, labels))
    };
    let cases = [
        (apply(None, &[], &[]), Nothing, 1, 1, "a"),
        (apply(Some(1), &[], &[]), Nothing, 1, 1, "a"),
        (apply(Some(3), &[], &[]), Changed, 2, 1, "b"),
        (apply(None, &["x"], &[]), Revision, 2, 2, "b"),
        (apply(None, &[], &[("k", "v")]), Changed, 1, 1, "a"),
        (Operation::Scale(1), Nothing, 1, 1, "a"),
        (Operation::Scale(0), Changed, 2, 1, "b"),
        (Operation::Scale(1000), Changed, 2, 1, "b"),
        (Operation::Restart, Revision, 1, 2, "b"),
        (Operation::Delete, Changed, 1, 1, "a"),
    ];
    for (operation, effect, generation, revision, caller) in cases {
        let got = change(&stored, &[], &operation, author("b")).unwrap();
        let after = got.workload;
        assert_eq!(
            (got.effect, after.generation, after.revision),
            (effect, generation, revision),
            "{operation:?}"
        );
        assert_eq!(after.caller, caller, "{operation:?}");
        assert_eq!(after.uid, stored.uid);
        assert_eq!(
            after.delete_time.is_some(),
            matches!(operation, Operation::Delete)
        );
    }
}

#[test]
fn a_number_that_is_absent_stays() {
    let operation = Operation::Apply(wanted(None, &["x"], &[]));
    let got = change(&stored(5, &[]), &[], &operation, author("a")).unwrap();
    assert_eq!(replicas(&got.workload), 5);
}

#[test]
fn a_scale_beyond_bounds_is_refused_at_its_own_field() {
    let refused = change(&stored(1, &[]), &[], &Operation::Scale(1001), author("a")).unwrap_err();
    let field = |refused: Refusal| match refused {
        Refusal::Invalid(violations) => violations.0[0].field.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(field(refused), "replicas");

    let mut exclusive = stored(1, &[]);
    let service = exclusive.spec.as_mut().unwrap().service.as_mut().unwrap();
    service.exclusive = true;
    let refused = change(&exclusive, &[], &Operation::Scale(2), author("a")).unwrap_err();
    assert_eq!(field(refused), "replicas");
}

#[test]
fn a_restart_is_a_new_revision_of_the_same_spec() {
    let stored = stored(3, &["x"]);
    let got = change(&stored, &[], &Operation::Restart, author("b")).unwrap();
    assert_eq!(got.workload.spec, stored.spec);
    assert_eq!(got.workload.revision_cause(), Cause::Restarted);
    assert_eq!(got.workload.source_revision, 0);
}

#[test]
fn a_rollback_goes_to_the_newest_other_spec_or_to_the_one_that_is_named() {
    // 1 and 4 are alike, 3 is a restart of 2.
    let mut kept = history(&[&["a"], &["b"]]);
    let restarted = change(&kept[1], &[], &Operation::Restart, author("a")).unwrap();
    kept.push(restarted.workload);
    let operation = Operation::Apply(wanted(None, &["a"], &[]));
    kept.push(
        change(&kept[2], &[], &operation, author("a"))
            .unwrap()
            .workload,
    );
    let mut present = kept[3].clone();
    present.spec.as_mut().unwrap().replicas = Some(7);

    for (to, expected) in [
        (0, Some((3, "b"))),
        (2, Some((2, "b"))),
        (3, Some((3, "b"))),
        (1, None),
        (4, None),
    ] {
        let got = change(&present, &kept, &Operation::Rollback(to), author("b")).unwrap();
        let after = got.workload;
        let Some((source, arg)) = expected else {
            assert_eq!(
                (got.effect, after),
                (Effect::Nothing, present.clone()),
                "{to}"
            );
            continue;
        };
        assert_eq!(got.effect, Effect::Revision, "{to}");
        assert_eq!((after.revision, after.generation), (5, 4), "{to}");
        assert_eq!(after.source_revision, source, "{to}");
        assert_eq!(after.revision_cause(), Cause::RolledBack, "{to}");
        assert_eq!(args(&after), [arg], "{to}");
        assert_eq!((replicas(&after), &*after.caller), (7, "b"), "{to}");
    }
}

#[test]
fn a_rollback_without_anything_to_go_back_to_says_so() {
    let kept = history(&[&["a"], &["b"]]);
    let refused = |present: &v1::Workload, kept: &[v1::Workload], to| {
        change(present, kept, &Operation::Rollback(to), author("a")).unwrap_err()
    };
    let none = refused(&kept[1], &kept[1..], 0);
    assert!(matches!(none, Refusal::NoEarlierRevision(id) if id == "default/w"));

    let Refusal::Absent(unknown) = refused(&kept[1], &kept, 9) else {
        panic!("a revision that is not kept is absent");
    };
    assert_eq!((unknown.kind, &*unknown.name), ("revision", "default/w@9"));
    assert_eq!(unknown.hint, "these are kept: 2, 1");

    // Of a former life of the name.
    let mut other = kept[0].clone();
    other.uid = uid();
    let refused = refused(&kept[1], &[other], 1);
    assert!(matches!(refused, Refusal::Absent(_)), "{refused:?}");
}

#[test]
fn what_an_earlier_version_wrote_is_gone_back_to_as_well() {
    let mut kept = history(&[&["a"], &["b"]]);
    for old in &mut kept {
        (old.revision_time, old.revision_cause) = (None, 0);
    }
    // It did not write what had no default by then.
    let service = kept[0].spec.as_mut().unwrap().service.as_mut().unwrap();
    (service.limits, service.restart, service.stop_grace) = (None, None, None);
    let got = change(&kept[1], &kept, &Operation::Rollback(0), author("a")).unwrap();
    assert_eq!(
        (got.workload.source_revision, args(&got.workload)),
        (1, vec!["a".into()])
    );
    // Equal in meaning to the first one as it is written today.
    let again = change(
        &kept[0],
        &history(&[&["a"]]),
        &Operation::Rollback(1),
        author("a"),
    );
    assert!(
        matches!(again, Err(Refusal::Absent(_))),
        "it has another uid"
    );
    let operation = Operation::Apply(wanted(None, &["a"], &[]));
    let same = change(&kept[0], &[], &operation, author("a")).unwrap();
    assert_eq!(same.effect, Effect::Nothing);
    assert_eq!(same.workload, kept[0]);
}

#[test]
fn what_is_being_deleted_is_not_changed() {
    let mut stored = stored(1, &[]);
    stored.delete_time = Some(NOW);
    for operation in [
        Operation::Apply(wanted(None, &[], &[])),
        Operation::Scale(1),
        Operation::Restart,
        Operation::Rollback(0),
    ] {
        let refused = change(&stored, &[], &operation, author("a")).unwrap_err();
        assert!(matches!(refused, Refusal::Deleting(_)), "{operation:?}");
        assert_eq!(refused.retry(), crate::workload::Retry::Later);
    }
    let again = change(&stored, &[], &Operation::Delete, author("b")).unwrap();
    assert_eq!((again.effect, again.workload), (Effect::Nothing, stored));
}

#[test]
fn an_expected_revision_must_be_the_present_one() {
    let stored = stored(1, &[]);
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

#[test]
fn labels_are_replaced_and_no_part_of_a_revision() {
    let kept = history(&[&["a"], &["b"]]);
    let operation = Operation::Apply(wanted(None, &["b"], &[("k", "v")]));
    let labelled = change(&kept[1], &[], &operation, author("a"))
        .unwrap()
        .workload;
    let back = change(&labelled, &kept, &Operation::Rollback(0), author("a")).unwrap();
    let expected = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    assert_eq!(back.workload.labels, expected);
}
