//! Request and response bodies between two workers. Frames pass as they arrive. The first bytes of
//! a request are kept until the head of its answer has arrived, so that it can be sent again.

use std::{
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use parking_lot::Mutex;
use tokio::{sync::Notify, time::timeout};

use crate::http::{BoxError, ClientBody};

/// The bytes of a request that are kept. A request with more is sent only once.
const KEPT: usize = 64 << 10;
/// The least that a frame counts.
const FRAME: usize = 256;
/// The time in which a connection must release the body of a request that it did not answer.
const RETURN: Duration = Duration::from_secs(1);

/// A client's body, which is lent to one attempt after another.
pub(super) struct Source {
    /// `None` if the request has no body.
    shared: Option<Arc<Shared>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    returned: Notify,
}

#[derive(Default)]
struct State {
    /// The body, unless it is lent.
    body: Option<ClientBody>,
    /// The frames that were read from it.
    read: Vec<Bytes>,
    size: usize,
    /// True if more was read than is kept, or no further attempt will follow.
    lost: bool,
}

enum Taken {
    /// The body and the frames that were read from it, the last frame first.
    There(ClientBody, Vec<Bytes>),
    Lent,
    Lost,
}

/// The body in one attempt. It returns to its source when it is dropped.
pub(super) struct Lent {
    body: Option<ClientBody>,
    /// The frames that an earlier attempt has read and this one has not yet.
    again: Vec<Bytes>,
    /// `None` if the request has no body.
    shared: Option<Arc<Shared>>,
}

/// Is notified when an answer has ended.
pub(super) trait Until: Send + Unpin + 'static {
    fn ended(&mut self) {}
}

/// A response's body, and the value that it holds until it has ended.
pub(super) struct Held<T> {
    body: Incoming,
    held: T,
}

// === impl Source ===

impl Source {
    pub fn new(body: ClientBody) -> Self {
        let shared = (!body.is_end_stream()).then(|| {
            let shared = Arc::<Shared>::default();
            shared.state.lock().body = Some(body);
            shared
        });
        Self { shared }
    }

    /// Returns `None` if more of the body was sent than is kept, or the previous attempt does not
    /// release it.
    pub async fn lend(&self) -> Option<Lent> {
        let Some(shared) = &self.shared else {
            return Some(Lent {
                body: None,
                again: Vec::new(),
                shared: None,
            });
        };
        let returned = async {
            loop {
                let returned = shared.returned.notified();
                match shared.state.lock().take() {
                    Taken::There(body, again) => return Some((body, again)),
                    Taken::Lost => return None,
                    Taken::Lent => {}
                }
                returned.await;
            }
        };
        let (body, again) = timeout(RETURN, returned).await.ok()??;
        Some(Lent {
            body: Some(body),
            again,
            shared: Some(Arc::clone(shared)),
        })
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.state.lock().lose();
        }
    }
}

// === impl State ===

impl State {
    fn lose(&mut self) {
        self.lost = true;
        self.read = Vec::new();
    }

    fn take(&mut self) -> Taken {
        if self.lost {
            return Taken::Lost;
        }
        let Some(body) = self.body.take() else {
            return Taken::Lent;
        };
        let mut again = self.read.clone();
        again.reverse();
        Taken::There(body, again)
    }

    fn keep(&mut self, frame: &Frame<Bytes>) {
        if self.lost {
            return;
        }
        match frame.data_ref() {
            Some(data) if self.size + data.len().max(FRAME) <= KEPT => {
                self.size += data.len().max(FRAME);
                self.read.push(data.clone());
            }
            _ => self.lose(),
        }
    }
}

// === impl Lent ===

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(data) = self.again.pop() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let this = &mut *self;
        let (Some(body), Some(shared)) = (&mut this.body, &this.shared) else {
            return Poll::Ready(None);
        };
        loop {
            let frame = ready!(Pin::new(&mut *body).poll_frame(cx));
            match &frame {
                // An empty frame carries nothing, and peers of HTTP/2 count them as an attack.
                Some(Ok(frame)) if frame.data_ref().is_some_and(Bytes::is_empty) => continue,
                Some(Ok(frame)) => shared.state.lock().keep(frame),
                Some(Err(_)) => shared.state.lock().lose(),
                None => {}
            }
            return Poll::Ready(frame);
        }
    }

    fn is_end_stream(&self) -> bool {
        self.again.is_empty() && self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.as_ref().map(Body::size_hint);
        let rest = rest.unwrap_or_else(|| SizeHint::with_exact(0));
        let again = self.again.iter().map(Bytes::len).sum::<usize>() as u64;
        match rest.exact() {
            Some(exact) => SizeHint::with_exact(exact + again),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(shared) = &self.shared else { return };
        let mut state = shared.state.lock();
        // Without a further attempt the body ends here, which its client's connection notices.
        let ended = match state.lost {
            true => self.body.take(),
            false => mem::replace(&mut state.body, self.body.take()),
        };
        drop(state);
        drop(ended);
        shared.returned.notify_one();
    }
}

// === impl Held ===

impl<T: Until> Held<T> {
    pub fn new(body: Incoming, held: T) -> Self {
        let mut held = Self { body, held };
        held.end_if(held.body.is_end_stream());
        held
    }

    fn end_if(&mut self, over: bool) {
        if over {
            self.held.ended();
        }
    }
}

impl<T: Until> Body for Held<T> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let over = frame.is_none() || self.body.is_end_stream();
        self.end_if(over);
        Poll::Ready(frame.map(|frame| frame.map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
