//! The target that answers a request.

use std::{net::SocketAddr, sync::Arc};

use futures::future::BoxFuture;
use http::{Request, Response, uri::Scheme};

use super::{Admission, Body, ClientBody};

/// What answers the requests of a route: a component of one replica, or a port of its service.
pub trait HttpTarget: Send + Sync {
    /// Promises to answer a request. `None` when the target takes no more.
    fn admit(&self) -> Option<Admission>;

    /// Answers a request that it admitted. Dropping the future, or the response's body, gives the
    /// request up.
    fn call(
        &self,
        admission: Admission,
        request: Request<ClientBody>,
        meta: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>>;
}

/// A target that promised to answer a request.
pub struct Admitted {
    pub(crate) target: Arc<dyn HttpTarget>,
    admission: Admission,
}

/// What the request itself does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestMeta {
    /// As the client spoke to the ingress.
    pub scheme: Scheme,
    /// Host and port that the client asked for; empty where HTTP/1.0 named none.
    pub authority: String,
    /// The client.
    pub peer: SocketAddr,
}

// === impl Admitted ===

impl Admitted {
    /// Asks `target` to admit a request. Returns `None` when it takes no more.
    pub fn by(target: &Arc<dyn HttpTarget>) -> Option<Self> {
        Some(Self {
            admission: target.admit()?,
            target: Arc::clone(target),
        })
    }

    /// See [`HttpTarget::call`].
    pub fn call(
        self,
        request: Request<ClientBody>,
        meta: RequestMeta,
    ) -> BoxFuture<'static, Response<Body>> {
        self.target.call(self.admission, request, meta)
    }
}
