//! Streams of logs: the lines of a workload's replicas, from the workers that have them, merged.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use prost_types::Timestamp;
use tokio::{
    sync::{
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    time,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use warren_model::{
    error::Violations,
    name::{Name, WorkloadId},
};
use warren_proto::v1;

use crate::{
    fleet::{Fleet, logs::NoLines},
    grpc::{Responses, error, scope},
    index::Index,
    suggest::{self, Absent},
};

/// The number of messages that may wait for a slow reader before the workers wait.
const BUFFER: usize = 16;
/// The number of failures that one answer names.
const MAX_FAILURES: usize = 16;
/// The number of replicas or sources that one refusal names.
const MAX_OFFERED: usize = 8;
/// The time from the end of a workload to that of its lines, if a worker does not end them itself.
const LAST_WORDS: Duration = Duration::from_secs(2);

type Out = mpsc::Sender<Result<v1::LogsResponse, Status>>;

/// One reader's request.
struct Reading {
    fleet: Arc<Fleet>,
    id: WorkloadId,
    /// Tells the workload from a later one of the same name.
    uid: String,
    request: v1::LogsRequest,
    /// How far back lines are wanted, from `asked`.
    since: Option<Duration>,
    asked: Instant,
    out: Out,
    /// The time up to which each replica was read, of those that were read before.
    read: BTreeMap<String, Option<Timestamp>>,
    /// Replicas that are being read.
    open: BTreeSet<String>,
}

/// How reading one replica ended.
struct Ended {
    replica: String,
    /// The time of the last line that was sent.
    last: Option<Timestamp>,
    result: Result<(), NoLines>,
}

pub(super) fn logs(
    fleet: &Arc<Fleet>,
    request: v1::LogsRequest,
) -> Result<Responses<v1::LogsResponse>, Status> {
    let id = scope::workload(&request.namespace, &request.name)?;
    let since = checked(&request)?;
    let Some(workload) = fleet.index.workload(&id) else {
        return Err(Absent::workload(&fleet.index, &id).into());
    };
    if !request.source.is_empty() {
        known_source(&workload, &request.source)?;
    }
    if !request.replica.is_empty() {
        known_replica(&fleet.index, &id, &request.replica)?;
    }
    let (out, responses) = mpsc::channel(BUFFER);
    let touched = fleet.index.touched();
    let reading = Reading {
        fleet: fleet.clone(),
        id,
        uid: workload.uid.clone(),
        request,
        since,
        asked: Instant::now(),
        out,
        read: BTreeMap::new(),
        open: BTreeSet::new(),
    };
    let shutdown = fleet.shutdown.clone();
    fleet.tasks.spawn(async move {
        let out = reading.out.clone();
        tokio::select! {
            () = reading.run(touched) => {}
            // The reader has gone.
            () = out.closed() => {}
            // This is not the end of the lines: the reader may ask again. One that does not read
            // learns of it by the end of the connection.
            () = shutdown.cancelled() => {
                let _ = out.try_send(Err(error::ending()));
            }
        }
    });
    Ok(ReceiverStream::new(responses).boxed())
}

/// Checks a request. Returns how far back it goes, if it says so.
fn checked(request: &v1::LogsRequest) -> Result<Option<Duration>, Status> {
    let mut violations = Violations::default();
    if request.previous && request.follow {
        violations.push(
            "previous",
            "what was before the last restart does not go on: leave `follow` out",
        );
    }
    let since = request.since.map(Duration::try_from);
    let since = since.and_then(|since| {
        let since = since.map_err(|_| "should not be negative");
        violations.ok("since", since)
    });
    if violations.0.is_empty() {
        Ok(since)
    } else {
        Err(error::invalid(&violations))
    }
}

/// Checks that a source exists: the guests of a workload write as "service" or as a component's
/// name.
fn known_source(workload: &v1::Workload, source: &str) -> Result<(), Status> {
    let spec = workload.spec.as_ref();
    let service = spec.and_then(|spec| spec.service.as_ref());
    let components = spec.iter().flat_map(|spec| &spec.components);
    let sources: Vec<_> = service
        .map(|_| "service")
        .into_iter()
        .chain(components.map(|component| component.name.as_str()))
        .collect();
    if sources.contains(&source) {
        return Ok(());
    }
    let hint = offers(
        &format!("{}/{}", workload.namespace, workload.name),
        sources,
    );
    Err(error::not_found(&Absent {
        kind: "source",
        name: source.to_owned(),
        hint,
    }))
}

fn known_replica(index: &Index, id: &WorkloadId, replica: &str) -> Result<(), Status> {
    let known: Vec<_> = index
        .replicas_of(id)
        .iter()
        .map(|held| held.value.replica.id.clone())
        .collect();
    if known.iter().any(|known| known == replica) {
        return Ok(());
    }
    let hint = match suggest::nearest(replica, known.iter().cloned()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => offers(&id.to_string(), known.iter().map(String::as_str)),
    };
    Err(error::not_found(&Absent {
        kind: "replica",
        name: replica.to_owned(),
        hint,
    }))
}

/// Returns "workload `x` has `a`, `b`", with at most [`MAX_OFFERED`] names.
fn offers<'a>(workload: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let names = names.into_iter().take(MAX_OFFERED);
    let quoted: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    match quoted.as_slice() {
        [] => format!("workload `{workload}` has none"),
        some => format!("workload `{workload}` has {}", some.join(", ")),
    }
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
            let gone = self.is_gone();
            if sources.is_empty() && (!self.request.follow || hopeless || gone) {
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
                () = time::sleep(LAST_WORDS), if gone && self.request.follow => break,
            }
        }
        // A reader that follows has got what there was; another one must learn that lines are
        // missing.
        if !failures.is_empty() && (!self.request.follow || !answered) {
            // An error means that the reader has gone.
            let _ = self
                .out
                .send(Err(error::unavailable("NO_LINES", failures.join("; "))))
                .await;
        }
    }

    /// Whether the workload was deleted, with all its replicas.
    fn is_gone(&self) -> bool {
        let workload = self.fleet.index.workload(&self.id);
        workload.is_none_or(|workload| workload.uid != self.uid)
    }

    /// Begins to read every replica that is not being read: new ones, and, with `again`, those that
    /// were read before, which may have more lines now.
    fn sources(&mut self, again: bool) -> Vec<BoxFuture<'static, Ended>> {
        let mut sources = Vec::new();
        for held in self.fleet.index.replicas_of(&self.id) {
            let replica = &held.value.replica;
            let id = &replica.id;
            let own = replica.workload_uid == self.uid;
            let asked = self.request.replica.is_empty() || self.request.replica == *id;
            let wanted = own && asked;
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
                since: self.since_now(),
                previous: self.request.previous,
                ..v1::LogsWanted::default()
            };
            sources.push(
                read_replica(self.fleet.clone(), worker, wanted, after, self.out.clone()).boxed(),
            );
        }
        sources
    }

    /// Returns the wanted time back from now: a replica that is read later goes back to the same
    /// moment.
    fn since_now(&self) -> Option<prost_types::Duration> {
        let since = self.since?.saturating_add(self.asked.elapsed());
        // A time that is too long for protobuf means all lines that are kept.
        since.try_into().ok()
    }
}

/// Forwards the lines of one replica that are newer than `after`, as fast as the reader takes them.
async fn read_replica(
    fleet: Arc<Fleet>,
    worker: Name,
    wanted: v1::LogsWanted,
    after: Option<Timestamp>,
    out: Out,
) -> Ended {
    let replica = wanted.replica.clone();
    let moment = |time: &Option<Timestamp>| time.map(|time| (time.seconds, time.nanos));
    let mut last = after;
    let mut lines = match fleet.logs.request(&worker, wanted).await {
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
        // The worker sends again what it keeps.
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

/// Waits for a change of the workload's replicas, or for one that was missed. Returns false when
/// none will come.
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
