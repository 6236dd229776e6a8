//! HTTP from the machine's network to what has routes: components, and ports of services.

mod admission;
mod fleet;
mod forwarded;
mod front;
pub(crate) mod limit;
pub(crate) mod response;
pub mod router;
pub mod server;
mod service;
mod tunnel;

pub use admission::{Admission, Admissions};
pub use fleet::{ClusterFront, FleetRoutes};
pub use forwarded::TrustedProxies;
pub use front::Ingress;
pub use response::Malformed;
pub use router::{Admitted, HttpTarget, RequestMeta, Router};
pub use server::ClientBody;
pub use service::{PortLimits, ServicePort, ServiceTarget};

pub(crate) use service::is_grpc;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};

/// Why a body ended early.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a response, from a guest or from the ingress itself.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;

/// A short answer for people, where no guest gives one.
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
