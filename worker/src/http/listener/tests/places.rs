//! Tests of which clients keep a connection when there are more clients than places.

use std::{net::IpAddr, pin::pin};

use futures::poll;
use h2::{Ping, client};
use tokio::net::TcpSocket;

use super::{ends::PATIENCE, *};
use crate::{
    http::{forwarded::TrustedProxies, tunnel::Tunnel},
    ingress::Ingress,
};

/// The time after which idle connections end.
const IDLE: Duration = Duration::from_millis(600);
const LONG: Duration = Duration::from_secs(600);
const GET: &str = "GET /api HTTP/1.1\r\nHost: a.localhost\r\n\r\n";

fn limits(connections: usize, connections_per_peer: usize, head_timeout: Duration) -> Limits {
    Limits {
        connections,
        connections_per_peer,
        head_timeout,
        ..Limits::default()
    }
}

/// Connects from an address of this machine.
async fn connect(fixture: &Fixture, from: [u8; 4]) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(from), 0).into()).unwrap();
    socket.connect(fixture.address).await.unwrap()
}

/// Returns a client that has been answered once and keeps its connection.
async fn used(fixture: &Fixture, from: [u8; 4]) -> TcpStream {
    let mut stream = connect(fixture, from).await;
    assert_eq!(ask(&mut stream).await.as_deref(), Some("200"));
    stream
}

/// Returns the status of the answer to one more request, or `None` if the connection ends instead.
async fn ask(stream: &mut TcpStream) -> Option<String> {
    stream.write_all(GET.as_bytes()).await.ok()?;
    answer(stream).await
}

async fn answer(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    while !text.contains("peer=127.") && !text.contains("--max-") {
        let mut piece = [0; 1024];
        let count = time::timeout(PATIENCE, stream.read(&mut piece)).await;
        match count.unwrap() {
            Ok(count @ 1..) => text.push_str(std::str::from_utf8(&piece[..count]).unwrap()),
            _ => return None,
        }
    }
    Some(text[9..12].to_owned())
}

/// Waits until the server has closed the connection.
async fn ends(stream: &mut TcpStream) {
    let count = time::timeout(PATIENCE, stream.read(&mut [0])).await;
    assert_eq!(count.unwrap().unwrap_or_default(), 0);
}

/// Returns clients whose requests stay in flight until the fixture is opened.
async fn busy(fixture: &mut Fixture, from: [u8; 4], count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = connect(fixture, from).await;
        stream.write_all(GET.as_bytes()).await.unwrap();
        fixture.reached.recv().await.unwrap();
        streams.push(stream);
    }
    streams
}

type Sender = client::SendRequest<Bytes>;

/// Returns an HTTP/2 client that only sends and answers pings, and the task that ends with its
/// connection.
async fn pinging(fixture: &Fixture) -> (Sender, JoinHandle<Result<(), h2::Error>>) {
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let (sender, mut connection) = client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let connection = tokio::spawn(connection);
    tokio::spawn(async move {
        while pings.ping(Ping::opaque()).await.is_ok() {
            time::sleep(Duration::from_millis(20)).await;
        }
    });
    (sender, connection)
}

fn request(path: &str) -> Request<()> {
    let uri = format!("http://a.localhost{path}");
    Request::get(uri).body(()).unwrap()
}

#[tokio::test]
async fn pings_do_not_keep_a_connection_and_a_request_does() {
    let mut fixture = Fixture::within(limits(8, 8, IDLE), HOUR).await;
    let open = Arc::clone(&fixture.open);
    let closed = open.acquire_many_owned(100).await.unwrap();
    let (unused, never) = pinging(&fixture).await;
    let (busy, mut kept) = pinging(&fixture).await;
    let mut busy = busy.ready().await.unwrap();
    let (answer, _) = busy.send_request(request("/api"), true).unwrap();
    fixture.reached.recv().await.unwrap();

    // The server sends GOAWAY, so the client knows that nothing was lost.
    time::timeout(PATIENCE, never)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    drop(unused);
    time::sleep(2 * IDLE).await;
    assert!(poll!(&mut kept).is_pending());
    drop(closed);
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    time::timeout(PATIENCE, kept)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn an_incomplete_request_does_not_keep_a_connection() {
    let fixture = Fixture::within(limits(8, 8, IDLE), HOUR).await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice();
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0].as_slice();
    let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8].as_slice();
    let priority = [0, 0, 5, 2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 9].as_slice();
    // This is ":method: GET", without END_HEADERS and the rest, followed by endless CONTINUATION.
    let headers = [0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82].as_slice();
    let more = [0, 0, 1, 9, 0, 0, 0, 0, 1, 0x84].as_slice();
    for (what, first, again) in [
        ("nothing", [b"".as_slice(), b"", b""], b"".as_slice()),
        ("half a preface", [&preface[..10], b"", b""], b""),
        ("a preface", [preface, b"", b""], b""),
        ("settings", [preface, settings, b""], settings),
        ("pings", [preface, settings, b""], ping),
        ("priorities", [preface, settings, b""], priority),
        ("half a head", [preface, settings, headers], b""),
        ("a head without end", [preface, settings, headers], more),
        (
            "HTTP/1.1 without end",
            [b"GET / HTTP/1.1\r\n", b"", b""],
            b"A: b\r\n",
        ),
    ] {
        let mut stream = TcpStream::connect(fixture.address).await.unwrap();
        stream.write_all(&first.concat()).await.unwrap();
        let (mut from, mut to) = stream.split();
        let flood = async {
            while !again.is_empty() && to.write_all(again).await.is_ok() {
                time::sleep(Duration::from_millis(10)).await;
            }
            future::pending::<()>().await;
        };
        let closed = async {
            let mut answer = Vec::new();
            let _ = from.read_to_end(&mut answer).await;
        };
        tokio::select! {
            () = flood => {}
            closed = time::timeout(PATIENCE, closed) => closed.expect(what),
        }
    }
}

#[tokio::test]
async fn the_longest_idle_makes_room_and_a_busy_one_never_does() {
    let mut fixture = Fixture::within(limits(4, 4, LONG), HOUR).await;
    let mut first = used(&fixture, [127, 0, 0, 1]).await;
    fixture.reached.recv().await.unwrap();
    let open = Arc::clone(&fixture.open);
    let closed = open.acquire_many_owned(100).await.unwrap();
    let mut working = busy(&mut fixture, [127, 0, 0, 1], 1).await;
    drop(closed);
    let mut answered = working.pop().unwrap();
    assert_eq!(answer(&mut answered).await.as_deref(), Some("200"));
    let open = Arc::clone(&fixture.open);
    let closed = open.acquire_many_owned(100).await.unwrap();
    // Two of them are busy, one has been idle for longest, and one has been used since.
    let mut working = busy(&mut fixture, [127, 0, 0, 1], 2).await;

    let _newcomer = connect(&fixture, [127, 0, 0, 1]).await;
    ends(&mut first).await;
    let _another = connect(&fixture, [127, 0, 0, 1]).await;
    ends(&mut answered).await;
    drop(closed);
    for mut stream in working.drain(..) {
        assert_eq!(answer(&mut stream).await.as_deref(), Some("200"));
    }
}

#[tokio::test]
async fn a_flood_of_silent_clients_keeps_no_client_out() {
    let fixture = Fixture::within(limits(16, 16, LONG), HOUR).await;
    let mut flood = Vec::new();
    for _ in 0..64 {
        flood.push(pinging(&fixture).await);
        let mut neighbour = connect(&fixture, [127, 0, 0, 2]).await;
        assert_eq!(ask(&mut neighbour).await.as_deref(), Some("200"));
    }
    let ended = || {
        flood
            .iter()
            .filter(|(_, ended)| ended.is_finished())
            .count()
    };
    let made_room = async {
        while ended() < flood.len() - 16 {
            time::sleep(Duration::from_millis(10)).await;
        }
    };
    time::timeout(PATIENCE, made_room).await.unwrap();
}

#[tokio::test]
async fn a_new_client_is_refused_with_the_reason_if_all_are_busy() {
    let mut fixture = Fixture::within(limits(2, 2, LONG), HOUR).await;
    let open = Arc::clone(&fixture.open);
    let closed = open.acquire_many_owned(100).await.unwrap();
    let mut working = busy(&mut fixture, [127, 0, 0, 1], 2).await;
    let answer = fixture.raw(GET).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(
        answer.contains("2 (--max-connections-per-peer)"),
        "{answer}"
    );
    let (mut sender, connection) = pinging(&fixture).await;
    let (refused, _) = sender.send_request(request("/api"), true).unwrap();
    let status = refused.await.unwrap().status();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    time::timeout(PATIENCE, connection)
        .await
        .unwrap()
        .unwrap()
        .unwrap();

    drop(closed);
    for stream in &mut working {
        assert_eq!(self::answer(stream).await.as_deref(), Some("200"));
    }
    let mut late = connect(&fixture, [127, 0, 0, 1]).await;
    assert_eq!(ask(&mut late).await.as_deref(), Some("200"));
}

#[tokio::test]
async fn one_address_does_not_take_the_places_of_others() {
    let mut fixture = Fixture::within(limits(4, 2, LONG), HOUR).await;
    let open = Arc::clone(&fixture.open);
    let closed = open.acquire_many_owned(100).await.unwrap();
    let _greedy = busy(&mut fixture, [127, 0, 0, 2], 2).await;
    let mut third = connect(&fixture, [127, 0, 0, 2]).await;
    assert_eq!(ask(&mut third).await.as_deref(), Some("503"));
    let _others = busy(&mut fixture, [127, 0, 0, 3], 2).await;
    let mut late = connect(&fixture, [127, 0, 0, 4]).await;
    let refused = ask(&mut late).await;
    assert_eq!(refused.as_deref(), Some("503"), "all places are taken");
    drop(closed);
}

#[tokio::test]
async fn a_trusted_proxy_is_not_one_client() {
    let behind = |router| Ingress {
        router,
        proxies: TrustedProxies::new(["127.0.0.2/32".parse().unwrap()]),
    };
    let mut fixture = Fixture::in_front(limits(4, 2, LONG), HOUR, behind).await;
    let open = Arc::clone(&fixture.open);
    let closed = open.acquire_many_owned(100).await.unwrap();
    let _proxied = busy(&mut fixture, [127, 0, 0, 2], 3).await;
    let _other = busy(&mut fixture, [127, 0, 0, 3], 1).await;
    let mut late = connect(&fixture, [127, 0, 0, 2]).await;
    let refused = ask(&mut late).await;
    assert_eq!(refused.as_deref(), Some("503"), "all places are taken");
    drop(closed);
}

/// Switches protocols, and is silent from then on.
#[derive(Clone)]
struct Switches;

impl Front for Switches {
    fn answer(
        &self,
        mut request: Request<ClientBody>,
        _: &Client,
    ) -> BoxFuture<'static, Response<Body>> {
        let upgrade = hyper::upgrade::on(&mut request);
        let mut response = plain_text(StatusCode::SWITCHING_PROTOCOLS, "");
        *response.body_mut() = Empty::new().map_err(|never| match never {}).boxed_unsync();
        let headers = response.headers_mut();
        headers.insert("connection", "upgrade".parse().unwrap());
        headers.insert("upgrade", "silence".parse().unwrap());
        headers.remove("content-length");
        let silence = async {
            let _held = upgrade.await;
            time::sleep(HOUR).await;
        };
        Tunnel::attach(&mut response, Box::pin(silence));
        Box::pin(future::ready(response))
    }
}

#[tokio::test]
async fn an_upgraded_connection_is_in_use_as_long_as_it_lasts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let draining = CancellationToken::new();
    let serving = serve_within(
        limits(1, 1, IDLE),
        listener,
        Switches,
        draining.clone(),
        LONG,
    );
    let serving = tokio::spawn(serving);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: silence\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await.unwrap();
    let mut head = vec![0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(head, b"HTTP/1.1 101");
    let mut other = TcpStream::connect(address).await.unwrap();
    other.write_all(upgrade.as_bytes()).await.unwrap();
    let mut refused = String::new();
    other.read_to_string(&mut refused).await.unwrap();
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    let rest = async {
        let mut piece = [0; 256];
        while stream.read(&mut piece).await.is_ok_and(|count| count > 0) {}
    };
    let mut rest = pin!(rest);
    assert!(
        time::timeout(3 * IDLE, &mut rest).await.is_err(),
        "it was closed"
    );
    serving.abort();
}

#[tokio::test]
async fn only_the_stream_whose_client_reads_nothing_is_reset() {
    let limits = Limits {
        stall_timeout: IDLE,
        ..limits(8, 8, LONG)
    };
    let fixture = Fixture::within(limits, HOUR).await;
    let (dropped, mut told) = mpsc::unbounded_channel();
    let route = Route::parse("endless.localhost", "/").unwrap();
    let endless = vec![(route, Arc::new(Endless(dropped)) as Arc<dyn HttpTarget>)];
    fixture.router.set("e", endless);
    fixture.router.set_ready("e", true);
    let stream = TcpStream::connect(fixture.address).await.unwrap();
    let (mut sender, connection) = client::Builder::new()
        .initial_window_size(1)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let endless = Request::get("http://endless.localhost/").body(()).unwrap();
    let (answer, _) = sender.send_request(endless, true).unwrap();
    let mut stalled = answer.await.unwrap().into_body();
    assert_eq!(stalled.data().await.unwrap().unwrap().len(), 1);
    time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    let error = stalled.data().await.unwrap().unwrap_err();
    assert_eq!(error.reason(), Some(h2::Reason::CANCEL));

    // A stream without new data is not one that is not read.
    let open = Arc::clone(&fixture.open);
    let closed = open.acquire_many_owned(100).await.unwrap();
    let (answer, _) = sender.send_request(request("/api"), true).unwrap();
    let mut answer = pin!(answer);
    assert!(time::timeout(3 * IDLE, &mut answer).await.is_err());
    drop(closed);
    assert_eq!(answer.await.unwrap().status(), StatusCode::OK);
    assert!(!connection.is_finished());
}
