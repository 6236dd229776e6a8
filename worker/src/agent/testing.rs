//! A scripted control plane over real gRPC, and replicas that only record the calls they receive.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use parking_lot::Mutex;
use tokio::{
    net::TcpListener,
    sync::mpsc::{self, UnboundedReceiver, UnboundedSender},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status, Streaming, transport::Server};
use warren_proto::v1::{
    self, artifact_service_server::ArtifactService, fleet_service_server::FleetService,
    replica::Phase, session_request, session_response,
};

use crate::replica::{
    Assignment, Replicas, Usage,
    reports::{ReplicaState, ReportBook},
    testing::assignment,
};

/// The scripted control plane.
pub(crate) struct Control {
    pub url: String,
    pub script: Arc<Script>,
    sessions: UnboundedReceiver<Peer>,
    pushes: UnboundedReceiver<v1::PushLogsRequest>,
    _server: AbortOnDropHandle<()>,
}

/// The behaviour of the control plane that a test does not drive step by step.
#[derive(Default)]
pub(crate) struct Script {
    /// The statuses with which the next sessions are refused.
    pub refuse: Mutex<VecDeque<Status>>,
    /// The answers to the next pulls.
    pub pulls: Mutex<VecDeque<Result<Chunks, Status>>>,
    pub pulled: Mutex<u32>,
    /// The number of messages after which the answer to LogsWanted ends.
    pub enough_lines: Mutex<Option<usize>>,
}

/// The result of a pull.
pub(crate) type Chunks = Vec<Result<Bytes, Status>>;

/// The control plane's end of a session. Dropping it ends the session.
pub(crate) struct Peer {
    inbound: Streaming<v1::SessionRequest>,
    outbound: mpsc::Sender<Result<v1::SessionResponse, Status>>,
}

struct Services {
    script: Arc<Script>,
    sessions: UnboundedSender<Peer>,
    pushes: UnboundedSender<v1::PushLogsRequest>,
}

impl Control {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (session_sender, sessions) = mpsc::unbounded_channel();
        let (push_sender, pushes) = mpsc::unbounded_channel();
        let script = Arc::<Script>::default();
        let services = Arc::new(Services {
            script: script.clone(),
            sessions: session_sender,
            pushes: push_sender,
        });
        let fleet = v1::fleet_service_server::FleetServiceServer::from_arc(services.clone());
        let artifacts = v1::artifact_service_server::ArtifactServiceServer::from_arc(services);
        let server = Server::builder().add_service(fleet).add_service(artifacts);
        let serving = server.serve_with_incoming(TcpListenerStream::new(listener));
        let server = AbortOnDropHandle::new(tokio::spawn(async { serving.await.unwrap() }));
        Self {
            url,
            script,
            sessions,
            pushes,
            _server: server,
        }
    }

    /// Returns the next session that a worker requests.
    pub async fn session(&mut self) -> Peer {
        self.sessions.recv().await.unwrap()
    }

    /// Returns the next session with its Hello, opened with frequent heartbeats and a long timeout.
    pub async fn welcome(&mut self, term: u64) -> (Peer, v1::Hello) {
        let mut peer = self.session().await;
        let hello = peer.hello().await;
        peer.welcome(term, Duration::from_secs(60)).await;
        (peer, hello)
    }

    pub async fn pushed(&mut self) -> v1::PushLogsRequest {
        self.pushes.recv().await.unwrap()
    }
}

impl Peer {
    pub async fn send(&self, message: session_response::Message) {
        let response = v1::SessionResponse {
            message: Some(message),
        };
        self.outbound.send(Ok(response)).await.unwrap();
    }

    pub async fn welcome(&self, term: u64, worker_timeout: Duration) {
        self.welcome_to("", term, worker_timeout).await;
    }

    /// Sends Welcome as a control plane of this cluster.
    pub async fn welcome_to(&self, cluster: &str, term: u64, worker_timeout: Duration) {
        let welcome = v1::Welcome {
            protocol_version: 1,
            term,
            heartbeat_interval: Some(Duration::from_millis(20).try_into().unwrap()),
            worker_timeout: Some(worker_timeout.try_into().unwrap()),
            cluster_id: cluster.to_owned(),
        };
        self.send(session_response::Message::Welcome(welcome)).await;
    }

    pub async fn assign(
        &self,
        (term, generation): (u64, u64),
        complete: bool,
        assign: &[&str],
        stop: &[&str],
    ) {
        let assignments = v1::Assignments {
            term,
            generation,
            complete,
            assign: assign.iter().map(|id| assignment(id)).collect(),
            stop: stop.iter().map(|id| (*id).to_owned()).collect(),
        };
        self.send(session_response::Message::Assignments(assignments))
            .await;
    }

    pub async fn receive(&mut self) -> Option<session_request::Message> {
        self.inbound
            .message()
            .await
            .ok()
            .flatten()
            .map(|request| request.message.unwrap())
    }

    pub async fn hello(&mut self) -> v1::Hello {
        match self.receive().await {
            Some(session_request::Message::Hello(hello)) => hello,
            other => panic!("not a Hello: {other:?}"),
        }
    }

    /// Returns the next report. Answers heartbeats before it, and skips other messages.
    pub async fn report(&mut self) -> v1::ReplicaReport {
        loop {
            match self.receive().await {
                Some(session_request::Message::Report(report)) => return report,
                Some(session_request::Message::Leave(_) | session_request::Message::Dropped(_)) => {
                }
                Some(session_request::Message::Heartbeat(beat)) => self.ack(beat.sequence).await,
                other => panic!("not a report: {other:?}"),
            }
        }
    }

    /// Returns the next message that is not a report. Answers heartbeats before it.
    pub async fn said(&mut self) -> session_request::Message {
        loop {
            match self.receive().await.unwrap() {
                session_request::Message::Report(_) => {}
                session_request::Message::Heartbeat(beat) => self.ack(beat.sequence).await,
                message => return message,
            }
        }
    }

    /// Returns the sequence of the next heartbeat. Fails if a report comes before it.
    pub async fn heartbeat(&mut self) -> u64 {
        match self.receive().await {
            Some(session_request::Message::Heartbeat(beat)) => beat.sequence,
            other => panic!("not a heartbeat: {other:?}"),
        }
    }

    /// Answers a heartbeat. The reports before it are kept at once.
    pub async fn ack(&self, sequence: u64) {
        self.ack_keeping(sequence, sequence).await;
    }

    pub async fn ack_keeping(&self, sequence: u64, kept_sequence: u64) {
        self.send(session_response::Message::HeartbeatAck(v1::HeartbeatAck {
            sequence,
            kept_sequence,
        }))
        .await;
    }

    /// Waits until the worker has handled everything that was sent before. It answers in order.
    pub async fn settle(&mut self) {
        let id = uuid::Uuid::new_v4().to_string();
        let assignments = v1::Assignments {
            term: u64::MAX,
            generation: u64::MAX,
            complete: false,
            assign: vec![],
            stop: vec![id.clone()],
        };
        self.send(session_response::Message::Assignments(assignments))
            .await;
        while self.report().await.replica != id {}
    }
}

#[tonic::async_trait]
impl FleetService for Services {
    type SessionStream = ReceiverStream<Result<v1::SessionResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if let Some(status) = self.script.refuse.lock().pop_front() {
            return Err(status);
        }
        let (outbound, receiver) = mpsc::channel(64);
        let peer = Peer {
            inbound: request.into_inner(),
            outbound,
        };
        self.sessions
            .send(peer)
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(ReceiverStream::new(receiver)))
    }

    async fn push_logs(
        &self,
        request: Request<Streaming<v1::PushLogsRequest>>,
    ) -> Result<Response<v1::PushLogsResponse>, Status> {
        let mut lines = request.into_inner();
        let mut left = self.script.enough_lines.lock().unwrap_or(usize::MAX);
        while left > 0
            && let Some(message) = lines.message().await?
        {
            left -= 1;
            let _ = self.pushes.send(message);
        }
        Ok(Response::new(v1::PushLogsResponse {}))
    }
}

#[tonic::async_trait]
impl ArtifactService for Services {
    type PullStream = BoxStream<'static, Result<v1::PullResponse, Status>>;

    async fn pull(
        &self,
        _request: Request<v1::PullRequest>,
    ) -> Result<Response<Self::PullStream>, Status> {
        *self.script.pulled.lock() += 1;
        let none = || Err(Status::not_found("no such artifact"));
        let chunks = self.script.pulls.lock().pop_front().unwrap_or_else(none)?;
        let chunks = chunks
            .into_iter()
            .map(|chunk| Ok(v1::PullResponse { chunk: chunk? }));
        Ok(Response::new(Box::pin(stream::iter(chunks))))
    }

    async fn push(
        &self,
        _: Request<Streaming<v1::PushRequest>>,
    ) -> Result<Response<v1::PushResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn stat(
        &self,
        _: Request<v1::StatRequest>,
    ) -> Result<Response<v1::StatResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn list(
        &self,
        _: Request<v1::ArtifactServiceListRequest>,
    ) -> Result<Response<v1::ArtifactServiceListResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }

    async fn delete(
        &self,
        _: Request<v1::ArtifactServiceDeleteRequest>,
    ) -> Result<Response<v1::ArtifactServiceDeleteResponse>, Status> {
        Err(Status::unimplemented("not scripted"))
    }
}

/// Replicas that are only recorded, and stop at once.
pub(crate) struct NotedReplicas {
    pub reports: ReportBook,
    held: Mutex<BTreeSet<String>>,
    calls: UnboundedSender<String>,
}

impl NotedReplicas {
    /// Returns replicas whose calls are sent as "assign ID" and "stop ID".
    pub fn new(reports: ReportBook) -> (Arc<Self>, UnboundedReceiver<String>) {
        let (calls, told) = mpsc::unbounded_channel();
        (
            Arc::new(Self {
                reports,
                held: Mutex::default(),
                calls,
            }),
            told,
        )
    }
}

impl Replicas for NotedReplicas {
    fn assign(&self, assignment: Assignment) {
        let id = assignment.replica;
        if self.held.lock().insert(id.clone()) {
            let state = ReplicaState {
                restarts: assignment.restarts,
                ..ReplicaState::new(Phase::Running)
            };
            self.reports.record(&id, state, None);
            let _ = self.calls.send(format!("assign {id}"));
        }
    }

    fn stop(&self, replica: &str) {
        self.reports
            .record(replica, ReplicaState::new(Phase::Stopped), None);
        self.held.lock().remove(replica);
        let _ = self.calls.send(format!("stop {replica}"));
    }

    fn replicas(&self) -> Vec<String> {
        self.held.lock().iter().cloned().collect()
    }

    fn usage(&self) -> Vec<(String, Usage)> {
        Vec::new()
    }

    fn memory_used(&self) -> u64 {
        7
    }
}
