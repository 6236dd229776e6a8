//! One span per RPC, closed with its code and duration.

use std::time::Duration;

use tonic::Code;
use tower_http::{
    classify::{GrpcErrorsAsFailures, GrpcFailureClass, SharedClassifier},
    trace::{
        DefaultOnBodyChunk, DefaultOnRequest, MakeSpan, OnEos, OnFailure, OnResponse, TraceLayer,
    },
};
use tracing::{Span, debug, info_span, warn};

/// Makes the layer.
pub type Layer = TraceLayer<
    SharedClassifier<GrpcErrorsAsFailures>,
    Named,
    DefaultOnRequest,
    Ended,
    DefaultOnBodyChunk,
    Ended,
    Ended,
>;

/// Names the span after the RPC.
#[derive(Clone, Copy, Debug)]
pub struct Named;

/// Logs how an RPC ended: a client's mistake at a low level, the server's at a high one.
#[derive(Clone, Copy, Debug)]
pub struct Ended;

pub fn layer() -> Layer {
    let client_errors = GrpcErrorsAsFailures::new()
        .with_success(tower_http::classify::GrpcCode::InvalidArgument)
        .with_success(tower_http::classify::GrpcCode::NotFound)
        .with_success(tower_http::classify::GrpcCode::AlreadyExists)
        .with_success(tower_http::classify::GrpcCode::FailedPrecondition)
        .with_success(tower_http::classify::GrpcCode::Aborted)
        .with_success(tower_http::classify::GrpcCode::OutOfRange)
        .with_success(tower_http::classify::GrpcCode::Cancelled);
    TraceLayer::new(SharedClassifier::new(client_errors))
        .make_span_with(Named)
        .on_response(Ended)
        .on_eos(Ended)
        .on_failure(Ended)
}

// === impl Named ===

impl<B> MakeSpan<B> for Named {
    fn make_span(&mut self, request: &http::Request<B>) -> Span {
        info_span!("rpc", method = request.uri().path())
    }
}

// === impl Ended ===

impl<B> OnResponse<B> for Ended {
    fn on_response(self, response: &http::Response<B>, latency: Duration, _: &Span) {
        // A status among the headers is the whole answer; otherwise it follows the messages.
        if let Some(code) = code(response.headers()) {
            debug!(?code, duration_ms = latency.as_millis(), "answered");
        }
    }
}

impl OnEos for Ended {
    fn on_eos(self, trailers: Option<&http::HeaderMap>, duration: Duration, _: &Span) {
        let code = trailers.and_then(code).unwrap_or(Code::Unknown);
        debug!(?code, duration_ms = duration.as_millis(), "answered");
    }
}

impl OnFailure<GrpcFailureClass> for Ended {
    fn on_failure(&mut self, failure: GrpcFailureClass, latency: Duration, _: &Span) {
        warn!(%failure, duration_ms = latency.as_millis(), "failed");
    }
}

fn code(headers: &http::HeaderMap) -> Option<Code> {
    headers
        .get("grpc-status")
        .map(|status| Code::from_bytes(status.as_bytes()))
}
