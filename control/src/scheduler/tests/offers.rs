//! Labels, volumes, interfaces and the spread of replicas.

use super::*;

/// `zone` is a label of the worker, `volumes` are what it offers, `:ro` for reading only.
fn offering(mut worker: WorkerView, zone: &str, volumes: &[&str]) -> WorkerView {
    let zone = (!zone.is_empty()).then(|| ("zone".to_owned(), zone.to_owned()));
    let volume = |volume: &&str| match volume.strip_suffix(":ro") {
        Some(read_only) => (name(read_only), Access::Read),
        None => (name(volume), Access::Write),
    };
    worker.offers = Arc::new(Offers {
        labels: zone.into_iter().collect(),
        volumes: volumes.iter().map(volume).collect(),
        ..Offers::default()
    });
    worker
}

#[test]
fn labels_and_volumes_must_be_the_workers() {
    let workers = [
        offering(worker("a"), "north", &["data:ro"]),
        offering(worker("b"), "south", &["data"]),
        offering(worker("c"), "south", &[]),
        worker("d"),
    ];
    let case = |zone: Option<&str>, volumes: &[(&str, Access)]| Case {
        requirements: Requirements {
            labels: zone
                .map(|zone| ("zone".into(), zone.into()))
                .into_iter()
                .collect(),
            volumes: volumes
                .iter()
                .map(|(v, access)| (name(v), *access))
                .collect(),
            ..Requirements::default()
        },
        ..Case::default()
    };
    let (read, write) = (("data", Access::Read), ("data", Access::Write));
    let cases = [
        (case(Some("north"), &[]), Ok("a")),
        (case(Some("south"), &[]), Ok("b")),
        (case(None, &[read]), Ok("a")),
        (case(None, &[write]), Ok("b")),
        (case(Some("south"), &[read]), Ok("b")),
        (
            case(Some("west"), &[]),
            Err("4 workers: 4 lack label zone=west"),
        ),
        (
            case(Some("north"), &[write]),
            Err("4 workers: 3 lack label zone=north, 1 offers volume `data` for reading only"),
        ),
        (
            case(None, &[("other", Access::Read)]),
            Err("4 workers: 4 lack volume `other`"),
        ),
    ];
    for (case, wanted) in cases {
        let placed = case.place(&workers);
        let placed = placed.as_ref().map(String::as_str).map_err(String::as_str);
        assert_eq!(placed, wanted, "{:?}", case.requirements);
    }
}

#[test]
fn replicas_are_spread_over_workers_then_over_values_of_the_label() {
    let workers = [
        offering(worker("a"), "north", &[]),
        offering(worker("b"), "north", &[]),
        offering(worker("c"), "south", &[]),
        worker("d"),
    ];
    let mut case = Case {
        requirements: Requirements {
            spread: Some("zone".into()),
            ..Requirements::default()
        },
        ..Case::default()
    };
    let mut order = Vec::new();
    for _ in 0..6 {
        let placed = case.place(&workers).unwrap();
        *case.spread.entry(name(&placed)).or_default() += 1;
        order.push(placed);
    }
    // North has two workers and so two replicas before anybody has a second one; then the others
    // come first.
    assert_eq!(order, ["a", "c", "d", "b", "c", "d"]);
}

#[test]
fn a_worker_provides_what_the_plan_needs() {
    let providing = |text: &str, names: &[&str]| WorkerView {
        offers: Arc::new(Offers {
            interfaces: Arc::new(HostInterfaces::named(names)),
            ..Offers::default()
        }),
        ..worker(text)
    };
    let older = HostInterfaces::stated(&[]);
    let silent = |text: &str| WorkerView {
        offers: Arc::new(Offers {
            interfaces: Arc::clone(&older),
            ..Offers::default()
        }),
        ..worker(text)
    };
    let newer = ["wasi:cli/exit@0.2.12", "wasi:later/store@0.2.5"];
    let workers = [
        silent("a"),
        silent("b"),
        providing("c", &["wasi:later/store@0.2.4"]),
        providing("d", &newer),
    ];
    let case = |needed: &[&str]| Case {
        requirements: Requirements {
            interfaces: HostInterfaces::named(needed),
            ..Requirements::default()
        },
        ..Case::default()
    };
    for (needed, placed) in [
        (&[][..], "a"),
        (&["wasi:cli/exit@0.2.3"], "a"),
        (&["wasi:later/store@0.2.4"], "c"),
        (&newer, "d"),
    ] {
        let found = case(needed).place(&workers);
        assert_eq!(found.as_deref(), Ok(placed), "{needed:?}");
    }
    let none = case(&newer).place(&workers[..3]);
    assert_eq!(
        none,
        Err("3 workers: 1 does not provide `wasi:cli/exit@0.2.12`, \
             2 do not provide `wasi:later/store@0.2.5`"
            .to_owned())
    );
}

#[test]
fn a_worker_must_know_the_fields_of_the_spec() {
    let old = worker("old");
    let mut new = worker("new");
    let features = BTreeSet::from(["spec.service.config".to_owned()]);
    new.offers = Arc::new(Offers {
        features: features.clone(),
        ..Offers::default()
    });
    let case = Case {
        requirements: Requirements {
            features,
            ..Requirements::default()
        },
        ..Case::default()
    };
    let placed = case.place(&[old.clone(), new]).unwrap();
    assert_eq!(placed, "new");
    assert_eq!(
        case.place(&[old]).unwrap_err(),
        "1 worker: 1 does not know `spec.service.config` (upgrade the worker)"
    );
}
