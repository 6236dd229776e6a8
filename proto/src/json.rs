//! The protobuf JSON mapping, with fields without presence always printed.

use std::sync::LazyLock;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(crate::FILE_DESCRIPTOR_SET).expect("the build wrote valid descriptors")
});

/// Every descriptor of the contract.
pub fn descriptor_pool() -> &'static DescriptorPool {
    &POOL
}

/// The message as the protobuf JSON mapping prints it: lowerCamelCase names, enums by name,
/// 64-bit numbers as strings, fields without presence printed even when they hold the default.
/// Fails when a timestamp or duration is outside the range that the mapping can print.
pub fn to_value<M: Message + Name>(message: &M) -> Result<serde_json::Value, serde_json::Error> {
    let descriptor = POOL
        .get_message_by_name(&M::full_name())
        .expect("generated messages are in the pool");
    let dynamic = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())
        .expect("a message decodes as itself");
    let options = SerializeOptions::new().skip_default_fields(false);
    dynamic.serialize_with_options(serde_json::value::Serializer, &options)
}

/// Reads a message from the protobuf JSON mapping; unknown fields are errors.
pub fn from_value<M: Message + Name + Default>(
    value: serde_json::Value,
) -> Result<M, serde_json::Error> {
    let descriptor = POOL
        .get_message_by_name(&M::full_name())
        .expect("generated messages are in the pool");
    let dynamic = DynamicMessage::deserialize(descriptor, value)?;
    Ok(dynamic.transcode_to().expect("a message decodes as itself"))
}
