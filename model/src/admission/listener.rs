//! Common behaviour of listeners that refuse a connection.

use std::io;

use super::Full;

/// The message for a client that gets no connection; `whose` names the process that refuses.
pub fn connections(full: Full, whose: &str) -> String {
    match full {
        Full::Total(total) => format!(
            "all {total} connections of this {whose} are in use (--max-connections): try again \
             later"
        ),
        Full::Peer(peer, bound) => format!(
            "{peer} uses as many connections as one client address may, {bound} \
             (--max-connections-per-peer): close some, or try again later"
        ),
    }
}

/// Returns whether accepting failed because of a single client, so that the next one can be
/// accepted at once.
pub fn is_about_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}
