//! The outgoing side of a session, in which heartbeats overtake reports.

use futures::stream::{self, PollNext, Stream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use warren_proto::v1::{SessionRequest, session_request::Message};

use super::SessionError;

/// The capacity for control messages between this task and the connection. Heartbeats are few and
/// small.
const URGENT: usize = 16;
/// The capacity for reports between this task and the connection. A report is created only when
/// there is room for it, so it is never older than the time that the previous one took to leave.
const REPORTS: usize = 1;

/// The sender of a session. Dropping it ends the stream.
pub(super) struct Lanes {
    urgent: mpsc::Sender<SessionRequest>,
    reports: mpsc::Sender<SessionRequest>,
}

// === impl Lanes ===

impl Lanes {
    /// Returns the sender, and the stream that the connection reads.
    pub fn new() -> (Self, impl Stream<Item = SessionRequest> + Send + 'static) {
        let (urgent, first) = mpsc::channel(URGENT);
        let (reports, then) = mpsc::channel(REPORTS);
        let (first, then) = (ReceiverStream::new(first), ReceiverStream::new(then));
        let stream = stream::select_with_strategy(first, then, |_: &mut ()| PollNext::Left);
        (Self { urgent, reports }, stream)
    }

    /// Returns room for a message ahead of reports, or `None` if the connection takes nothing at
    /// present.
    pub fn urgent_now(&self) -> Option<Place<'_>> {
        self.urgent.try_reserve().ok().map(Place)
    }

    /// Waits for room for a message ahead of reports.
    pub async fn urgent(&self) -> Result<Place<'_>, SessionError> {
        let place = self.urgent.reserve().await;
        place.map(Place).map_err(|_| SessionError::Ended)
    }

    /// Waits for room for a report, which is there once the previous one has left.
    pub async fn report(&self) -> Result<Place<'_>, SessionError> {
        let place = self.reports.reserve().await;
        place.map(Place).map_err(|_| SessionError::Ended)
    }

    /// Returns whether the connection has taken the last report.
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
