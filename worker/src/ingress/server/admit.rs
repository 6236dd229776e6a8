//! Admission of clients when there may be more of them than places.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tokio_util::sync::CancellationToken;
use warren_model::admission::{self, Bounds, Busy, Peer, Place, Places, Seldom};

use super::Limits;

/// Connections without a place that are only answered with the reason.
const REFUSALS: Bounds = Bounds::of(64);

/// The places of a listener.
pub(super) struct Door {
    places: Places<CancellationToken>,
    refusals: Places<CancellationToken>,
    refused: Seldom,
}

/// What one connection has of the listener.
pub(super) struct Seat {
    place: Place<CancellationToken>,
    leave: CancellationToken,
    /// The message for a client without a place. Its connection ends once it was answered.
    pub refusal: Option<Arc<str>>,
}

/// A request in flight: its connection is not closed for another.
pub(super) type InFlight = Busy<CancellationToken>;

// === impl Door ===

impl Door {
    pub fn new(limits: &Limits) -> Self {
        Self {
            places: Places::new(Bounds {
                total: limits.connections,
                per_peer: limits.connections_per_peer,
            }),
            refusals: Places::new(REFUSALS),
            refused: Seldom::default(),
        }
    }

    /// Seats a client that has connected; the connection that was idle for longest may be closed
    /// for it. `None` when there is not even room to answer with a refusal.
    pub fn admit(&self, address: SocketAddr) -> Option<Seat> {
        let peer = Some(Peer::from(address.ip()));
        let leave = CancellationToken::new();
        let (entered, refusal) = match self.places.enter(peer, leave.clone()) {
            Ok(entered) => (entered, None),
            Err(full) => {
                let refusal = admission::connections(full, "worker");
                if let Some(clients) = self.refused.note() {
                    tracing::warn!(clients, "refused connections: {refusal}");
                }
                let entered = self.refusals.enter(peer, leave.clone()).ok()?;
                (entered, Some(refusal.into()))
            }
        };
        if let Some(evicted) = entered.evicted {
            evicted.cancel();
        }
        Some(Seat {
            place: entered.place,
            leave,
            refusal,
        })
    }

    /// Closes the connection that was idle for longest. Returns whether there was one.
    pub fn make_room(&self) -> bool {
        let evicted = self.places.evict();
        evicted.inspect(CancellationToken::cancel).is_some()
    }
}

// === impl Seat ===

impl Seat {
    /// `None`: the place was given away, and nothing more may begin.
    pub fn begin(&self) -> Option<InFlight> {
        self.place.begin()
    }

    /// Since when no request is in flight.
    pub fn idle_since(&self) -> Option<Instant> {
        self.place.idle_since()
    }

    /// Returns when the connection has to be closed.
    pub async fn left(&self) {
        self.leave.cancelled().await;
    }

    pub fn has_left(&self) -> bool {
        self.leave.is_cancelled()
    }

    /// Closes the connection of a client that was refused.
    pub fn dismiss(&self) {
        self.leave.cancel();
    }
}
