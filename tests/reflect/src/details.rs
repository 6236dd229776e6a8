//! `google.rpc.Status`, which an error carries beside its code and message.

use anyhow::Context as _;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use prost_types::Any;
use serde_json::{Map, Value};
use tonic::Status;

/// As far as it says more than the code and the message.
#[derive(Clone, PartialEq, Message)]
struct Details {
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// The details of an error, which only their types can tell.
pub fn of(status: &Status) -> anyhow::Result<Vec<Any>> {
    let details = Details::decode(status.details()).context("this is no google.rpc.Status")?;
    Ok(details.details)
}

/// The full name of a detail's type.
pub fn name(detail: &Any) -> &str {
    let url = &detail.type_url;
    url.rsplit_once('/').map_or(url.as_str(), |(_, name)| name)
}

/// A detail as the protobuf JSON mapping has it. `pool` knows its type.
pub fn json(
    detail: &Any,
    pool: &DescriptorPool,
    options: SerializeOptions,
) -> anyhow::Result<Value> {
    let kind = pool.get_message_by_name(name(detail));
    let kind = kind.with_context(|| format!("the server does not know {}", name(detail)))?;
    let message = DynamicMessage::decode(kind, detail.value.as_slice())?;
    let fields = message.serialize_with_options(serde_json::value::Serializer, &options)?;
    let mut whole = Map::new();
    whole.insert("@type".to_owned(), detail.type_url.clone().into());
    whole.extend(fields.as_object().cloned().unwrap_or_default());
    Ok(whole.into())
}
