//! Streams of events: those that are kept, then those that happen.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use prost_types::Timestamp;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tonic::Status;
use warren_proto::v1;

use crate::{
    clock,
    events::{Events, Kept},
    grpc::{Responses, error, scope::Scope},
};

struct Following {
    scope: Scope,
    /// How far back events are wanted, from the time of the request.
    since: Option<(Duration, Timestamp)>,
    /// The kept events; `None` once all of them were sent.
    kept: Option<Kept>,
    /// The position of the next kept event to look at.
    at: usize,
    /// `None` once no more follows.
    live: Option<Receiver<Arc<v1::Event>>>,
}

pub(super) fn events(
    events: &Events,
    request: &v1::EventsRequest,
) -> Result<Responses<v1::EventsResponse>, Status> {
    let scope = Scope::parse(&request.namespace, &request.name, "name")?;
    let since = match request.since {
        None => None,
        Some(since) => Some(
            Duration::try_from(since)
                .map_err(|_| error::invalid_field("since", "should not be negative"))?,
        ),
    };
    let (kept, live) = events.follow();
    let following = Following {
        scope,
        since: since.map(|since| (since, clock::now())),
        kept: Some(kept),
        at: 0,
        live: request.follow.then_some(live),
    };
    Ok(stream::unfold(following, |mut following| async {
        let next = following.next().await?;
        Some((next, following))
    })
    .boxed())
}

// === impl Following ===

impl Following {
    fn next_kept(&mut self) -> Option<Arc<v1::Event>> {
        while let Some(event) = self.kept.as_ref()?.get(self.at) {
            self.at += 1;
            if belongs(&self.scope, event) && self.is_asked_for(event) {
                return Some(event.clone());
            }
        }
        self.kept = None;
        None
    }

    fn is_asked_for(&self, event: &v1::Event) -> bool {
        self.since.is_none_or(|(since, now)| {
            let time = event.time.as_ref();
            time.is_some_and(|time| clock::is_within(time, since, &now))
        })
    }

    async fn next(&mut self) -> Option<Result<v1::EventsResponse, Status>> {
        if let Some(event) = self.next_kept() {
            return Some(Ok(response(&event)));
        }
        loop {
            match self.live.as_mut()?.recv().await {
                Ok(event) if belongs(&self.scope, &event) => return Some(Ok(response(&event))),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    self.live = None;
                    let message = "this reader of events fell behind: ask again, with `since`";
                    return Some(Err(error::out_of_range(message)));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn belongs(scope: &Scope, event: &v1::Event) -> bool {
    scope.contains(&event.namespace, &event.workload)
}

fn response(event: &v1::Event) -> v1::EventsResponse {
    v1::EventsResponse {
        event: Some(event.clone()),
        time: Some(clock::now()),
    }
}
