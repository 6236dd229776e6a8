#![allow(clippy::unwrap_used)]

use proptest::{collection::vec, prelude::*};

use super::*;

mod offers;
mod ports;

const MIB: u64 = 1024 * 1024;

fn name(text: &str) -> Name {
    Name::parse(text).unwrap()
}

fn worker(text: &str) -> WorkerView {
    WorkerView {
        name: name(text),
        ready: true,
        cordoned: false,
        draining: false,
        departure: None,
        follows: true,
        silent_for: Duration::ZERO,
        connected_for: Duration::ZERO,
        memory_free: 1024 * MIB,
        keeps_reserves: true,
        replicas: 0,
        replicas_max: 0,
        taken_ports: Vec::new(),
        offers: Arc::default(),
    }
}

/// A reserve of so many bytes, and a limit four times as large.
fn quarter_of(limit: u64) -> Memory {
    Memory {
        reserve: limit / 4,
        limit,
    }
}

fn needs(memory: u64, ports: &[&str]) -> Needs {
    Needs {
        memory: quarter_of(memory * 4),
        ports: ports.iter().map(|port| port.parse().unwrap()).collect(),
    }
}

fn taken(holder: Option<&str>, ports: &[&str]) -> Vec<TakenPort> {
    let holder = holder.and_then(crate::state::keys::parse_id);
    let port = |port: &&str| TakenPort {
        port: port.parse().unwrap(),
        holder: holder.clone(),
        hold: Hold::Stays,
    };
    ports.iter().map(port).collect()
}

#[derive(Default)]
struct Case {
    needs: Needs,
    requirements: Requirements,
    avoid: BTreeSet<Name>,
    spread: BTreeMap<Name, u32>,
}

impl Case {
    fn place(&self, workers: &[WorkerView]) -> Result<String, String> {
        let demand = Demand {
            needs: &self.needs,
            requirements: &self.requirements,
            avoid: &self.avoid,
            refused: &BTreeSet::new(),
            uncompilable: &BTreeSet::new(),
            spread: &self.spread,
        };
        place(&demand, workers)
            .map(|name| name.to_string())
            .map_err(|error| error.to_string())
    }
}

#[test]
fn says_why_there_is_no_place() {
    let not_ready = WorkerView {
        ready: false,
        ..worker("a")
    };
    let cordoned = WorkerView {
        cordoned: true,
        ..worker("b")
    };
    let full = WorkerView {
        replicas: 4,
        replicas_max: 4,
        ..worker("c")
    };
    let small = WorkerView {
        memory_free: 10 * MIB,
        ..worker("d")
    };
    let smaller = WorkerView {
        memory_free: 0,
        ..worker("e")
    };
    let busy = WorkerView {
        taken_ports: taken(Some("default/cache"), &["0.0.0.0:6379"]),
        ..worker("f")
    };
    let own = WorkerView {
        taken_ports: taken(None, &["127.0.0.1:6379"]),
        ..worker("h")
    };
    let both = WorkerView {
        ready: false,
        cordoned: true,
        memory_free: 0,
        ..worker("g")
    };
    let cases: [(&[&WorkerView], &str); 10] = [
        (&[], "no workers"),
        (&[&not_ready], "1 worker: 1 not ready"),
        (&[&not_ready, &both], "2 workers: 2 not ready"),
        (&[&full], "1 worker: 1 full (4 replicas)"),
        (&[&full, &full], "2 workers: 2 full (at most 4 replicas)"),
        (
            &[&small],
            "1 worker: 1 lacks memory (64MiB needed, 10MiB free)",
        ),
        (
            &[&small, &smaller],
            "2 workers: 2 lack memory (64MiB needed, at most 10MiB free)",
        ),
        (
            &[&busy],
            "1 worker: 1 has 127.0.0.1:6379 taken by workload `default/cache`",
        ),
        (
            &[&busy, &own, &busy],
            "3 workers: 1 has 127.0.0.1:6379 taken by another replica, \
             2 have 127.0.0.1:6379 taken by workload `default/cache`",
        ),
        (
            &[&small, &busy, &cordoned, &not_ready],
            "4 workers: 1 not ready, 1 cordoned, \
             1 has 127.0.0.1:6379 taken by workload `default/cache`, \
             1 lacks memory (64MiB needed, 10MiB free)",
        ),
    ];
    let case = Case {
        needs: needs(64 * MIB, &["127.0.0.1:6379"]),
        ..Case::default()
    };
    for (workers, expected) in cases {
        let workers: Vec<_> = workers.iter().map(|worker| (*worker).clone()).collect();
        assert_eq!(case.place(&workers), Err(expected.to_owned()));
    }
}

#[test]
fn takes_exactly_what_fits() {
    let case = Case {
        needs: needs(64 * MIB, &[]),
        ..Case::default()
    };
    let exact = WorkerView {
        memory_free: 64 * MIB,
        ..worker("a")
    };
    let short = WorkerView {
        memory_free: 64 * MIB - 1,
        ..worker("b")
    };
    assert_eq!(case.place(&[short.clone(), exact]), Ok("a".to_owned()));
    assert!(case.place(&[short]).is_err());
    let last = WorkerView {
        replicas: 3,
        replicas_max: 4,
        ..worker("a")
    };
    assert_eq!(case.place(&[last]), Ok("a".to_owned()));
}

#[test]
fn a_worker_that_keeps_no_reserves_must_have_room_for_the_limit() {
    let case = Case {
        needs: needs(64 * MIB, &[]),
        ..Case::default()
    };
    let earlier = WorkerView {
        memory_free: 256 * MIB - 1,
        keeps_reserves: false,
        ..worker("a")
    };
    let told = case.place(std::slice::from_ref(&earlier)).unwrap_err();
    assert!(told.contains("lacks memory (256MiB needed"), "{told}");
    let mut large = WorkerView {
        memory_free: 256 * MIB,
        ..earlier.clone()
    };
    assert_eq!(case.place(&[earlier, large.clone()]).unwrap(), "a");
    large.take(&case.needs);
    assert_eq!(large.memory_free, 0);
    large.release(&case.needs);
    assert_eq!(large.memory_free, 256 * MIB);
}

#[test]
fn a_udp_port_leaves_the_tcp_port_free() {
    let mut only = worker("a");
    only.take(&needs(0, &["127.0.0.1:53/udp"]));
    let case = |port| Case {
        needs: needs(0, &[port]),
        ..Case::default()
    };
    assert_eq!(
        case("127.0.0.1:53").place(&[only.clone()]),
        Ok("a".to_owned())
    );
    let taken = case("0.0.0.0:53/udp").place(&[only]).unwrap_err();
    assert_eq!(
        taken,
        "1 worker: 1 has 0.0.0.0:53/udp taken by another replica"
    );
}

#[test]
fn prefers_by_one_score_after_the_other() {
    let mut case = Case::default();
    // Nothing tells them apart: the name does.
    assert_eq!(case.place(&[worker("b"), worker("a")]), Ok("a".to_owned()));
    // More memory.
    let small = WorkerView {
        memory_free: MIB,
        ..worker("a")
    };
    assert_eq!(
        case.place(&[small.clone(), worker("b")]),
        Ok("b".to_owned())
    );
    // Fewer replicas, though with less memory.
    let busy = WorkerView {
        replicas: 1,
        ..worker("b")
    };
    assert_eq!(
        case.place(&[small.clone(), busy.clone()]),
        Ok("a".to_owned())
    );
    // Fewer like it, though with more replicas.
    case.spread.insert(name("a"), 1);
    assert_eq!(
        case.place(&[small.clone(), busy.clone()]),
        Ok("b".to_owned())
    );
    // Not where it failed, though with fewer like it.
    case.avoid.insert(name("b"));
    assert_eq!(case.place(&[small, busy.clone()]), Ok("a".to_owned()));
    // But rather there than nowhere.
    assert_eq!(case.place(&[busy]), Ok("b".to_owned()));
}

#[test]
fn a_released_worker_is_as_it_was() {
    let mut counted = worker("a");
    counted.take(&needs(MIB, &["127.0.0.1:1"]));
    let before = counted.clone();
    let more = needs(2 * MIB, &["127.0.0.1:2", "127.0.0.1:3"]);
    counted.take(&more);
    assert_eq!(counted.replicas, 2);
    counted.release(&more);
    assert_eq!(counted, before);
}

fn any_port() -> impl Strategy<Value = HostPort> {
    let ip = prop::sample::select(vec!["127.0.0.1", "127.0.0.2", "0.0.0.0", "[::]", "[::1]"]);
    let transport = prop::sample::select(vec!["", "/udp"]);
    (ip, 1..4_u16, transport)
        .prop_map(|(ip, port, transport)| format!("{ip}:{port}{transport}").parse().unwrap())
}

fn any_worker() -> impl Strategy<Value = WorkerView> {
    let flags = (
        prop::bool::weighted(0.8),
        prop::bool::weighted(0.2),
        any::<bool>(),
    );
    let counts = (0..16_u64, 0..4_u32, 0..4_u32);
    let network = prop::option::of(prop::sample::select(vec!["m1", "m2"]));
    (0..20_u8, flags, counts, vec(any_port(), 0..3), network).prop_map(
        |(
            number,
            (ready, cordoned, keeps_reserves),
            (memory, replicas, replicas_max),
            taken_ports,
            network,
        )| WorkerView {
            offers: Arc::new(Offers {
                network: network.map(str::to_owned),
                ..Offers::default()
            }),
            ready,
            cordoned,
            memory_free: memory * MIB,
            keeps_reserves,
            replicas,
            replicas_max,
            taken_ports: taken_ports
                .into_iter()
                .map(|port| TakenPort {
                    port,
                    holder: None,
                    hold: Hold::Stays,
                })
                .collect(),
            ..worker(&format!("w{number:02}"))
        },
    )
}

proptest! {
    #[test]
    fn never_breaks_a_filter_and_never_misses_a_place(
        mut workers in vec(any_worker(), 0..8),
        memory in 0..4_u64,
        ports in vec(any_port(), 0..3),
        avoid in vec(0..20_u8, 0..3),
        spread in vec((0..20_u8, 0..4_u32), 0..5),
        seed: u64,
    ) {
        workers.sort_by(|a, b| a.name.cmp(&b.name));
        workers.dedup_by(|a, b| a.name == b.name);
        let label = |number: u8| name(&format!("w{number:02}"));
        let case = Case {
            requirements: Requirements::default(),
            needs: Needs { memory: quarter_of(memory * 4 * MIB), ports },
            avoid: avoid.into_iter().map(label).collect(),
            spread: spread.into_iter().map(|(number, count)| (label(number), count)).collect(),
        };
        // Written apart from the code under test, on purpose.
        let fits = |worker: &WorkerView| {
            let shares = |other: &WorkerView| {
                other.name == worker.name
                    || other.offers.network.is_some() && other.offers.network == worker.offers.network
            };
            let taken = || workers.iter().filter(|other| shares(other)).flat_map(|other| &other.taken_ports);
            let free = |port: &HostPort| !taken().any(|taken| taken.port.conflicts(port));
            worker.ready
                && !worker.cordoned
                && (worker.replicas_max == 0 || worker.replicas < worker.replicas_max)
                && worker.memory_free >= if worker.keeps_reserves { memory * MIB } else { memory * 4 * MIB }
                && case.needs.ports.iter().all(free)
        };
        let chosen = case.place(&workers);
        match &chosen {
            Ok(chosen) => {
                let worker = workers.iter().find(|worker| worker.name.as_str() == chosen).unwrap();
                prop_assert!(fits(worker));
                let better = workers.iter().any(|other| fits(other) && !case.avoid.contains(&other.name));
                prop_assert!(!case.avoid.contains(&worker.name) || !better);
            }
            Err(reason) => {
                prop_assert!(!workers.iter().any(fits));
                prop_assert!(!reason.is_empty());
            }
        }

        // The order of workers does not matter.
        let turn = usize::try_from(seed % 8).unwrap();
        let length = workers.len();
        workers.rotate_left(if length == 0 { 0 } else { turn % length });
        prop_assert_eq!(case.place(&workers), chosen);
    }
}
