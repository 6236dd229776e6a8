//! Tests of answers, streams and connections between workers that end early. The other worker is
//! simulated frame by frame.

use h2::{Reason, server::SendResponse};
use tokio::sync::Semaphore;

use super::*;

type Accepted = h2::server::Connection<TcpStream, Bytes>;
type Incoming = (Request<h2::RecvStream>, SendResponse<Bytes>);

/// A worker that handles the requests of a connection as a test says, one after another.
struct Played {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    _serving: AbortOnDropHandle<()>,
}

impl Played {
    async fn start<F>(serve: impl Fn(usize, Accepted) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            let mut running = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let number = count.fetch_add(1, Ordering::Relaxed);
                let connection = h2::server::handshake(stream).await.unwrap();
                running.spawn(serve(number, connection));
            }
        });
        Self {
            address,
            connections,
            _serving: AbortOnDropHandle::new(serving),
        }
    }

    fn is_the_place(&self, worker: &Worker) {
        let places = vec![v1::RoutePlace {
            worker: "played".into(),
            address: format!("http://{}", self.address),
        }];
        let route = v1::Route {
            host: "a.localhost".into(),
            path: "/".into(),
        };
        worker.fleet.learn(v1::FleetRoutes {
            version: 1,
            complete: true,
            routes: vec![v1::RoutePlaces {
                route: Some(route),
                places,
            }],
            removed: Vec::new(),
        });
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Answers with the size of the request's body.
async fn echo((request, mut respond): Incoming) {
    let mut body = request.into_body();
    let mut size = 0;
    while let Some(Ok(data)) = body.data().await {
        size += data.len();
        let _ = body.flow_control().release_capacity(data.len());
    }
    let mut answer = respond.send_response(Response::new(()), false).unwrap();
    answer
        .send_data(format!("{size} bytes").into(), true)
        .unwrap();
}

fn post(size: usize) -> String {
    let body = "x".repeat(size);
    format!(
        "POST / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n{body}"
    )
}

#[tokio::test]
async fn a_request_that_had_not_begun_is_offered_again_with_its_body() {
    let played = Played::start(async |number: usize, mut connection: Accepted| {
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(Ok(mut incoming)) = connection.accept().await {
            match number {
                0 => {
                    incoming.1.send_reset(Reason::REFUSED_STREAM);
                    connection.graceful_shutdown();
                }
                _ => {
                    tasks.spawn(echo(incoming));
                }
            }
        }
    })
    .await;
    let first = Worker::start("w1").await;
    played.is_the_place(&first);
    let answer = first.ask(&post(20_000)).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("20000 bytes"),
        "{answer}"
    );
    assert_eq!(played.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_reported_as_such_and_not_requested_again() {
    let (asked, seen) = (Arc::<AtomicUsize>::default(), Arc::new(Semaphore::new(0)));
    let (count, gate) = (Arc::clone(&asked), Arc::clone(&seen));
    let played = Played::start(move |_: usize, mut connection: Accepted| {
        let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
        async move {
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                if request.uri().path() == "/head" {
                    let answer = respond.send_response(Response::new(()), false);
                    let mut answer = answer.unwrap();
                    answer.send_data("part".into(), false).unwrap();
                    let gate = Arc::clone(&gate);
                    tokio::spawn(async move {
                        // A reset would discard what the client has not seen yet.
                        let _permit = gate.acquire().await;
                        answer.send_reset(Reason::INTERNAL_ERROR);
                    });
                } else {
                    respond.send_reset(Reason::INTERNAL_ERROR);
                }
            }
        }
    })
    .await;
    let first = Worker::start("w1").await;
    played.is_the_place(&first);
    let answer = first.get("/").await;
    assert!(
        answer.starts_with("HTTP/1.1 502 ") && answer.contains("broke off"),
        "{answer}"
    );
    let mut client = TcpStream::connect(first.http).await.unwrap();
    let request = b"GET /head HTTP/1.1\r\nHost: a.localhost\r\n\r\n";
    client.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.windows(4).any(|bytes| bytes == b"part") {
        let read = timeout(PATIENCE, client.read_buf(&mut answer)).await;
        assert!(read.unwrap().unwrap() > 0);
    }
    seen.add_permits(1);
    let rest = timeout(PATIENCE, client.read_to_end(&mut answer)).await;
    rest.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 ") && !answer.ends_with(b"0\r\n\r\n"));
    assert_eq!(
        (asked.load(Ordering::Relaxed), played.connections()),
        (2, 1)
    );
}

#[tokio::test]
async fn a_request_on_a_lost_connection_is_sent_again_or_fails_without_retry_after() {
    let played = Played::start(async |_: usize, mut connection: Accepted| {
        // The connection is dropped with the request.
        let _ = connection.accept().await;
    })
    .await;
    let first = Worker::start("w1").await;
    played.is_the_place(&first);
    for (request, tries) in [
        (post(9), 1),
        (
            "GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n".into(),
            2,
        ),
    ] {
        let before = played.connections();
        let answer = first.ask(&request).await;
        assert!(
            answer.starts_with("HTTP/1.1 502 ") && answer.contains("disappeared"),
            "{answer}"
        );
        assert_eq!(played.connections() - before, tries);
    }
}

#[tokio::test]
async fn a_worn_connection_is_replaced_by_another_before_it_ends() {
    let played = Played::start(async |_: usize, mut connection: Accepted| {
        let mut tasks = tokio::task::JoinSet::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            if request.uri().path() == "/long" {
                tasks.spawn(async move {
                    let mut answer = respond.send_response(Response::new(()), false).unwrap();
                    while answer.send_data("more".into(), false).is_ok() {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                });
            } else {
                tasks.spawn(echo((request, respond)));
            }
        }
    })
    .await;
    let first = Worker::start("w1").await;
    played.is_the_place(&first);
    let open = async || {
        let mut client = TcpStream::connect(first.http).await.unwrap();
        let request = b"GET /long HTTP/1.1\r\nHost: a.localhost\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut answer = [0; 15];
        let read = timeout(PATIENCE, client.read_exact(&mut answer));
        read.await.unwrap().unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200 OK");
        client
    };
    let mut kept = open().await;
    let remote = first.remote("a.localhost");
    let peer = remote.next(&[]).unwrap();
    while played.connections() == 1 {
        drop(open().await);
        let left = async {
            while peer.burden().1 != 1 {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, left).await.unwrap();
    }
    assert!(first.ask(&post(5)).await.contains("5 bytes"));
    let mut more = [0; 64];
    for _ in 0..5 {
        let read = timeout(PATIENCE, kept.read(&mut more)).await.unwrap();
        assert!(
            read.unwrap() > 0,
            "the first connection continues with its requests"
        );
    }
    assert_eq!(played.connections(), 2);
}

#[tokio::test]
async fn streams_whose_answers_are_complete_are_not_given_up() {
    let reset = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&reset);
    let played = Played::start(move |_: usize, mut connection: Accepted| {
        let count = Arc::clone(&count);
        async move {
            let mut tasks = tokio::task::JoinSet::new();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let count = Arc::clone(&count);
                tasks.spawn(async move {
                    let response = Response::builder().header(header::CONTENT_LENGTH, 4);
                    let answer = respond.send_response(response.body(()).unwrap(), false);
                    let mut answer = answer.unwrap();
                    answer.send_data("done".into(), false).unwrap();
                    // The client has everything that it waits for, and sends another request.
                    let reset = std::future::poll_fn(|cx| answer.poll_reset(cx));
                    if timeout(Duration::from_millis(50), reset).await.is_ok() {
                        count.fetch_add(1, Ordering::Relaxed);
                    } else {
                        answer.send_data(Bytes::new(), true).unwrap();
                    }
                });
            }
        }
    })
    .await;
    let first = Worker::start("w1").await;
    played.is_the_place(&first);
    let requests = "GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n".repeat(20)
        + "GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n";
    let answer = first.ask(&requests).await;
    assert_eq!(answer.matches("done").count(), 21);
    assert_eq!(reset.load(Ordering::Relaxed), 0);
    let remote = first.remote("a.localhost");
    let peer = remote.next(&[]).unwrap();
    let over = async {
        while peer.burden().1 != 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, over).await.unwrap();
    assert_eq!(
        (reset.load(Ordering::Relaxed), played.connections()),
        (0, 1)
    );
}
