//! A control plane to test against, and how to wait for what it does.

use std::{future::Future, net::SocketAddr, path::Path, time::Duration};

use tempfile::TempDir;
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle, time::timeout};
use tonic::{
    Status,
    transport::{Channel, Endpoint},
};
use warren_control::{Config, ControlPlane, OpenError, ServeError, StoreError};
use warren_proto::v1::{
    self, artifact_service_client::ArtifactServiceClient, push_request::Message,
    worker_service_client::WorkerServiceClient, workload_service_client::WorkloadServiceClient,
};

use crate::components::Built;

/// The longest that anything here may take.
pub const SOON: Duration = Duration::from_secs(20);

/// Longer than any pause of a busy machine, so that no worker is lost by accident.
pub const WORKER_TIMEOUT: Duration = Duration::from_secs(60);

/// For tests of what happens to a silent worker.
pub const SHORT_WORKER_TIMEOUT: Duration = Duration::from_secs(2);

/// A control plane that serves.
pub struct Control {
    pub channel: Channel,
    pub workloads: WorkloadServiceClient<Channel>,
    pub artifacts: ArtifactServiceClient<Channel>,
    pub workers: WorkerServiceClient<Channel>,
    endpoint: Endpoint,
    address: SocketAddr,
    data: TempDir,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServeError>>,
}

/// A stream's next message, within bounds.
pub async fn next<T>(stream: &mut tonic::Streaming<T>) -> Result<Option<T>, Status> {
    within(stream.message()).await
}

/// The result of something that must not hang.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("it happens soon")
}

/// Waits until something works.
pub async fn eventually_ok<T, E>(mut attempt: impl AsyncFnMut() -> Result<T, E>) -> T {
    within(async {
        loop {
            match attempt().await {
                Ok(done) => return done,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await
}

// === impl Control ===

impl Control {
    pub async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), WORKER_TIMEOUT).await
    }

    pub async fn start_in(data: TempDir, worker_timeout: Duration) -> Self {
        let config = Config {
            worker_timeout,
            ..Config::new(data.path().to_owned())
        };
        Self::start_with(data, config).await
    }

    /// Starts one of this configuration, which names `data`.
    pub async fn start_with(data: TempDir, config: Config) -> Self {
        let plane = open(config).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(plane.serve(listener, async {
            // A dropped sender is a test that ended.
            let _ = stopped.await;
        }));
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let channel = endpoint.connect_lazy();
        Self {
            workloads: WorkloadServiceClient::new(channel.clone()),
            artifacts: ArtifactServiceClient::new(channel.clone()),
            workers: WorkerServiceClient::new(channel.clone()),
            endpoint,
            address,
            channel,
            data,
            stop,
            serving,
        }
    }

    /// Ends it as a signal does.
    pub async fn stop(self) -> TempDir {
        self.stop.send(()).unwrap();
        within(self.serving).await.unwrap().unwrap();
        self.data
    }

    /// Ends it at its current await, as close to a crash as is possible without a process of its
    /// own.
    pub async fn kill(self) -> TempDir {
        self.serving.abort();
        let _ = within(self.serving).await;
        self.data
    }

    /// Uses a connection of its own: on a shared one, streams that are not read block the others.
    pub fn another_channel(&self) -> Channel {
        self.endpoint.connect_lazy()
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn data(&self) -> &Path {
        self.data.path()
    }

    pub async fn push(&mut self, built: &Built) -> v1::PushResponse {
        let messages = [
            Message::Header(v1::PushHeader {
                digest: built.digest.to_string(),
                size_bytes: built.bytes.len() as u64,
            }),
            Message::Chunk(built.bytes.clone().into()),
        ]
        .map(|message| v1::PushRequest {
            message: Some(message),
        });
        let pushed = self.artifacts.push(tokio_stream::iter(messages)).await;
        pushed.unwrap().into_inner()
    }

    /// Pushes the workload's service and applies it.
    pub async fn run(&mut self, name: &str, replicas: u32, built: &Built) -> v1::Workload {
        self.push(built).await;
        self.apply(service_workload(name, Some(replicas), built))
            .await
            .unwrap()
            .workload
            .unwrap()
    }

    pub async fn apply(&mut self, workload: v1::Workload) -> Result<v1::ApplyResponse, Status> {
        let request = v1::ApplyRequest {
            workload: Some(workload),
            expected_revision: None,
        };
        Ok(within(self.workloads.apply(request)).await?.into_inner())
    }

    pub async fn replicas(&mut self, workload: &str) -> Vec<v1::Replica> {
        let request = v1::ListReplicasRequest {
            workload: workload.to_owned(),
            ..Default::default()
        };
        within(self.workloads.list_replicas(request))
            .await
            .unwrap()
            .into_inner()
            .replicas
    }

    pub async fn workload(&mut self, name: &str) -> v1::Workload {
        let request = v1::GetRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        within(self.workloads.get(request))
            .await
            .unwrap()
            .into_inner()
            .workload
            .unwrap()
    }

    /// Watches the replicas of a workload; with an empty name all of the namespace.
    pub async fn watch_replicas(
        &mut self,
        workload: &str,
        after: &str,
    ) -> tonic::Streaming<v1::WatchReplicasResponse> {
        let request = v1::WatchReplicasRequest {
            workload: workload.to_owned(),
            resource_version: after.to_owned(),
            ..Default::default()
        };
        within(self.workloads.watch_replicas(request))
            .await
            .unwrap()
            .into_inner()
    }

    pub async fn worker(&mut self, name: &str) -> v1::Worker {
        let request = v1::WorkerServiceGetRequest {
            name: name.to_owned(),
        };
        within(self.workers.get(request))
            .await
            .unwrap()
            .into_inner()
            .worker
            .unwrap()
    }

    /// Waits until a worker is as wanted.
    pub async fn until_worker(
        &mut self,
        name: &str,
        wanted: impl Fn(&v1::Worker) -> bool,
    ) -> v1::Worker {
        let request = v1::WorkerServiceWatchRequest {
            name: name.to_owned(),
            ..Default::default()
        };
        let watch = within(self.workers.watch(request)).await.unwrap();
        let mut watch = watch.into_inner();
        loop {
            let seen = next(&mut watch).await.unwrap().expect("the watch goes on");
            if let Some(worker) = seen.worker.filter(|worker| wanted(worker)) {
                return worker;
            }
        }
    }

    pub async fn delete_worker(&mut self, name: &str) -> Result<(), Status> {
        let request = v1::WorkerServiceDeleteRequest {
            name: name.to_owned(),
        };
        within(self.workers.delete(request)).await.map(drop)
    }

    pub async fn watch(&mut self, name: &str, after: &str) -> tonic::Streaming<v1::WatchResponse> {
        let request = v1::WatchRequest {
            name: name.to_owned(),
            resource_version: after.to_owned(),
            ..Default::default()
        };
        within(self.workloads.watch(request))
            .await
            .unwrap()
            .into_inner()
    }

    /// Watches a workload until it is as wanted.
    pub async fn until(
        &mut self,
        name: &str,
        wanted: impl Fn(&v1::Workload) -> bool,
    ) -> v1::Workload {
        let mut watch = self.watch(name, "").await;
        loop {
            let seen = next(&mut watch).await.unwrap().expect("the watch goes on");
            if let Some(workload) = seen.workload.filter(|workload| wanted(workload)) {
                return workload;
            }
        }
    }

    /// Watches a workload until all of it is ready and nothing else is left.
    pub async fn until_settled(&mut self, name: &str) -> v1::Workload {
        self.until(name, is_settled).await
    }

    /// Watches a workload until it is gone.
    pub async fn until_gone(&mut self, name: &str) {
        let mut watch = self.watch(name, "").await;
        let mut present = false;
        loop {
            let seen = next(&mut watch).await.unwrap().expect("the watch goes on");
            match seen.r#type() {
                v1::watch_response::Type::Deleted => return,
                v1::watch_response::Type::Bookmark if !present => return,
                _ => present = true,
            }
        }
    }

    /// Follows events until one of this reason comes.
    pub async fn until_event(&mut self, reason: &str) -> v1::Event {
        let request = v1::EventsRequest {
            namespace: "*".to_owned(),
            follow: true,
            ..Default::default()
        };
        let mut events = within(self.workloads.events(request))
            .await
            .unwrap()
            .into_inner();
        loop {
            let event = next(&mut events)
                .await
                .unwrap()
                .expect("events go on")
                .event
                .unwrap();
            if event.reason == reason {
                return event;
            }
        }
    }
}

/// Opens a data directory as soon as its previous holder has released it.
async fn open(config: Config) -> ControlPlane {
    let started = tokio::time::Instant::now();
    loop {
        match ControlPlane::open(config.clone()).await {
            Ok(plane) => return plane,
            // A killed control plane's last tasks end in their own time; there is nothing to wait
            // on.
            Err(OpenError::Store(StoreError::InUse(_))) if started.elapsed() < SOON => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub fn is_settled(workload: &v1::Workload) -> bool {
    condition(workload, "Ready").is_some_and(|held| held.status() == v1::condition::Status::True)
        && condition(workload, "Progressing")
            .is_some_and(|held| held.status() == v1::condition::Status::False)
}

pub fn condition<'a>(workload: &'a v1::Workload, kind: &str) -> Option<&'a v1::Condition> {
    workload
        .status
        .as_ref()?
        .conditions
        .iter()
        .find(|held| held.r#type == kind)
}

/// A workload of one service.
pub fn service_workload(name: &str, replicas: Option<u32>, built: &Built) -> v1::Workload {
    v1::Workload {
        name: name.to_owned(),
        spec: Some(v1::WorkloadSpec {
            replicas,
            service: Some(v1::Service {
                component: built.digest.to_string(),
                ..Default::default()
            }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A workload whose service has one argument: another argument, another revision.
pub fn workload_with(name: &str, built: &Built, arg: &str) -> v1::Workload {
    let mut workload = service_workload(name, None, built);
    let service = workload.spec.as_mut().unwrap().service.as_mut().unwrap();
    service.args = vec![arg.to_owned()];
    workload
}

/// A workload whose service has an HTTP route.
pub fn routed_workload(name: &str, built: &Built, host: &str) -> v1::Workload {
    let mut workload = service_workload(name, None, built);
    let service = workload.spec.as_mut().unwrap().service.as_mut().unwrap();
    service.routes = vec![v1::ServiceRoute {
        host: host.to_owned(),
        path: "/".to_owned(),
        port: 8080,
        ..Default::default()
    }];
    workload
}

/// A workload that publishes on one fixed address.
pub fn published_workload(name: &str, built: &Built, listen: &str) -> v1::Workload {
    let mut workload = service_workload(name, None, built);
    let service = workload.spec.as_mut().unwrap().service.as_mut().unwrap();
    service.publish = vec![v1::Publish {
        port: 6379,
        listen: listen.to_owned(),
        ..Default::default()
    }];
    workload
}

/// A workload of one HTTP component.
pub fn http_workload(name: &str, built: &Built, host: &str) -> v1::Workload {
    v1::Workload {
        name: name.to_owned(),
        spec: Some(v1::WorkloadSpec {
            components: vec![v1::Component {
                name: "web".to_owned(),
                component: built.digest.to_string(),
                routes: vec![v1::Route {
                    host: host.to_owned(),
                    path: "/".to_owned(),
                }],
                ..Default::default()
            }],
            ..Default::default()
        }),
        ..Default::default()
    }
}
