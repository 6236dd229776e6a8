//! Admission to what is bounded: connections of a listener, calls of an API, bytes in memory.
//!
//! The holder of a [`Place`] may be idle, and then gives way to a newcomer; the holder of a
//! [`Share`] keeps it until it is dropped. Both are counted for each [`Peer`], so that no peer
//! takes everything. This module owns no socket and no task.

mod listener;
mod peer;
mod places;
mod seldom;
mod shares;

pub use listener::{connections, is_about_one};
pub use peer::Peer;
pub use places::{Busy, Entered, Place, Places};
pub use seldom::Seldom;
pub use shares::{Share, Shares};

/// The limits on how many there may be at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub total: usize,
    /// Of one peer.
    pub per_peer: usize,
}

/// The reason why there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many as there may be are in use.
    Total(usize),
    /// As many as one peer may have are in use by this one.
    Peer(Peer, usize),
}

// === impl Bounds ===

impl Bounds {
    /// A quarter for each peer.
    pub const fn of(total: usize) -> Self {
        let quarter = total / 4;
        Self {
            total,
            per_peer: if quarter == 0 { 1 } else { quarter },
        }
    }
}
