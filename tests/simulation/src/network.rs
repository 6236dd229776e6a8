//! The network between the processes: gRPC streams, each in order, that are slow, stall and break.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use parking_lot::Mutex;
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, body::Body};
use tower::service_fn;
use warren_control::simulation::Serving;
use warren_proto::v1::{self, session_request::Message};
use warren_worker::remote::{Channel, Remote, RemoteError};

use crate::chance::Chance;

/// The address at which the control plane listens.
#[derive(Default)]
pub struct Network {
    serving: Mutex<Weak<Serving>>,
    peers: Mutex<Vec<Arc<Peer>>>,
}

/// A machine's connections to the control plane.
pub struct Peer {
    network: Arc<Network>,
    chance: Chance,
    weather: watch::Sender<Weather>,
    connections: Mutex<Vec<Connection>>,
    /// The times at which the control plane read a heartbeat or Hello of it, the latest last.
    heard: Mutex<VecDeque<Instant>>,
}

/// What happens to the messages of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weather {
    /// Whether what the machine sends arrives.
    pub up: bool,
    /// Whether what is sent to the machine arrives.
    pub down: bool,
    /// The longest delay, in milliseconds.
    pub slow: u64,
    /// Whether a user's request arrives twice, as if a proxy had repeated it.
    pub twice: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Up,
    Down,
}

#[derive(Clone)]
struct Connection {
    peer: Weak<Peer>,
    /// Cancelled when both ends are notified that it is gone.
    cut: CancellationToken,
    /// Cancelled when the machine is gone and the other end is not notified.
    silent: CancellationToken,
}

/// Returns whether one of the messages of a frame shows that a worker is alive.
fn is_sign_of_life(mut messages: &[u8]) -> bool {
    // A gRPC message is prefixed with a flag of one byte and its length in four.
    while let Some((head, rest)) = messages.split_first_chunk::<5>() {
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let Some((message, rest)) = rest.split_at_checked(usize::try_from(length).unwrap_or(0))
        else {
            return false;
        };
        let message = v1::SessionRequest::decode(message)
            .ok()
            .and_then(|it| it.message);
        if matches!(message, Some(Message::Heartbeat(_) | Message::Hello(_))) {
            return true;
        }
        messages = rest;
    }
    false
}

enum Item {
    Frame(Frame<Bytes>),
    Failed(Status),
    End,
}

/// The time after which an attempt to connect is given up, as long as the worker's own.
const CONNECT: Duration = Duration::from_secs(5);
/// The time after which a machine that died silently is noticed, as long as the control plane's
/// own.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// The number of heartbeats whose times are kept; more than arrive in a second.
const REMEMBERED: usize = 256;
/// The prefix of the paths of requests that are one message and are answered by one.
const USERS: &str = "/warren.v1.WorkloadService/";
/// The number of frames in flight in one direction of a stream.
const WINDOW: usize = 32;

pub const FAIR: Weather = Weather {
    up: true,
    down: true,
    slow: 5,
    twice: false,
};

// === impl Network ===

impl Network {
    pub fn peer(self: &Arc<Self>, chance: Chance) -> Arc<Peer> {
        let peer = Arc::new(Peer {
            network: self.clone(),
            chance,
            weather: watch::Sender::new(FAIR),
            connections: Mutex::default(),
            heard: Mutex::default(),
        });
        self.peers.lock().push(peer.clone());
        peer
    }

    /// Makes this control plane answer from now on, or refuses connections if `None`. Cuts all
    /// connections.
    pub fn serve(&self, serving: Option<&Arc<Serving>>) {
        *self.serving.lock() = serving.map(Arc::downgrade).unwrap_or_default();
        for peer in self.peers.lock().iter() {
            peer.cut();
        }
    }

    fn serving(&self) -> Result<Arc<Serving>, RemoteError> {
        let serving = self.serving.lock().upgrade();
        serving.ok_or_else(|| RemoteError("connection refused".into()))
    }
}

// === impl Peer ===

impl Peer {
    pub fn weather(&self) -> Weather {
        *self.weather.borrow()
    }

    pub fn turn(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        for connection in self.connections.lock().drain(..) {
            connection.cut.cancel();
        }
    }

    /// Makes the machine disappear: the control plane receives nothing more and notices that late.
    pub fn vanish(&self) {
        for connection in self.connections.lock().drain(..) {
            connection.silent.cancel();
            tokio::spawn(async move {
                sleep(KEEPALIVE).await;
                connection.cut.cancel();
            });
        }
    }

    /// Returns the longest silence of this machine that was under way at any time within `last`.
    /// The control plane has listened since `listens`.
    pub fn longest_silence(&self, listens: Instant, last: Duration) -> Duration {
        let heard = self.heard.lock();
        let (mut before, mut longest) = (listens, Duration::ZERO);
        for at in heard.iter().copied().chain([Instant::now()]) {
            if at.elapsed() <= last {
                longest = longest.max(at.saturating_duration_since(before));
            }
            before = before.max(at);
        }
        longest
    }

    fn is_heard(&self) {
        let mut heard = self.heard.lock();
        heard.push_back(Instant::now());
        if heard.len() > REMEMBERED {
            heard.pop_front();
        }
    }

    async fn open(self: &Arc<Self>) -> Result<Connection, RemoteError> {
        let connection = Connection {
            peer: Arc::downgrade(self),
            cut: CancellationToken::new(),
            silent: CancellationToken::new(),
        };
        let shaken = async {
            connection.pass(Direction::Up).await;
            connection.pass(Direction::Down).await;
        };
        timeout(CONNECT, shaken)
            .await
            .map_err(|_| RemoteError("no answer".into()))?;
        self.network.serving()?;
        self.connections.lock().push(connection.clone());
        Ok(connection)
    }

    fn delay(&self) -> Duration {
        self.chance.millis(0..=self.weather().slow)
    }

    async fn passable(&self, direction: Direction) {
        let mut weather = self.weather.subscribe();
        // The sender is `self`.
        let _ = weather
            .wait_for(|weather| match direction {
                Direction::Up => weather.up,
                Direction::Down => weather.down,
            })
            .await;
    }
}

/// A worker's or a user's connection to the control plane.
pub struct Way(pub Arc<Peer>);

#[async_trait]
impl Remote for Way {
    fn url(&self) -> String {
        "http://control:7700".to_owned()
    }

    async fn connect(&self) -> Result<Channel, RemoteError> {
        Ok(channel(self.0.open().await?))
    }

    fn connect_lazy(&self) -> Channel {
        let peer = self.0.clone();
        Channel::new(service_fn(move |request| {
            let peer = peer.clone();
            async move { peer.open().await?.call(request).await }
        }))
    }
}

fn channel(connection: Connection) -> Channel {
    Channel::new(service_fn(move |request| {
        let connection = connection.clone();
        async move { connection.call(request).await }
    }))
}

// === impl Connection ===

impl Connection {
    async fn call(self, request: http::Request<Body>) -> Result<http::Response<Body>, RemoteError> {
        let lost = || RemoteError("connection reset".into());
        let exchange = async {
            self.pass(Direction::Up).await;
            let (parts, body) = request.into_parts();
            let mut body = self.carry(Direction::Up, body);
            // A worker's streams do not end, so they cannot be collected and repeated.
            let twice = self.peer()?.weather().twice && parts.uri.path().starts_with(USERS);
            if twice {
                let lost = |status: Status| RemoteError(status.into());
                let bytes = body.collect().await.map_err(lost)?.to_bytes();
                body = Body::new(Full::new(bytes.clone()));
                let earlier = Body::new(Full::new(bytes));
                self.answer(http::Request::from_parts(parts.clone(), earlier))
                    .await?;
                self.pass(Direction::Up).await;
            }
            let response = self.answer(http::Request::from_parts(parts, body)).await?;
            self.pass(Direction::Down).await;
            Ok(response.map(|body| self.carry(Direction::Down, body)))
        };
        tokio::select! {
            biased;
            () = self.is_cut(Direction::Down) => Err(lost()),
            response = exchange => response,
        }
    }

    async fn answer(
        &self,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, RemoteError> {
        // A call in flight does not keep the control plane alive.
        let answer = self.peer()?.network.serving()?.call(request);
        Ok(answer.await)
    }

    fn peer(&self) -> Result<Arc<Peer>, RemoteError> {
        self.peer
            .upgrade()
            .ok_or_else(|| RemoteError("the simulation is over".into()))
    }

    /// Waits as long as a message that is sent now takes.
    async fn pass(&self, direction: Direction) {
        let Ok(peer) = self.peer() else { return };
        sleep(peer.delay()).await;
        peer.passable(direction).await;
    }

    /// Waits until the receiving end of this direction is notified that the connection is gone.
    async fn is_cut(&self, direction: Direction) {
        self.cut.cancelled().await;
        if let Ok(peer) = self.peer() {
            peer.passable(direction).await;
        }
    }

    /// Returns a body whose frames arrive later, in order, until the connection is cut.
    fn carry(&self, direction: Direction, body: Body) -> Body {
        let (sender, receiver) = mpsc::channel(WINDOW);
        tokio::spawn(self.clone().send(direction, body, sender));
        let state = Some((self.clone(), receiver));
        let frames = futures::stream::unfold(state, move |state| async move {
            let (connection, mut receiver) = state?;
            match connection.receive(direction, &mut receiver).await {
                Item::Frame(frame) => Some((Ok(frame), Some((connection, receiver)))),
                Item::Failed(status) => Some((Err(status), None)),
                Item::End => None,
            }
        });
        Body::new(StreamBody::new(frames))
    }

    async fn send(
        self,
        direction: Direction,
        mut body: Body,
        sender: mpsc::Sender<(Instant, Item)>,
    ) {
        let back = match direction {
            Direction::Up => Direction::Down,
            Direction::Down => Direction::Up,
        };
        let mut last = Instant::now();
        loop {
            let frame = tokio::select! {
                biased;
                () = self.is_cut(back) => return,
                () = self.silent.cancelled() => return self.is_cut(back).await,
                // The reader has gone, of which the sender is notified later.
                () = sender.closed() => return self.pass(back).await,
                frame = body.frame() => frame,
            };
            let (item, ends) = match frame {
                Some(Ok(frame)) => (Item::Frame(frame), false),
                Some(Err(status)) => (Item::Failed(status), true),
                None => (Item::End, true),
            };
            let Ok(peer) = self.peer() else { return };
            last = last.max(Instant::now() + peer.delay());
            if sender.send((last, item)).await.is_err() || ends {
                return;
            }
        }
    }

    async fn receive(
        &self,
        direction: Direction,
        receiver: &mut mpsc::Receiver<(Instant, Item)>,
    ) -> Item {
        let arrives = async {
            let Some((at, item)) = receiver.recv().await else {
                // The sender fell silent or was cut.
                return std::future::pending().await;
            };
            sleep_until(at).await;
            if let Ok(peer) = self.peer() {
                peer.passable(direction).await;
                if direction == Direction::Up
                    && let Item::Frame(frame) = &item
                    && frame.data_ref().is_some_and(|data| is_sign_of_life(data))
                {
                    peer.is_heard();
                }
            }
            item
        };
        tokio::select! {
            biased;
            () = self.is_cut(direction) => Item::Failed(Status::unavailable("connection reset")),
            item = arrives => item,
        }
    }
}
