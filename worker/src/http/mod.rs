//! HTTP as the rooms of a worker share it: a bounded listener, bodies, limits, the heads of
//! messages, and the target that answers a request. `ingress` decides which target that is.

pub(crate) mod admission;
pub mod forwarded;
pub(crate) mod head;
pub(crate) mod limit;
pub mod listener;
pub(crate) mod response;
mod target;
pub(crate) mod tunnel;

pub use admission::{Admission, Admissions};
pub use listener::ClientBody;
pub use response::Malformed;
pub use target::{Admitted, HttpTarget, RequestMeta};

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};

/// The reason why a body ended early.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response, from a guest or from the ingress itself.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// Returns a short answer for people, when no guest gives one.
pub fn plain_text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut text = text.into();
    text.push('\n');
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    let content_type = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type);
    response
}
