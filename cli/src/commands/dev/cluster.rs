//! A control plane and a worker in this process.

use std::{collections::BTreeMap, future, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context as _, anyhow};
use tokio::{task::JoinHandle, time};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use warren_control::ControlPlane;
use warren_model::{admission::Bounds, cidr::Cidr, component::Limits, publish_rule::PublishRule};
use warren_proto::v1;
use warren_worker::{CompileSettings, DiskLimits, HostVolume, Worker};

use crate::{client::Server, process};

#[derive(Debug)]
pub struct Options {
    pub listen: SocketAddr,
    pub http: SocketAddr,
    pub data: PathBuf,
    /// Whether `data` is removed when the cluster ends.
    pub temporary: bool,
    pub volumes: Vec<HostVolume>,
    pub allow_host_loopback: bool,
    pub artifact_limits: Limits,
    pub trusted_proxies: Vec<Cidr>,
    pub publish_allow: Vec<PublishRule>,
}

pub struct Cluster {
    /// A client of the control plane.
    pub server: Server,
    /// The address that serves HTTP.
    pub http: SocketAddr,
    parts: Parts,
}

/// The running parts, which have to be stopped.
struct Parts {
    control: Part,
    worker: Option<Part>,
}

/// The control plane or the worker, with the means to stop it.
struct Part {
    name: &'static str,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    joined: bool,
}

/// The name of the only worker.
const WORKER: &str = "dev";

/// Far longer than a busy machine needs.
const JOIN_TIMEOUT: Duration = Duration::from_secs(30);

/// The time that requests and connections in flight have when a new version is deployed or `dev`
/// ends. It is short because the user is waiting.
const GRACE: Duration = Duration::from_millis(500);

/// A part that has not stopped after this time will not stop.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

// === impl Cluster ===

impl Cluster {
    /// Starts both parts and waits until the worker has joined. Returns `None` if `stop` was
    /// cancelled first. Then, and after a failure, everything that was started has been stopped.
    pub async fn start(options: Options, stop: &CancellationToken) -> anyhow::Result<Option<Self>> {
        // Binds every port first, so that one in use is reported before anything is opened.
        let listener = process::listen("--listen", options.listen).await?;
        let http = process::listen("--http", options.http).await?;
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let worker_listener = process::listen("--listen", loopback).await?;
        let http_address = http.local_addr()?;
        let url = format!("http://{}", listener.local_addr()?);

        let control = ControlPlane::open(warren_control::Config {
            volatile: options.temporary,
            stop_first: true,
            artifact_limits: options.artifact_limits,
            ..warren_control::Config::new(options.data.join("control"))
        })
        .await?;
        let mut parts = Parts {
            control: Part::start("control plane", |until| async move {
                Ok(control.serve(listener, until).await?)
            }),
            worker: None,
        };
        let config = warren_worker::Config {
            control: vec![url.clone()],
            name: Some(WORKER.to_owned()),
            labels: BTreeMap::new(),
            data: options.data.join("worker"),
            cache: process::cache_dir(),
            cache_limit: warren_worker::DEFAULT_CACHE_LIMIT,
            memory: None,
            compile: CompileSettings::by_this_program(warren_worker::default_compile_memory()),
            logs: DiskLimits::default(),
            volumes: options.volumes,
            allow_host_loopback: options.allow_host_loopback,
            trusted_proxies: options.trusted_proxies,
            publish_allow: options.publish_allow,
            advertise: None,
            insecure: false,
            connections: Bounds::of(warren_worker::MAX_CONNECTIONS),
            longest_grace: Some(GRACE),
            stop_keeps: Duration::ZERO,
        };
        // Not cancelled by a signal: blocking threads would continue after the future is dropped.
        let server = match Worker::open(config).await {
            Ok(worker) => {
                parts.worker = Some(Part::start("worker", |until| async move {
                    Ok(worker.serve(http, worker_listener, until).await?)
                }));
                tokio::select! {
                    joined = parts.joined(&url) => joined.map(Some),
                    () = stop.cancelled() => Ok(None),
                }
            }
            Err(error) => Err(error.into()),
        };
        match server {
            Ok(Some(server)) => Ok(Some(Self {
                server,
                http: http_address,
                parts,
            })),
            stopped => {
                let ended = parts.stop().await;
                stopped?;
                ended.map(|()| None)
            }
        }
    }

    /// Returns when one of the two ended without being asked to.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        self.parts.ended().await
    }

    /// Stops the worker, whose workloads stop within their grace period, then the control plane.
    /// Bounded in time.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.parts.stop().await
    }
}

// === impl Parts ===

impl Parts {
    /// Waits for the worker's session, because workloads that are deployed earlier would first be
    /// reported as unschedulable.
    async fn joined(&mut self, url: &str) -> anyhow::Result<Server> {
        let url = url.parse().map_err(|error: String| anyhow!(error))?;
        let server = Server::connect(&[url]).await?;
        let request = v1::WorkerServiceWatchRequest {
            name: WORKER.to_owned(),
            ..Default::default()
        };
        let mut workers = server.workers();
        let ready = async move {
            let mut changes = workers.watch(request).await?.into_inner();
            while let Some(change) = changes.message().await? {
                if change.worker.is_some_and(|worker| worker.ready) {
                    return Ok(());
                }
            }
            Err(anyhow!("the control plane ended the watch of workers"))
        };
        tokio::select! {
            joined = time::timeout(JOIN_TIMEOUT, ready) => {
                joined.context("the worker did not join the control plane")??;
            }
            ended = self.ended() => ended?,
        }
        Ok(server)
    }

    async fn ended(&mut self) -> anyhow::Result<()> {
        let worker = async {
            match &mut self.worker {
                Some(worker) => worker.ended().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            ended = self.control.ended() => ended,
            ended = worker => ended,
        }
    }

    async fn stop(self) -> anyhow::Result<()> {
        let stop = async {
            let worker = match self.worker {
                Some(worker) => worker.stop().await,
                None => Ok(()),
            };
            let control = self.control.stop().await;
            worker.and(control)
        };
        time::timeout(STOP_TIMEOUT, stop)
            .await
            .with_context(|| format!("not everything stopped within {STOP_TIMEOUT:?}"))?
    }
}

// === impl Part ===

impl Part {
    /// Starts `run`, which gets a future that completes when it should stop.
    fn start<F>(name: &'static str, run: impl FnOnce(WaitForCancellationFutureOwned) -> F) -> Self
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(stop.clone().cancelled_owned()));
        Self {
            name,
            stop,
            task,
            joined: false,
        }
    }

    /// Returns when it ended without being asked to.
    async fn ended(&mut self) -> anyhow::Result<()> {
        let ended = (&mut self.task).await;
        self.joined = true;
        ended
            .with_context(|| format!("the {} panicked", self.name))?
            .with_context(|| format!("the {} failed", self.name))?;
        Err(anyhow!("the {} ended unexpectedly", self.name))
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        if self.joined {
            return Ok(());
        }
        self.task
            .await
            .with_context(|| format!("the {} panicked", self.name))?
            .with_context(|| format!("the {} did not stop cleanly", self.name))
    }
}
