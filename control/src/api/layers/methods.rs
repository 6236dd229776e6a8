//! Which RPCs there are and which of them are streams, read from the descriptors.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Every RPC by its path, and whether it has a stream on either side. Those end when their client or the server does,
/// not by a timeout.
#[derive(Clone, Debug, Default)]
pub struct Methods {
    streaming: HashMap<String, bool>,
}

// === impl Methods ===

impl Methods {
    /// Reads encoded `google.protobuf.FileDescriptorSet`s.
    pub fn of(descriptors: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut streaming = HashMap::new();
        for encoded in descriptors {
            for file in FileDescriptorSet::decode(*encoded)?.file {
                for service in &file.service {
                    streaming.extend(service.method.iter().map(|method| {
                        let path =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        (path, method.client_streaming() || method.server_streaming())
                    }));
                }
            }
        }
        Ok(Self { streaming })
    }

    /// Whether the request path `/package.Service/Method` is a stream.
    pub fn is_streaming(&self, path: &str) -> bool {
        self.streaming.get(path).copied().unwrap_or_default()
    }

    pub fn contains(&self, path: &str) -> bool {
        self.streaming.contains_key(path)
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.streaming.keys().map(String::as_str)
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
