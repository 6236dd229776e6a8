//! Connects, refusals and drops without end leave nothing behind: no socket, no port, no task, no memory.
//!
//! `WARREN_LEAK_ROUNDS` says how many. One test in a process of its own: it looks at what the whole process holds.
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
use warren_worker::net::{Counts, End, NetLimits, Network};

use bench::Bench;

/// Tasks that open and close at once.
const CLIENTS: usize = 4;
/// Rounds of one life of a guest.
const LIFE: usize = 2_000;
/// What resident memory may grow by.
const SLACK: usize = 1 << 20;

fn rounds() -> usize {
    let rounds = std::env::var("WARREN_LEAK_ROUNDS");
    rounds.map_or(20_000, |rounds| rounds.parse().unwrap())
}

/// Resident memory of this process, in bytes.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split_whitespace().nth(1).unwrap();
    pages.parse::<usize>().unwrap() * rustix::param::page_size()
}

fn tasks() -> usize {
    Handle::current().metrics().num_alive_tasks()
}

/// Returns when there are so many tasks: one that has ended is counted until its worker has put it away.
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
async fn nothing_is_left_of_what_was_opened_and_closed() {
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

/// Resident memory stays what it was. The allocator keeps what its busiest moment took, whenever that comes: it may come
/// twice, but a leak comes every time.
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

/// The same by a guest: its sockets, streams and futures are those of the faces.
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

/// So many visits to a service that echoes, of all the ways in which they can end.
async fn visits(network: &Network, rounds: usize) {
    let service = network.scope();
    let to: SocketAddr = "127.0.0.1:80".parse().unwrap();
    let mut listener = service.bind(to).unwrap().listen(4).unwrap();
    let echo = tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut into) = tokio::io::split(stream);
                // Visitors leave as they like.
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
    // The echoes of the last visitors see their ends in their own time.
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
            // Leaves with the echo unread.
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
