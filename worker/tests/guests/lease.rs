//! Guests of exclusive services and the lease under which they run.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use warren_model::route::Route;
use warren_worker::{
    http::{HttpTarget, listener},
    ingress::Router,
    lease::{BootClock, BootTime, Clock, Lease, SharedLease},
    runtime::{ComponentHandle, ServiceEnd, Turn},
};

use super::bench::{Bench, PATIENCE, Running, component, service};

/// Long enough to start a guest on a slow machine, and much shorter than any other limit.
const SOON: Duration = Duration::from_secs(2);

/// A clock that counts how often it is read, and advances by a second each time.
#[derive(Clone, Default)]
struct CountingClock(Arc<AtomicU64>);

impl CountingClock {
    fn asked(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Clock for CountingClock {
    fn now(&self) -> BootTime {
        let asked = self.0.fetch_add(1, Ordering::Relaxed);
        BootTime(Duration::from_secs(asked))
    }
}

/// Grants a lease that lasts this long from now on.
fn lease(length: Duration) -> Arc<SharedLease> {
    let lease = SharedLease::new();
    lease.renew(Lease::of_heartbeat(BootClock.now(), length * 10 / 7));
    lease
}

fn bench(lease: &Arc<SharedLease>) -> Bench {
    let mut bench = Bench::new();
    bench.context.lease = Some(Arc::clone(lease));
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_ends_with_the_lease_whatever_it_does() {
    // One computes endlessly, one waits for ever, and one calls the host endlessly.
    for (guest, does) in [("hostile", "spin"), ("files", "stay"), ("hostile", "logs")] {
        let bench = bench(&lease(SOON));
        let begun = Instant::now();
        let end = bench.run(guest, &[does]).await;
        assert_eq!(end, ServiceEnd::LeaseExpired, "{does}");
        let took = begun.elapsed();
        assert!(took < SOON + PATIENCE / 4, "{does}: {took:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_does_not_start_without_a_lease() {
    let bench = bench(&SharedLease::new());
    let end = bench.run("files", &["env=HOME"]).await;
    assert_eq!(end, ServiceEnd::LeaseExpired);
    assert_eq!(bench.lines().await, Vec::<String>::new());
}

/// The process may be stopped at any point and continue after the lease has ended: no guest may
/// then continue beyond a host call or a return from one.
#[tokio::test(flavor = "multi_thread")]
async fn the_lease_is_checked_with_every_host_call() {
    let words: Vec<String> = (0..10).map(|n| format!("env=VARIABLE_{n}")).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let run = async |seconds| {
        let clock = CountingClock::default();
        let lease = SharedLease::with_clock(clock.clone());
        lease.renew(Lease::of_heartbeat(
            BootTime::default(),
            Duration::from_secs(seconds) / 7 * 10,
        ));
        let bench = bench(&lease);
        let end = bench.run("files", &words).await;
        (end, bench.lines().await.len(), clock.asked())
    };
    let (end, lines, asked) = run(7_000_000).await;
    assert_eq!((end, lines), (ServiceEnd::Exited(0), words.len()));
    // Each line is at least one call, which is entered and left.
    assert!(asked > 2 * words.len() as u64, "asked {asked} times");
    let mut before = 0;
    for part in 1..8 {
        let (end, lines, _) = run(asked * part / 8).await;
        assert_eq!(end, ServiceEnd::LeaseExpired, "{part}/8 of {asked}");
        assert!(before <= lines && lines < words.len(), "{part}/8: {lines}");
        before = lines;
    }
    assert!(before > 0, "the last guest had started");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_start_has_a_different_fence() {
    let lease = lease(PATIENCE);
    let bench = bench(&lease);
    let mut service = service("files", &["env=WARREN_FENCE"]);
    let name = "WARREN_FENCE".to_owned();
    service.env.insert(name, "of the manifest".to_owned());
    let prepared = bench.prepare(service, Vec::new()).await;
    let service = prepared.service.unwrap();
    for fence in [7, u64::MAX] {
        let tenure = lease.tenure();
        let end = service.run(Some(Turn { fence, tenure }), || {}).await;
        assert_eq!(end, ServiceEnd::Exited(0));
    }
    let lines = bench.lines().await;
    let expected = [7, u64::MAX].map(|fence| format!("env=WARREN_FENCE: ok {fence}"));
    assert_eq!(lines, expected);
}

/// The components of an exclusive service are exclusive too.
#[tokio::test(flavor = "multi_thread")]
async fn invocations_end_with_the_lease_too() {
    for (guest, path) in [
        ("hostile-http", "/spin"),
        ("hostile-http", "/drip"),
        ("hostile-http", "/wit/spin"),
        ("p3-http", "/wait?60000"),
    ] {
        let lease = lease(SOON);
        let bench = bench(&lease);
        let components = vec![component("web", guest), component("types", "types")];
        let prepared = bench.prepare(service("files", &["stay"]), components).await;
        let router = Router::new();
        let web = ComponentHandle(Arc::clone(&prepared.components[0]));
        let target: Arc<dyn HttpTarget> = Arc::new(web);
        router.set(
            "r",
            vec![(Route::parse("a.localhost", "/").unwrap(), target)],
        );
        router.set_ready("r", true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = listener::serve(listener, router, CancellationToken::new(), PATIENCE);
        let _serving = AbortOnDropHandle::new(tokio::spawn(serving));
        let begun = Instant::now();
        let answer = ask(address, path).await;
        let took = begun.elapsed();
        assert!(took < SOON + PATIENCE / 4, "{guest} {path}: {took:?}");
        let ended = answer.starts_with("HTTP/1.1 503") || path == "/drip";
        assert!(
            ended && !answer.ends_with("\r\n0\r\n\r\n"),
            "{path}: {answer}"
        );
        // No further invocation begins.
        let answer = ask(address, "/").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{guest}: {answer}");
    }
}

/// Sends a request and returns everything received, complete or not.
async fn ask(address: SocketAddr, path: &str) -> String {
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An error ends the answer too.
    let read = timeout(PATIENCE, client.read_to_end(&mut answer));
    let _ = read.await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_ends_while_the_lease_is_renewed() {
    let lease = lease(SOON);
    let bench = bench(&lease);
    let running = bench.start("files", &["stay"]).await;
    bench.listens(8080).await;
    for _ in 0..6 {
        tokio::time::sleep(SOON / 4).await;
        lease.renew(Lease::of_heartbeat(BootClock.now(), SOON * 10 / 7));
    }
    assert!(bench.context.network.is_listening(8080));
    Running::kill(running).await;
}
