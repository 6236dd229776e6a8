//! Answers the control plane's requests for log lines, each with a stream of its own.

use std::time::Duration;

use futures::{StreamExt as _, future, stream};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use warren_proto::v1::{LogsWanted, PushLogsRequest, fleet_service_client::FleetServiceClient};

use crate::{
    logs::{LogHub, LogQuery},
    remote::Channel,
};

/// Sends the requested lines until they end or the control plane has enough. Dropping the future
/// ends the stream.
pub(super) async fn push_logs(
    channel: Channel,
    wanted: LogsWanted,
    logs: LogHub,
) -> Result<(), Status> {
    // A replica that is gone has no lines. It gets an empty answer instead of none.
    let lines = logs.subscribe(&wanted.replica, query(&wanted));
    let request = {
        let request_id = wanted.request_id;
        move |lines| PushLogsRequest {
            request_id: request_id.clone(),
            lines,
        }
    };

    // The first message shows the control plane at once that the worker answers.
    let first = stream::once(future::ready(request(Vec::new())));
    let rest = stream::unfold(lines, |lines| async {
        let mut lines = lines?;
        let batch = lines.next().await?;
        Some((batch, Some(lines)))
    });
    // The connection may hold the request's stream for longer than this call, so the stream must
    // end with the call.
    let ended = CancellationToken::new();
    let _ends = ended.clone().drop_guard();
    let requests = first
        .chain(rest.map(request))
        .take_until(ended.cancelled_owned());
    FleetServiceClient::new(channel).push_logs(requests).await?;
    Ok(())
}

fn query(wanted: &LogsWanted) -> LogQuery {
    LogQuery {
        source: (!wanted.source.is_empty()).then(|| wanted.source.clone()),
        tail: wanted.tail,
        // The control plane refuses negative timestamps.
        since: wanted
            .since
            .map(|since| Duration::try_from(since).unwrap_or_default()),
        previous: wanted.previous,
        follow: wanted.follow,
    }
}
