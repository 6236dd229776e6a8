//! Bounds on what clients and workers may have at once.

use std::time::Duration;

use warren_model::admission::Bounds;

/// Connections, unless told otherwise.
pub const MAX_CONNECTIONS: usize = 10_000;

/// Bounds of a control plane's listener. `per_peer` is of one address, or of one /64 network of
/// IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// When there are as many, the one that was idle for longest makes room.
    pub connections: Bounds,
    /// Further ones for workers, which are used while all others are taken.
    pub worker_connections: Bounds,
    /// How long a new connection may take to its first call.
    pub unused: Duration,
    /// How long a connection may be without a call under way.
    pub idle: Duration,
    /// Calls whose request has not arrived completely. Beyond them the longest waiting one is ended.
    pub arriving: Bounds,
    /// How long a request may take to arrive.
    pub arrival: Duration,
    /// Bytes of messages that have not arrived completely, beyond [`Self::SMALL`] of each.
    pub arriving_bytes: Bounds,
    /// Calls with a single answer that are worked on.
    pub unary: Bounds,
    /// The longest that the work of one may take.
    pub unary_timeout: Duration,
    /// Calls with a stream: watches, logs, events, pushes, health, reflection.
    pub streams: Bounds,
    /// Streams of workers beside their sessions: artifacts that they pull, logs that they send.
    pub worker_streams: Bounds,
    /// Sessions without Hello. Beyond them the longest waiting one is ended.
    pub greetings: Bounds,
    /// Sessions of workers.
    pub sessions: Bounds,
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
