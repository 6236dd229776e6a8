//! HTTP/1.1, and the tunnel that a connection becomes when the service agrees to another protocol.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1,
    upgrade::{self, OnUpgrade},
};
use tokio::{net::TcpStream, sync::OwnedSemaphorePermit, time::timeout};

use super::{
    body::{Held, RequestBody, ResponseBody, Sending},
    exchange::{Channel, Delivered, Release, Sent, Waiting, deliver, deliver_again, sent},
    failure::Failure,
    pool::{Lease, Pool},
};
use crate::{
    dial::{Dialer, Driver, Io},
    http::{
        Body, Malformed,
        limit::{HEAD_BUFFER, HeadTooLarge, MAX_FIELDS},
        listener::after_http,
        tunnel::Tunnel,
    },
    publish::relay::{Early, relay, reset},
};

const VERSION: &str = "HTTP/1.1";
/// The time for a connection to notice that its response has ended, which takes it one turn.
const SETTLE: Duration = Duration::from_millis(100);

/// The connection of an HTTP/1.1 response, held until the response has ended.
struct HeldLease {
    lease: Lease,
    pool: Arc<Pool>,
    sending: Option<Arc<Sending>>,
    /// Keeps a body that the service did not ask for from being sent.
    _release: Option<Release>,
    _slot: OwnedSemaphorePermit,
}

/// Sends a request. `slot` is held until the response, or the protocol that follows it, has ended.
/// `upgrade` is the client's side of an upgrade that it requested.
pub(super) async fn send(
    pool: &Arc<Pool>,
    dialer: &Dialer,
    request: Request<RequestBody>,
    waiting: Waiting,
    upgrade: Option<OnUpgrade>,
    slot: OwnedSemaphorePermit,
) -> Result<Response<Body>, Failure> {
    // The protocol that follows an upgrade ends with its connection, so an upgrade gets a new
    // connection from the beginning.
    let idle = if upgrade.is_none() { pool.take() } else { None };
    let answering = exchange(idle, dialer, request);
    let (lease, mut response) = waiting.head(answering).await?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade else {
            return Err(Failure::Malformed {
                version: VERSION,
                cause: "it switched protocols unasked".into(),
            });
        };
        let service = upgrade::on(&mut response);
        let empty = Empty::<Bytes>::new().map_err(|never| match never {});
        let mut response = response.map(|_| Body::new(empty));
        let run = tunnel(client, service, lease.driver, slot);
        Tunnel::attach(&mut response, Box::pin(run));
        return Ok(response);
    }
    if let (Some(release), true) = (&waiting.release, response.status().is_success()) {
        release.now();
    }
    let held = HeldLease {
        lease,
        pool: Arc::clone(pool),
        sending: waiting.sending,
        _release: waiting.release,
        _slot: slot,
    };
    Ok(response.map(|body: Incoming| Body::new(ResponseBody::new(body, held))))
}

async fn exchange(
    idle: Option<Lease>,
    dialer: &Dialer,
    request: Request<RequestBody>,
) -> Delivered<Lease> {
    match idle {
        Some(lease) => deliver_again(lease, request, || open(dialer)).await,
        None => deliver(open(dialer).await?, request).await,
    }
}

async fn open(dialer: &Dialer) -> Result<Lease, Failure> {
    let (io, scope) = dialer.connect().await?;
    // More fields than hyper's default of 100 cost it an allocation for each response.
    let mut client = http1::Builder::new();
    client.max_buf_size(HEAD_BUFFER).max_headers(MAX_FIELDS);
    let handshake = client.handshake(io).await;
    let (sender, connection) = handshake.map_err(|error| failure(&error))?;
    let driver = Driver::spawn(connection.with_upgrades(), scope);
    Ok(Lease { sender, driver })
}

fn failure(error: &hyper::Error) -> Failure {
    match error {
        _ if error.is_user() => Failure::Request,
        _ if error.is_parse_too_large() => Failure::Response(Malformed::Head(HeadTooLarge::Unread)),
        _ if error.is_parse() => Failure::malformed(error, VERSION),
        _ => Failure::Dropped,
    }
}

/// Carries bytes between a client and a service that agreed on another protocol, until both
/// directions have ended or one of them breaks.
async fn tunnel(
    client: OnUpgrade,
    service: OnUpgrade,
    driver: Driver,
    _slot: OwnedSemaphorePermit,
) {
    let (client, service) = match tokio::try_join!(client, service) {
        Ok(both) => both,
        Err(error) => return tracing::debug!(%error, "an upgrade failed"),
    };
    let Some((client, to_service)) = after_http(client) else {
        return tracing::error!("the ingress does not recognize its own connection");
    };
    let Ok(service) = service.downcast::<Io>() else {
        return tracing::error!("the ingress does not recognize its own connection");
    };
    let early = Early {
        up: to_service,
        down: service.read_buf,
    };
    let mut client = ResetOnDrop(Some(client));
    let Some(socket) = &mut client.0 else { return };
    match relay(
        socket,
        service.io.into_inner().into_inner(),
        driver.scope(),
        early,
    )
    .await
    {
        Ok(()) => client.0 = None,
        Err(error) => tracing::debug!(%error, "an upgraded connection broke"),
    }
}

/// Resets the client's connection if the service's was cut, so that the client does not mistake
/// that for a clean end.
struct ResetOnDrop(Option<TcpStream>);

impl Drop for ResetOnDrop {
    fn drop(&mut self) {
        if let Some(client) = self.0.take() {
            reset(client);
        }
    }
}

// === impl Lease ===

impl Channel for Lease {
    async fn send(&mut self, mut request: Request<RequestBody>) -> Sent {
        // A connection that was returned just now may not have noticed the end of its response. It
        // is waited for, because a service that handles one connection after another would not
        // answer on a second one.
        if !matches!(timeout(SETTLE, self.sender.ready()).await, Ok(Ok(()))) {
            return Sent::Unsent(request);
        }
        request.body_mut().carried_by(self.driver.scope());
        sent(self.sender.try_send_request(request).await, failure)
    }
}

// === impl HeldLease ===

impl Held for HeldLease {
    fn finish(self) {
        // A service that has answered before it read the whole request may read the rest or not.
        // The connection cannot be used again.
        if self.sending.is_none_or(|sending| sending.has_ended()) {
            self.pool.give(self.lease);
        }
    }
}
