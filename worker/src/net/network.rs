//! A network, and what its sockets share with it.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

use super::{
    Counts, Ledger, NetLimits, Scope,
    conn::Close,
    pool::Pool,
    state::{After, SocketKey, State},
};

/// The private network of one replica. Clones are the same network; it lives as long as a clone, a scope or a
/// socket of it.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    limits: NetLimits,
    state: Mutex<State>,
    pool: Arc<Pool>,
    next_scope: AtomicU64,
    /// Goes up whenever a TCP listener or a UDP socket opens or closes.
    listening: watch::Sender<u64>,
}

// === impl Network ===

impl Network {
    pub fn new(limits: NetLimits) -> Self {
        let pool = Arc::new(Pool::new(&limits));
        Self(Arc::new(Shared {
            limits,
            state: Mutex::new(State::new(limits, Arc::clone(&pool))),
            pool,
            next_scope: AtomicU64::new(0),
            listening: watch::Sender::new(0),
        }))
    }

    /// Counts in `ledger` what buffers take of [`NetLimits::buffered`], too. Before anything is sent; the first one stays.
    pub fn count_in(&self, ledger: Arc<dyn Ledger>) {
        self.0.pool.count_in(ledger);
    }

    /// What one guest store, or the host, will hold here. A service gets a new one at each start.
    pub fn scope(&self) -> Scope {
        Scope::new(
            self.clone(),
            self.0.next_scope.fetch_add(1, Ordering::Relaxed),
        )
    }

    /// Changes whenever a TCP listener or a UDP socket opens or closes; the value itself means nothing. Subscribe, then
    /// look at [`Self::is_listening`] or [`Self::is_receiving`], then wait: no change is missed.
    pub fn listening(&self) -> watch::Receiver<u64> {
        self.0.listening.subscribe()
    }

    /// Whether something listens on this port of 127.0.0.1 or `::1`.
    pub fn is_listening(&self, port: u16) -> bool {
        self.0.state.lock().is_listening(port)
    }

    /// Since when there is a TCP listener whose port the guest asked for by its number: of several the one that has been
    /// open for the longest. Takes time for each socket.
    pub fn fixed_listener_since(&self) -> Option<Instant> {
        self.0.state.lock().fixed_listener_since()
    }

    /// Whether a UDP socket would receive what is sent to this loopback address.
    pub fn is_receiving(&self, at: SocketAddr) -> bool {
        self.0.state.lock().is_receiving(at)
    }

    /// Bytes that buffers have taken of [`NetLimits::buffered`]; 0 when every socket is closed.
    pub fn taken(&self) -> usize {
        self.0.pool.taken()
    }

    /// What is held at this moment. Takes time for each socket: for tests and diagnosis.
    pub fn counts(&self) -> Counts {
        self.0.state.lock().counts()
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn limits(&self) -> &NetLimits {
        &self.0.limits
    }

    /// Runs `f` under the lock, and what follows from it when the lock is free.
    pub(super) fn update<R>(&self, f: impl FnOnce(&mut State, &mut After) -> R) -> R {
        let mut after = After::default();
        let result = f(&mut self.0.state.lock(), &mut after);
        let changed = after.listeners_changed;
        after.run();
        if changed {
            self.0
                .listening
                .send_modify(|generation| *generation = generation.wrapping_add(1));
        }
        result
    }

    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.0.state.lock().used()
    }
}

/// Ownership of a socket: dropping it closes the socket and frees what it holds.
pub(super) struct Handle {
    pub network: Network,
    pub key: SocketKey,
}

impl Handle {
    /// Sets what the socket's connections will buffer, clamped; returns what it is.
    pub fn set_buffer(&self, bytes: usize) -> usize {
        let bytes = self.network.limits().clamp_buffer(bytes);
        self.network
            .update(|state, after| state.set_buffer(self.key, bytes, after));
        bytes
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.network
            .update(|state, after| state.remove(self.key, Close::Socket, after));
    }
}
