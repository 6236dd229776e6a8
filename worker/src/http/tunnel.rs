//! What becomes of a connection when a guest agreed to switch protocols (RFC 9110, section 7.8).

use std::sync::Arc;

use futures::future::BoxFuture;
use http::Response;
use parking_lot::Mutex;

use super::Body;

/// Carries bytes both ways once the 101 is out. It travels with the response, so that the task of
/// the client's connection runs it: there it is counted, and ended, as the connection is.
#[derive(Clone)]
pub struct Tunnel(Arc<Mutex<Option<BoxFuture<'static, ()>>>>);

// === impl Tunnel ===

impl Tunnel {
    /// Hands `run` to whoever writes the response. Dropping it ends both sides.
    pub fn attach(response: &mut Response<Body>, run: BoxFuture<'static, ()>) {
        let tunnel = Self(Arc::new(Mutex::new(Some(run))));
        response.extensions_mut().insert(tunnel);
    }

    /// What [`Self::attach`] left, once.
    pub fn take(&self) -> Option<BoxFuture<'static, ()>> {
        self.0.lock().take()
    }
}
