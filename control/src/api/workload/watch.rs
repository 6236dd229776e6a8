//! Watch: the present state, a bookmark, then every change.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tonic::Status;
use warren_model::name::WorkloadId;
use warren_proto::v1::{self, watch_response::Type};

use crate::{
    api::{Responses, Shared, error, scope::Scope},
    index::{Start, WatchEvent, WatchKind},
    state::keys,
    store::Revision,
};

/// How long a watch waits for a position that this server has not seen yet, but another, or its own store, has.
const CATCH_UP: Duration = Duration::from_secs(5);

struct Watching {
    scope: Scope,
    /// What is to be sent before anything live.
    first: VecDeque<v1::WatchResponse>,
    live: Receiver<Arc<WatchEvent>>,
    ended: bool,
}

pub(super) async fn watch(
    shared: &Shared,
    request: &v1::WatchRequest,
) -> Result<Responses<v1::WatchResponse>, Status> {
    let scope = Scope::parse(&request.namespace, &request.name, "name")?;
    let after = match request.resource_version.as_str() {
        "" => None,
        text => Some(text.parse::<Revision>().map_err(|_| {
            error::invalid_field("resource_version", "should be one that this server gave")
        })?),
    };
    if let Some(after) = after {
        let reached = tokio::time::timeout(CATCH_UP, shared.index.reached(after)).await;
        reached.map_err(|_| error::out_of_range(not_kept(after)))?;
    }
    let subscription = shared
        .index
        .subscribe(after)
        .map_err(|_| error::out_of_range(not_kept(after.unwrap_or_default())))?;
    let first = match subscription.start {
        Start::Present(workloads) => {
            let present = workloads
                .iter()
                .filter(|workload| in_scope(&scope, workload))
                .map(|workload| response(Type::Added, workload, &workload.resource_version));
            present.chain([bookmark(subscription.revision)]).collect()
        }
        Start::Missed(events) => events
            .iter()
            .filter(|event| scope.contains(&event.id))
            .map(|event| told(event))
            .collect(),
    };
    let watching = Watching {
        scope,
        first,
        live: subscription.live,
        ended: false,
    };
    Ok(stream::unfold(watching, |mut watching| async {
        let next = watching.next().await?;
        Some((next, watching))
    })
    .boxed())
}

// === impl Watching ===

impl Watching {
    async fn next(&mut self) -> Option<Result<v1::WatchResponse, Status>> {
        if let Some(first) = self.first.pop_front() {
            return Some(Ok(first));
        }
        while !self.ended {
            match self.live.recv().await {
                Ok(event) if self.scope.contains(&event.id) => return Some(Ok(told(&event))),
                Ok(_) => {}
                Err(RecvError::Lagged(_)) => {
                    self.ended = true;
                    let message = "this watch fell behind: resume from its last resource_version";
                    return Some(Err(error::out_of_range(message)));
                }
                Err(RecvError::Closed) => self.ended = true,
            }
        }
        None
    }
}

fn in_scope(scope: &Scope, workload: &v1::Workload) -> bool {
    let id: Option<WorkloadId> =
        keys::parse_id(&format!("{}/{}", workload.namespace, workload.name));
    id.is_some_and(|id| scope.contains(&id))
}

fn told(event: &WatchEvent) -> v1::WatchResponse {
    let kind = match event.kind {
        WatchKind::Added => Type::Added,
        WatchKind::Modified => Type::Modified,
        WatchKind::Deleted => Type::Deleted,
    };
    response(kind, &event.workload, &event.revision.to_string())
}

fn response(kind: Type, workload: &v1::Workload, version: &str) -> v1::WatchResponse {
    v1::WatchResponse {
        r#type: kind.into(),
        workload: Some(workload.clone()),
        resource_version: version.to_owned(),
    }
}

fn bookmark(revision: Revision) -> v1::WatchResponse {
    v1::WatchResponse {
        r#type: Type::Bookmark.into(),
        workload: None,
        resource_version: revision.to_string(),
    }
}

fn not_kept(after: Revision) -> String {
    format!("changes since position {after} are not kept: watch again without resource_version")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tokio::sync::broadcast;
    use tonic::Code;

    use super::*;

    #[tokio::test]
    async fn a_watch_that_falls_behind_is_told_so_and_ends() {
        let (events, live) = broadcast::channel(2);
        let scope = Scope::parse("*", "", "name").unwrap();
        let mut watching = Watching {
            scope,
            first: VecDeque::new(),
            live,
            ended: false,
        };
        for revision in 0..4 {
            let event = WatchEvent {
                kind: WatchKind::Modified,
                id: keys::parse_id("default/w").unwrap(),
                workload: Arc::default(),
                revision,
            };
            events.send(Arc::new(event)).unwrap();
        }
        let told = watching.next().await.unwrap().unwrap_err();
        assert_eq!(told.code(), Code::OutOfRange);
        assert!(watching.next().await.is_none());
    }
}
