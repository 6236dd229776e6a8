//! Random sequences of operations by two guests, checked against a reference model that is simple
//! enough to be obviously right.
//!
//! After each operation everything observable is compared. In addition, every task that had to wait
//! and need not wait any more according to the reference must have been woken.

mod datagrams;
mod real;
mod reference;
mod step;
mod streams;

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use bytes::Bytes;
use proptest::{prelude::*, test_runner::RngAlgorithm};
use tokio::runtime::{Builder, Runtime};

use super::*;
use datagrams::DATAGRAMS;
use real::{Real, Waiter};
use reference::{BUFFER, LISTENERS, Reference, SOCKETS, State};
use step::{Step, place, step};

/// A connection that waits creates a timer, which needs a runtime but never fires.
static TIMERS: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_current_thread().enable_time().build().unwrap());

struct World {
    network: Network,
    scopes: [Scope; 2],
    real: HashMap<usize, Real>,
    model: Reference,
    next: u8,
}

impl World {
    fn new(buffered: usize) -> Self {
        let limits = NetLimits {
            sockets: SOCKETS,
            listeners: LISTENERS,
            buffer: BUFFER,
            datagrams: DATAGRAMS,
            buffered,
            ..NetLimits::default()
        };
        let network = Network::new(limits);
        let scopes = [network.scope(), network.scope()];
        Self {
            network,
            scopes,
            real: HashMap::new(),
            model: Reference {
                buffered,
                ..Reference::default()
            },
            next: 0,
        }
    }

    /// Picks a socket for which `is` holds, if there is one.
    fn pick(&self, which: usize, is: impl Fn(&Real) -> bool) -> Option<usize> {
        let mut sockets: Vec<_> = self
            .real
            .iter()
            .filter(|(_, real)| is(real))
            .map(|(socket, _)| *socket)
            .collect();
        sockets.sort_unstable();
        sockets.get(which % sockets.len().max(1)).copied()
    }

    /// Returns the connection and side of a socket in the reference, closed or not.
    fn end_of(&self, socket: usize) -> Option<(usize, usize)> {
        self.model.conns_of.get(&socket).copied()
    }

    fn add_stream(&mut self, socket: usize, stream: Stream) {
        let (reader, writer) = stream.split();
        let halves = Real::Connected {
            reader: Some((reader, Waiter::default())),
            writer: Some((writer, Waiter::default())),
        };
        self.real.insert(socket, halves);
    }

    fn run(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Bind {
                scope,
                address,
                port,
            } => {
                let local = place(address, port);
                let real = self.scopes[scope].bind(local);
                let model = self.model.bind(scope, local);
                prop_assert_eq!(real.as_ref().map(|_| ()).map_err(|e| *e), model.map(|_| ()));
                if let (Ok(bound), Ok(socket)) = (real, model) {
                    prop_assert_eq!(bound.local_addr().ip(), local.ip());
                    if local.port() == 0 {
                        prop_assert!(self.model.chosen(socket, bound.local_addr()));
                    }
                    self.real.insert(socket, Real::Bound(bound));
                }
            }
            Step::Listen { which, backlog } => {
                let Some(socket) = self.pick(which, |real| matches!(real, Real::Bound(_))) else {
                    return Ok(());
                };
                let Some(Real::Bound(bound)) = self.real.remove(&socket) else {
                    unreachable!()
                };
                let real = bound.listen(backlog);
                let model = self.model.listen(socket, backlog);
                prop_assert_eq!(real.as_ref().map(|_| ()).map_err(|e| *e), model);
                if let Ok(listener) = real {
                    self.real
                        .insert(socket, Real::Listener(listener, Waiter::default()));
                }
            }
            Step::Connect {
                scope,
                address,
                port,
            } => {
                self.connect(scope, None, place(address, port))?;
            }
            Step::ConnectTo { scope, which } => {
                let listener = self.pick(which, |real| matches!(real, Real::Listener(..)));
                if let Some(port) = listener.and_then(|it| self.model.sockets[it].port) {
                    let ip = match port.ip() {
                        ip if !ip.is_unspecified() => ip,
                        IpAddr::V4(_) => Ipv4Addr::new(127, 1, 2, 3).into(),
                        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
                    };
                    self.connect(scope, None, SocketAddr::new(ip, port.port()))?;
                }
            }
            Step::ConnectFrom {
                which,
                address,
                port,
            } => {
                if let Some(socket) = self.pick(which, |real| matches!(real, Real::Bound(_))) {
                    let scope = self.model.sockets[socket].scope;
                    self.connect(scope, Some(socket), place(address, port))?;
                }
            }
            Step::Finish { which } => self.finish(which)?,
            Step::Accept { which } => self.accept(which)?,
            Step::SetBacklog { which, backlog } => {
                let listener = self.pick(which, |real| matches!(real, Real::Listener(..)));
                if let Some(socket) = listener
                    && let Some(Real::Listener(listener, _)) = self.real.get(&socket)
                {
                    listener.set_backlog(backlog);
                    self.model.set_backlog(socket, backlog);
                }
            }
            Step::SetBuffer { which, size } => {
                if let Some(socket) = self.pick(which, |real| !matches!(real, Real::Udp(..))) {
                    self.set_buffer(socket, size);
                }
            }
            Step::BindUdp { .. }
            | Step::Send { .. }
            | Step::SendTo { .. }
            | Step::Receive { .. }
            | Step::WaitReceivable { .. }
            | Step::SetPeer { .. }
            | Step::SetQueue { .. } => self.datagram(step)?,
            Step::DropOther { which } => {
                let other = |real: &Real| !matches!(real, Real::Connected { .. });
                if let Some(socket) = self.pick(which, other) {
                    self.real.remove(&socket);
                    self.model.close(socket, None);
                }
            }
            Step::End { scope, aborted } => {
                let how = if aborted { End::Aborted } else { End::Closed };
                self.scopes[scope].end(how);
                self.model.end_scope(scope, how);
            }
            Step::Write { which, .. }
            | Step::WaitWritable { which }
            | Step::Shutdown { which }
            | Step::DropWriter { which } => {
                let writing = |real: &Real| {
                    matches!(
                        real,
                        Real::Connected {
                            writer: Some(_),
                            ..
                        }
                    )
                };
                if let Some(socket) = self.pick(which, writing) {
                    self.write(socket, step)?;
                }
            }
            Step::Read { which, .. }
            | Step::WaitReadable { which }
            | Step::Stop { which }
            | Step::DropReader { which } => {
                let reading = |real: &Real| {
                    matches!(
                        real,
                        Real::Connected {
                            reader: Some(_),
                            ..
                        }
                    )
                };
                if let Some(socket) = self.pick(which, reading) {
                    self.read(socket, step)?;
                }
            }
        }
        Ok(())
    }

    fn set_buffer(&mut self, socket: usize, size: usize) {
        match self.real.get_mut(&socket) {
            Some(Real::Bound(bound)) => drop(bound.set_buffer(size)),
            Some(Real::Listener(listener, _)) => drop(listener.set_buffer(size)),
            Some(Real::Connecting(connecting, _)) => connecting.set_buffer(size),
            Some(Real::Connected {
                reader: Some((reader, _)),
                ..
            }) => drop(reader.set_buffer(size)),
            _ => return,
        }
        self.model.set_buffer(socket, size);
    }

    fn connect(
        &mut self,
        scope: usize,
        from: Option<usize>,
        to: SocketAddr,
    ) -> Result<(), TestCaseError> {
        let bound = match from.and_then(|from| self.real.remove(&from)) {
            Some(Real::Bound(bound)) => Some(bound),
            _ => None,
        };
        let real = self.scopes[scope].connect(bound, to);
        let model = self.model.connect(scope, from, to);
        prop_assert_eq!(real.as_ref().map(|_| ()).map_err(|e| *e), model.map(|_| ()));
        if let (Ok(connecting), Ok(socket)) = (real, model) {
            if from.is_none() {
                // A placeholder of the destination's family: the port is known once it is
                // connected.
                self.model.sockets[socket].port = Some(SocketAddr::new(to.ip(), 1));
            }
            self.real
                .insert(socket, Real::Connecting(connecting, Waiter::default()));
        }
        Ok(())
    }

    fn finish(&mut self, which: usize) -> Result<(), TestCaseError> {
        let Some(socket) = self.pick(which, |real| matches!(real, Real::Connecting(..))) else {
            return Ok(());
        };
        let Some(Real::Connecting(connecting, waiter)) = self.real.get_mut(&socket) else {
            unreachable!()
        };
        let result = waiter.poll(|cx| Pin::new(connecting).poll(cx));
        let expected = match &self.model.sockets[socket].state {
            State::Waiting { .. } => Poll::Pending,
            State::Connected(..) => Poll::Ready(Ok(())),
            State::Failed(error) => Poll::Ready(Err(*error)),
            // It was established before its scope ended: a dead stream and an error are both valid.
            State::Gone if self.end_of(socket).is_some() => match &result {
                Poll::Ready(Ok(_)) => Poll::Ready(Ok(())),
                _ => Poll::Ready(Err(NetError::ScopeEnded)),
            },
            state => {
                prop_assert_eq!(state, &State::Gone);
                Poll::Ready(Err(NetError::ScopeEnded))
            }
        };
        let (result, stream) = match result {
            Poll::Pending => (Poll::Pending, None),
            Poll::Ready(Ok(stream)) => (Poll::Ready(Ok(())), Some(stream)),
            Poll::Ready(Err(error)) => (Poll::Ready(Err(error)), None),
        };
        prop_assert_eq!(result, expected);
        if result.is_ready() {
            self.real.remove(&socket);
        }
        match stream {
            Some(stream) => self.add_stream(socket, stream),
            None if result.is_ready() => self.model.close(socket, None),
            None => {}
        }
        Ok(())
    }

    fn accept(&mut self, which: usize) -> Result<(), TestCaseError> {
        let Some(socket) = self.pick(which, |real| matches!(real, Real::Listener(..))) else {
            return Ok(());
        };
        let Some(Real::Listener(listener, waiter)) = self.real.get_mut(&socket) else {
            unreachable!()
        };
        let result = waiter.poll(|cx| listener.poll_accept(cx));
        let model = self.model.accept(socket);
        match (result, model) {
            (Poll::Pending, None) => {}
            (Poll::Ready(Err(error)), Some(Err(expected))) => prop_assert_eq!(error, expected),
            (Poll::Ready(Ok(stream)), Some(Ok(server))) => self.add_stream(server, stream),
            (result, model) => {
                prop_assert!(
                    false,
                    "accept: {:?}, {model:?}",
                    result.map(|r| r.map(|_| ()))
                );
            }
        }
        Ok(())
    }

    /// Compares everything that can be seen from outside, and checks every waiting task.
    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert_eq!(self.network.counts(), self.model.counts());
        prop_assert_eq!(self.network.used(), self.model.weight());
        prop_assert_eq!(self.network.taken(), self.model.taken());
        prop_assert!(self.network.taken() <= self.model.buffered);
        for (&socket, real) in &self.real {
            let state = &self.model.sockets[socket].state;
            match real {
                Real::Bound(_) => {}
                Real::Listener(_, waiter) => {
                    let waits = matches!(state, State::Listening { queue, .. } if queue.is_empty());
                    waiter.check(!waits, "accept")?;
                }
                Real::Connecting(_, waiter) => {
                    waiter.check(!matches!(state, State::Waiting { .. }), "connect")?;
                }
                Real::Udp(_, waiter) => {
                    waiter.check(self.model.is_receivable(socket), "receive")?;
                }
                Real::Connected { reader, writer } => {
                    let (conn, side) = self.end_of(socket).unwrap();
                    if let Some((_, waiter)) = reader {
                        waiter.check(self.model.is_readable(conn, side), "read")?;
                    }
                    if let Some((_, waiter)) = writer {
                        waiter.check(self.model.wakes_writer(conn, side), "write")?;
                    }
                }
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        max_shrink_iters: 20_000,
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::default()
    })]
    #[test]
    fn behaves_as_the_reference(steps in prop::collection::vec(step(), 1..100)) {
        run(1 << 20, &steps)?;
    }

    /// The pool is smaller than what a single buffer may hold.
    #[test]
    fn behaves_as_the_reference_when_buffers_run_out(
        buffered in 0_usize..300,
        steps in prop::collection::vec(step(), 1..100),
    ) {
        run(buffered, &steps)?;
    }
}

fn run(buffered: usize, steps: &[Step]) -> Result<(), TestCaseError> {
    let _context = TIMERS.enter();
    let mut world = World::new(buffered);
    for (i, step) in steps.iter().enumerate() {
        world.run(step).map_err(|error| error_at(i, step, error))?;
        world.check().map_err(|error| error_at(i, step, error))?;
    }
    let network = world.network.clone();
    drop(world);
    assert_empty(&network);
    Ok(())
}

fn error_at(i: usize, step: &Step, error: TestCaseError) -> TestCaseError {
    TestCaseError::fail(format!("step {i}, {step:?}: {error}"))
}
