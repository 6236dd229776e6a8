//! Guests over a workload's network, linked and run as in the worker.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::task::JoinHandle;
use warren_model::{
    name::{Name, WorkloadId},
    spec::WorkloadSpec,
};
use warren_net::{NetLimits, Network};
use warren_proto::v1;
use warren_worker::{
    logs::{LogHub, LogLimits, LogQuery, LogStream},
    policy::{HostAccess, Role, refusals},
    runtime::{Code, ReplicaContext, Runtime, ServiceEnd},
};

use crate::guests::{Client, Did, Guest, Lines, Server, Serving};

/// The network of one replica, and what its guests share.
pub struct Workload {
    runtime: Arc<Runtime>,
    network: Network,
    logs: LogHub,
    started: AtomicU64,
}

/// What a guest wrote.
struct Log {
    stream: LogStream,
    lines: VecDeque<String>,
}

// === impl Workload ===

impl Workload {
    pub fn new(runtime: Arc<Runtime>) -> Self {
        Self {
            runtime,
            network: network(),
            logs: LogHub::new(LogLimits::default()),
            started: AtomicU64::new(0),
        }
    }

    pub async fn serve(&self, guest: &Guest, server: Server) -> anyhow::Result<Serving> {
        let (mut log, task) = self.start(guest, server.args())?;
        Serving::of(&mut log, task.abort_handle()).await
    }

    pub async fn run(
        &self,
        guest: &Guest,
        client: Client,
        port: u16,
        time: Duration,
        holding: impl FnMut(),
    ) -> anyhow::Result<Did> {
        let (mut log, task) = self.start(guest, client.args(port, time))?;
        let did = Did::of(&mut log, holding).await?;
        match task.await? {
            ServiceEnd::Exited(0) => Ok(did),
            end => bail!("the client ended unexpectedly: {end:?}"),
        }
    }

    /// Starts a guest as a service with a log of its own, in the same network.
    fn start(
        &self,
        guest: &Guest,
        args: Vec<String>,
    ) -> anyhow::Result<(Log, JoinHandle<ServiceEnd>)> {
        let name = format!("bench-{}", self.started.fetch_add(1, Ordering::Relaxed));
        let (refusals, _) = refusals();
        let context = ReplicaContext {
            workload: WorkloadId {
                namespace: Name::parse("default")?,
                name: Name::parse("bench")?,
            },
            mounts: Arc::default(),
            network: self.network.clone(),
            log: self.logs.open(&name),
            host: HostAccess::default(),
            lease: None,
            refusals,
        };
        let spec = spec(guest, args)?;
        let code = Code::from([((Role::Service, guest.digest), guest.code.clone())]);
        let prepared = self.runtime.prepare(&spec, None, &code, &context)?;
        let service = prepared.service.context("there is no service")?;
        let query = LogQuery {
            follow: true,
            ..LogQuery::default()
        };
        let stream = self
            .logs
            .subscribe(&name, query)
            .context("the guest has no log")?;
        let logs = self.logs.clone();
        let task = tokio::spawn(async move {
            let end = service.run(None, || {}).await;
            logs.close(&name);
            end
        });
        let lines = VecDeque::new();
        Ok((Log { stream, lines }, task))
    }
}

/// Returns a network like that of a replica, except for the number of sockets: an idle connection
/// is two.
pub fn network() -> Network {
    Network::new(NetLimits {
        sockets: 8 << 10,
        ..NetLimits::default()
    })
}

fn spec(guest: &Guest, args: Vec<String>) -> anyhow::Result<WorkloadSpec> {
    let service = v1::Service {
        component: guest.digest.to_string(),
        args,
        restart: Some(v1::RestartPolicy {
            policy: v1::restart_policy::Policy::Never.into(),
            ..v1::RestartPolicy::default()
        }),
        limits: Some(v1::ServiceLimits {
            memory_bytes: Some(256 << 20),
            ..v1::ServiceLimits::default()
        }),
        ..v1::Service::default()
    };
    let spec = v1::WorkloadSpec {
        service: Some(service),
        ..v1::WorkloadSpec::default()
    };
    Ok(WorkloadSpec::from_proto(&spec)?)
}

// === impl Log ===

impl Lines for Log {
    async fn next(&mut self) -> anyhow::Result<Option<String>> {
        while self.lines.is_empty() {
            match self.stream.next().await {
                Some(batch) => self.lines.extend(batch.into_iter().map(|line| line.line)),
                None => return Ok(None),
            }
        }
        Ok(self.lines.pop_front())
    }
}
