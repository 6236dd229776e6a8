//! What the fuzzing targets reach: for these, and in no program.

use prost::Message as _;
use warren_proto::v1;

/// Decodes a message of a session and takes it as a control plane does.
pub fn session(bytes: &[u8]) {
    if let Ok(request) = v1::SessionRequest::decode(bytes) {
        crate::fleet::fuzzing::session(request);
    }
}
