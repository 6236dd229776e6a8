//! What a call knows of the connection that it came by.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tokio_util::sync::CancellationToken;
use tonic::Status;
use warren_model::admission::{Busy, Full, Peer, Place, Places, Seldom};

use super::ClientLimits;
use crate::api::error;

/// A client's connection. It stands in the extensions of each of its requests.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Seat>);

#[derive(Debug)]
struct Seat {
    peer: Peer,
    place: Place<CancellationToken>,
    leave: CancellationToken,
    /// Why it is for a worker alone: all other places are taken.
    only_worker: Option<Full>,
}

/// A call that keeps its connection from being given up.
pub type UnderWay = Busy<CancellationToken>;

/// The places of the listener.
pub(super) struct Door {
    places: Places<CancellationToken>,
    /// Only for workers. Who comes in here and asks for something else is told that there is no
    /// place.
    workers: Places<CancellationToken>,
    refused: Seldom,
}

// === impl Door ===

impl Door {
    pub fn new(limits: &ClientLimits) -> Self {
        Self {
            places: Places::new(limits.connections),
            workers: Places::new(limits.worker_connections),
            refused: Seldom::default(),
        }
    }

    /// Whoever was idle for longest may have to leave for a client that has connected. `None`:
    /// there is no room at all.
    pub fn admit(&self, address: SocketAddr) -> Option<Connection> {
        let peer = Peer::from(address.ip());
        let leave = CancellationToken::new();
        let (entered, only_worker) = match self.places.enter(Some(peer), leave.clone()) {
            Ok(entered) => (entered, None),
            Err(full) => {
                if let Some(connections) = self.refused.note() {
                    tracing::warn!(connections, "only for workers: {}", words(full));
                }
                let entered = self.workers.enter(Some(peer), leave.clone()).ok()?;
                (entered, Some(full))
            }
        };
        if let Some(evicted) = entered.evicted {
            evicted.cancel();
        }
        Some(Connection(Arc::new(Seat {
            peer,
            place: entered.place,
            leave,
            only_worker,
        })))
    }

    /// Asks the client to leave that was idle for longest. Whether there was one.
    pub fn make_room(&self) -> bool {
        let evicted = self.places.evict().or_else(|| self.workers.evict());
        evicted.inspect(CancellationToken::cancel).is_some()
    }
}

// === impl Connection ===

impl Connection {
    pub fn peer(&self) -> Peer {
        self.0.peer
    }

    /// A call is under way until what is returned is dropped; an error once the connection's place
    /// was given away.
    pub fn begin(&self) -> Result<UnderWay, Status> {
        let begun = self.0.place.begin();
        begun.ok_or_else(|| {
            error::unavailable(
                "CONNECTION_CLOSING",
                "the connection was idle and is being closed to make room for others",
            )
        })
    }

    /// Why only workers' calls are answered here, if so. Then the connection ends.
    pub fn refuses_clients(&self) -> Result<(), Status> {
        let Some(full) = self.0.only_worker else {
            return Ok(());
        };
        self.0.leave.cancel();
        Err(error::unavailable("TOO_MANY_CONNECTIONS", words(full)))
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.0.place.idle_since()
    }

    pub(super) fn leave(&self) -> CancellationToken {
        self.0.leave.clone()
    }
}

fn words(full: Full) -> String {
    match full {
        Full::Total(total) => format!(
            "all {total} connections of this control plane are in use (--max-connections): try \
             again later"
        ),
        Full::Peer(peer, bound) => format!(
            "{peer} uses as many connections as one client address may, {bound} \
             (--max-connections-per-peer): close some, or try again later"
        ),
    }
}
