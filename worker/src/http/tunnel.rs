//! The tunnel that a connection becomes when a guest agrees to switch protocols (RFC 9110, section
//! 7.8).

use std::sync::Arc;

use futures::future::BoxFuture;
use http::Response;
use parking_lot::Mutex;

use super::Body;

/// Carries bytes both ways after the 101 was sent. It travels with the response, so that the task
/// of the client's connection runs it, and it counts and ends like the connection.
#[derive(Clone)]
pub struct Tunnel(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

// === impl Tunnel ===

impl Tunnel {
    /// Attaches `run` to the response, for the code that writes the response. Dropping it ends both
    /// sides.
    pub fn attach(response: &mut Response<Body>, run: BoxFuture<'static, ()>) {
        let tunnel = Self(Arc::new(Mutex::new(Some(run))));
        response.extensions_mut().insert(tunnel);
    }

    /// Takes what [`Self::attach`] left, once.
    pub fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.0.lock().take()
    }
}
