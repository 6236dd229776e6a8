//! A session's way out: heartbeats overtake reports.

use futures::stream::{self, PollNext, Stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use warren_proto::v1::{SessionRequest, session_request::Message};

use super::SessionError;

/// Control messages between this task and the connection: a few heartbeats, of which each is small.
const URGENT: usize = 16;
/// Reports between this task and the connection. A report is made once there is room for it: it is
/// never older than the one before it took to leave.
const REPORTS: usize = 1;

/// The sender of a session. Dropped, the stream ends.
pub(super) struct Lanes {
    urgent: mpsc::Sender<SessionRequest>,
    reports: mpsc::Sender<SessionRequest>,
}

// === impl Lanes ===

impl Lanes {
    /// With the stream that the connection reads.
    pub fn new() -> (Self, impl Stream<Item = SessionRequest> + Send + 'static) {
        let (urgent, first) = mpsc::channel(URGENT);
        let (reports, then) = mpsc::channel(REPORTS);
        let (first, then) = (ReceiverStream::new(first), ReceiverStream::new(then));
        let stream = stream::select_with_strategy(first, then, |_: &mut ()| PollNext::Left);
        (Self { urgent, reports }, stream)
    }

    /// Room for a message ahead of reports, where there is some: else the connection takes nothing.
    pub fn urgent_now(&self) -> Option<Place<'_>> {
        self.urgent.try_reserve().ok().map(Place)
    }

    /// Room for a message ahead of reports.
    pub async fn urgent(&self) -> Result<Place<'_>, SessionError> {
        let place = self.urgent.reserve().await;
        place.map(Place).map_err(|_| SessionError::Ended)
    }

    /// Room for a report: the one before has left.
    pub async fn report(&self) -> Result<Place<'_>, SessionError> {
        let place = self.reports.reserve().await;
        place.map(Place).map_err(|_| SessionError::Ended)
    }

    /// Whether the connection has taken the last report.
    pub fn report_has_left(&self) -> bool {
        self.reports.capacity() == self.reports.max_capacity()
    }
}

/// Room for one message.
pub(super) struct Place<'a>(mpsc::Permit<'a, SessionRequest>);

impl Place<'_> {
    pub fn send(self, message: Message) {
        self.0.send(request(message));
    }
}

fn request(message: Message) -> SessionRequest {
    SessionRequest {
        message: Some(message),
    }
}
