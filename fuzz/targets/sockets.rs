//! Calls of two guests on one workload network, in any order: counts stay within limits, and
//! nothing is left at the end.
#![no_main]

use std::{
    net::SocketAddr,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use warren_net::{
    Bound, Connecting, Counts, End, Listener, NetLimits, Network, Reader, Scope, Socket, Stream,
    UdpSocket, Writer,
};

const LIMITS: NetLimits = NetLimits {
    sockets: 32,
    listeners: 8,
    buffer: 4096,
    datagrams: 4096,
    buffered: 64 << 10,
    backlog: 4,
    connect_timeout: Duration::from_secs(3600),
};

/// What the guests hold.
#[derive(Default)]
struct Held {
    sockets: Vec<Socket>,
    bound: Vec<Bound>,
    listeners: Vec<Listener>,
    connecting: Vec<Connecting>,
    streams: Vec<Stream>,
    readers: Vec<Reader>,
    writers: Vec<Writer>,
    udp: Vec<UdpSocket>,
}

/// The input, byte by byte; zeros after its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn address(&mut self) -> SocketAddr {
        let byte = self.byte();
        let host = match byte & 7 {
            0 => "127.0.0.2",
            1 => "0.0.0.0",
            2 => "[::1]",
            3 => "[::]",
            4 => "10.0.0.1",
            _ => "127.0.0.1",
        };
        let port = [0, 80, 81, 40_000][usize::from(byte >> 3 & 3)];
        format!("{host}:{port}").parse().expect("an address")
    }

    /// One of what there is, taken out.
    fn take<T>(&mut self, from: &mut Vec<T>) -> Option<T> {
        match from.len() {
            0 => None,
            many => Some(from.swap_remove(usize::from(self.byte()) % many)),
        }
    }

    fn of<'t, T>(&mut self, all: &'t mut [T]) -> Option<&'t mut T> {
        match all.len() {
            0 => None,
            many => all.get_mut(usize::from(self.byte()) % many),
        }
    }
}

/// One call; `None` where there is nothing to call it on.
fn step(input: &mut Input<'_>, scope: &Scope, held: &mut Held) -> Option<()> {
    let mut cx = Context::from_waker(Waker::noop());
    match input.byte() % 24 {
        0 => held.sockets.extend(scope.socket()),
        1 => held.bound.extend(scope.bind(input.address())),
        2 => held.udp.extend(scope.bind_udp(input.address())),
        3 => held.connecting.extend(scope.connect(None, input.address())),
        4 => {
            let bound = input.take(&mut held.bound)?;
            match bound.try_listen(input.byte().into()) {
                Ok(listener) => held.listeners.push(listener),
                Err((bound, _)) => held.bound.push(bound),
            }
        }
        5 => {
            let to = input.of(&mut held.listeners)?.local_addr();
            held.connecting.extend(scope.connect(None, to));
        }
        6 => {
            let socket = input.take(&mut held.sockets)?;
            match socket.bind(input.address()) {
                Ok(bound) => held.bound.push(bound),
                Err((socket, _)) => held.sockets.push(socket),
            }
        }
        7 => {
            let socket = input.take(&mut held.sockets)?;
            match socket.connect(input.address()) {
                Ok(connecting) => held.connecting.push(connecting),
                Err((socket, _)) => held.sockets.push(socket),
            }
        }
        8 => {
            let bound = input.take(&mut held.bound)?;
            match bound.connect(input.address()) {
                Ok(connecting) => held.connecting.push(connecting),
                Err((socket, _)) => held.sockets.push(socket),
            }
        }
        9 => {
            let mut connecting = input.take(&mut held.connecting)?;
            let polled = std::pin::Pin::new(&mut connecting).poll(&mut cx);
            match polled {
                std::task::Poll::Ready(Ok(stream)) => held.streams.push(stream),
                std::task::Poll::Ready(Err(_)) => held.sockets.extend(connecting.give_up()),
                std::task::Poll::Pending => held.connecting.push(connecting),
            }
        }
        10 => {
            let accepted = input.of(&mut held.listeners)?.try_accept()?;
            held.streams.extend(accepted);
        }
        11 => {
            let (reader, writer) = input.take(&mut held.streams)?.split();
            held.readers.push(reader);
            held.writers.push(writer);
        }
        12 => {
            let length = usize::from(input.byte()) << 5;
            let writer = input.of(&mut held.writers)?;
            // Either is an answer.
            if let Ok(written) = writer.try_write(Bytes::from(vec![7; length])) {
                assert!(written <= length);
            }
        }
        13 => {
            let most = usize::from(input.byte()) << 5;
            if let Ok(read) = input.of(&mut held.readers)?.try_read(most) {
                assert!(read.len() <= most && read.iter().all(|byte| *byte == 7));
            }
        }
        14 => input.of(&mut held.writers)?.shutdown(),
        15 => input.of(&mut held.readers)?.stop(),
        16 => drop(input.take(&mut held.readers)?),
        17 => drop(input.take(&mut held.writers)?),
        18 => drop(input.take(&mut held.listeners)?),
        19 => {
            let (to, length) = (input.address(), usize::from(input.byte()) << 3);
            let udp = input.of(&mut held.udp)?;
            // Lost datagrams are no errors, and refusals no panics.
            let _ = udp.try_send(to, Bytes::from(vec![7; length]));
        }
        20 => {
            let received = input.of(&mut held.udp)?.try_receive()?;
            if let Ok(datagram) = received {
                assert!(datagram.data.iter().all(|byte| *byte == 7));
            }
        }
        21 => {
            let size = usize::from(input.byte()) << 10;
            if let Some(reader) = input.of(&mut held.readers) {
                reader.set_buffer(size);
            }
            if let Some(udp) = input.of(&mut held.udp) {
                udp.set_buffer(size);
            }
            input.of(&mut held.listeners)?.set_buffer(size);
        }
        22 => {
            let backlog = input.byte().into();
            input.of(&mut held.listeners)?.set_backlog(backlog);
        }
        _ => {
            let peer = input.address();
            let peer = (peer.port() != 0).then_some(peer);
            let _ = input.of(&mut held.udp)?.set_peer(peer);
        }
    }
    Some(())
}

fuzz_target!(|bytes: &[u8]| {
    // Timers of connects need a runtime around them.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    let network = Network::new(LIMITS);
    let scopes = [network.scope(), network.scope()];
    let mut held = [Held::default(), Held::default()];
    let mut input = Input(bytes);
    while !input.0.is_empty() {
        let who = usize::from(input.byte() & 1);
        if input.byte() == 0xff {
            scopes[who].end(match input.byte() & 1 {
                0 => End::Closed,
                _ => End::Aborted,
            });
        } else {
            step(&mut input, &scopes[who], &mut held[who]);
        }
        let counts = network.counts();
        assert!(counts.sockets <= LIMITS.sockets, "{counts:?}");
        assert!(counts.listeners <= LIMITS.listeners, "{counts:?}");
        // Each direction of a connection has a sixteenth of its buffer on top.
        let own = LIMITS.sockets * LIMITS.buffer / 8;
        assert!(counts.buffered <= LIMITS.buffered + own, "{counts:?}");
    }
    drop(held);
    assert_eq!(network.counts(), Counts::default());
});
