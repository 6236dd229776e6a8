//! `wasi:http/incoming-handler` 0.2: a request, a fresh instance, an answer. That of 0.3 stands in [`super::handler`].

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, Uri, header, uri::Scheme};
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::{sync::oneshot, task::JoinHandle, time::Instant};
use warren_model::spec::BodyLimits;
use wasmtime_wasi_http::{
    Error, WasiBody, WasiHttpView as _,
    p2::{
        bindings::{ProxyPre, http::types},
        body::HyperOutgoingBody,
    },
};

use crate::ingress::{
    Admission, Body, BoxError, ClientBody, HttpTarget, RequestMeta,
    limit::{Bounded, LimitError, Limited, Overrun, TooLarge, answers_more, declares_more},
    plain_text,
};

use super::{ComponentRuntime, Guest, component::Http, failure::Failure, memory::InstanceMemory};

impl HttpTarget for ComponentHandle {
    fn admit(&self) -> Option<Admission> {
        self.0.admit()
    }

    fn call(
        &self,
        admission: Admission,
        request: Request<ClientBody>,
        meta: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>> {
        let component = Arc::clone(&self.0);
        Box::pin(async move {
            let _admission = admission;
            match component.handle(request, meta).await {
                Ok(response) => response,
                Err(failure) => {
                    tracing::debug!(component = %component.name(), %failure, "a request failed");
                    answer(&component, &failure)
                }
            }
        })
    }
}

/// A component as the target of routes.
pub struct ComponentHandle(pub Arc<ComponentRuntime>);

type Outcome = Result<Response<HyperOutgoingBody>, types::ErrorCode>;

impl ComponentRuntime {
    async fn handle(
        self: &Arc<Self>,
        request: Request<ClientBody>,
        meta: RequestMeta,
    ) -> Result<Response<Body>, Failure> {
        let deadline = self.deadline();
        let limits = self.bodies();
        if declares_more(request.headers(), limits.request) {
            return Err(self.too_large(TooLarge::Request));
        }
        let (request, overrun) = limited(request, limits.request);
        let method = request.method().clone();
        let answering = async {
            match self.http() {
                Some(Http::P2(pre)) => self.ask(pre, request, meta, deadline).await,
                Some(Http::P3(handler)) => handler.handle(self, request, &meta, deadline).await,
                None => Err(Failure::Trapped("it exports no HTTP handler".into())),
            }
        };
        let answer = answering.await;
        if overrun.happened() {
            return Err(self.too_large(TooLarge::Request));
        }
        let answer = answer?;
        if answers_more(&method, answer.headers(), limits.response) {
            return Err(self.too_large(TooLarge::Response));
        }
        if limits == BodyLimits::default() {
            return Ok(answer);
        }
        let component = Arc::clone(self);
        let told = move |what| component.too_large(what).into();
        Ok(answer.map(|body| Bounded::new(body, limits.response, overrun, told).boxed_unsync()))
    }

    /// What is told when a body was larger than its limit, which there is.
    fn too_large(&self, what: TooLarge) -> Failure {
        let limits = self.bodies();
        match what {
            TooLarge::Request => Failure::RequestTooLarge {
                limit: limits.request.unwrap_or_default(),
            },
            TooLarge::Response => {
                let failure = Failure::ResponseTooLarge {
                    limit: limits.response.unwrap_or_default(),
                };
                self.log_failure(&failure);
                failure
            }
        }
    }

    async fn ask(
        self: &Arc<Self>,
        pre: &ProxyPre<Guest>,
        request: Request<WasiBody>,
        meta: RequestMeta,
        deadline: Instant,
    ) -> Result<Response<Body>, Failure> {
        let slot = self.request_slot(deadline).await?;
        let (outcome, answered) = oneshot::channel();
        let fate = Fate::default();
        let guest = tokio::spawn({
            let (component, pre, fate) = (Arc::clone(self), pre.clone(), fate.clone());
            let memory = self.instance_memory();
            async move {
                let _slot = slot;
                let answer = component.answer(pre, request, meta, outcome, fate, &memory);
                let run = component.run(answer);
                let result = component.until(deadline, &memory, run).await;
                if let Err(failure) = &result {
                    component.log_failure(failure);
                }
                result
            }
        });
        // The guest outlives the head of its answer: it ends with the body, or with the client.
        let mut guest = AbortOnDrop(Some(guest));
        match answered.await {
            Ok(Ok(response)) => Ok(response.map(|body| guest_body(body, guest, fate))),
            Ok(Err(code)) => Err(Failure::Trapped(format!(
                "it answered with an error: {code}"
            ))),
            Err(_) => match guest.join().await {
                Ok(()) => Err(Failure::Trapped("it returned without an answer".into())),
                Err(failure) => Err(failure),
            },
        }
    }

    async fn answer(
        &self,
        pre: ProxyPre<Guest>,
        mut request: Request<WasiBody>,
        meta: RequestMeta,
        outcome: oneshot::Sender<Outcome>,
        fate: Fate,
        memory: &Arc<InstanceMemory>,
    ) -> Result<(), Failure> {
        let mut guest = self.store(0, memory);
        // Declared after the store, so that it is known to have failed before its body ends.
        let mut run = Run {
            fate,
            succeeded: false,
        };
        name_authority(&mut request, &meta);
        let scheme = if meta.scheme == Scheme::HTTPS {
            types::Scheme::Https
        } else {
            types::Scheme::Http
        };
        let result = async {
            let mut http = guest.store.data_mut().http();
            let request = http.new_incoming_request(scheme, request)?;
            let outparam = http.new_response_outparam(outcome)?;
            let proxy = pre.instantiate_async(&mut guest.store).await?;
            proxy
                .wasi_http_incoming_handler()
                .call_handle(&mut guest.store, request, outparam)
                .await
        }
        .await;
        match result {
            Ok(()) => {
                run.succeeded = true;
                guest.finish();
                Ok(())
            }
            Err(error) => Err(self.failure(&error, &guest)),
        }
    }
}

/// The request with a body that fails beyond its limit.
fn limited(request: Request<ClientBody>, limit: Option<u64>) -> (Request<WasiBody>, Overrun) {
    let mut overrun = Overrun::default();
    let request = request.map(|body| {
        let Some(bytes) = limit else {
            return body.map_err(Error::from).boxed_unsync();
        };
        let body = Limited::new(body, limit);
        overrun = body.overrun();
        let told = move |error| match error {
            LimitError::TooLarge => Error::HttpRequestBodySize(Some(bytes)),
            LimitError::Body(error) => Error::from(error),
        };
        body.map_err(told).boxed_unsync()
    });
    (request, overrun)
}

/// Gives the request's target a scheme and an authority, which 0.3 takes from there alone.
pub(super) fn name_target<B>(request: &mut Request<B>, meta: &RequestMeta) {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let named = parts
        .authority
        .take()
        .map(|authority| authority.to_string());
    let authority = match named {
        Some(authority) => authority,
        None if meta.authority.is_empty() => "localhost".to_owned(),
        None => meta.authority.clone(),
    };
    parts.scheme = Some(meta.scheme.clone());
    parts.authority = authority.parse().ok();
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// HTTP/1.0 may come without a host, which the interface insists on.
fn name_authority<B>(request: &mut Request<B>, meta: &RequestMeta) {
    let named = request.uri().authority().is_some() || request.headers().contains_key(header::HOST);
    if !named {
        name_target(request, meta);
    }
}

fn answer(component: &ComponentRuntime, failure: &Failure) -> Response<Body> {
    let (status, text) = match failure {
        Failure::Busy { .. }
        | Failure::Waited { .. }
        | Failure::Stopped
        | Failure::LeaseExpired => (StatusCode::SERVICE_UNAVAILABLE, failure.to_string()),
        Failure::RequestTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, failure.to_string()),
        Failure::Timeout(_) => (StatusCode::GATEWAY_TIMEOUT, failure.to_string()),
        failure if failure.is_shortage() => (StatusCode::SERVICE_UNAVAILABLE, failure.to_string()),
        // Backtraces are for the workload's owner, in its log, not for its clients.
        Failure::Trapped(_) => (StatusCode::INTERNAL_SERVER_ERROR, "it failed".to_owned()),
        Failure::OutOfMemory(_) | Failure::TooDeep(_) | Failure::ResponseTooLarge { .. } => {
            (StatusCode::INTERNAL_SERVER_ERROR, failure.to_string())
        }
    };
    let mut response = plain_text(status, format!("component `{}`: {text}", component.name()));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

/// Whether the guest behind a body failed. A failed one leaves its body as if it had finished it.
#[derive(Clone, Default)]
struct Fate(Arc<AtomicBool>);

/// Tells [`Fate`] when it is dropped before the run succeeded: by a trap, a timeout, an abort.
struct Run {
    fate: Fate,
    succeeded: bool,
}

impl Drop for Run {
    fn drop(&mut self) {
        if !self.succeeded {
            self.fate.0.store(true, Ordering::Release);
        }
    }
}

struct AbortOnDrop(Option<JoinHandle<Result<(), Failure>>>);

impl AbortOnDrop {
    async fn join(&mut self) -> Result<(), Failure> {
        match &mut self.0 {
            Some(guest) => guest
                .await
                .unwrap_or_else(|_| Err(Failure::Trapped("it was ended".into()))),
            None => Ok(()),
        }
    }

    /// Lets the guest go on by itself, until its timeout.
    fn release(&mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(guest) = &self.0 {
            guest.abort();
        }
    }
}

/// The body that a guest writes. Dropped early, it ends the guest; when the guest fails first, it ends
/// as an error, so that no client takes a part for the whole.
struct GuestBody {
    body: HyperOutgoingBody,
    guest: AbortOnDrop,
    fate: Fate,
}

fn guest_body(body: HyperOutgoingBody, mut guest: AbortOnDrop, fate: Fate) -> Body {
    if body.is_end_stream() {
        guest.release();
        return body.map_err(|e| e.to_string().into()).boxed_unsync();
    }
    GuestBody { body, guest, fate }.boxed_unsync()
}

impl HttpBody for GuestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(frame) => Poll::Ready(Some(frame.map_err(|e| e.to_string().into()))),
            None if self.fate.0.load(Ordering::Acquire) => Poll::Ready(Some(Err(
                "the component failed before its answer was whole".into(),
            ))),
            None => {
                self.guest.release();
                Poll::Ready(None)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
