//! Serves routes with components: a request is answered by the guest, or with the reason why it
//! failed. Each generation of `wasi:http` has its own module: 0.2 in [`p2`], 0.3 in
//! [`super::handler`].

pub(super) mod body;
mod gathered;
mod p2;
pub(super) mod run;

use std::sync::Arc;

use futures::future::BoxFuture;
use http::{Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use warren_model::spec::BodyLimits;
use wasmtime_wasi_http::{Error, WasiBody};

use crate::http::{
    Admission, Body, ClientBody, HttpTarget, RequestMeta,
    limit::{Bounded, LimitError, Limited, Overrun, TooLarge, answers_more, declares_more},
    plain_text,
};

use super::{ComponentRuntime, component::Http, failure::Failure, host_memory::MeteredBody};

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
        let request = request.map(|body| MeteredBody::new(body, self.host_budget()).boxed_unsync());
        let method = request.method().clone();
        let answering = async {
            match self.http() {
                Some(Http::P2(pre)) => self.ask(pre, request, meta, deadline).await,
                Some(Http::P3(handler)) => handler.handle(self, request, &meta, deadline).await,
                None => Err(self.logged(Failure::Trapped("it exports no HTTP handler".into()))),
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

    /// Returns the failure of a body that exceeds its limit. That limit must be set.
    fn too_large(&self, what: TooLarge) -> Failure {
        let limits = self.bodies();
        match what {
            TooLarge::Request => Failure::RequestTooLarge {
                limit: limits.request.unwrap_or_default(),
            },
            TooLarge::Response => self.logged(Failure::ResponseTooLarge {
                limit: limits.response.unwrap_or_default(),
            }),
        }
    }
}

/// Returns the request with a body that fails beyond its limit.
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

/// Sets the scheme and the authority of the request's target, the only place where 0.3 reads them.
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

/// Adds the host that the interface requires and that HTTP/1.0 may omit.
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
        | Failure::NoPlace(_)
        | Failure::NoSlot(_)
        | Failure::Stopped
        | Failure::LeaseExpired => (StatusCode::SERVICE_UNAVAILABLE, failure.to_string()),
        Failure::RequestTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, failure.to_string()),
        Failure::Timeout(_) | Failure::Unfinished(_) | Failure::Overtime(_) => {
            (StatusCode::GATEWAY_TIMEOUT, failure.to_string())
        }
        Failure::Malformed(_) | Failure::BrokeOff(_) => {
            (StatusCode::BAD_GATEWAY, failure.to_string())
        }
        failure if failure.is_shortage() => (StatusCode::SERVICE_UNAVAILABLE, failure.to_string()),
        // Backtraces and texts of a guest are for the log of the workload's owner, not for clients.
        Failure::Trapped(_) => (StatusCode::INTERNAL_SERVER_ERROR, "it failed".to_owned()),
        Failure::ErrorCode(_) => {
            let text = "it answered with an error, which its log names".to_owned();
            (StatusCode::INTERNAL_SERVER_ERROR, text)
        }
        Failure::NoAnswer
        | Failure::OutOfMemory(_)
        | Failure::CallTooLarge(_)
        | Failure::TooDeep(_)
        | Failure::ResponseTooLarge { .. } => {
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
