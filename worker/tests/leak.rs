//! Endless connects, refusals and drops leave nothing behind: no socket, no port, no task and no
//! memory.
//!
//! `WARREN_LEAK_ROUNDS` sets their number. There is only one test in this process, because it
//! measures what the whole process holds.
#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "guests/bench.rs"]
mod bench;

use std::{net::SocketAddr, time::Instant};

use bytes::Bytes;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::Handle,
    task::JoinSet,
    time::timeout,
};
use warren_net::{Counts, End, NetLimits, Network};

use bench::Bench;

/// How many tasks open and close concurrently.
const CLIENTS: usize = 4;
/// How many rounds one run of a guest makes.
const LIFE: usize = 2_000;
/// How many bytes resident memory may grow by.
const SLACK: usize = 1 << 20;

fn rounds() -> usize {
    let rounds = std::env::var("WARREN_LEAK_ROUNDS");
    rounds.map_or(20_000, |rounds| rounds.parse().unwrap())
}

/// Returns the resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split_whitespace().nth(1).unwrap();
    pages.parse::<usize>().unwrap() * rustix::param::page_size()
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Waits until this many tasks are alive. A task that has ended counts until the runtime has
/// removed it.
async fn settled(alive: usize) {
    let settled = async {
        while tasks() != alive {
            tokio::task::yield_now().await;
        }
    };
    let waited = timeout(bench::PATIENCE, settled).await;
    assert!(waited.is_ok(), "tasks: {}, not {alive}", tasks());
}

fn assert_empty(network: &Network) {
    assert_eq!(network.counts(), Counts::default());
    assert_eq!(network.taken(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_were_opened_and_closed_leave_nothing_behind() {
    let rounds = rounds();
    host(rounds).await;
    for guest in ["conform-p2", "conform-p3"] {
        of_guest(guest, rounds / 20).await;
    }
}

async fn host(rounds: usize) {
    let network = Network::new(NetLimits::default());
    visits(&network, rounds / 10).await;
    steady("host", rounds, async || {
        visits(&network, rounds).await;
        assert_empty(&network);
    })
    .await;
}

/// Checks that resident memory does not keep growing. The allocator keeps what its busiest moment
/// took, which may come late and even twice, but a leak shows every time.
async fn steady(of: &str, rounds: usize, churn: impl AsyncFn()) {
    let mut growth = Vec::new();
    for _ in 0..3 {
        let (before, began) = (resident(), Instant::now());
        churn().await;
        let (took, after) = (began.elapsed(), resident());
        eprintln!("{of}: {rounds} rounds in {took:?}: resident {before}, then {after}");
        if after <= before + SLACK {
            return;
        }
        growth.push(after - before);
    }
    panic!("{of}: resident memory grew by {growth:?} bytes");
}

/// Does the same with a guest, which uses sockets, streams and futures of `wasi:sockets`.
async fn of_guest(guest: &str, rounds: usize) {
    let bench = Bench::new();
    let network = bench.context.network.clone();
    let churn = async |rounds: usize| {
        for from in (0..rounds).step_by(LIFE) {
            let life = (rounds - from).min(LIFE).to_string();
            bench.stdout(guest, &["churn", &life]).await;
        }
    };
    churn((rounds / 4).max(LIFE)).await;
    settled(0).await;
    steady(guest, rounds, async || {
        churn(rounds).await;
        assert_empty(&network);
        settled(0).await;
    })
    .await;
}

/// Visits an echo service this many times, with all the ways in which a visit can end.
async fn visits(network: &Network, rounds: usize) {
    let service = network.scope();
    let to: SocketAddr = "127.0.0.1:80".parse().unwrap();
    let mut listener = service.bind(to).unwrap().listen(4).unwrap();
    let echo = tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut into) = tokio::io::split(stream);
                // Visitors may leave in any way.
                let _ = tokio::io::copy(&mut from, &mut into).await;
            });
        }
    });
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let network = network.clone();
        clients.spawn(async move {
            for round in (client..rounds).step_by(CLIENTS) {
                visit(&network, to, round).await;
            }
        });
    }
    clients.join_all().await;
    service.end(End::Closed);
    echo.await.unwrap();
    // Wait for the echo tasks of the last visitors.
    settled(0).await;
}

async fn visit(network: &Network, to: SocketAddr, round: usize) {
    let guest = network.scope();
    match round % 8 {
        0 => {
            let nobody = SocketAddr::new(to.ip(), 81);
            assert!(guest.connect(None, nobody).is_err());
        }
        1 => drop(guest.connect(None, to).unwrap()),
        2 => drop(guest.connect(None, to).unwrap().await.unwrap()),
        3 => {
            let bound = guest.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            drop(guest.connect(Some(bound), to).unwrap().await.unwrap());
        }
        4 => {
            // Closes with the echo unread.
            let mut stream = guest.connect(None, to).unwrap().await.unwrap();
            stream.write_all(&[7; 10_000]).await.unwrap();
            guest.end(End::Aborted);
        }
        5 => {
            let waiting: Vec<_> = (0..9).map(|_| guest.connect(None, to).unwrap()).collect();
            guest.end(End::Closed);
            drop(waiting);
        }
        6 => {
            let socket = guest.bind_udp("127.0.0.1:0".parse().unwrap()).unwrap();
            let local = socket.local_addr();
            socket.try_send(local, Bytes::from(vec![7; 1_000])).unwrap();
            if round.is_multiple_of(16) {
                socket.receive().await.unwrap();
            }
        }
        _ => {
            let mut stream = guest.connect(None, to).unwrap().await.unwrap();
            stream.write_all(b"echo").await.unwrap();
            let mut back = [0; 4];
            stream.read_exact(&mut back).await.unwrap();
            assert_eq!(&back, b"echo");
        }
    }
}
