//! The connection that a call came on.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Instant,
};

use tokio_util::sync::CancellationToken;
use warren_model::admission::{self, Busy, Full, Peer, Place, Places, Seldom};

use super::ClientLimits;

/// A client's connection, found in the extensions of each of its requests.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Seat>);

#[derive(Debug)]
struct Seat {
    peer: Peer,
    place: Place<CancellationToken>,
    /// The place that it took for a call that came after the first one had been given away.
    again: OnceLock<Place<CancellationToken>>,
    places: Places<CancellationToken>,
    leave: CancellationToken,
    /// The bound that keeps other clients out; `None` when the connection has an ordinary place.
    only_worker: Option<Full>,
}

/// Why a call cannot begin on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    #[error("the connection was idle and is being closed to make room for others")]
    Closing,
    /// Other clients than workers are kept out by this bound.
    #[error("{}", admission::connections(*.0, "control plane"))]
    OnlyWorkers(Full),
}

/// A call under way: its connection is not closed for another.
pub type UnderWay = Busy<CancellationToken>;

/// The places of the listener.
pub(super) struct Door {
    places: Places<CancellationToken>,
    /// Places for workers only: any other call is answered with the reason why there is no place.
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

    /// Admits a client that has connected; the connection that was idle for longest may be closed
    /// for it. `None` when there is no room at all.
    pub fn admit(&self, address: SocketAddr) -> Option<Connection> {
        let peer = Peer::from(address.ip());
        let leave = CancellationToken::new();
        let (entered, only_worker) = match self.places.enter(Some(peer), leave.clone()) {
            Ok(entered) => (entered, None),
            Err(full) => {
                if let Some(connections) = self.refused.note() {
                    tracing::warn!(
                        connections,
                        "refused connections of other clients than workers: {}",
                        admission::connections(full, "control plane")
                    );
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
            again: OnceLock::new(),
            places: match only_worker {
                None => self.places.clone(),
                Some(_) => self.workers.clone(),
            },
            leave,
            only_worker,
        })))
    }

    /// Closes the connection that was idle for longest. Returns whether there was one.
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

    /// Marks a call as under way until the guard is dropped. When the connection's place was given
    /// away just before the call came, another one is taken for it; it fails when there is none.
    pub fn begin(&self) -> Result<UnderWay, ConnectionError> {
        let seat = &*self.0;
        let begun = seat.place.begin().or_else(|| {
            if seat.again.get().is_none() {
                let entered = seat
                    .places
                    .enter(Some(seat.peer), seat.leave.clone())
                    .ok()?;
                if let Some(evicted) = entered.evicted {
                    evicted.cancel();
                }
                // Another call may have taken one at the same time: one of the two is freed again.
                let _ = seat.again.set(entered.place);
            }
            seat.again.get()?.begin()
        });
        begun.ok_or(ConnectionError::Closing)
    }

    /// Fails, and ends the connection, when only workers' calls are answered on it.
    pub fn refuses_clients(&self) -> Result<(), ConnectionError> {
        let Some(full) = self.0.only_worker else {
            return Ok(());
        };
        self.0.leave.cancel();
        Err(ConnectionError::OnlyWorkers(full))
    }

    pub(super) fn idle_since(&self) -> Option<Instant> {
        self.0.place.idle_since()
    }

    /// Whether a call is under way that took another place.
    pub(super) fn is_late(&self) -> bool {
        let again = self.0.again.get();
        again.is_some_and(|place| place.is_held() && place.idle_since().is_none())
    }

    pub(super) fn leave(&self) -> CancellationToken {
        self.0.leave.clone()
    }
}
