//! A network, and the state that its sockets share.

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

/// The private network of one replica. Clones refer to the same network, which lives as long as any
/// clone, scope or socket of it.
#[derive(Clone)]
pub struct Network(Arc<Shared>);

struct Shared {
    limits: NetLimits,
    state: Mutex<State>,
    pool: Arc<Pool>,
    next_scope: AtomicU64,
    /// Incremented whenever a TCP listener or a UDP socket opens or closes.
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

    /// Also counts in `ledger` the bytes that buffers take from [`NetLimits::buffered`]. It must be
    /// called before anything is sent; further calls have no effect.
    pub fn count_in(&self, ledger: Arc<dyn Ledger>) {
        self.0.pool.count_in(ledger);
    }

    /// Creates a scope for the sockets of one guest store or of the host. A service gets a new one
    /// each time it starts.
    pub fn scope(&self) -> Scope {
        Scope::new(
            self.clone(),
            self.0.next_scope.fetch_add(1, Ordering::Relaxed),
        )
    }

    /// Returns a receiver that changes whenever a TCP listener or a UDP socket opens or closes; the
    /// value itself has no meaning. To miss no change, subscribe first, then check
    /// [`Self::is_listening`] or [`Self::is_receiving`], then wait.
    pub fn listening(&self) -> watch::Receiver<u64> {
        self.0.listening.subscribe()
    }

    /// Returns whether a socket listens on this port of 127.0.0.1 or `::1`.
    pub fn is_listening(&self, port: u16) -> bool {
        self.0.state.lock().is_listening(port)
    }

    /// Returns when the oldest TCP listener began to listen, among those for which the guest chose
    /// a port number. Takes time linear in the number of sockets.
    pub fn fixed_listener_since(&self) -> Option<Instant> {
        self.0.state.lock().fixed_listener_since()
    }

    /// Returns whether a UDP socket would receive a datagram sent to this loopback address.
    pub fn is_receiving(&self, at: SocketAddr) -> bool {
        self.0.state.lock().is_receiving(at)
    }

    /// Returns how many bytes of [`NetLimits::buffered`] are taken; 0 when every socket is closed.
    pub fn taken(&self) -> usize {
        self.0.pool.taken()
    }

    /// Counts what the network holds at this moment. Takes time linear in the number of sockets, so
    /// it is for tests and diagnosis.
    pub fn counts(&self) -> Counts {
        self.0.state.lock().counts()
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub fn limits(&self) -> &NetLimits {
        &self.0.limits
    }

    /// Runs `f` under the lock, and the actions it leaves in [`After`] once the lock is released.
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

/// Ownership of a socket. Dropping it closes the socket and frees everything it holds.
pub(super) struct Handle {
    pub network: Network,
    pub key: SocketKey,
}

impl Handle {
    /// Sets the receive buffer of the socket's connections, clamped, and returns the resulting size
    /// in bytes.
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
