//! Follows events as they happen, across broken connections.

use std::{collections::HashMap, pin::Pin};

use futures::{Stream, stream};
use tokio::time::Instant;
use tonic::{Code, Status, Streaming};
use warren_proto::v1;

use crate::{
    client::Server,
    resume::{self, Resuming},
};

pub type Happening = Pin<Box<dyn Stream<Item = Result<v1::Event, Status>> + Send>>;

/// The call that follows events.
struct Call {
    server: Server,
    request: v1::EventsRequest,
    resume: Resume,
}

/// What has been returned already. Pure.
#[derive(Default)]
struct Resume {
    /// The time when following began.
    began: Option<Instant>,
    /// The count of each event when it was last returned.
    returned: HashMap<Key, (u32, Option<prost_types::Timestamp>)>,
}

/// The identity of an event: the server counts events with the same key together.
#[derive(Hash, PartialEq, Eq)]
struct Key {
    namespace: String,
    object: String,
    kind: i32,
    reason: String,
}

/// The maximum number of remembered events. Beyond it they are forgotten, and a broken connection
/// may then repeat some.
const MAX_REMEMBERED: usize = 10_000;

/// Returns matching events, kept ones first, for as long as they are read. A failure before the
/// server has answered once is final. Dropping the future of the next item loses nothing.
pub fn follow(server: Server, request: v1::EventsRequest) -> Happening {
    let call = Call {
        server,
        request: v1::EventsRequest {
            follow: true,
            ..request
        },
        resume: Resume::default(),
    };
    Box::pin(stream::unfold(Some(Resuming::new(call)), |events| async {
        let mut events = events?;
        match next(&mut events).await {
            Ok(event) => Some((Ok(event), Some(events))),
            Err(status) => Some((Err(status), None)),
        }
    }))
}

async fn next(events: &mut Resuming<Call>) -> Result<v1::Event, Status> {
    loop {
        match events.next().await {
            Ok(Some(response)) => {
                if let Some(event) = response.event
                    && events.source.resume.is_news(&event)
                {
                    return Ok(event);
                }
            }
            Ok(None) => {}
            Err(status) => {
                let passes = status.code() == Code::OutOfRange || resume::is_passing(&status);
                if !passes || events.source.resume.began.is_none() {
                    return Err(status);
                }
            }
        }
    }
}

// === impl Call ===

impl resume::Source for Call {
    type Message = v1::EventsResponse;

    async fn open(&mut self) -> Result<Streaming<Self::Message>, Status> {
        let now = Instant::now();
        let request = self.resume.request(&self.request, now);
        let response = self.server.workloads().events(request).await?;
        self.resume.began.get_or_insert(now);
        Ok(response.into_inner())
    }
}

// === impl Resume ===

impl Resume {
    /// Returns the request to send now: unless it is the first, it asks for events since the start.
    fn request(&self, first: &v1::EventsRequest, now: Instant) -> v1::EventsRequest {
        let mut request = first.clone();
        if let Some(began) = self.began {
            request.since = resume::since(began, now);
        }
        request
    }

    /// Returns whether the event, with its current count, has not been returned before.
    fn is_news(&mut self, event: &v1::Event) -> bool {
        let key = Key {
            namespace: event.namespace.clone(),
            object: event.object.clone(),
            kind: event.r#type,
            reason: event.reason.clone(),
        };
        if self.returned.len() > MAX_REMEMBERED {
            self.returned.clear();
        }
        let now = (event.count, event.time);
        self.returned.insert(key, now) != Some(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_break_each_count_of_an_event_is_returned_once() {
        let event = |reason: &str, count| v1::Event {
            object: "replica/a".into(),
            reason: reason.into(),
            count,
            ..Default::default()
        };
        let mut resume = Resume::default();
        let returned: Vec<bool> = [
            event("Started", 1),
            event("Exited", 1),
            event("Exited", 1),
            event("Exited", 2),
            event("Started", 1),
        ]
        .iter()
        .map(|event| resume.is_news(event))
        .collect();
        assert_eq!(returned, [true, true, false, true, false]);
    }
}
