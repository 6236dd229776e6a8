//! A TCP socket in the workload's network: the states of `wasi:sockets/tcp`, independent of the
//! version of WASI.

use std::{
    future::Future,
    mem,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use warren_net::{Bound, Connecting, Listener, NetError, Reader, Stream, Writer};

use crate::policy::Op;

use super::{Family, GuestNetwork, Place, SocketError, options::Options};

/// How many connections may wait to be accepted, unless the guest sets another number.
const BACKLOG: usize = 128;

enum State {
    Unbound(warren_net::Socket),
    Bound(Bound),
    Connecting(Box<Connecting>),
    Connected(Connection),
    Listening(Listener),
    /// The state after a failed connect: every operation fails. The socket counts until it is
    /// dropped.
    Closed {
        _place: Option<warren_net::Socket>,
    },
}

impl State {
    fn closed(place: Option<warren_net::Socket>) -> Self {
        Self::Closed { _place: place }
    }
}

/// The two directions and addresses of a connection.
///
/// The socket and its streams share the halves, so that `shutdown` on the socket reaches them.
#[derive(Clone)]
pub struct Connection {
    pub reader: Arc<Reader>,
    pub writer: Arc<Writer>,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Connection {
    fn new(stream: Stream) -> Self {
        let (local, remote) = (stream.local_addr(), stream.peer_addr());
        let (reader, writer) = stream.split();
        Self {
            reader: Arc::new(reader),
            writer: Arc::new(writer),
            local,
            remote,
        }
    }
}

/// A TCP socket of a guest.
pub struct TcpSocket {
    network: GuestNetwork,
    family: Family,
    pub options: Options,
    backlog: usize,
    state: State,
}

impl TcpSocket {
    /// Opens a socket. Fails if the workload has too many sockets already.
    pub fn new(network: GuestNetwork, family: Family) -> Result<Self, SocketError> {
        let socket = network.scope.socket()?;
        Ok(Self {
            options: Options::new(network.scope.network().limits()),
            network,
            family,
            backlog: BACKLOG,
            state: State::Unbound(socket),
        })
    }

    pub fn family(&self) -> Family {
        self.family
    }

    /// Binds to an address of the workload's network.
    pub fn bind(&mut self, local: SocketAddr) -> Result<(), SocketError> {
        if !matches!(self.state, State::Unbound(_)) {
            return Err(SocketError::InvalidState);
        }
        self.family.check_local(local)?;
        match self.network.decide(Op::TcpBind(local))? {
            Place::Workload => self.step(|state| match state {
                State::Unbound(socket) => match socket.bind(local) {
                    Ok(bound) => (State::Bound(bound), Ok(())),
                    Err((socket, error)) => (State::Unbound(socket), Err(error)),
                },
                state => (state, Err(NetError::ScopeEnded)),
            }),
            Place::Machine(_) => Err(SocketError::AddressNotBindable),
        }
    }

    /// Begins to connect. Returns `Some` for an address of the machine's network, which this socket
    /// cannot reach: the caller must create a real socket, and this one stays unchanged.
    pub fn connect(&mut self, remote: SocketAddr) -> Result<Option<SocketAddr>, SocketError> {
        if !matches!(self.state, State::Unbound(_) | State::Bound(_)) {
            return Err(SocketError::InvalidState);
        }
        self.family.check_remote(remote)?;
        match self.network.decide(Op::TcpConnect(remote))? {
            Place::Machine(address) if matches!(self.state, State::Unbound(_)) => Ok(Some(address)),
            // A socket bound to loopback cannot reach an address outside it.
            Place::Machine(_) => Err(SocketError::InvalidArgument),
            Place::Workload => {
                self.step(|state| {
                    let begun = match state {
                        State::Unbound(socket) => socket.connect(remote),
                        State::Bound(bound) => bound.connect(remote),
                        state => return (state, Err(NetError::ScopeEnded)),
                    };
                    match begun {
                        Ok(connecting) => (State::Connecting(Box::new(connecting)), Ok(())),
                        Err((socket, error)) => (State::closed(Some(socket)), Err(error)),
                    }
                })?;
                Ok(None)
            }
        }
    }

    /// Abandons a connection that is not established yet, and frees its port and its place in a
    /// backlog.
    pub fn stop_connecting(&mut self) {
        self.state = match mem::replace(&mut self.state, State::closed(None)) {
            State::Connecting(connecting) => State::closed(connecting.give_up()),
            state => state,
        };
    }

    /// Returns the socket to keep in the workload's network on behalf of a socket that leaves it,
    /// so that it still counts.
    pub fn into_place(self) -> Option<warren_net::Socket> {
        match self.state {
            State::Unbound(socket) => Some(socket),
            _ => None,
        }
    }

    /// Waits until the connection is established. After an error the socket is permanently closed.
    pub fn poll_connected(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Connection, SocketError>> {
        match &mut self.state {
            State::Connecting(connecting) => {
                let result = ready!(Pin::new(connecting.as_mut()).poll(cx));
                Poll::Ready(self.step(|state| match (result, state) {
                    (Ok(stream), _) => {
                        let connection = Connection::new(stream);
                        (State::Connected(connection.clone()), Ok(connection))
                    }
                    (Err(error), State::Connecting(connecting)) => {
                        (State::closed(connecting.give_up()), Err(error))
                    }
                    (Err(error), state) => (state, Err(error)),
                }))
            }
            State::Connected(connection) => Poll::Ready(Ok(connection.clone())),
            _ => Poll::Ready(Err(SocketError::InvalidState)),
        }
    }

    /// Begins to listen on the bound address.
    pub fn listen(&mut self) -> Result<(), SocketError> {
        let State::Bound(bound) = &self.state else {
            return Err(SocketError::InvalidState);
        };
        match self.network.decide(Op::TcpListen(bound.local_addr()))? {
            Place::Machine(_) => Err(SocketError::NotSupported),
            Place::Workload => {
                let backlog = self.backlog;
                self.step(|state| match state {
                    State::Bound(bound) => match bound.try_listen(backlog) {
                        Ok(listener) => (State::Listening(listener), Ok(())),
                        Err((bound, error)) => (State::Bound(bound), Err(error)),
                    },
                    state => (state, Err(NetError::ScopeEnded)),
                })
            }
        }
    }

    /// Like [`Self::listen`], but binds an unbound socket to any free port first, as 0.3 does.
    pub fn listen_anywhere(&mut self) -> Result<(), SocketError> {
        if matches!(self.state, State::Unbound(_)) {
            self.bind(SocketAddr::new(self.family.unspecified(), 0))?;
        }
        self.listen()
    }

    /// Returns the connection of a connected socket.
    pub fn connection(&self) -> Result<Connection, SocketError> {
        match &self.state {
            State::Connected(connection) => Ok(connection.clone()),
            _ => Err(SocketError::InvalidState),
        }
    }

    /// Accepts the next connection of a listening socket, with its streams.
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(TcpSocket, Connection), SocketError>> {
        let State::Listening(listener) = &mut self.state else {
            return Poll::Ready(Err(SocketError::InvalidState));
        };
        let connection = match ready!(listener.poll_accept(cx)) {
            Ok(stream) => Connection::new(stream),
            Err(error) => return Poll::Ready(Err(error.into())),
        };
        let mut socket = TcpSocket {
            network: self.network.clone(),
            family: self.family,
            options: self.options,
            backlog: self.backlog,
            state: State::Connected(connection.clone()),
        };
        // The listener's options may have changed since the connection was established.
        socket.apply_options();
        Poll::Ready(Ok((socket, connection)))
    }

    /// Waits until a connect has completed or a connection can be accepted. Ready at once in every
    /// other state.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Connecting(connecting) => connecting.poll_ready(cx),
            State::Listening(listener) => listener.poll_ready(cx),
            _ => Poll::Ready(()),
        }
    }

    pub fn local_addr(&self) -> Result<SocketAddr, SocketError> {
        match &self.state {
            State::Bound(bound) => Ok(bound.local_addr()),
            State::Listening(listener) => Ok(listener.local_addr()),
            State::Connecting(connecting) => Ok(connecting.local_addr()),
            State::Connected(connection) => Ok(connection.local),
            State::Unbound(_) | State::Closed { .. } => Err(SocketError::InvalidState),
        }
    }

    /// Returns the peer's address, also after both sides have closed: a guest's standard library
    /// may ask for it at any time and aborts on an error.
    pub fn remote_addr(&self) -> Result<SocketAddr, SocketError> {
        match &self.state {
            State::Connected(connection) => Ok(connection.remote),
            _ => Err(SocketError::InvalidState),
        }
    }

    pub fn is_listening(&self) -> bool {
        matches!(self.state, State::Listening(_))
    }

    /// Sets how many connections may wait to be accepted; 0 is `invalid-argument`.
    pub fn set_backlog(&mut self, size: u64) -> Result<(), SocketError> {
        if size == 0 {
            return Err(SocketError::InvalidArgument);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        match &self.state {
            State::Unbound(_) | State::Bound(_) => self.backlog = size,
            State::Listening(listener) => listener.set_backlog(size),
            _ => return Err(SocketError::InvalidState),
        }
        Ok(())
    }

    /// Applies changed options. Only the receive buffer has an effect inside this network: there
    /// are no packets that would need a hop limit, and no peer can die unnoticed.
    pub fn apply_options(&mut self) {
        let bytes = self.options.receive_bytes();
        match &self.state {
            State::Unbound(socket) => drop(socket.set_buffer(bytes)),
            State::Bound(bound) => drop(bound.set_buffer(bytes)),
            State::Connecting(connecting) => connecting.set_buffer(bytes),
            State::Listening(listener) => drop(listener.set_buffer(bytes)),
            State::Connected(connection) => drop(connection.reader.set_buffer(bytes)),
            State::Closed { .. } => {}
        }
    }

    /// Replaces the state with the one that `f` returns.
    fn step<T>(
        &mut self,
        f: impl FnOnce(State) -> (State, Result<T, NetError>),
    ) -> Result<T, SocketError> {
        let (state, result) = f(mem::replace(&mut self.state, State::closed(None)));
        self.state = state;
        Ok(result?)
    }

    /// Ends one or both directions.
    pub fn shutdown(&self, receive: bool, send: bool) -> Result<(), SocketError> {
        let State::Connected(connection) = &self.state else {
            return Err(SocketError::InvalidState);
        };
        if receive {
            connection.reader.stop();
        }
        if send {
            connection.writer.shutdown();
        }
        Ok(())
    }
}
