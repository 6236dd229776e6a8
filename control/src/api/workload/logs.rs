//! Logs: the lines of a workload's replicas, from the workers that have them, merged into one stream.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use prost_types::Timestamp;
use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use warren_model::name::{Name, WorkloadId};
use warren_proto::v1;

use crate::{
    api::{Responses, Shared, error, scope},
    fleet::logs::NoLines,
};

/// Messages that may wait for a slow reader; then the workers wait.
const BUFFER: usize = 16;
/// Failures that one answer names.
const MAX_FAILURES: usize = 16;

type Out = mpsc::Sender<Result<v1::LogsResponse, Status>>;

/// One reader's request.
struct Reading {
    shared: Arc<Shared>,
    id: WorkloadId,
    request: v1::LogsRequest,
    out: Out,
    /// Where replicas were read up to, of those that were read before.
    read: BTreeMap<String, Option<Timestamp>>,
    /// Replicas that are being read.
    open: BTreeSet<String>,
}

/// How reading one replica ended.
struct Ended {
    replica: String,
    /// Time of the last line that was sent.
    last: Option<Timestamp>,
    result: Result<(), NoLines>,
}

pub(super) fn logs(
    shared: &Arc<Shared>,
    request: v1::LogsRequest,
) -> Result<Responses<v1::LogsResponse>, Status> {
    let id = scope::workload(&request.namespace, &request.name)?;
    let Some(workload) = shared.index.workload(&id) else {
        return Err(scope::no_workload(&id));
    };
    if !request.source.is_empty() && !has_source(&workload, &request.source) {
        return Err(error::not_found("source", &request.source));
    }
    let known = shared.index.replicas_of(&id);
    if !request.replica.is_empty()
        && known
            .iter()
            .all(|held| held.value.replica.id != request.replica)
    {
        return Err(error::not_found("replica", &request.replica));
    }
    let (out, responses) = mpsc::channel(BUFFER);
    let touched = shared.index.touched();
    let reading = Reading {
        shared: shared.clone(),
        id,
        request,
        out,
        read: BTreeMap::new(),
        open: BTreeSet::new(),
    };
    let shutdown = shared.fleet.shutdown.clone();
    shared.fleet.tasks.spawn(async move {
        let out = reading.out.clone();
        tokio::select! {
            () = reading.run(touched) => {}
            // Nobody reads any more.
            () = out.closed() => {}
            () = shutdown.cancelled() => {}
        }
    });
    Ok(ReceiverStream::new(responses).boxed())
}

/// Whether guests of the workload write as `source`: "service", or a component's name.
fn has_source(workload: &v1::Workload, source: &str) -> bool {
    workload.spec.as_ref().is_some_and(|spec| {
        let is_service = spec.service.is_some() && source == "service";
        is_service
            || spec
                .components
                .iter()
                .any(|component| component.name == source)
    })
}

// === impl Reading ===

impl Reading {
    async fn run(mut self, mut touched: Receiver<WorkloadId>) {
        let mut sources = FuturesUnordered::new();
        let mut failures = Vec::new();
        let mut answered = false;
        let mut again = false;
        loop {
            sources.extend(self.sources(again));
            let hopeless = !failures.is_empty() && !answered;
            if sources.is_empty() && (!self.request.follow || hopeless) {
                break;
            }
            tokio::select! {
                Some(ended) = sources.next() => {
                    again = false;
                    answered |= ended.result.is_ok();
                    if let Err(error) = &ended.result {
                        tracing::warn!(replica = ended.replica, %error, "no lines");
                        failures.push(format!("{}: {error}", ended.replica));
                        failures.truncate(MAX_FAILURES);
                    }
                    self.open.remove(&ended.replica);
                    self.read.insert(ended.replica, ended.last);
                }
                more = changed(&mut touched, &self.id), if self.request.follow => {
                    again = true;
                    if !more {
                        break;
                    }
                }
            }
        }
        // A reader who follows was told what there was; one who does not must know that something is missing.
        if !failures.is_empty() && (!self.request.follow || !answered) {
            // An error means that the reader has gone.
            let _ = self
                .out
                .send(Err(error::unavailable(failures.join("; "))))
                .await;
        }
    }

    /// Begins to read every replica that is not being read: new ones, and `again` those that were read before,
    /// which may have more to say now.
    fn sources(&mut self, again: bool) -> Vec<BoxFuture<'static, Ended>> {
        let mut sources = Vec::new();
        for held in self.shared.index.replicas_of(&self.id) {
            let id = &held.value.replica.id;
            let wanted = self.request.replica.is_empty() || self.request.replica == *id;
            let read = self.read.get(id);
            if !wanted || self.open.contains(id) || (read.is_some() && !again) {
                continue;
            }
            // Without a worker it has not run yet.
            let Some(worker) = held.value.worker() else {
                continue;
            };
            let after = read.copied().flatten();
            self.open.insert(id.clone());
            let wanted = v1::LogsWanted {
                replica: id.clone(),
                follow: self.request.follow,
                tail: self.request.tail.filter(|_| after.is_none()),
                source: self.request.source.clone(),
                ..v1::LogsWanted::default()
            };
            sources.push(
                read_replica(self.shared.clone(), worker, wanted, after, self.out.clone()).boxed(),
            );
        }
        sources
    }
}

/// Forwards the lines of one replica that are newer than `after`, as fast as the reader takes them.
async fn read_replica(
    shared: Arc<Shared>,
    worker: Name,
    wanted: v1::LogsWanted,
    after: Option<Timestamp>,
    out: Out,
) -> Ended {
    let replica = wanted.replica.clone();
    let moment = |time: &Option<Timestamp>| time.map(|time| (time.seconds, time.nanos));
    let mut last = after;
    let mut lines = match shared.fleet.logs.request(&worker, wanted).await {
        Ok(lines) => lines,
        Err(error) => {
            return Ended {
                replica,
                last,
                result: Err(error),
            };
        }
    };
    while let Some(mut batch) = lines.next().await {
        // The worker sends what it keeps anew.
        batch.retain(|line| after.is_none() || moment(&line.time) > moment(&after));
        let Some(newest) = batch.last() else { continue };
        last = newest.time.or(last);
        if out
            .send(Ok(v1::LogsResponse { lines: batch }))
            .await
            .is_err()
        {
            break;
        }
    }
    Ended {
        replica,
        last,
        result: Ok(()),
    }
}

/// Waits for a change of the workload's replicas, or one that was missed. False when there will be none.
async fn changed(touched: &mut Receiver<WorkloadId>, id: &WorkloadId) -> bool {
    loop {
        match touched.recv().await {
            Ok(touched) if touched == *id => return true,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return true,
            Err(RecvError::Closed) => return false,
        }
    }
}
