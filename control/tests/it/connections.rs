//! Clients that hold connections, calls and sessions, and everybody else beside them.

use std::{net::IpAddr, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::{Ping, client};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use warren_control::{ClientLimits, Config};
use warren_model::admission::Bounds;
use warren_proto::v1::{
    self, fleet_service_client::FleetServiceClient, workload_service_client::WorkloadServiceClient,
};

use crate::{
    harness::{Control, SOON, next, within},
    worker::Machine,
};

const IDLE: Duration = Duration::from_millis(500);
const LIST: &str = "/warren.v1.WorkloadService/List";
const WATCH: &str = "/warren.v1.WorkloadService/Watch";
const SESSION: &str = "/warren.v1.FleetService/Session";

async fn control(limits: ClientLimits) -> Control {
    let data = TempDir::new().unwrap();
    let config = Config {
        limits,
        worker_timeout: crate::harness::WORKER_TIMEOUT,
        ..Config::new(data.path().to_owned())
    };
    Control::start_with(data, config).await
}

fn bounds(total: usize, per_peer: usize) -> Bounds {
    Bounds { total, per_peer }
}

type Sender = client::SendRequest<Bytes>;
type Ended = JoinHandle<Result<(), h2::Error>>;

/// HTTP/2 from an address of this machine, with a ping now and then.
async fn raw(control: &Control, from: [u8; 4]) -> (Sender, Ended) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((IpAddr::from(from), 0).into()).unwrap();
    let stream = within(socket.connect(control.address())).await.unwrap();
    let (sender, mut connection) = within(client::handshake(stream)).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    let ended = tokio::spawn(connection);
    tokio::spawn(async move {
        while pings.ping(Ping::opaque()).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    (sender, ended)
}

fn head(path: &str) -> http::Request<()> {
    http::Request::post(format!("http://127.0.0.1{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

/// A call of which only the head is sent; dropping the rest gives it up.
async fn half_open(
    sender: &mut Sender,
    path: &str,
) -> (client::ResponseFuture, h2::SendStream<Bytes>) {
    within(std::future::poll_fn(|cx| sender.poll_ready(cx)))
        .await
        .unwrap();
    sender.send_request(head(path), false).unwrap()
}

/// A call with an empty message.
async fn call(sender: &mut Sender, path: &str) -> http::Response<h2::RecvStream> {
    let (answer, mut body) = half_open(sender, path).await;
    let mut message = BytesMut::new();
    message.put_bytes(0, 5);
    body.send_data(message.freeze(), true).unwrap();
    within(answer).await.unwrap()
}

/// The status of an answer that has nothing else.
fn status(answer: &http::Response<h2::RecvStream>) -> Option<Status> {
    Status::from_header_map(answer.headers())
}

/// Checks for RESOURCE_EXHAUSTED or UNAVAILABLE with a message that states the limit and when to
/// retry.
#[track_caller]
fn is_refused(status: &Status, code: Code, words: &str) {
    assert_eq!(status.code(), code, "{status:?}");
    assert!(status.message().contains(words), "{status:?}");
    let details = status.get_error_details();
    assert!(details.retry_info().is_some(), "{status:?}");
}

async fn list(control: &Control) -> Result<(), Status> {
    let mut client = WorkloadServiceClient::new(control.another_channel());
    within(client.list(v1::ListRequest::default()))
        .await
        .map(drop)
}

#[tokio::test]
async fn connections_without_calls_end_and_a_silent_watch_goes_on() {
    let control = control(ClientLimits {
        unused: IDLE,
        idle: IDLE,
        ..ClientLimits::default()
    })
    .await;
    let machine = Machine::new("w");
    let worker = machine.connect(&control).await;
    let mut watching = WorkloadServiceClient::new(control.another_channel());
    let mut watch = within(watching.watch(v1::WatchRequest::default()))
        .await
        .unwrap()
        .into_inner();
    next(&mut watch).await.unwrap().unwrap();

    for preface in ["", "PRI * HT", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut silent = TcpStream::connect(control.address()).await.unwrap();
        silent.write_all(preface.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        let _ = within(silent.read_to_end(&mut said)).await;
    }
    let (_unused, ended) = raw(&control, [127, 0, 0, 1]).await;
    within(ended).await.unwrap().unwrap();
    let (mut used, ended) = raw(&control, [127, 0, 0, 1]).await;
    call(&mut used, LIST).await;
    within(ended).await.unwrap().unwrap();

    // Both have been silent for longer than all of that.
    let told = timeout(2 * IDLE, watch.message()).await;
    assert!(told.is_err(), "the watch ended: {told:?}");
    assert!(!worker.has_ended(), "the session ended");
}

#[tokio::test]
async fn a_neighbour_is_served_while_all_places_are_held() {
    let control = control(ClientLimits {
        connections: bounds(8, 8),
        ..ClientLimits::default()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..24 {
        held.push(raw(&control, [127, 0, 0, 2]).await);
        list(&control).await.unwrap();
    }
    let ended = || held.iter().filter(|(_, ended)| ended.is_finished()).count();
    within(async {
        while ended() < held.len() - 8 {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_worker_gets_in_where_clients_do_not() {
    let control = control(ClientLimits {
        connections: bounds(3, 2),
        ..ClientLimits::default()
    })
    .await;
    let mut held = Vec::new();
    for from in [2, 2, 3] {
        let (mut sender, ended) = raw(&control, [127, 0, 0, from]).await;
        let watch = call(&mut sender, WATCH).await;
        assert!(status(&watch).is_none());
        held.push((sender, ended, watch));
    }
    let (mut greedy, ended) = raw(&control, [127, 0, 0, 2]).await;
    let refused = status(&call(&mut greedy, LIST).await).unwrap();
    is_refused(
        &refused,
        Code::Unavailable,
        "2 (--max-connections-per-peer)",
    );
    within(ended).await.unwrap().unwrap();
    let refused = list(&control).await.unwrap_err();
    is_refused(&refused, Code::Unavailable, "3 connections");

    // Its channel was not connected before.
    let machine = Machine::new("w");
    let worker = machine.connect(&control).await;
    assert!(held.iter().all(|(_, ended, _)| !ended.is_finished()));
    held.pop();
    crate::harness::eventually_ok(async || list(&control).await).await;
    assert!(!worker.has_ended());
}

#[tokio::test]
async fn calls_without_their_request_keep_nobody_waiting() {
    let one_call = bounds(1, 1);
    let control = control(ClientLimits {
        unary: one_call,
        streams: one_call,
        arriving: bounds(64, 16),
        ..ClientLimits::default()
    })
    .await;
    let (mut sender, _ended) = raw(&control, [127, 0, 0, 2]).await;
    let mut calls = Vec::new();
    for number in 0..200 {
        let path = [LIST, WATCH][number % 2];
        calls.push(half_open(&mut sender, path).await);
        if number % 20 == 0 {
            list(&control).await.unwrap();
        }
    }
    // Those that had waited the longest made room, with an error that says so.
    let (first, _body) = calls.remove(0);
    let refused = status(&within(first).await.unwrap()).unwrap();
    is_refused(
        &refused,
        Code::ResourceExhausted,
        "send the request with its head",
    );
    list(&control).await.unwrap();
}

#[tokio::test]
async fn one_address_does_not_take_all_watches() {
    let control = control(ClientLimits {
        streams: bounds(4, 2),
        ..ClientLimits::default()
    })
    .await;
    let (mut greedy, _ended) = raw(&control, [127, 0, 0, 2]).await;
    let first = call(&mut greedy, WATCH).await;
    let second = call(&mut greedy, WATCH).await;
    let refused = status(&call(&mut greedy, WATCH).await).unwrap();
    is_refused(
        &refused,
        Code::ResourceExhausted,
        "one client address may, 2",
    );
    let (mut other, _ended) = raw(&control, [127, 0, 0, 3]).await;
    let third = call(&mut other, WATCH).await;
    assert!(
        [&first, &second, &third]
            .into_iter()
            .all(|it| status(it).is_none())
    );
    // Its calls with one answer have places of their own, and a place that was left can be had.
    assert_eq!(
        status(&call(&mut greedy, LIST).await).map(|it| it.code()),
        None
    );
    drop(first);
    within(async {
        while status(&call(&mut greedy, WATCH).await).is_some() {
            sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn sessions_in_which_nothing_is_said_keep_no_worker_out() {
    let control = control(ClientLimits {
        greetings: bounds(4, 4),
        sessions: bounds(2, 2),
        streams: bounds(1, 1),
        ..ClientLimits::default()
    })
    .await;
    let (mut sender, _ended) = raw(&control, [127, 0, 0, 1]).await;
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(half_open(&mut sender, SESSION).await);
    }
    let (first, second) = (Machine::new("first"), Machine::new("second"));
    let first = first.connect(&control).await;
    let second = second.connect(&control).await;
    let third = Machine::new("third");
    let refused = third.try_connect(&control, third.hello()).await;
    let refused = refused.err().unwrap();
    is_refused(
        &refused,
        Code::ResourceExhausted,
        "sessions of workers at once",
    );
    // Streams of clients did not block them, and they block nothing.
    let watch = call(&mut sender, WATCH).await;
    assert!(status(&watch).is_none());
    assert!(!first.has_ended() && !second.has_ended());
}

#[tokio::test]
async fn lines_that_are_for_nobody_have_their_time() {
    let control = control(ClientLimits::default()).await;
    let (_lines, requests) = mpsc::channel::<v1::PushLogsRequest>(1);
    let mut client = FleetServiceClient::new(control.another_channel());
    let pushed = timeout(SOON, client.push_logs(ReceiverStream::new(requests)));
    let error = pushed.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error:?}");
}
