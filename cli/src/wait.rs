//! Waiting until a workload is ready or gone, and saying why when it is not.

use std::{collections::BTreeMap, fmt, time::Duration};

use tokio::time::{self, Instant, MissedTickBehavior};
use tonic::{Code, Status, Streaming};
use warren_proto::v1::{self, replica::Phase};

use crate::{
    client::Server,
    explain,
    progress::{self, Bar},
};

/// When a workload that is not ready counts as broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// When a replica gave up: restarts are given their chance.
    UntilFailed,
    /// As soon as the service ended once: for somebody who has just changed it.
    UntilEnded,
    /// Never: it may recover.
    Endless,
}

/// It did not become ready.
#[derive(Debug)]
pub struct NotReady {
    headline: String,
    pub why: Vec<String>,
    /// Whether replicas of an earlier revision still do the work.
    pub earlier_serves: bool,
}

/// What a look at a workload and its replicas tells.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Ready,
    /// The id of the replica that is why.
    Broken(String),
    Waiting,
}

/// Replicas have no watch of their own yet: they are looked at after each change of their workload, and this often.
const LOOK: Duration = Duration::from_millis(250);

/// Waits until as many replicas of the present revision as wanted are ready and earlier ones take no more work.
/// The outer error is one of the connection.
pub async fn ready(
    server: &Server,
    workload: &v1::Workload,
    timeout: Duration,
    patience: Patience,
) -> Result<Result<Vec<v1::Replica>, NotReady>, Status> {
    let title = crate::source::title(workload);
    let deadline = Instant::now() + timeout;
    let mut view = View::new(server, workload);
    let mut bars = Bars::default();
    let mut latest = workload.clone();
    let mut replicas = Vec::new();
    loop {
        if let Some((now, its_replicas)) = view.look().await? {
            match now {
                Some(now) => latest = now,
                None => {
                    return Ok(Err(NotReady {
                        headline: format!("{title} was deleted meanwhile"),
                        why: Vec::new(),
                        earlier_serves: false,
                    }));
                }
            }
            replicas = its_replicas;
            bars.show(&replicas);
            match judge(&latest, &replicas, patience) {
                Verdict::Ready => return Ok(Ok(replicas)),
                Verdict::Broken(id) => {
                    let broken = replicas.iter().filter(|replica| replica.id == id);
                    return Ok(Err(NotReady {
                        headline: format!("{title} did not become ready"),
                        why: broken.flat_map(explain::trouble).collect(),
                        earlier_serves: earlier_serves(&latest, &replicas),
                    }));
                }
                Verdict::Waiting => {}
            }
        }
        if time::timeout_at(deadline, view.changed()).await.is_err() {
            let timeout = warren_model::quantity::format_duration(timeout);
            return Ok(Err(NotReady {
                headline: format!("{title} was not ready within {timeout}"),
                why: explain::unready(&latest, &replicas),
                earlier_serves: earlier_serves(&latest, &replicas),
            }));
        }
    }
}

/// Waits until the workload is gone, or another of that name stands in its place. `false`: not within the timeout.
pub async fn gone(
    server: &Server,
    workload: &v1::Workload,
    timeout: Duration,
) -> Result<bool, Status> {
    let deadline = Instant::now() + timeout;
    let mut view = View::new(server, workload);
    let mut bars = Bars::default();
    loop {
        match view.look().await? {
            Some((Some(now), replicas)) if now.uid == workload.uid => bars.show(&replicas),
            Some(_) => return Ok(true),
            None => {}
        }
        if time::timeout_at(deadline, view.changed()).await.is_err() {
            return Ok(false);
        }
    }
}

/// Pure: what the state of a workload and its replicas says about being ready.
fn judge(workload: &v1::Workload, replicas: &[v1::Replica], patience: Patience) -> Verdict {
    let status = workload.status.clone().unwrap_or_default();
    if status.observed_generation < workload.generation {
        return Verdict::Waiting;
    }
    let wanted = wanted(workload);
    let (mut settled, mut alive) = (0, 0);
    let mut broken = None;
    for replica in replicas {
        let phase = replica.phase();
        if replica.revision != workload.revision {
            // Until it is told to stop it still answers requests, with what was replaced.
            alive += u32::from(takes_work(phase));
            continue;
        }
        alive += u32::from(takes_work(phase));
        settled += u32::from(replica.ready || phase == Phase::Completed);
        let ended = phase == Phase::Backoff && patience == Patience::UntilEnded;
        let failed = phase == Phase::Failed && patience != Patience::Endless;
        if failed || ended {
            broken = Some(replica.id.clone());
        }
    }
    match broken {
        _ if settled >= wanted && alive <= wanted => Verdict::Ready,
        Some(id) if settled < wanted => Verdict::Broken(id),
        _ => Verdict::Waiting,
    }
}

fn wanted(workload: &v1::Workload) -> u32 {
    workload
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1)
}

fn takes_work(phase: Phase) -> bool {
    matches!(
        phase,
        Phase::Pending | Phase::Starting | Phase::Running | Phase::Backoff
    )
}

fn earlier_serves(workload: &v1::Workload, replicas: &[v1::Replica]) -> bool {
    replicas
        .iter()
        .any(|replica| replica.revision != workload.revision && replica.ready)
}

/// One workload and its replicas as they change. A control plane that restarts is waited for.
struct View<'a> {
    server: &'a Server,
    namespace: &'a str,
    name: &'a str,
    watch: Option<Streaming<v1::WatchResponse>>,
    tick: time::Interval,
}

/// A line of progress for each replica.
#[derive(Default)]
struct Bars(BTreeMap<String, Bar>);

// === impl View ===

impl<'a> View<'a> {
    fn new(server: &'a Server, workload: &'a v1::Workload) -> Self {
        let mut tick = time::interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            server,
            namespace: &workload.namespace,
            name: &workload.name,
            watch: None,
            tick,
        }
    }

    /// The present state: the workload unless it is gone, and its replicas. `None` while nobody answers.
    async fn look(&mut self) -> Result<Option<(Option<v1::Workload>, Vec<v1::Replica>)>, Status> {
        if self.watch.is_none() {
            let request = v1::WatchRequest {
                namespace: self.namespace.to_owned(),
                name: self.name.to_owned(),
                ..Default::default()
            };
            self.watch = match self.server.workloads().watch(request).await {
                Ok(stream) => Some(stream.into_inner()),
                Err(status) if is_passing(&status) => return Ok(None),
                Err(status) => return Err(status),
            };
        }
        let workload = match self.server.get_workload(self.namespace, self.name).await {
            Ok(workload) => workload,
            Err(status) if status.code() == Code::NotFound => return Ok(Some((None, Vec::new()))),
            Err(status) if is_passing(&status) => return Ok(None),
            Err(status) => return Err(status),
        };
        match self.server.list_replicas(self.namespace, self.name).await {
            Ok(replicas) => Ok(Some((Some(workload), replicas))),
            Err(status) if is_passing(&status) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Returns when it is worth to look again.
    async fn changed(&mut self) {
        let Some(watch) = &mut self.watch else {
            self.tick.tick().await;
            return;
        };
        tokio::select! {
            _ = self.tick.tick() => {}
            message = watch.message() => {
                // The stream ended with its control plane: the next look opens another, not at once.
                if !matches!(message, Ok(Some(_))) {
                    self.watch = None;
                    self.tick.tick().await;
                }
            }
        }
    }
}

/// Whether asking again later may help.
fn is_passing(status: &Status) -> bool {
    status.code() == Code::Unavailable || std::error::Error::source(status).is_some()
}

// === impl Bars ===

impl Bars {
    fn show(&mut self, replicas: &[v1::Replica]) {
        self.0
            .retain(|id, _| replicas.iter().any(|replica| replica.id == *id));
        for replica in replicas {
            let bar = self
                .0
                .entry(replica.id.clone())
                .or_insert_with(|| progress::spinner(""));
            bar.say(explain::headline(replica));
        }
    }
}

// === impl NotReady ===

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline)?;
        for line in &self.why {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for NotReady {}

#[cfg(test)]
mod tests;
