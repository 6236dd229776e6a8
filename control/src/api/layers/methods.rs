//! Which RPCs are streams, read from the descriptors.

use std::collections::HashSet;

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// The RPCs with a stream on either side; they end when their client or the server does, not by a timeout.
#[derive(Clone, Debug, Default)]
pub struct Methods {
    streaming: HashSet<String>,
}

// === impl Methods ===

impl Methods {
    /// Reads encoded `google.protobuf.FileDescriptorSet`s.
    pub fn of(descriptors: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut streaming = HashSet::new();
        for encoded in descriptors {
            for file in FileDescriptorSet::decode(*encoded)?.file {
                for service in &file.service {
                    let methods = service.method.iter();
                    let streams = methods
                        .filter(|method| method.client_streaming() || method.server_streaming());
                    streaming.extend(streams.map(|method| {
                        format!("/{}.{}/{}", file.package(), service.name(), method.name())
                    }));
                }
            }
        }
        Ok(Self { streaming })
    }

    /// Whether the request path `/package.Service/Method` is a stream.
    pub fn is_streaming(&self, path: &str) -> bool {
        self.streaming.contains(path)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn knows_streams_from_single_answers() {
        let methods = Methods::of(&[warren_proto::FILE_DESCRIPTOR_SET]).unwrap();
        for (method, streaming) in [
            ("/warren.v1.WorkloadService/Watch", true),
            ("/warren.v1.ArtifactService/Push", true),
            ("/warren.v1.FleetService/Session", true),
            ("/warren.v1.WorkloadService/Apply", false),
            ("/no.such.Service/Method", false),
        ] {
            assert_eq!(methods.is_streaming(method), streaming, "{method}");
        }
    }
}
