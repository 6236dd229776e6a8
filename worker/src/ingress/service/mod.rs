//! Serves HTTP requests directly from a port of a workload's service, over the workload's network.
//!
//! This is a reverse proxy that stores nothing: bodies pass frame by frame both ways, each side as
//! fast as the other takes it. A request costs a copy of the bytes into the guest's buffer and one
//! out of it, one allocation for the response's body, and a copy of its head if it is sent over a
//! connection that was used before and may be sent twice.

mod body;
mod exchange;
mod failure;
mod http1;
mod http2;
mod pool;

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use futures::future::{BoxFuture, join};
use http::{Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};
use tokio_util::task::AbortOnDropHandle;
use warren_model::{
    name::WorkloadId,
    spec::{BodyLimits, RouteProtocol},
};
use warren_net::Network;

use crate::{
    dial::Dialer,
    http::{
        Admission, Admissions, Body, ClientBody, HttpTarget, RequestMeta,
        head::{self, is_grpc},
        limit::{Bounded, TooLarge, answers_more, declares_more},
        response::{self, Framing},
    },
    logs::{ReplicaLog, Stream},
};

use body::{RequestBody, Sending};
use exchange::{Release, Waiting};
use failure::Failure;
use http2::Streams;
use pool::Pool;

/// A route to a service. Requests go to one of its ports.
pub struct ServiceTarget {
    pub port: Arc<ServicePort>,
    pub protocol: RouteProtocol,
}

/// A port of one replica's service, with the connections to it. Dropping it closes the idle ones.
pub struct ServicePort {
    /// The name of the port for people.
    place: String,
    dialer: Dialer,
    limits: PortLimits,
    log: ReplicaLog,
    admissions: Admissions,
    slots: Arc<Semaphore>,
    idle: Arc<Pool>,
    streams: Arc<Streams>,
    // This ends the task when it is dropped.
    _reaper: AbortOnDropHandle<()>,
}

/// The bounds of one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortLimits {
    /// The most simultaneous requests and upgraded connections. Further ones are answered with 503.
    pub requests: usize,
    /// The most HTTP/1.1 connections that are kept without a request.
    pub idle: usize,
    /// The time for which a connection is kept without a request.
    pub idle_timeout: Duration,
    /// The time from the last byte of a request that the service took to the head of its response,
    /// including connecting. After that the request is answered with 504. Bodies have no time
    /// limit, because they may be streams of events.
    pub head_timeout: Duration,
    /// The time for which a body with `Expect: 100-continue` waits for a service that does not
    /// answer the expectation.
    pub continue_timeout: Duration,
    /// The largest bodies.
    pub bodies: BodyLimits,
}

impl Default for PortLimits {
    fn default() -> Self {
        Self {
            requests: 1024,
            idle: 32,
            idle_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(60),
            continue_timeout: Duration::from_secs(1),
            bodies: BodyLimits::default(),
        }
    }
}

// === impl ServicePort ===

impl ServicePort {
    /// Returns a port. `log` receives messages about responses that were cut. This must be called
    /// in a runtime, because a task closes idle connections, and ends with the port.
    pub fn new(
        workload: &WorkloadId,
        port: NonZeroU16,
        network: Network,
        limits: PortLimits,
        log: ReplicaLog,
    ) -> Arc<Self> {
        let idle = Arc::new(Pool::new(limits));
        let streams = Arc::new(Streams::new(limits));
        let reaper = tokio::spawn({
            let (idle, streams) = (Arc::clone(&idle), Arc::clone(&streams));
            async move {
                join(idle.reap(), streams.reap()).await;
            }
        });
        Arc::new(Self {
            place: format!("port {port} of the service of workload {workload}"),
            dialer: Dialer::new(network, port.get()),
            limits,
            log,
            admissions: Admissions::default(),
            slots: Arc::new(Semaphore::new(limits.requests)),
            idle,
            streams,
            _reaper: AbortOnDropHandle::new(reaper),
        })
    }

    /// Refuses further requests, and completes when the last request, or the protocol that followed
    /// it, has ended. They end with the service at the latest.
    pub async fn drain(&self) {
        // Admitted requests now have places of their own, or were refused.
        self.admissions.drain().await;
        let all = u32::try_from(self.limits.requests).unwrap_or(u32::MAX);
        // The semaphore is only closed below. If an earlier drain has closed it, nothing runs
        // either.
        let _all = self.slots.acquire_many(all).await;
        self.slots.close();
        self.idle.clear();
        self.streams.clear();
    }

    async fn answer(
        self: &Arc<Self>,
        protocol: RouteProtocol,
        request: Request<ClientBody>,
        meta: &RequestMeta,
    ) -> Result<Response<Body>, Failure> {
        let limits = self.limits.bodies;
        if declares_more(request.headers(), limits.request) {
            return Err(self.too_large(TooLarge::Request));
        }
        let method = request.method().clone();
        let (request, body) = request.into_parts();
        let (body, sending) = RequestBody::new(body, limits.request);
        let overrun = body.overrun();
        let request = Request::from_parts(request, body);
        let answer = self.forward(protocol, request, sending, meta).await;
        if overrun.happened() {
            return Err(self.too_large(TooLarge::Request));
        }
        let answer = answer.inspect_err(|failure| self.note(failure))?;
        if answers_more(&method, answer.headers(), limits.response) {
            return Err(self.too_large(TooLarge::Response));
        }
        if limits == BodyLimits::default() {
            return Ok(answer);
        }
        let port = Arc::clone(self);
        let told = move |what| port.too_large(what).into();
        Ok(answer.map(|body| Bounded::new(body, limits.response, overrun, told).boxed_unsync()))
    }

    /// Returns the failure of a body that exceeds its limit. That limit must be set.
    fn too_large(&self, what: TooLarge) -> Failure {
        let limits = self.limits.bodies;
        match what {
            TooLarge::Request => Failure::RequestTooLarge(limits.request.unwrap_or_default()),
            TooLarge::Response => {
                let failure = Failure::ResponseTooLarge(limits.response.unwrap_or_default());
                self.note(&failure);
                failure
            }
        }
    }

    /// Logs what is wrong with the service's answers, for the workload's owner.
    fn note(&self, failure: &Failure) {
        if failure.is_answer() {
            let line = format!("{}: {failure}", self.place);
            self.log.line("service", Stream::Stderr, &line);
        }
    }

    async fn forward(
        &self,
        protocol: RouteProtocol,
        request: Request<RequestBody>,
        sending: Option<Arc<Sending>>,
        meta: &RequestMeta,
    ) -> Result<Response<Body>, Failure> {
        let slot = self.slot()?;
        let method = request.method().clone();
        let mut request = request;
        let mut asked = head::take_hop_by_hop(request.headers_mut());
        let http2 = protocol == RouteProtocol::H2c || is_grpc(request.headers());
        let upgrade = match &asked.upgrade {
            None => None,
            // HTTP/1.0 has no upgrades (RFC 9110, section 7.8).
            Some(_) if request.version() < Version::HTTP_11 => {
                asked.upgrade = None;
                None
            }
            Some(_) if http2 => return Err(Failure::NoUpgrade),
            Some(_) => Some(hyper::upgrade::on(&mut request)),
        };

        let (mut parts, body) = request.into_parts();
        // The extensions belong to the client's connection.
        parts.extensions.clear();
        let chunked = body.size_hint().exact().is_none() && !body.is_end_stream();
        let mut waiting = Waiting {
            limits: self.limits,
            sending,
            release: None,
        };
        let mut response = if http2 {
            head::to_http2(&mut parts, &asked, meta.authority.as_ref());
            let request = Request::from_parts(parts, body);
            let sending = self.streams.send(&self.dialer, request, waiting, slot);
            sending.await?
        } else {
            head::to_http1(&mut parts, &asked, meta.authority.as_ref(), chunked);
            let expects = parts.headers.contains_key(header::EXPECT);
            let mut request = Request::from_parts(parts, body);
            if expects && waiting.sending.is_some() {
                waiting.release = Some(Release::hold(&mut request));
            }
            let (pool, dialer) = (&self.idle, &self.dialer);
            http1::send(pool, dialer, request, waiting, upgrade, slot).await?
        };
        // The bytes after a switch of protocols do not belong to the response.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS && !http2 {
            head::to_client(&mut response);
            return Ok(response);
        }
        let framing = response::check(&method, &mut response).map_err(Failure::Response)?;
        head::to_client(&mut response);
        Ok(match framing {
            // The service sends a body nevertheless.
            Framing::NoBody if !response.body().is_end_stream() => {
                response.map(|_| Body::new(Empty::new().map_err(|never| match never {})))
            }
            _ => response,
        })
    }

    fn slot(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        slot.map_err(|error| match error {
            TryAcquireError::NoPermits => Failure::Busy(self.limits.requests),
            TryAcquireError::Closed => Failure::Stopping,
        })
    }
}

// === impl ServiceTarget ===

impl HttpTarget for ServiceTarget {
    fn admit(&self) -> Option<Admission> {
        self.port.admissions.admit()
    }

    fn call(
        &self,
        admission: Admission,
        request: Request<ClientBody>,
        meta: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>> {
        let (port, protocol) = (Arc::clone(&self.port), self.protocol);
        Box::pin(async move {
            let _admission = admission;
            match port.answer(protocol, request, &meta).await {
                Ok(response) => response,
                Err(failure) => {
                    tracing::debug!(place = port.place, %failure, "a request failed");
                    failure.answer(&port.place)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests;
