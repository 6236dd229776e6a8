//! The target that answers a request.

use std::{net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use http::{
    Request, Response,
    uri::{Authority, Scheme},
};

use super::{Admission, Body, ClientBody};

/// Answers the requests of a route: a component of one replica, or a port of its service.
pub trait HttpTarget: Send + Sync {
    /// Admits a request, which must then be answered. Returns `None` if the target accepts no more.
    fn admit(&self) -> Option<Admission>;

    /// Answers a request that it admitted. Dropping the future, or the response's body, gives up
    /// the request.
    fn call(
        &self,
        admission: Admission,
        request: Request<ClientBody>,
        meta: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>>;
}

/// A target that has admitted a request.
pub struct Admitted {
    pub(crate) target: Arc<dyn HttpTarget>,
    admission: Admission,
}

/// The properties of a request that it does not contain itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMeta {
    /// The scheme that the client used with the ingress.
    pub scheme: Scheme,
    /// The host and port that the client requested. `None` if a request of HTTP/1.0 named none.
    pub authority: Option<Authority>,
    /// The client's address.
    pub peer: SocketAddr,
}

// === impl Admitted ===

impl Admitted {
    /// Asks `target` to admit a request. Returns `None` if it accepts no more.
    pub fn by(target: &Arc<dyn HttpTarget>) -> Option<Self> {
        Some(Self {
            admission: target.admit()?,
            target: Arc::clone(target),
        })
    }

    /// Calls the target; see [`HttpTarget::call`].
    pub fn call(
        self,
        request: Request<ClientBody>,
        meta: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>> {
        self.target.call(self.admission, request, meta)
    }
}
