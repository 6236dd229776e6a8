//! Bounds on what clients and workers may have at once.

use std::time::Duration;

use warren_model::admission::{Bounds, Full};

/// The default number of connections.
pub const MAX_CONNECTIONS: usize = 10_000;

/// Bounds of a control plane's listener. `per_peer` counts for one address, or for one /64 network
/// of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections. At the bound, the one that was idle for longest makes room.
    pub connections: Bounds,
    /// Further connections for workers, which are used while all others are taken.
    pub worker_connections: Bounds,
    /// How long a new connection may take to its first call.
    pub unused: Duration,
    /// How long a connection may be without a call under way.
    pub idle: Duration,
    /// Calls whose request has not arrived completely. Beyond the bound the one that has waited for
    /// longest is ended.
    pub arriving: Bounds,
    /// How long a request may take to arrive.
    pub arrival: Duration,
    /// Bytes of messages that have not arrived completely, beyond [`Self::SMALL`] of each.
    pub arriving_bytes: Bounds,
    /// Calls with a single answer that are being worked on.
    pub unary: Bounds,
    /// The longest that the work of such a call may take.
    pub unary_timeout: Duration,
    /// Calls with a stream: watches, logs, events, pushes, health, reflection.
    pub streams: Bounds,
    /// Streams of workers besides their sessions: artifacts that they pull, logs that they send.
    pub worker_streams: Bounds,
    /// Sessions without Hello. Beyond the bound the one that has waited for longest is ended.
    pub greetings: Bounds,
    /// Sessions of workers.
    pub sessions: Bounds,
}

/// Says that there are as many of `what` as may be at once.
pub fn at_capacity(what: &str, full: Full) -> String {
    match full {
        Full::Total(total) => {
            format!("the control plane has as many {what} at once as it takes, {total}: try again")
        }
        Full::Peer(peer, bound) => format!(
            "{peer} has as many {what} at once as one client address may, {bound}: end some, or \
             try again"
        ),
    }
}

// === impl ClientLimits ===

impl ClientLimits {
    /// Bytes of an incomplete message that are not counted.
    pub const SMALL: usize = 16 << 10;
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            connections: Bounds::of(MAX_CONNECTIONS),
            worker_connections: Bounds::of(8192),
            unused: Duration::from_secs(20),
            idle: Duration::from_secs(60),
            arriving: Bounds::of(4096),
            arrival: Duration::from_secs(30),
            arriving_bytes: Bounds::of(256 << 20),
            unary: Bounds {
                total: 1024,
                per_peer: 512,
            },
            unary_timeout: Duration::from_secs(30),
            streams: Bounds::of(8192),
            worker_streams: Bounds::of(4096),
            greetings: Bounds::of(1024),
            sessions: Bounds {
                total: 4096,
                per_peer: 2048,
            },
        }
    }
}
