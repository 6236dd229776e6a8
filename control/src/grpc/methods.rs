//! The RPCs of the server and which of them are streams, read from the descriptors.

use std::collections::HashMap;

use prost::Message as _;
use prost_types::FileDescriptorSet;

/// Every RPC by its path, and which of its sides are streams.
#[derive(Clone, Debug, Default)]
pub struct Methods {
    shapes: HashMap<String, Shape>,
}

/// What is exchanged in a call. A call with a stream ends when its client or the server ends it,
/// not by a timeout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// One request, one answer.
    #[default]
    Unary,
    /// One request, many answers.
    ServerStream,
    /// Many requests.
    ClientStream,
}

// === impl Methods ===

impl Methods {
    /// Reads encoded `google.protobuf.FileDescriptorSet`s.
    pub fn of(descriptors: &[&[u8]]) -> Result<Self, prost::DecodeError> {
        let mut shapes = HashMap::new();
        for encoded in descriptors {
            for file in FileDescriptorSet::decode(*encoded)?.file {
                for service in &file.service {
                    shapes.extend(service.method.iter().map(|method| {
                        let path =
                            format!("/{}.{}/{}", file.package(), service.name(), method.name());
                        let shape = match (method.client_streaming(), method.server_streaming()) {
                            (true, _) => Shape::ClientStream,
                            (false, true) => Shape::ServerStream,
                            (false, false) => Shape::Unary,
                        };
                        (path, shape)
                    }));
                }
            }
        }
        Ok(Self { shapes })
    }

    /// Returns what a call of the path `/package.Service/Method` exchanges.
    pub fn shape(&self, path: &str) -> Shape {
        self.shapes.get(path).copied().unwrap_or_default()
    }

    pub fn contains(&self, path: &str) -> bool {
        self.shapes.contains_key(path)
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.shapes.keys().map(String::as_str)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn knows_streams_from_single_answers() {
        let methods = Methods::of(&[warren_proto::FILE_DESCRIPTOR_SET]).unwrap();
        for (method, shape) in [
            ("/warren.v1.WorkloadService/Watch", Shape::ServerStream),
            ("/warren.v1.ArtifactService/Push", Shape::ClientStream),
            ("/warren.v1.FleetService/Session", Shape::ClientStream),
            ("/warren.v1.WorkloadService/Apply", Shape::Unary),
            ("/no.such.Service/Method", Shape::Unary),
        ] {
            assert_eq!(methods.shape(method), shape, "{method}");
        }
    }
}
