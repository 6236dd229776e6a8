//! Admission of clients when there may be more of them than places.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

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
    /// The place that it took when a request came although the first one was given away.
    again: OnceLock<Place<CancellationToken>>,
    places: Places<CancellationToken>,
    /// `None`: it speaks for many clients, and none of them is counted by its address.
    peer: Option<Peer>,
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
    /// for it. `peer` is whose share of the places counts, if anybody's. `None` when there is not
    /// even room to answer with a refusal.
    pub fn admit(&self, peer: Option<Peer>) -> Option<Seat> {
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
            again: OnceLock::new(),
            places: self.places.clone(),
            peer,
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
    /// Begins a request. When the place was given away just before the request came, another one is
    /// taken for it. `None` when there is no other.
    pub fn begin(&self) -> Option<InFlight> {
        if let Some(in_flight) = self.place.begin() {
            return Some(in_flight);
        }
        if self.refusal.is_some() {
            return None;
        }
        if self.again.get().is_none() {
            let entered = self.places.enter(self.peer, self.leave.clone());
            let entered = entered.ok()?;
            if let Some(evicted) = entered.evicted {
                evicted.cancel();
            }
            // A request at the same time may have taken one, too: one of the two is free again.
            let _ = self.again.set(entered.place);
        }
        self.again.get()?.begin()
    }

    /// Since when no request is in flight.
    pub fn idle_since(&self) -> Option<Instant> {
        self.place.idle_since()
    }

    /// Whether a request is in flight that took another place.
    pub fn is_late(&self) -> bool {
        let again = self.again.get();
        again.is_some_and(|place| place.is_held() && place.idle_since().is_none())
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
