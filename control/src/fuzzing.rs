//! Entry points for the fuzz targets, compiled into no program.

use prost::Message as _;
use warren_proto::v1;

/// Decodes a session message and processes it as a control plane does.
pub fn session(bytes: &[u8]) {
    if let Ok(request) = v1::SessionRequest::decode(bytes) {
        crate::fleet::fuzzing::session(request);
    }
}
