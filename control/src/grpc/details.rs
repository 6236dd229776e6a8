//! Adds details to every failure that tonic, health and reflection report themselves.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::HeaderMap;
use http_body_util::BodyExt as _;
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::methods::Methods;
use crate::{grpc::error, suggest};

const STATUS: &str = "grpc-status";
const DETAILS: &str = "grpc-status-details-bin";

/// The words with which tonic says that a message is larger than the server takes.
const TOO_LARGE: &str = "decoded message length too large";

#[derive(Clone)]
pub struct DetailsLayer(pub Arc<Methods>);

#[derive(Clone)]
pub struct Details<S> {
    inner: S,
    methods: Arc<Methods>,
}

// === impl Details ===

impl<S> Layer<S> for DetailsLayer {
    type Service = Details<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Details {
            inner,
            methods: self.0.clone(),
        }
    }
}

impl<S, B> Service<http::Request<B>> for Details<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let path = request.uri().path().to_owned();
        let methods = self.methods.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            let mut response = answer.await?;
            // A status among the headers is the whole answer; otherwise it follows the messages.
            if response.headers().contains_key(STATUS) {
                complete(response.headers_mut(), &methods, &path);
                return Ok(response);
            }
            Ok(response.map(|body| {
                Body::new(body.map_frame(move |mut frame| {
                    if let Some(trailers) = frame.trailers_mut() {
                        complete(trailers, &methods, &path);
                    }
                    frame
                }))
            }))
        })
    }
}

/// Replaces a status without details by one with details.
fn complete(headers: &mut HeaderMap, methods: &Methods, path: &str) {
    if headers.contains_key(DETAILS) {
        return;
    }
    let Some(bare) = Status::from_header_map(headers).filter(|held| held.code() != Code::Ok) else {
        return;
    };
    // This fails only if the message is not header text, and tonic encodes it.
    let _ = explained(&bare, methods, path).add_header(headers);
}

/// Returns what a status that other code made means to a client.
fn explained(bare: &Status, methods: &Methods, path: &str) -> Status {
    let message = bare.message();
    match bare.code() {
        Code::Unimplemented if !methods.contains(path) => {
            let hint = suggest::did_you_mean(path, methods.paths().map(str::to_owned));
            error::no_such_method(path, &hint)
        }
        Code::OutOfRange if message.contains(TOO_LARGE) => error::too_large("message", message),
        // The bytes were not a message of this RPC, or there were none.
        Code::Internal => error::malformed(message),
        _ => error::completed(bare),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tonic_types::StatusExt as _;

    use super::*;

    #[test]
    fn every_bare_status_is_explained() {
        let methods = Methods::of(&[warren_proto::FILE_DESCRIPTOR_SET]).unwrap();
        let get = "/warren.v1.WorkloadService/Get";
        let cases = [
            (
                Code::Unimplemented,
                "",
                "/warren.v1.WorkloadService/Gte",
                Code::Unimplemented,
                "NO_SUCH_RPC",
            ),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 9 bytes, the limit is: 4 bytes",
                get,
                Code::ResourceExhausted,
                "TOO_LARGE",
            ),
            (
                Code::Internal,
                "Missing request message.",
                get,
                Code::InvalidArgument,
                "MALFORMED_REQUEST",
            ),
            (
                Code::NotFound,
                "service not registered",
                "/grpc.health.v1.Health/Check",
                Code::NotFound,
                "NOT_FOUND",
            ),
            (Code::Cancelled, "", get, Code::Cancelled, "CANCELLED"),
        ];
        for (code, message, path, expected, reason) in cases {
            let mut headers = HeaderMap::new();
            Status::new(code, message).add_header(&mut headers).unwrap();
            complete(&mut headers, &methods, path);
            let status = Status::from_header_map(&headers).unwrap();
            assert_eq!(status.code(), expected, "{message}");
            let details = status.get_error_details();
            assert_eq!(details.error_info().unwrap().reason, reason, "{message}");
        }
    }

    #[test]
    fn what_has_details_or_succeeded_stays_as_it_is() {
        let methods = Methods::default();
        for status in [Status::ok(""), error::internal("ours")] {
            let mut headers = HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            let before = headers.clone();
            complete(&mut headers, &methods, "/x");
            assert_eq!(headers, before);
        }
    }
}
