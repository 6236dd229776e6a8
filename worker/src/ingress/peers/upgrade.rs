//! Upgrades: a separate HTTP/1.1 connection to the other worker, which then carries the protocol
//! that the service agrees to.

use std::{io, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    client::conn::http1,
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional},
    net::TcpStream,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    body::{Held, Until},
    forward::{broken, to_http1},
    peer::Peer,
    table::Remote,
    wire,
};
use crate::{
    http::{
        Body, ClientBody, RequestMeta,
        head::{self, Asked},
        limit::{HEAD_BUFFER, MAX_PARSED_FIELDS},
        listener::after_http,
        tunnel::Tunnel,
    },
    ingress::front::not_ready,
    publish::relay::reset,
};

pub(super) async fn forward(
    remote: &Remote,
    mut request: Request<ClientBody>,
    asked: &Asked,
    meta: &RequestMeta,
) -> Response<Body> {
    let client = upgrade::on(&mut request);
    let Some(stream) = reach(remote).await else {
        return not_ready(&remote.route);
    };
    let (mut parts, body) = request.into_parts();
    parts.extensions.clear();
    to_http1(&mut parts, asked, meta.authority.as_ref());
    let request = Request::from_parts(parts, body);
    match exchange(stream, request, client).await {
        Ok(response) if wire::is_unserved(&response) => not_ready(&remote.route),
        Ok(response) => response,
        Err(error) => {
            tracing::debug!(route = %remote.route, %error, "a forwarded upgrade failed");
            broken()
        }
    }
}

/// Connects to a worker that can be reached.
async fn reach(remote: &Remote) -> Option<TcpStream> {
    let mut tried: Vec<Arc<Peer>> = Vec::new();
    while let Some(peer) = remote.next(&tried) {
        match peer.connect().await {
            Ok(stream) => return Some(stream),
            Err(failure) => tracing::debug!(%failure, "no connection for an upgrade"),
        }
        tried.push(peer);
    }
    None
}

async fn exchange(
    stream: TcpStream,
    request: Request<ClientBody>,
    client: OnUpgrade,
) -> hyper::Result<Response<Body>> {
    let mut connecting = http1::Builder::new();
    connecting
        .max_buf_size(HEAD_BUFFER)
        .max_headers(MAX_PARSED_FIELDS);
    let (mut sender, connection) = connecting.handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to another worker ended early");
        }
    });
    let driver = AbortOnDropHandle::new(driver);
    let mut response = sender.send_request(request).await?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        head::to_client(&mut response);
        return Ok(response.map(|body| Held::new(body, Alone(sender, driver)).boxed_unsync()));
    }
    let worker = upgrade::on(&mut response);
    let empty = Empty::<Bytes>::new().map_err(|never| match never {});
    let mut response = response.map(|_| Body::new(empty));
    head::to_client(&mut response);
    Tunnel::attach(&mut response, Box::pin(tunnel(client, worker, driver)));
    Ok(response)
}

/// Carries bytes both ways until both directions have ended or one of them breaks.
async fn tunnel(client: OnUpgrade, worker: OnUpgrade, _driver: AbortOnDropHandle<()>) {
    let (client, worker) = match tokio::try_join!(client, worker) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade failed"),
    };
    let worker = worker.downcast::<TokioIo<TcpStream>>().ok();
    let (Some((client, early)), Some(worker)) = (after_http(client), worker) else {
        return tracing::error!("the ingress does not recognize its own connections");
    };
    let mut ends = ResetOnDrop(Some((client, worker.io.into_inner())));
    let Some((to_client, to_worker)) = &mut ends.0 else {
        return;
    };
    let carried = async {
        to_worker.write_all(&early).await?;
        to_client.write_all(&worker.read_buf).await?;
        copy_bidirectional(to_client, to_worker).await?;
        io::Result::Ok(())
    };
    match carried.await {
        Ok(()) => ends.0 = None,
        Err(error) => tracing::debug!(%error, "an upgraded connection broke"),
    }
}

/// A connection with a single request.
struct Alone(
    #[allow(dead_code, reason = "held for its drop")] http1::SendRequest<ClientBody>,
    #[allow(dead_code, reason = "held for its drop")] AbortOnDropHandle<()>,
);

impl Until for Alone {}

/// Resets both connections if one was cut, so that neither side mistakes that for a clean end.
struct ResetOnDrop(Option<(TcpStream, TcpStream)>);

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some((client, worker)) = self.0.take() {
            reset(client);
            reset(worker);
        }
    }
}
