//! The one point where every RPC is authenticated and authorised.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures::future::{Either, Ready, ready};
use tonic::{Status, body::Body};
use tower::{Layer, Service};

use crate::grpc::error;

/// The caller of a request. Every revision and event that the request causes names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(Arc<str>);

/// Says which caller a request comes from and whether it may pass.
pub trait Authorizer: Send + Sync + 'static {
    fn authorize(&self, request: &http::request::Parts) -> Result<Caller, Status>;
}

/// Admits everyone, which is right as long as only loopback, or a network that the operator called
/// safe, can reach the listener.
#[derive(Clone, Copy, Debug)]
pub struct AdmitAll;

#[derive(Clone)]
pub struct AuthzLayer(pub Arc<dyn Authorizer>);

#[derive(Clone)]
pub struct Authz<S> {
    inner: S,
    authorizer: Arc<dyn Authorizer>,
}

// === impl Caller ===

impl Caller {
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Returns the caller of a request that passed the layer.
    pub fn of<T>(request: &tonic::Request<T>) -> Result<Self, Status> {
        // A service that is reached around the layer is a bug, and must not look like an anonymous
        // call.
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .ok_or_else(|| error::internal("the request passed no authorisation"))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl AdmitAll ===

impl Authorizer for AdmitAll {
    fn authorize(&self, _: &http::request::Parts) -> Result<Caller, Status> {
        Ok(Caller::new("anonymous"))
    }
}

// === impl Authz ===

impl<S> Layer<S> for AuthzLayer {
    type Service = Authz<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authz {
            inner,
            authorizer: self.0.clone(),
        }
    }
}

impl<S, B> Service<http::Request<B>> for Authz<S>
where
    S: Service<http::Request<B>, Response = http::Response<Body>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Self::Response, Self::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (mut parts, body) = request.into_parts();
        match self.authorizer.authorize(&parts) {
            Ok(caller) => {
                parts.extensions.insert(caller);
                Either::Left(self.inner.call(http::Request::from_parts(parts, body)))
            }
            Err(status) => Either::Right(ready(Ok(status.into_http()))),
        }
    }
}
