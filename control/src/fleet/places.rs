//! Places of sessions, which no other call can take.

use tokio_util::sync::CancellationToken;
use tonic::Status;
use warren_model::admission::{Entered, Peer, Places, Share, Shares};

use crate::{
    grpc::{error, limits::exhausted},
    listen::ClientLimits,
};

/// A worker says Hello at once. A session without Hello gives way to later ones, so that silent
/// sessions keep no worker out.
pub struct SessionPlaces {
    greetings: Places<CancellationToken>,
    open: Shares,
}

/// A session in which Hello is waited for.
pub struct Greeted {
    _place: Entered<CancellationToken>,
    give_way: CancellationToken,
}

// === impl SessionPlaces ===

impl SessionPlaces {
    pub fn new(limits: &ClientLimits) -> Self {
        Self {
            greetings: Places::new(limits.greetings),
            open: Shares::new(limits.sessions),
        }
    }

    /// Admits a session that begins.
    pub fn greet(&self, peer: Option<Peer>) -> Result<Greeted, Status> {
        let give_way = CancellationToken::new();
        let entered = self.greetings.enter(peer, give_way.clone());
        let mut entered = entered.map_err(|full| exhausted("sessions without Hello", full))?;
        if let Some(evicted) = entered.evicted.take() {
            evicted.cancel();
        }
        Ok(Greeted {
            _place: entered,
            give_way,
        })
    }

    /// Admits a session whose worker has said Hello.
    pub(super) fn open(&self, peer: Option<Peer>) -> Result<Share, Status> {
        let taken = self.open.take(peer, 1);
        taken.map_err(|full| exhausted("sessions of workers", full))
    }
}

// === impl Greeted ===

impl Greeted {
    /// Returns, with the reason, when it has to give way.
    pub async fn gives_way(&self) -> Status {
        self.give_way.cancelled().await;
        let message = "too many sessions wait for their Hello, and this one did for longest";
        error::exhausted("sessions without Hello", message)
    }
}
