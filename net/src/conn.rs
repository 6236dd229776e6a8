//! A connection: two pipes and two addresses, shared by both ends.

use std::{net::SocketAddr, sync::Arc};

use super::{
    End,
    pipe::{Pipe, Sent, Taken},
    pool::Pool,
};

/// The end of a connection: the one that connected, or the one that accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Server,
}

/// How one end is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Close {
    /// Its owner closes it. The peer gets a reset if bytes are left unread (RFC 1122, 4.2.2.13),
    /// and an end of stream otherwise.
    Socket,
    /// Its scope ends.
    Scope(End),
}

pub(super) struct Conn {
    client: SocketAddr,
    server: SocketAddr,
    /// Client to server.
    up: Pipe,
    /// Server to client.
    down: Pipe,
}

impl Conn {
    /// Creates a connection. `up` and `down` are the sizes of the receive buffers, in bytes.
    pub fn new(
        (client, server): (SocketAddr, SocketAddr),
        (up, down): (usize, usize),
        pool: &Arc<Pool>,
    ) -> Self {
        Self {
            client,
            server,
            up: Pipe::new(up, Arc::clone(pool)),
            down: Pipe::new(down, Arc::clone(pool)),
        }
    }

    pub fn local(&self, side: Side) -> SocketAddr {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    pub fn peer(&self, side: Side) -> SocketAddr {
        match side {
            Side::Client => self.server,
            Side::Server => self.client,
        }
    }

    /// Returns the pipe that this end reads from.
    pub fn incoming(&self, side: Side) -> &Pipe {
        match side {
            Side::Client => &self.down,
            Side::Server => &self.up,
        }
    }

    /// Returns the pipe that this end writes to.
    pub fn outgoing(&self, side: Side) -> &Pipe {
        match side {
            Side::Client => &self.up,
            Side::Server => &self.down,
        }
    }

    /// Ends both directions. The incoming one ends first, so that a peer that has seen the end of
    /// stream can no longer write.
    pub fn close(&self, side: Side, close: Close) {
        let (incoming, outgoing) = (self.incoming(side), self.outgoing(side));
        let clean = match close {
            Close::Socket => !incoming.has_unread(),
            Close::Scope(end) => end == End::Closed,
        };
        incoming.turn_away(if clean { Taken::Closed } else { Taken::Reset });
        outgoing.finish(if clean { Sent::Fin } else { Sent::Reset });
    }
}
