//! A TCP socket in the workload's network: the states of `wasi:sockets/tcp`, without the words of one
//! version of it.

use std::{
    future::Future,
    mem,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use parking_lot::Mutex;

use crate::{
    net::{Bound, Connecting, Listener, Reader, Stream, Writer},
    policy::Op,
};

use super::{Family, GuestNetwork, Place, SocketError, options::Options};

/// Connections that wait to be accepted, unless the guest asks for another number.
const BACKLOG: usize = 128;

enum State {
    Unbound,
    Bound(Bound),
    Connecting(Box<Connecting>),
    Connected(Connection),
    Listening(Listener),
    /// After a failed connect: no operation succeeds any more.
    Closed,
}

/// The two directions and addresses of a connection.
///
/// The socket and its streams share the halves, so that `shutdown` on the socket reaches them.
#[derive(Clone)]
pub struct Connection {
    pub reader: Arc<Mutex<Reader>>,
    pub writer: Arc<Mutex<Writer>>,
    local: SocketAddr,
    remote: SocketAddr,
}

impl Connection {
    fn new(stream: Stream, options: &Options) -> Self {
        let (local, remote) = (stream.local_addr(), stream.peer_addr());
        let (mut reader, writer) = stream.split();
        if options.receive_buffer != Options::default().receive_buffer {
            reader.set_buffer(options.receive_bytes());
        }
        Self {
            reader: Arc::new(Mutex::new(reader)),
            writer: Arc::new(Mutex::new(writer)),
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
    pub fn new(network: GuestNetwork, family: Family) -> Self {
        Self {
            network,
            family,
            options: Options::default(),
            backlog: BACKLOG,
            state: State::Unbound,
        }
    }

    pub fn family(&self) -> Family {
        self.family
    }

    /// Binds to an address of the workload's network.
    pub fn bind(&mut self, local: SocketAddr) -> Result<(), SocketError> {
        if !matches!(self.state, State::Unbound) {
            return Err(SocketError::InvalidState);
        }
        self.family.check_local(local)?;
        match self.network.decide(Op::TcpBind(local))? {
            Place::Workload => {
                self.state = State::Bound(self.network.scope.bind(local)?);
                Ok(())
            }
            Place::Machine(_) => Err(SocketError::AddressNotBindable),
        }
    }

    /// Begins to connect. `Some` is an address of the machine's network, which this socket cannot reach:
    /// the face makes a real one and this stays as it was.
    pub fn connect(&mut self, remote: SocketAddr) -> Result<Option<SocketAddr>, SocketError> {
        if !matches!(self.state, State::Unbound | State::Bound(_)) {
            return Err(SocketError::InvalidState);
        }
        self.family.check_remote(remote)?;
        match self.network.decide(Op::TcpConnect(remote))? {
            Place::Machine(address) if matches!(self.state, State::Unbound) => Ok(Some(address)),
            // A socket bound to loopback has no way out of it.
            Place::Machine(_) => Err(SocketError::InvalidArgument),
            Place::Workload => {
                let from = match mem::replace(&mut self.state, State::Closed) {
                    State::Bound(bound) => Some(bound),
                    _ => None,
                };
                let connecting = self.network.scope.connect(from, remote)?;
                self.state = State::Connecting(Box::new(connecting));
                Ok(None)
            }
        }
    }

    /// Whether the connection stands. After an error the socket is closed for good.
    pub fn poll_connected(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Connection, SocketError>> {
        match &mut self.state {
            State::Connecting(connecting) => {
                let result = ready!(Pin::new(connecting.as_mut()).poll(cx));
                match result {
                    Ok(stream) => {
                        let connection = Connection::new(stream, &self.options);
                        self.state = State::Connected(connection.clone());
                        Poll::Ready(Ok(connection))
                    }
                    Err(error) => {
                        self.state = State::Closed;
                        Poll::Ready(Err(error.into()))
                    }
                }
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
                let State::Bound(bound) = mem::replace(&mut self.state, State::Closed) else {
                    return Err(SocketError::InvalidState);
                };
                self.state = State::Listening(bound.listen(self.backlog)?);
                Ok(())
            }
        }
    }

    /// [`Self::listen`], on any free port where none is bound, as 0.3 does.
    pub fn listen_anywhere(&mut self) -> Result<(), SocketError> {
        if matches!(self.state, State::Unbound) {
            self.bind(SocketAddr::new(self.family.unspecified(), 0))?;
        }
        self.listen()
    }

    /// The connection of a connected socket.
    pub fn connection(&self) -> Result<Connection, SocketError> {
        match &self.state {
            State::Connected(connection) => Ok(connection.clone()),
            _ => Err(SocketError::InvalidState),
        }
    }

    /// The next connection of a listening socket, with its streams.
    pub fn poll_accept(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(TcpSocket, Connection), SocketError>> {
        let State::Listening(listener) = &mut self.state else {
            return Poll::Ready(Err(SocketError::InvalidState));
        };
        let connection = match ready!(listener.poll_accept(cx)) {
            Ok(stream) => Connection::new(stream, &self.options),
            Err(error) => return Poll::Ready(Err(error.into())),
        };
        let socket = TcpSocket {
            network: self.network.clone(),
            family: self.family,
            options: self.options,
            backlog: self.backlog,
            state: State::Connected(connection.clone()),
        };
        Poll::Ready(Ok((socket, connection)))
    }

    /// Ready when what was begun has ended, or a connection waits to be accepted; at once otherwise.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.state {
            State::Connecting(_) => self.poll_connected(cx).map(|_| ()),
            State::Listening(listener) => listener.poll_ready(cx),
            _ => Poll::Ready(()),
        }
    }

    pub fn local_addr(&self) -> Result<SocketAddr, SocketError> {
        match &self.state {
            State::Bound(bound) => Ok(bound.local_addr()),
            State::Listening(listener) => Ok(listener.local_addr()),
            State::Connected(connection) => Ok(connection.local),
            State::Unbound | State::Connecting(_) | State::Closed => Err(SocketError::InvalidState),
        }
    }

    /// Stays readable after both sides closed: std reads it whenever it likes and aborts on an error.
    pub fn remote_addr(&self) -> Result<SocketAddr, SocketError> {
        match &self.state {
            State::Connected(connection) => Ok(connection.remote),
            _ => Err(SocketError::InvalidState),
        }
    }

    pub fn is_listening(&self) -> bool {
        matches!(self.state, State::Listening(_))
    }

    /// Connections that may wait to be accepted; 0 is `invalid-argument`.
    pub fn set_backlog(&mut self, size: u64) -> Result<(), SocketError> {
        if size == 0 {
            return Err(SocketError::InvalidArgument);
        }
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        match &self.state {
            State::Unbound | State::Bound(_) => self.backlog = size,
            State::Listening(listener) => listener.set_backlog(size),
            _ => return Err(SocketError::InvalidState),
        }
        Ok(())
    }

    /// Makes a changed option take effect. Only the receive buffer has one inside this network: there are
    /// no packets that could need a hop limit, and no dead peer that goes unnoticed.
    pub fn apply_options(&mut self) {
        if let State::Connected(connection) = &self.state {
            connection
                .reader
                .lock()
                .set_buffer(self.options.receive_bytes());
        }
    }

    /// Ends one or both directions.
    pub fn shutdown(&self, receive: bool, send: bool) -> Result<(), SocketError> {
        let State::Connected(connection) = &self.state else {
            return Err(SocketError::InvalidState);
        };
        if receive {
            connection.reader.lock().stop();
        }
        if send {
            connection.writer.lock().shutdown();
        }
        Ok(())
    }
}
