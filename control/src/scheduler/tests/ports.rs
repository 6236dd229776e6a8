//! Ports, and whom workers share them with.

use super::*;

#[test]
fn workers_of_one_network_share_their_ports_and_no_others_do() {
    let on = |network: &str, mut worker: WorkerView| {
        worker.offers = Arc::new(Offers {
            network: Some(network.to_owned()),
            ..Offers::default()
        });
        worker
    };
    let cache = |hold| WorkerView {
        taken_ports: vec![TakenPort {
            hold,
            ..taken(Some("default/cache"), &["0.0.0.0:6379"]).remove(0)
        }],
        ..worker("a")
    };
    let case = |port: &str| Case {
        needs: needs(0, &[port]),
        ..Case::default()
    };
    let place = |port: &str, workers: &[WorkerView]| case(port).place(workers);
    let shared = [on("m", cache(Hold::Stays)), on("m", worker("b"))];
    assert_eq!(
        place("127.0.0.1:6379", &shared),
        Err("2 workers: 1 has 127.0.0.1:6379 taken by workload `default/cache`, 1 more shares its machine".into())
    );
    for free in ["127.0.0.1:6380", "127.0.0.1:6379/udp", "[::1]:6379"] {
        assert!(place(free, &shared).is_ok(), "{free}");
    }
    // Other machines, and workers that do not say where they are.
    for other in [on("n", worker("b")), worker("b")] {
        let workers = [on("m", cache(Hold::Stays)), other];
        assert_eq!(place("127.0.0.1:6379", &workers), Ok("b".into()));
    }
    let silent = [cache(Hold::Stays), worker("b")];
    assert_eq!(place("127.0.0.1:6379", &silent), Ok("b".into()));
    // What is LOST may be gone: others of the machine may try, its own worker must not.
    let lost = [on("m", cache(Hold::Lost)), on("m", worker("b"))];
    assert_eq!(place("127.0.0.1:6379", &lost), Ok("b".into()));
}

#[test]
fn only_what_nobody_is_about_to_change_is_final() {
    let busy = |hold| WorkerView {
        taken_ports: vec![TakenPort {
            hold,
            ..taken(Some("default/cache"), &["0.0.0.0:80"]).remove(0)
        }],
        ..worker("a")
    };
    let refused = BTreeSet::from([name("r")]);
    let is_final = |workers: &[WorkerView], ports: &[&str]| {
        let case = Case {
            needs: needs(1, ports),
            ..Case::default()
        };
        let demand = Demand {
            needs: &case.needs,
            requirements: &case.requirements,
            avoid: &case.avoid,
            refused: &refused,
            uncompilable: &BTreeSet::new(),
            spread: &case.spread,
        };
        place(&demand, workers).unwrap_err().lasting() == Some(Lasting::Ports)
    };
    let cordoned = || WorkerView {
        cordoned: true,
        ..worker("b")
    };
    let away = || WorkerView {
        ready: false,
        ..worker("b")
    };
    let full = || WorkerView {
        memory_free: 0,
        ..worker("b")
    };
    let port = ["127.0.0.1:80"];
    assert!(is_final(&[busy(Hold::Stays)], &port));
    assert!(is_final(&[busy(Hold::Stays), cordoned()], &port));
    assert!(is_final(&[worker("r")], &port));
    assert!(!is_final(&[busy(Hold::Ends)], &port));
    assert!(!is_final(&[busy(Hold::Stays), away()], &port));
    assert!(!is_final(&[busy(Hold::Stays), full()], &port));
    // Nothing about ports: people cordon and uncordon as they like.
    assert!(!is_final(&[cordoned()], &port));
    assert!(!is_final(&[], &port));
    assert!(!is_final(&[full()], &[]));
}

#[test]
fn workloads_publish_where_the_operator_of_a_worker_lets_them() {
    let letting = |name: &str, rules: &[&str]| {
        let mut letting = worker(name);
        letting.offers = Arc::new(Offers {
            publish: rules.iter().map(|rule| rule.parse().unwrap()).collect(),
            ..Offers::default()
        });
        letting
    };
    let limited = [
        letting("a", &["127.0.0.1"]),
        letting("b", &["0.0.0.0:30000-30999", "[::1]:80"]),
    ];
    let case = |listens: &[&str]| Case {
        requirements: Requirements {
            listens: listens
                .iter()
                .map(|listen| listen.parse().unwrap())
                .collect(),
            ..Requirements::default()
        },
        ..Case::default()
    };
    let refused = "2 workers: 2 do not let workloads publish on 0.0.0.0:80 (see --publish-allow)";
    let mixed = "2 workers: 1 does not let workloads publish on 0.0.0.0:30001 (see --publish-allow), \
                 1 does not let workloads publish on 127.0.0.1:6379 (see --publish-allow)";
    for (listens, wanted) in [
        (&[][..], Ok("a")),
        (&["127.0.0.1:6379"], Ok("a")),
        (&["127.0.0.1:0", "127.0.0.1:53/udp"], Ok("a")),
        (&["0.0.0.0:30001"], Ok("b")),
        (&["0.0.0.0:0/udp"], Ok("b")),
        (&["0.0.0.0:80"], Err(refused)),
        (&["127.0.0.1:6379", "0.0.0.0:30001"], Err(mixed)),
    ] {
        let placed = case(listens).place(&limited);
        let placed = placed.as_ref().map(String::as_str).map_err(String::as_str);
        assert_eq!(placed, wanted, "{listens:?}");
    }
    // One that says nothing lets everything.
    let open = [letting("a", &["127.0.0.1"]), worker("b")];
    assert_eq!(case(&["0.0.0.0:80"]).place(&open), Ok("b".to_owned()));
    // Nothing that passes by itself is in the way.
    let unschedulable = Unschedulable {
        refusals: vec![Refusal::PublishNotAllowed("0.0.0.0:80".parse().unwrap())],
    };
    assert_eq!(unschedulable.lasting(), Some(Lasting::Ports));
}
