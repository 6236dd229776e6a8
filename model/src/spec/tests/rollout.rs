//! Placement and updates.

use super::*;

fn update(update: v1::Update) -> impl FnOnce(&mut v1::WorkloadSpec) {
    move |spec| spec.update = Some(update)
}

#[test]
fn a_rollout_needs_a_step_to_take() {
    refused(
        "spec.update.max_surge",
        "leaves a rollout no step to take",
        update(v1::Update {
            max_surge: Some(0),
            ..Default::default()
        }),
    );
    let mut spec = spec();
    update(v1::Update {
        max_surge: Some(0),
        max_unavailable: Some(1),
        ..Default::default()
    })(&mut spec);
    let read = WorkloadSpec::from_proto(&spec).unwrap().update;
    let expected = Update {
        max_surge: 0,
        max_unavailable: 1,
        ..Update::default()
    };
    assert_eq!(read, expected);
}

#[test]
fn refuses_updates_out_of_bounds() {
    for (field, message, change) in [
        (
            "max_surge",
            "1001 is out of bounds: use 0 to 1000",
            v1::Update {
                max_surge: Some(1001),
                ..Default::default()
            },
        ),
        (
            "max_unavailable",
            "use 0 to 1000",
            v1::Update {
                max_unavailable: Some(1001),
                ..Default::default()
            },
        ),
        (
            "progress_deadline",
            "0s is out of bounds: use 1s to 1d",
            v1::Update {
                progress_deadline: seconds(0),
                ..Default::default()
            },
        ),
        (
            "min_ready",
            "1h1s is out of bounds: use 0s to 1h",
            v1::Update {
                min_ready: seconds(3601),
                ..Default::default()
            },
        ),
    ] {
        refused(&format!("spec.update.{field}"), message, update(change));
    }
}

#[test]
fn labels_of_workers_are_labels() {
    let placement = |labels: &[(&str, &str)], spread: &str| {
        let labels = labels
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let placement = v1::Placement {
            labels: labels.collect(),
            spread: spread.to_owned(),
        };
        move |spec: &mut v1::WorkloadSpec| spec.placement = Some(placement)
    };
    refused(
        "spec.placement.labels[a b]",
        "is not a label key",
        placement(&[("a b", "")], ""),
    );
    refused(
        "spec.placement.labels[zone]",
        "is not a label value",
        placement(&[("zone", "-")], ""),
    );
    refused(
        "spec.placement.spread",
        "`a b` is not a label key",
        placement(&[], "a b"),
    );
    let mut spec = spec();
    placement(&[("zone", "a")], "example.com/rack")(&mut spec);
    let placement = WorkloadSpec::from_proto(&spec).unwrap().placement;
    assert_eq!(placement.labels["zone"], "a");
    assert_eq!(placement.spread.as_deref(), Some("example.com/rack"));
}
