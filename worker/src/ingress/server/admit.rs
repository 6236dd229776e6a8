//! Which clients get a connection when there are more of them than places.

use std::{net::SocketAddr, sync::Arc, time::Instant};

use tokio_util::sync::CancellationToken;
use warren_model::admission::{Bounds, Busy, Full, Peer, Place, Places, Seldom};

use super::Limits;

/// Clients that have no place, and are told so, at once.
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
    /// Why it has no place, for its client; one that is refused is asked to leave once it knows.
    pub refusal: Option<Arc<str>>,
}

/// A request that keeps its connection from being given up.
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

    /// A seat for a client that has connected. Whoever was idle for longest may have to leave for
    /// it. `None`: there is not even room to say that there is none.
    pub fn admit(&self, address: SocketAddr) -> Option<Seat> {
        let peer = Some(Peer::from(address.ip()));
        let leave = CancellationToken::new();
        let (entered, refusal) = match self.places.enter(peer, leave.clone()) {
            Ok(entered) => (entered, None),
            Err(full) => {
                let refusal = words(full);
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

    /// Asks the client to leave that was idle for longest. Whether there was one.
    pub fn make_room(&self) -> bool {
        let evicted = self.places.evict();
        evicted.inspect(CancellationToken::cancel).is_some()
    }
}

fn words(full: Full) -> String {
    match full {
        Full::Total(total) => format!(
            "all {total} connections of this worker are in use (--max-connections): try again later"
        ),
        Full::Peer(peer, bound) => format!(
            "{peer} uses as many connections as one client address may, {bound} \
             (--max-connections-per-peer): close some, or try again later"
        ),
    }
}

// === impl Seat ===

impl Seat {
    /// `None`: the place was given away, and nothing more may begin.
    pub fn begin(&self) -> Option<InFlight> {
        self.place.begin()
    }

    /// Since when nothing is in flight.
    pub fn idle_since(&self) -> Option<Instant> {
        self.place.idle_since()
    }

    /// Returns when the client has to leave.
    pub async fn left(&self) {
        self.leave.cancelled().await;
    }

    pub fn has_left(&self) -> bool {
        self.leave.is_cancelled()
    }

    /// It has been told what there was to tell.
    pub fn dismiss(&self) {
        self.leave.cancel();
    }
}
