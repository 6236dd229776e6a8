//! Tests of the network: its documented behaviour case by case, random operations against a model,
//! and many concurrent tasks.

#![allow(clippy::unwrap_used)]

mod bind;
mod close;
mod connect;
mod data;
mod limits;
mod model;
mod stress;
mod udp;

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use super::*;

/// A waker that records whether it was woken.
#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Flag {
    fn new() -> (Arc<Self>, Waker) {
        let flag = Arc::new(Self::default());
        (Arc::clone(&flag), Waker::from(flag))
    }

    fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

fn once() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn network() -> Network {
    Network::new(NetLimits::default())
}

fn limited(sockets: usize) -> Network {
    Network::new(NetLimits {
        sockets,
        ..NetLimits::default()
    })
}

fn listen(scope: &Scope, local: &str, backlog: usize) -> Listener {
    scope.bind(at(local)).unwrap().listen(backlog).unwrap()
}

fn poll(connecting: &mut Connecting) -> Poll<Result<Stream, NetError>> {
    Pin::new(connecting).poll(&mut once())
}

fn connected(scope: &Scope, to: SocketAddr) -> Stream {
    match poll(&mut scope.connect(None, to).unwrap()) {
        Poll::Ready(Ok(stream)) => stream,
        Poll::Ready(Err(error)) => panic!("{to}: {error}"),
        Poll::Pending => panic!("{to}: the backlog is full"),
    }
}

/// Two scopes with a connection from the first to the second.
struct Pair {
    network: Network,
    scopes: (Scope, Scope),
    client: (Reader, Writer),
    server: (Reader, Writer),
}

fn pair() -> Pair {
    let network = network();
    let scopes = (network.scope(), network.scope());
    let mut listener = listen(&scopes.1, "127.0.0.1:80", 1);
    let client = connected(&scopes.0, at("127.0.0.1:80")).split();
    let server = listener.try_accept().unwrap().unwrap().split();
    Pair {
        network,
        scopes,
        client,
        server,
    }
}

#[track_caller]
fn assert_empty(network: &Network) {
    assert_eq!(network.counts(), Counts::default());
    assert_eq!(network.used(), 0);
    assert_eq!(network.taken(), 0);
}
