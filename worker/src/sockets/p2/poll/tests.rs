//! Lists of pollables, as a guest passes them.
#![allow(clippy::unwrap_used)]

use std::{net::SocketAddr, pin::Pin, time::Duration};

use tokio::{
    io::AsyncWrite,
    sync::watch,
    task::{JoinSet, yield_now},
    time::timeout,
};
use warren_net::{NetLimits, Network, Stream};
use wasmtime_wasi::{
    WasiCtx, async_trait,
    p2::{Pollable, StreamError, StreamResult, bindings::io::streams::HostInputStream},
};

use crate::{
    policy::{HostAccess, Policy, Role},
    sockets::{GuestNetwork, p2::streams::TcpInput},
};

use super::*;

/// Much longer than anything here takes, so that only a lost wake-up reaches it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A store with connections, of which the test holds the peers' ends. Handles are plain numbers
/// here.
struct Store {
    table: ResourceTable,
    wasi: WasiCtx,
    network: GuestNetwork,
    wakeups: Wakeups,
    inputs: Vec<u32>,
    /// One pollable for each input.
    pollables: Vec<u32>,
}

/// A pollable of wasmtime: ready once the value is true.
struct Signal(watch::Receiver<bool>);

#[async_trait]
impl Pollable for Signal {
    async fn ready(&mut self) {
        self.0.wait_for(|is_ready| *is_ready).await.unwrap();
    }
}

impl Store {
    async fn new(connections: usize) -> (Self, Vec<Stream>) {
        let limits = NetLimits {
            sockets: 4 * connections + 1,
            ..NetLimits::default()
        };
        let scope = Network::new(limits).scope();
        let policy = Policy::new(Role::Service, Vec::new(), HostAccess::default());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut listener = scope.bind(any).unwrap().listen_default().unwrap();
        let mut store = Self {
            table: ResourceTable::new(),
            wasi: WasiCtx::builder().build(),
            network: GuestNetwork {
                scope: scope.clone(),
                policy: Arc::new(policy),
            },
            wakeups: Wakeups::default(),
            inputs: Vec::new(),
            pollables: Vec::new(),
        };
        let mut peers = Vec::new();
        for at in 0..connections {
            let peer = scope.connect(None, listener.local_addr()).unwrap();
            let (reader, writer) = listener.accept().await.unwrap().split();
            // The direction to the peer plays no part.
            drop(writer);
            peers.push(peer.await.unwrap());
            let input = TcpInput::new(Arc::new(reader));
            store.inputs.push(store.table.push(input).unwrap().rep());
            let pollable = store.subscribe(at);
            store.pollables.push(pollable);
        }
        (store, peers)
    }

    fn view(&mut self) -> SocketsView<'_> {
        SocketsView {
            table: &mut self.table,
            wasi: self.wasi.sockets(),
            network: &self.network,
            wakeups: &mut self.wakeups,
        }
    }

    fn subscribe(&mut self, at: usize) -> u32 {
        let stream = Resource::new_borrow(self.inputs[at]);
        self.view().subscribe(stream).unwrap().rep()
    }

    fn signal(&mut self) -> (watch::Sender<bool>, u32) {
        let (sender, receiver) = watch::channel(false);
        let signal = self.table.push(Signal(receiver)).unwrap();
        let pollable = wasmtime_wasi::p2::subscribe(&mut self.table, signal).unwrap();
        (sender, pollable.rep())
    }

    async fn poll(&mut self, list: &[u32]) -> wasmtime::Result<Vec<u32>> {
        let mut view = self.view();
        patiently(view.poll(handles(list))).await
    }

    /// Begins to wait, then calls `wake` and returns what is ready after that.
    async fn poll_until(&mut self, list: &[u32], wake: impl FnOnce()) -> Vec<u32> {
        let mut view = self.view();
        let mut polling = pin!(view.poll(handles(list)));
        begin(polling.as_mut());
        wake();
        patiently(polling).await.unwrap()
    }

    /// Begins to wait in each way that there is, and abandons it.
    fn abandon(&mut self, list: &[u32]) {
        let stream = Resource::new_borrow(self.inputs[0]);
        let mut view = self.view();
        begin(pin!(view.poll(handles(list))));
        begin(pin!(view.block(Resource::new_borrow(list[0]))));
        begin(pin!(view.blocking_read(stream, 1)));
    }

    /// Reads what has arrived.
    fn read(&mut self, at: usize) -> StreamResult<Vec<u8>> {
        let stream = Resource::new_borrow(self.inputs[at]);
        self.view().read(stream, 1 << 20)
    }

    async fn drop_input(&mut self, at: usize) -> wasmtime::Result<()> {
        let stream = Resource::new_own(self.inputs[at]);
        HostInputStream::drop(&mut self.view(), stream).await
    }

    /// Returns how often each pollable is registered with its connection.
    fn registrations(&self) -> Vec<usize> {
        let count = |&rep: &u32| {
            let found = find(&self.table, &Resource::new_borrow(rep));
            Arc::strong_count(&found.unwrap().unwrap().registration) - 1
        };
        self.pollables.iter().map(count).collect()
    }
}

fn handles(reps: &[u32]) -> Vec<Resource<DynPollable>> {
    reps.iter().map(|&rep| Resource::new_borrow(rep)).collect()
}

fn write(peer: &mut Stream, data: &[u8]) {
    let mut cx = Context::from_waker(Waker::noop());
    let written = AsyncWrite::poll_write(Pin::new(peer), &mut cx, data);
    assert!(matches!(written, Poll::Ready(Ok(n)) if n == data.len()));
}

/// Polls a call once, so that it waits.
fn begin<F: Future>(call: Pin<&mut F>) {
    let polled = call.poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled.is_pending());
}

async fn patiently<F: Future>(call: F) -> F::Output {
    timeout(PATIENCE, call)
        .await
        .expect("nothing woke the call")
}

#[tokio::test]
async fn one_ready_connection_of_a_thousand_is_found_each_time() {
    let (mut store, mut peers) = Store::new(1_000).await;
    let list = store.pollables.clone();
    for position in [0, 999, 500, 500, 1] {
        let at = position as usize;
        let ready = store.poll_until(&list, || write(&mut peers[at], b"x"));
        assert_eq!(ready.await, [position]);
        // It stays ready until it is read.
        assert_eq!(store.poll(&list).await.unwrap(), [position]);
        assert_eq!(store.read(at).unwrap(), b"x");
    }
}

#[tokio::test]
async fn a_connection_that_waits_stays_registered_from_one_call_to_the_next() {
    let (mut store, mut peers) = Store::new(3).await;
    let list = store.pollables.clone();
    write(&mut peers[1], b"x");
    for _ in 0..2 {
        assert_eq!(store.poll(&list).await.unwrap(), [1]);
        assert_eq!(store.registrations(), [1, 0, 1]);
    }
    write(&mut peers[2], b"x");
    assert_eq!(store.registrations(), [1, 0, 0]);
}

#[tokio::test]
async fn positions_are_returned_in_ascending_order_and_as_often_as_listed() {
    let (mut store, mut peers) = Store::new(3).await;
    let (set, signal) = store.signal();
    let (_unset, never) = store.signal();
    let once = [
        signal,
        store.pollables[2],
        store.pollables[0],
        never,
        store.pollables[1],
    ];
    let list = [once, once].concat();
    write(&mut peers[0], b"x");
    write(&mut peers[2], b"x");
    assert_eq!(store.poll(&list).await.unwrap(), [1, 2, 6, 7]);
    set.send(true).unwrap();
    assert_eq!(store.poll(&list).await.unwrap(), [0, 1, 2, 5, 6, 7]);
    store.read(0).unwrap();
    store.read(2).unwrap();
    assert_eq!(store.poll(&list).await.unwrap(), [0, 5]);
    for (rep, expected) in [(signal, true), (never, false), (once[1], false)] {
        let ready = store.view().ready(Resource::new_borrow(rep)).await;
        assert_eq!(ready.unwrap(), expected);
    }
}

#[tokio::test]
async fn each_kind_wakes_a_list_of_both() {
    let (mut store, mut peers) = Store::new(2).await;
    let (set, signal) = store.signal();
    let list = [store.pollables[0], signal, store.pollables[1]];
    let ready = store.poll_until(&list, || write(&mut peers[1], b"x"));
    assert_eq!(ready.await, [2]);
    store.read(1).unwrap();
    let ready = store.poll_until(&list, || {
        write(&mut peers[0], b"x");
        set.send(true).unwrap();
    });
    assert_eq!(ready.await, [0, 1]);
    store.read(0).unwrap();
    set.send(false).unwrap();
    let ready = store.poll_until(&list, || set.send(true).unwrap());
    assert_eq!(ready.await, [1]);
}

#[tokio::test]
async fn waits_on_one_stream_take_no_wakeups_from_each_other() {
    let (mut store, mut peers) = Store::new(1).await;
    let (first, second) = (store.pollables[0], store.subscribe(0));
    for list in [&[first][..], &[second, first], &[second], &[first, second]] {
        store.abandon(list);
        let ready = store.poll_until(list, || write(&mut peers[0], b"x"));
        assert_eq!(ready.await.len(), list.len());
        assert_eq!(store.read(0).unwrap(), b"x");
    }
}

#[tokio::test]
async fn an_abandoned_call_leaves_the_next_one_its_wakeups() {
    let (mut store, mut peers) = Store::new(2).await;
    let (_set, signal) = store.signal();
    let mut list = store.pollables.clone();
    for _ in 0..2 {
        store.abandon(&list);
        let ready = store.poll_until(&list, || write(&mut peers[0], b"x"));
        assert_eq!(ready.await, [0]);
        assert_eq!(store.read(0).unwrap(), b"x");

        {
            let mut view = store.view();
            let mut blocking = pin!(view.block(Resource::new_borrow(list[1])));
            begin(blocking.as_mut());
            write(&mut peers[1], b"x");
            patiently(blocking).await.unwrap();
        }
        assert_eq!(store.read(1).unwrap(), b"x");
        // The second time with a pollable of wasmtime in the list.
        list.push(signal);
    }
}

#[tokio::test]
async fn a_stream_cannot_be_dropped_before_its_pollable() {
    let (mut store, _peers) = Store::new(1).await;
    let refused = store.drop_input(0).await.unwrap_err();
    let is = |error: &wasmtime::Error, expected: &str| {
        let found = error.downcast_ref::<ResourceTableError>();
        assert_eq!(format!("{:?}", found.unwrap()), expected);
    };
    is(&refused, "HasChildren");
    let pollable = store.pollables[0];
    HostPollable::drop(&mut store.view(), Resource::new_own(pollable)).unwrap();
    store.drop_input(0).await.unwrap();
    is(&store.poll(&[pollable]).await.unwrap_err(), "NotPresent");
}

#[tokio::test]
async fn an_empty_list_is_a_trap() {
    let (mut store, _peers) = Store::new(1).await;
    let error = store.poll(&[]).await.unwrap_err();
    assert!(error.to_string().contains("empty list"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wakeup_is_lost_while_other_threads_write() {
    const BYTES: usize = 20_000;
    let (mut store, peers) = Store::new(16).await;
    let mut writers = JoinSet::new();
    for mut peer in peers {
        writers.spawn(async move {
            for n in 0..BYTES {
                write(&mut peer, &[7]);
                if n % 7 == 0 {
                    yield_now().await;
                }
            }
        });
    }
    let (_set, signal) = store.signal();
    let mut list = store.pollables.clone();
    list.push(signal);
    let mut read = [0; 16];
    while list.len() > 1 {
        let ready = store.poll(&list).await.unwrap();
        let ready: Vec<u32> = ready.iter().map(|&at| list[at as usize]).collect();
        for rep in ready {
            let at = store.pollables.iter().position(|&other| other == rep);
            let at = at.expect("the signal is never set");
            match store.read(at) {
                Ok(bytes) => read[at] += bytes.len(),
                Err(StreamError::Closed) => list.retain(|&other| other != rep),
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(read, [BYTES; 16]);
    while writers.join_next().await.is_some() {}
}
