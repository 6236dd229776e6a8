//! One request and its answer in any version of HTTP: how long it may take, and when it is sent
//! twice.

use std::sync::Arc;

use hyper::{
    Request, Response,
    body::{Body as _, Incoming},
    client::conn::TrySendError,
};
use parking_lot::Mutex;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout, timeout_at},
};

use super::{
    PortLimits,
    body::{RequestBody, Sending},
    failure::Failure,
};

/// A channel that takes one request at a time: a connection, or a place on one.
pub(super) trait Channel: Sized + Send {
    fn send(&mut self, request: Request<RequestBody>) -> impl Future<Output = Sent> + Send;
}

/// The result of sending a request.
pub(super) enum Sent {
    Answer(Response<Incoming>),
    /// The service has seen nothing of it.
    Unsent(Request<RequestBody>),
    Failed(Failure),
}

/// The wait for the head of an answer.
pub(super) struct Waiting {
    pub(super) limits: PortLimits,
    /// `None` if the request has no body.
    pub(super) sending: Option<Arc<Sending>>,
    pub(super) release: Option<Release>,
}

/// Releases a request's body that was held back.
#[derive(Clone)]
pub(super) struct Release(Arc<Mutex<Option<oneshot::Sender<()>>>>);

/// A channel with the answer that arrives through it.
pub(super) type Delivered<C> = Result<(C, Response<Incoming>), Failure>;

/// Sends a request.
pub(super) async fn deliver<C: Channel>(
    mut channel: C,
    request: Request<RequestBody>,
) -> Delivered<C> {
    match channel.send(request).await {
        Sent::Answer(response) => Ok((channel, response)),
        Sent::Unsent(_) => Err(Failure::Dropped),
        Sent::Failed(failure) => Err(failure),
    }
}

/// Sends a request through a channel that was used before. The service may close it at the same
/// moment. The request is then sent once more through a new channel, if that can do no harm (RFC
/// 9110, section 9.2.2).
pub(super) async fn deliver_again<C, F>(
    mut channel: C,
    request: Request<RequestBody>,
    open: impl FnOnce() -> F + Send,
) -> Delivered<C>
where
    C: Channel,
    F: Future<Output = Result<C, Failure>> + Send,
{
    let copy = repeatable(&request);
    let request = match channel.send(request).await {
        Sent::Answer(response) => return Ok((channel, response)),
        Sent::Unsent(request) => request,
        Sent::Failed(failure @ Failure::Dropped) => copy.ok_or(failure)?,
        Sent::Failed(failure) => return Err(failure),
    };
    drop(channel);
    deliver(open().await?, request).await
}

/// Converts hyper's result of a request. `failure` converts its errors.
pub(super) fn sent(
    result: Result<Response<Incoming>, TrySendError<Request<RequestBody>>>,
    failure: fn(&hyper::Error) -> Failure,
) -> Sent {
    match result {
        Ok(response) => Sent::Answer(response),
        Err(mut error) => match error.take_message() {
            Some(request) => Sent::Unsent(request),
            None => Sent::Failed(failure(error.error())),
        },
    }
}

/// Returns a copy of a request that may reach the service twice because it is idempotent and has no
/// body.
fn repeatable(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    if !request.method().is_idempotent() || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

// === impl Waiting ===

impl Waiting {
    /// Waits for the head of an answer, for at most [`PortLimits::head_timeout`] after the last
    /// byte of the request that the service took.
    pub(super) async fn head<C: Send>(
        &self,
        answering: impl Future<Output = Delivered<C>> + Send,
    ) -> Delivered<C> {
        let began = Instant::now();
        let mut answering = std::pin::pin!(answering);
        if let Some(release) = &self.release {
            match timeout(self.limits.continue_timeout, answering.as_mut()).await {
                Ok(delivered) => return delivered,
                // A service that does not support the expectation waits for the body.
                Err(_) => release.now(),
            }
        }
        loop {
            let last = self.sending.as_ref().map_or(began, |s| s.last().max(began));
            let deadline = last + self.limits.head_timeout;
            if let Ok(delivered) = timeout_at(deadline, answering.as_mut()).await {
                return delivered;
            }
            let moved = self.sending.as_ref().is_some_and(|s| s.last() > last);
            if !moved {
                return Err(Failure::Timeout(self.limits.head_timeout));
            }
        }
    }
}

// === impl Release ===

impl Release {
    /// Holds a request's body until the service sends 100, or until this is dropped.
    pub(super) fn hold(request: &mut Request<RequestBody>) -> Self {
        let release = Self(Arc::new(Mutex::new(Some(request.body_mut().hold()))));
        let on_continue = release.clone();
        hyper::ext::on_informational(request, move |response| {
            if response.status() == hyper::StatusCode::CONTINUE {
                on_continue.now();
            }
        });
        release
    }

    pub(super) fn now(&self) {
        if let Some(release) = self.0.lock().take() {
            // A body that no longer exists does not wait.
            let _ = release.send(());
        }
    }
}
