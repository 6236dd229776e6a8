//! Admission of clients when there may be more of them than places.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use tokio_util::sync::CancellationToken;
use warren_model::admission::{self, Bounds, Busy, Peer, Place, Places, Seldom};

use super::Limits;

/// The bounds on connections without a place, which are only answered with the reason.
const REFUSALS: Bounds = Bounds::of(64);

/// The places of a listener.
pub(super) struct Door {
    places: Places<CancellationToken>,
    refusals: Places<CancellationToken>,
    refused: Seldom,
}

/// The places that one connection occupies.
pub(super) struct Seat {
    place: Place<CancellationToken>,
    /// The place that it took when a request arrived after the first one had been given to another
    /// connection.
    again: OnceLock<Place<CancellationToken>>,
    places: Places<CancellationToken>,
    /// The client whose address counts, or `None` if the connection carries the requests of many
    /// clients.
    peer: Option<Peer>,
    leave: CancellationToken,
    /// The message for a client without a place. Its connection ends after the answer.
    pub refusal: Option<Arc<str>>,
}

/// A request in flight. Its connection is not closed to make room.
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

    /// Seats a client that has connected. The connection that has been idle for longest may be
    /// closed for it. `peer` is the client whose share of the places counts, if any. Returns `None`
    /// if there is not even room to answer with a refusal.
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

    /// Closes the connection that has been idle for longest. Returns whether there was one.
    pub fn make_room(&self) -> bool {
        let evicted = self.places.evict();
        evicted.inspect(CancellationToken::cancel).is_some()
    }
}

// === impl Seat ===

impl Seat {
    /// Begins a request. If the place was given away just before the request arrived, another one
    /// is taken for it. Returns `None` if there is no other.
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
            // A concurrent request may have set it first. The place that is not stored is released.
            let _ = self.again.set(entered.place);
        }
        self.again.get()?.begin()
    }

    /// Returns since when no request has been in flight.
    pub fn idle_since(&self) -> Option<Instant> {
        self.place.idle_since()
    }

    /// Returns whether a request is in flight that took another place.
    pub fn is_late(&self) -> bool {
        let again = self.again.get();
        again.is_some_and(|place| place.is_held() && place.idle_since().is_none())
    }

    /// Completes when the connection has to be closed.
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
