//! A worker that follows the session contract and runs nothing: it reports what the test decides.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};
use warren_proto::v1::{
    self, fleet_service_client::FleetServiceClient, replica::Phase, session_request,
    session_response,
};

use crate::harness::{Control, next, within};

/// The part of a worker that outlives its sessions: its data directory.
#[derive(Clone)]
pub struct Machine {
    pub id: String,
    pub name: String,
    pub held: Arc<Mutex<BTreeMap<String, v1::ReplicaReport>>>,
    /// The report about a replica that is assigned to it.
    pub becomes: Arc<Mutex<Phase>>,
    /// Every request for lines that reached it.
    pub wanted: Arc<Mutex<Vec<v1::LogsWanted>>>,
    /// Everything that it was sent of where Warren listens.
    pub listeners: watch::Sender<Vec<v1::FleetListeners>>,
    /// Where its heartbeats say that it listens now.
    pub listens: Arc<Mutex<Vec<String>>>,
}

/// A machine with an open session.
pub struct Worker {
    pub machine: Machine,
    pub welcome: v1::Welcome,
    /// Every Assignments of this session.
    pub assignments: watch::Receiver<Vec<v1::Assignments>>,
    messages: mpsc::Sender<session_request::Message>,
    beats: mpsc::Sender<()>,
    /// The last heartbeat that the control plane has acknowledged.
    acknowledged: watch::Receiver<u64>,
    session: JoinHandle<Status>,
}

struct Session {
    machine: Machine,
    channel: Channel,
    outbound: mpsc::Sender<v1::SessionRequest>,
    assignments: watch::Sender<Vec<v1::Assignments>>,
    acknowledged: watch::Sender<u64>,
}

/// What a test makes a session say.
struct Told {
    messages: mpsc::Receiver<session_request::Message>,
    /// Heartbeats before their time.
    beats: mpsc::Receiver<()>,
}

// === impl Machine ===

impl Machine {
    pub fn new(name: &str) -> Self {
        Self {
            id: format!("id-of-{name}"),
            name: name.to_owned(),
            held: Arc::default(),
            becomes: Arc::new(Mutex::new(Phase::Running)),
            wanted: Arc::default(),
            listeners: watch::Sender::default(),
            listens: Arc::default(),
        }
    }

    pub fn hello(&self) -> v1::Hello {
        v1::Hello {
            protocol_version: warren_proto::SESSION_PROTOCOL_VERSION,
            worker_id: self.id.clone(),
            name: self.name.clone(),
            address: "http://127.0.0.1:7701".to_owned(),
            capacity: Some(v1::Resources {
                memory_bytes: 8 << 30,
                replicas: 0,
                keeps_reserves: Some(true),
            }),
            version: "0.0.0".to_owned(),
            replicas: self.held.lock().unwrap().values().cloned().collect(),
            ..Default::default()
        }
    }

    /// Opens a session and keeps it until dropped.
    pub async fn connect(&self, control: &Control) -> Worker {
        self.try_connect(control, self.hello()).await.unwrap()
    }

    pub async fn try_connect(&self, control: &Control, hello: v1::Hello) -> Result<Worker, Status> {
        let (outbound, requests) = mpsc::channel(64);
        let mut client = FleetServiceClient::new(control.channel.clone());
        let hello = session_request::Message::Hello(hello);
        outbound
            .send(v1::SessionRequest {
                message: Some(hello),
            })
            .await
            .unwrap();
        let mut inbound = within(client.session(ReceiverStream::new(requests)))
            .await?
            .into_inner();
        let first = next(&mut inbound).await?.expect("an answer to Hello");
        let Some(session_response::Message::Welcome(welcome)) = first.message else {
            panic!("expected Welcome, got {first:?}");
        };
        let (assignments, seen) = watch::channel(Vec::new());
        let (acknowledged, heard) = watch::channel(0);
        let session = Session {
            machine: self.clone(),
            channel: control.channel.clone(),
            outbound,
            assignments,
            acknowledged,
        };
        let (messages, to_say) = mpsc::channel(64);
        let (beats, to_beat) = mpsc::channel(64);
        let told = Told {
            messages: to_say,
            beats: to_beat,
        };
        let session = tokio::spawn(session.run(inbound, told, welcome.clone()));
        Ok(Worker {
            machine: self.clone(),
            welcome,
            assignments: seen,
            messages,
            beats,
            acknowledged: heard,
            session,
        })
    }
}

// === impl Worker ===

impl Worker {
    /// Returns whether its session has ended.
    pub fn has_ended(&self) -> bool {
        self.session.is_finished()
    }

    /// Says something about a replica.
    pub async fn report(&self, report: v1::ReplicaReport) {
        self.machine
            .held
            .lock()
            .unwrap()
            .insert(report.replica.clone(), report.clone());
        self.say(session_request::Message::Report(report)).await;
    }

    /// Says anything. What was not sent yet when it vanishes is lost.
    pub async fn say(&self, message: session_request::Message) {
        self.messages.send(message).await.unwrap();
    }

    /// Announces that it is stopping, and that its replicas are kept for this many seconds.
    pub async fn leave(&self, keep: i64, stopped: bool) {
        let keep = Some(prost_types::Duration {
            seconds: keep,
            nanos: 0,
        });
        let leave = v1::Leave { keep, stopped };
        self.say(session_request::Message::Leave(leave)).await;
    }

    /// Sends heartbeats and waits until the control plane has heard them.
    pub async fn heartbeats(&self, count: u64) {
        let mut acknowledged = self.acknowledged.clone();
        let before = *acknowledged.borrow_and_update();
        for _ in 0..count {
            self.beats.send(()).await.unwrap();
        }
        within(acknowledged.wait_for(|heard| *heard >= before + count))
            .await
            .unwrap();
    }

    /// Waits for an Assignments of this session.
    pub async fn until_told(
        &mut self,
        wanted: impl Fn(&v1::Assignments) -> bool,
    ) -> v1::Assignments {
        let seen = within(self.assignments.wait_for(|seen| seen.iter().any(&wanted)))
            .await
            .unwrap();
        seen.iter().find(|told| wanted(told)).cloned().unwrap()
    }

    /// Cuts the connection without a word.
    pub async fn vanish(self) {
        self.session.abort();
        let _ = self.session.await;
    }

    /// Waits for the control plane to end the session.
    pub async fn ended(self) -> Status {
        within(self.session).await.unwrap()
    }
}

// === impl Session ===

impl Session {
    async fn run(
        self,
        mut inbound: Streaming<v1::SessionResponse>,
        mut told: Told,
        welcome: v1::Welcome,
    ) -> Status {
        let interval = welcome.heartbeat_interval.unwrap().try_into().unwrap();
        let mut heartbeat = Instant::now() + interval;
        let mut sequence = 0;
        loop {
            tokio::select! {
                message = inbound.message() => match message {
                    Ok(Some(message)) => self.take(message).await,
                    Ok(None) => return Status::ok("the stream ended"),
                    Err(status) => return status,
                },
                Some(message) = told.messages.recv() => self.send(message).await,
                Some(()) = told.beats.recv() => {
                    sequence += 1;
                    self.beat(sequence).await;
                }
                () = sleep_until(heartbeat) => {
                    sequence += 1;
                    self.beat(sequence).await;
                    heartbeat += interval;
                }
            }
        }
    }

    async fn take(&self, message: v1::SessionResponse) {
        match message.message.unwrap() {
            session_response::Message::Assignments(told) => {
                self.obey(&told).await;
                self.assignments.send_modify(|seen| seen.push(told));
            }
            session_response::Message::LogsWanted(wanted) => {
                self.machine.wanted.lock().unwrap().push(wanted.clone());
                tokio::spawn(answer(self.channel.clone(), wanted));
            }
            session_response::Message::HeartbeatAck(ack) => {
                self.acknowledged.send_replace(ack.sequence);
            }
            session_response::Message::FleetListeners(news) => {
                self.machine.listeners.send_modify(|seen| seen.push(news));
            }
            session_response::Message::Welcome(_) | session_response::Message::FleetRoutes(_) => {}
        }
    }

    async fn obey(&self, told: &v1::Assignments) {
        let mut stop = told.stop.clone();
        if told.complete {
            let held = self.machine.held.lock().unwrap();
            let unwanted = |id: &&String| told.assign.iter().all(|one| one.replica != **id);
            stop.extend(held.keys().filter(unwanted).cloned());
        }
        for id in stop {
            self.machine.held.lock().unwrap().remove(&id);
            self.say(report(&id, Phase::Stopped)).await;
        }
        for assignment in &told.assign {
            if self
                .machine
                .held
                .lock()
                .unwrap()
                .contains_key(&assignment.replica)
            {
                continue;
            }
            let becomes = *self.machine.becomes.lock().unwrap();
            let report = report(&assignment.replica, becomes);
            self.machine
                .held
                .lock()
                .unwrap()
                .insert(assignment.replica.clone(), report.clone());
            self.say(report).await;
        }
    }

    async fn beat(&self, sequence: u64) {
        let beat = v1::Heartbeat {
            sequence,
            memory_used_bytes: 0,
            listeners: self.machine.listens.lock().unwrap().clone(),
            ..Default::default()
        };
        self.send(session_request::Message::Heartbeat(beat)).await;
    }

    async fn say(&self, report: v1::ReplicaReport) {
        self.send(session_request::Message::Report(report)).await;
    }

    async fn send(&self, message: session_request::Message) {
        // A closed stream shows in `inbound`.
        let _ = self
            .outbound
            .send(v1::SessionRequest {
                message: Some(message),
            })
            .await;
    }
}

/// A report with the condition and transition that belong to its phase.
pub fn report(id: &str, phase: Phase) -> v1::ReplicaReport {
    let ready = phase == Phase::Running;
    let now = prost_types::Timestamp::from(std::time::SystemTime::now());
    let status = if ready {
        v1::condition::Status::True
    } else {
        v1::condition::Status::False
    };
    v1::ReplicaReport {
        replica: id.to_owned(),
        phase: phase.into(),
        ready,
        conditions: vec![v1::Condition {
            r#type: "Ready".to_owned(),
            status: status.into(),
            reason: phase.as_str_name().to_owned(),
            message: format!("it is {}", phase.as_str_name()),
            last_transition_time: Some(now),
        }],
        transitions: vec![v1::Transition {
            time: Some(now),
            phase: phase.into(),
            reason: phase.as_str_name().to_owned(),
            message: String::new(),
            r#type: v1::event::Type::Normal.into(),
            total: 1,
        }],
        ..Default::default()
    }
}

/// Two lines of each replica, and with `follow` as many as the reader has room for.
async fn answer(channel: Channel, wanted: v1::LogsWanted) {
    let (sender, messages) = mpsc::channel(1);
    let line = move |number: u64| v1::LogLine {
        time: Some(prost_types::Timestamp {
            seconds: number.cast_signed(),
            nanos: 0,
        }),
        replica: wanted.replica.clone(),
        source: "service".to_owned(),
        stream: v1::log_line::Stream::Stdout.into(),
        line: format!("line {number}"),
        ..Default::default()
    };
    let request_id = wanted.request_id.clone();
    tokio::spawn(async move {
        let count = if wanted.follow { u64::MAX } else { 2 };
        for number in 1..=count {
            let lines = vec![line(number)];
            let message = v1::PushLogsRequest {
                request_id: request_id.clone(),
                lines,
            };
            if sender.send(message).await.is_err() {
                return;
            }
        }
    });
    // Whether the reader has gone is no concern of the worker.
    let _ = FleetServiceClient::new(channel)
        .push_logs(ReceiverStream::new(messages))
        .await;
}
