//! Tests of a guest's requests to servers in its network and on the machine.

#![allow(clippy::unwrap_used)]

mod errors;
mod outside;
mod reuse;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use warren_net::{Listener, NetLimits, Scope};

use super::super::host_memory::HostBudget;
use super::*;
use crate::policy::{HostAccess, Resolver, Role};

/// Longer than anything here takes. A wait that reaches it has failed.
const LIMIT: Duration = Duration::from_secs(20);

/// A guest's client in a network of its own.
struct Rig {
    network: Network,
    /// The scope of the service.
    scope: Scope,
    client: Arc<Client>,
}

impl Rig {
    fn new(egress: &[&str]) -> Self {
        Self::with(egress, Resolver::system(), Limits::default())
    }

    fn with(egress: &[&str], resolver: Resolver, limits: Limits) -> Self {
        let network = Network::new(NetLimits {
            connect_timeout: Duration::from_secs(3600),
            ..NetLimits::default()
        });
        let ways = ways(&network, egress, resolver);
        Self {
            scope: network.scope(),
            client: Client::new(ways, limits, tls::public()),
            network,
        }
    }

    fn listen(&self, local: &str) -> Listener {
        let bound = self.scope.bind(local.parse().unwrap()).unwrap();
        bound.listen(16).unwrap()
    }

    /// Starts the service's HTTP server on this port of 127.0.0.1.
    fn serve(&self, port: u16) -> Server {
        Server::start(streams(self.listen(&format!("127.0.0.1:{port}"))))
    }
}

fn ways(network: &Network, egress: &[&str], resolver: Resolver) -> Ways {
    let rules = egress.iter().map(|rule| rule.parse().unwrap()).collect();
    let host = HostAccess {
        allow_host_loopback: true,
        ..HostAccess::default()
    };
    let policy = Policy::new(Role::Component, rules, host).with_resolver(resolver);
    Ways {
        network: network.clone(),
        policy: Arc::new(policy),
        http2_ports: Arc::new([2222]),
        host_budget: HostBudget::new(0),
    }
}

/// An HTTP server for both versions that counts its connections.
///
/// It answers with the version, each field and the body of the request, then with its trailers. It
/// delays the answer to `/slow`.
struct Server {
    connections: Arc<AtomicUsize>,
    _task: AbortOnDropHandle<()>,
}

impl Server {
    fn start<I>(streams: impl Stream<Item = I> + Send + 'static) -> Self
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        let task = tokio::spawn(streams.for_each_concurrent(None, move |stream| {
            count.fetch_add(1, Ordering::SeqCst);
            async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let serving = server.serve_connection(TokioIo::new(stream), service_fn(answer));
                // Clients may disconnect at any time.
                let _ = serving.await;
            }
        }));
        Self {
            connections,
            _task: AbortOnDropHandle::new(task),
        }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Returns the connections that a listener accepts.
fn streams(listener: Listener) -> impl Stream<Item = warren_net::Stream> + Send {
    stream::unfold(listener, async |mut listener: Listener| {
        let accepted = listener.accept().await.ok()?;
        Some((accepted, listener))
    })
}

type Frames<E> = StreamBody<ReceiverStream<Result<Frame<Bytes>, E>>>;

/// Returns a body and the sender that writes it.
fn frames<E>() -> (mpsc::Sender<Result<Frame<Bytes>, E>>, Frames<E>) {
    let (to, from) = mpsc::channel(8);
    (to, StreamBody::new(ReceiverStream::new(from)))
}

async fn answer(request: Request<Incoming>) -> Result<Response<Frames<Infallible>>, Infallible> {
    if request.uri().path() == "/slow" {
        tokio::time::sleep(LIMIT).await;
    }
    let mut told = format!("{:?} {}", request.version(), request.uri());
    for (name, value) in request.headers() {
        told += &format!(" {name}={}", value.to_str().unwrap());
    }
    let (to, from) = frames();
    tokio::spawn(async move {
        let _ = to.send(Ok(Frame::data(format!("{told} ").into()))).await;
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            let _ = to.send(Ok(frame)).await;
        }
    });
    let mut response = Response::new(from);
    let names = "x-sum".parse().unwrap();
    response.headers_mut().insert(http::header::TRAILER, names);
    Ok(response)
}

fn get(url: &str) -> Request<WasiBody> {
    let body = Full::new(Bytes::new()).map_err(|never| match never {});
    Request::get(url).body(body.boxed_unsync()).unwrap()
}

fn with_type(mut request: Request<WasiBody>, content_type: &str) -> Request<WasiBody> {
    let value = content_type.parse().unwrap();
    let headers = request.headers_mut();
    headers.insert(http::header::CONTENT_TYPE, value);
    request
}

/// Returns a request with a body of unknown length and a trailer.
fn upload(url: &str) -> Request<WasiBody> {
    let (to, from) = frames::<Infallible>();
    tokio::spawn(async move {
        let trailers = HeaderMap::from_iter([("x-sum".parse().unwrap(), 7.into())]);
        for frame in [
            Frame::data("one ".into()),
            Frame::data("two".into()),
            Frame::trailers(trailers),
        ] {
            to.send(Ok(frame)).await.unwrap();
        }
    });
    let body = from.map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::post(url).body(body).unwrap();
    let names = "x-sum".parse().unwrap();
    request.headers_mut().insert(http::header::TRAILER, names);
    request
}

fn timeouts() -> Timeouts {
    RequestOptions::default().into()
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("in time")
}

/// Returns the text and the trailers of a complete answer.
async fn ask(
    client: &Client,
    request: Request<WasiBody>,
) -> Result<(String, Option<HeaderMap>), Error> {
    let response = within(client.send(request, timeouts())).await?;
    assert_eq!(response.status(), StatusCode::OK);
    let body = within(response.into_body().collect()).await?;
    let trailers = body.trailers().cloned();
    let text = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    Ok((text, trailers))
}

async fn text(client: &Client, url: &str) -> String {
    ask(client, get(url)).await.unwrap().0
}

async fn until(condition: impl Fn() -> bool) {
    let watch = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(watch).await;
}
