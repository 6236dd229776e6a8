//! Tests of an ingress with real clients on one side, and on the other a service that each test
//! plays by hand.

#![allow(clippy::unwrap_used)]

mod http1;
mod http2;
mod stream;
mod upgrade;

use std::{future::Future, io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use warren_model::{name::Name, route::Route};
use warren_net::{Counts, Listener, NetLimits, Scope, Stream};

use super::*;
use crate::{
    http::listener,
    ingress::Router,
    logs::{LogHub, LogLimits},
};

/// Longer than anything here takes. A wait that reaches it has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// Limits for tests in which the timeouts should pass at once.
const QUICK: PortLimits = PortLimits {
    requests: 1024,
    idle: 2,
    idle_timeout: Duration::from_secs(30),
    head_timeout: Duration::from_secs(30),
    continue_timeout: Duration::from_secs(30),
    bodies: BodyLimits {
        request: None,
        response: None,
    },
};

/// A service on port 80 with the routes `a.localhost`, over HTTP/1.1, and `b.localhost`, over
/// HTTP/2.
struct Rig {
    network: Network,
    /// The scope of the service in the network.
    service: Scope,
    port: Arc<ServicePort>,
    address: SocketAddr,
    draining: CancellationToken,
    serving: JoinHandle<()>,
}

impl Rig {
    async fn start(limits: PortLimits) -> Self {
        let network = Network::new(NetLimits::default());
        let workload = WorkloadId {
            namespace: Name::parse("default").unwrap(),
            name: Name::parse("shop").unwrap(),
        };
        let number = NonZeroU16::new(80).unwrap();
        let log = LogHub::new(LogLimits::default()).open("shop");
        let port = ServicePort::new(&workload, number, network.clone(), limits, log);
        let target = |protocol| -> Arc<dyn HttpTarget> {
            let port = Arc::clone(&port);
            Arc::new(ServiceTarget { port, protocol })
        };
        let route = |host| Route::parse(host, "/").unwrap();
        let router = Router::new();
        let routes = vec![
            (route("a.localhost"), target(RouteProtocol::Http1)),
            (route("b.localhost"), target(RouteProtocol::H2c)),
        ];
        router.set("r", routes);
        router.set_ready("r", true);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let draining = CancellationToken::new();
        let serving = tokio::spawn(listener::serve(listener, router, draining.clone(), LIMIT));
        Self {
            service: network.scope(),
            network,
            port,
            address,
            draining,
            serving,
        }
    }

    fn listen(&self) -> Listener {
        listen(&self.service, "127.0.0.1:80")
    }

    async fn client(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Returns a client that has sent these bytes.
    async fn send(&self, request: &str) -> TcpStream {
        let mut client = self.client().await;
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    /// Returns everything that is answered to one request.
    async fn ask(&self, request: &str) -> String {
        let mut client = self.send(request).await;
        within(rest(&mut client)).await.unwrap()
    }

    /// Waits until only listeners are open in the network.
    async fn is_quiet(&self) {
        let quiet = |counts: Counts| counts.sockets == counts.listeners;
        until(|| quiet(self.network.counts())).await;
    }
}

fn listen(scope: &Scope, local: &str) -> Listener {
    let bound = scope.bind(local.parse().unwrap()).unwrap();
    bound.listen(256).unwrap()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("in time")
}

async fn until(condition: impl Fn() -> bool) {
    let watch = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    within(watch).await;
}

async fn accept(listener: &mut Listener) -> Stream {
    within(listener.accept()).await.unwrap()
}

/// Reads up to an empty line, and nothing after it.
async fn head(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(stream.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

async fn exactly(stream: &mut (impl tokio::io::AsyncRead + Unpin), wanted: &str) {
    let mut bytes = vec![0; wanted.len()];
    within(stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(String::from_utf8(bytes).unwrap(), wanted);
}

/// Reads to the end of the stream.
async fn rest(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> io::Result<String> {
    let mut text = String::new();
    within(stream.read_to_string(&mut text)).await?;
    Ok(text)
}

async fn write(stream: &mut (impl tokio::io::AsyncWrite + Unpin), text: &str) {
    within(stream.write_all(text.as_bytes())).await.unwrap();
}
