//! Events: what is kept, then what happens.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tonic::Status;
use warren_proto::v1;

use crate::{
    api::{Responses, Shared, error, scope::Scope},
    clock,
};

struct Following {
    scope: Scope,
    kept: VecDeque<Arc<v1::Event>>,
    /// `None` once nothing more is to come.
    live: Option<Receiver<Arc<v1::Event>>>,
}

pub(super) fn events(
    shared: &Shared,
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
    let now = clock::now();
    let (kept, live) = shared.events.follow(|event| {
        belongs(&scope, event)
            && since.is_none_or(|since| {
                event
                    .time
                    .as_ref()
                    .is_some_and(|time| clock::is_within(time, since, &now))
            })
    });
    let following = Following {
        scope,
        kept: kept.into(),
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
    async fn next(&mut self) -> Option<Result<v1::EventsResponse, Status>> {
        if let Some(event) = self.kept.pop_front() {
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
