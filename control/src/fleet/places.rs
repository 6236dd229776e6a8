//! Places reserved for sessions, which no other call can take.

use tokio_util::sync::CancellationToken;
use warren_model::admission::{Entered, Full, Peer, Places, Share, Shares};

use super::error::SessionError;
use crate::listen::ClientLimits;

/// Places of sessions before and after Hello. A worker says Hello at once, so a session without
/// Hello gives way to later ones: silent sessions keep no worker out.
pub struct SessionPlaces {
    greetings: Places<CancellationToken>,
    open: Shares,
}

/// A session that waits for Hello.
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
    pub fn greet(&self, peer: Option<Peer>) -> Result<Greeted, SessionError> {
        let give_way = CancellationToken::new();
        let entered = self.greetings.enter(peer, give_way.clone());
        let mut entered = entered.map_err(|full| full_of("sessions without Hello", full))?;
        if let Some(evicted) = entered.evicted.take() {
            evicted.cancel();
        }
        Ok(Greeted {
            _place: entered,
            give_way,
        })
    }

    /// Admits a session whose worker has said Hello.
    pub(super) fn open(&self, peer: Option<Peer>) -> Result<Share, SessionError> {
        let taken = self.open.take(peer, 1);
        taken.map_err(|full| full_of("sessions of workers", full))
    }
}

// === impl Greeted ===

impl Greeted {
    /// Returns when it has to give way to another session.
    pub async fn gives_way(&self) {
        self.give_way.cancelled().await;
    }
}

fn full_of(what: &'static str, full: Full) -> SessionError {
    SessionError::Full { what, full }
}
