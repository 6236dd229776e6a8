//! The public contract of Warren: `warren.v1`, its generated code, its descriptors and its JSON.

pub mod codec;
pub mod decoded_size;
pub mod fields;
pub mod json;

/// Messages, clients and servers of package `warren.v1`.
#[allow(
    clippy::all,
    clippy::pedantic,
    clippy::uninlined_format_args,
    unused_qualifications
)]
pub mod v1 {
    tonic::include_proto!("warren.v1");
}

/// Every file of `warren.v1` and what it imports, as an encoded
/// `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/warren.v1.bin"));

/// The version of the `FleetService.Session` protocol that this build speaks.
pub const SESSION_PROTOCOL_VERSION: u32 = 1;
