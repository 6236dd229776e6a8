//! Shares of a bounded amount, each kept until its holder drops it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Bounds, Full, Peer};

/// A bounded amount, such as of calls or bytes. Clones share it.
#[derive(Clone, Debug)]
pub struct Shares(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    bounds: Bounds,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    total: usize,
    peers: HashMap<Peer, usize>,
}

/// A part of the amount, given back when it is dropped.
#[derive(Debug)]
pub struct Share {
    of: Shares,
    peer: Option<Peer>,
    amount: usize,
}

// === impl Shares ===

impl Shares {
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(Counters {
            bounds,
            taken: Mutex::default(),
        }))
    }

    /// Takes an amount for a peer; without a peer only the total counts.
    pub fn take(&self, peer: Option<Peer>, amount: usize) -> Result<Share, Full> {
        let mut share = self.none(peer);
        share.resize(amount)?;
        Ok(share)
    }

    /// A share of nothing, which can be resized.
    pub fn none(&self, peer: Option<Peer>) -> Share {
        Share {
            of: self.clone(),
            peer,
            amount: 0,
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Share ===

impl Share {
    /// Changes its amount. When there is no room for more, it stays as it is.
    pub fn resize(&mut self, amount: usize) -> Result<(), Full> {
        let bounds = self.of.0.bounds;
        let mut taken = self.of.taken();
        let total = taken.total - self.amount + amount;
        if amount > self.amount && total > bounds.total {
            return Err(Full::Total(bounds.total));
        }
        if let Some(peer) = self.peer {
            let before = taken.peers.get(&peer).copied().unwrap_or_default();
            let of_peer = before - self.amount + amount;
            if amount > self.amount && of_peer > bounds.per_peer {
                return Err(Full::Peer(peer, bounds.per_peer));
            }
            match of_peer {
                0 => taken.peers.remove(&peer),
                of_peer => taken.peers.insert(peer, of_peer),
            };
        }
        taken.total = total;
        drop(taken);
        self.amount = amount;
        Ok(())
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Less is always possible.
        let _ = self.resize(0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn peer(last: u8) -> Option<Peer> {
        Some(Peer::from(std::net::IpAddr::from([10, 0, 0, last])))
    }

    #[test]
    fn no_peer_takes_what_others_need_and_all_comes_back() {
        let shares = Shares::new(Bounds {
            total: 4,
            per_peer: 2,
        });
        let mut one = shares.take(peer(1), 1).unwrap();
        one.resize(2).unwrap();
        let full = Full::Peer(peer(1).unwrap(), 2);
        assert_eq!(one.resize(3).unwrap_err(), full);
        assert_eq!(shares.take(peer(1), 1).unwrap_err(), full);
        let other = shares.take(peer(2), 2).unwrap();
        assert_eq!(shares.take(peer(3), 1).unwrap_err(), Full::Total(4));
        assert_eq!(shares.take(None, 1).unwrap_err(), Full::Total(4));
        drop((one, other));
        assert!(shares.taken().peers.is_empty());
        // Without a peer only the total counts.
        shares.take(None, 4).unwrap();
        assert_eq!(shares.taken().total, 0);
    }
}
