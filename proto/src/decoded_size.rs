//! How much memory an encoded message takes once it is decoded, found without decoding it.
//!
//! An empty message in a list takes two bytes on the wire and some hundred bytes in memory, so a
//! limit on the bytes of a request alone does not bound what the request costs.

use std::{collections::HashMap, sync::LazyLock};

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};

use crate::json::descriptor_pool;

/// Bytes of a `String` and of a `Vec`, and of an enum that holds one.
const LIST: usize = 32;
const SCALAR: usize = 16;
/// While a list grows, its old and its new storage exist at once.
const GROWTH: usize = 2;
/// What prost accepts.
const MAX_DEPTH: usize = 100;

/// The bytes of a message itself, without what its lists and strings hold.
static SIZES: LazyLock<HashMap<String, usize>> = LazyLock::new(|| {
    let messages = descriptor_pool().all_messages();
    messages
        .map(|message| (message.full_name().to_owned(), inline(&message, 0)))
        .collect()
});

/// Returns an upper estimate of the memory that `encoded` takes once it is decoded, in bytes, and
/// stops counting once it exceeds `limit`.
///
/// A message that is not well-formed is counted up to its fault, which decoding reports.
pub fn decoded_size(message: &MessageDescriptor, encoded: &[u8], limit: usize) -> usize {
    let mut total = size_of(message);
    count(message, encoded, 0, limit, &mut total);
    total
}

fn size_of(message: &MessageDescriptor) -> usize {
    let known = SIZES.get(message.full_name()).copied();
    known.unwrap_or_else(|| inline(message, 0))
}

fn inline(message: &MessageDescriptor, depth: usize) -> usize {
    let size = |field: FieldDescriptor| inline_field(&field, depth);
    let fields = message.fields();
    let alone = fields.filter(|field| field.containing_oneof().is_none());
    let alone: usize = alone.map(size).sum();
    // Of a oneof there is one field at a time.
    let oneofs = message.oneofs();
    let largest = oneofs.map(|oneof| oneof.fields().map(size).max().unwrap_or_default());
    alone + largest.sum::<usize>()
}

fn inline_field(field: &FieldDescriptor, depth: usize) -> usize {
    if field.cardinality() == Cardinality::Repeated {
        return LIST;
    }
    match field.kind() {
        Kind::String | Kind::Bytes => LIST,
        // A message that contains itself is boxed.
        Kind::Message(inner) if depth < 10 => SCALAR + inline(&inner, depth + 1),
        _ => SCALAR,
    }
}

/// Adds what the fields in `encoded` hold. Returns `None` once counting ends early.
fn count(
    message: &MessageDescriptor,
    mut encoded: &[u8],
    depth: usize,
    limit: usize,
    total: &mut usize,
) -> Option<()> {
    while !encoded.is_empty() {
        let tag = varint(&mut encoded)?;
        let field = message.get_field(u32::try_from(tag >> 3).ok()?);
        let is_list = field.as_ref().is_some_and(FieldDescriptor::is_list);
        match tag & 7 {
            0 => {
                varint(&mut encoded)?;
                *total += if is_list { GROWTH * SCALAR } else { 0 };
            }
            fixed @ (1 | 5) => {
                let bytes = if fixed == 1 { 8 } else { 4 };
                encoded = encoded.get(bytes..)?;
                *total += if is_list { GROWTH * SCALAR } else { 0 };
            }
            2 => {
                let length = usize::try_from(varint(&mut encoded)?).ok()?;
                let (held, rest) = encoded.split_at_checked(length)?;
                encoded = rest;
                let Some(field) = field else { continue };
                let is_item = field.cardinality() == Cardinality::Repeated;
                match field.kind() {
                    Kind::Message(inner) => {
                        *total += if is_item { GROWTH * size_of(&inner) } else { 0 };
                        if depth < MAX_DEPTH {
                            count(&inner, held, depth + 1, limit, total)?;
                        }
                    }
                    Kind::String | Kind::Bytes => {
                        *total += length + if is_item { GROWTH * LIST } else { 0 };
                    }
                    // Numbers that are packed: a byte each, or more.
                    _ => *total += length * GROWTH * 8,
                }
            }
            _ => return None,
        }
        if *total > limit {
            return None;
        }
    }
    Some(())
}

fn varint(encoded: &mut &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(encoded).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prost::{Message, Name};

    use super::*;
    use crate::v1;

    fn estimate<M: Message + Name>(message: &M) -> usize {
        let descriptor = descriptor_pool()
            .get_message_by_name(&M::full_name())
            .unwrap();
        decoded_size(&descriptor, &message.encode_to_vec(), usize::MAX)
    }

    #[test]
    fn no_message_is_larger_than_its_estimate() {
        macro_rules! check {
            ($($message:ident),*) => {$(
                let estimated = estimate(&v1::$message::default());
                let size = std::mem::size_of::<v1::$message>();
                assert!(size <= estimated, "{}: {size} > {estimated}", stringify!($message));
                assert!(estimated <= 4 * size + 64, "{}: {estimated}, {size}", stringify!($message));
            )*};
        }
        check!(
            ApplyRequest,
            Workload,
            WorkloadSpec,
            Component,
            Service,
            EnvVar,
            Route,
            Hello,
            Replica,
            Condition,
            Exit,
            SessionRequest
        );
    }

    #[test]
    fn items_count_by_what_they_take_in_memory() {
        let items = 1_000;
        let spec = v1::WorkloadSpec {
            components: vec![v1::Component::default(); items],
            ..Default::default()
        };
        assert_eq!(spec.encoded_len(), 2 * items);
        assert!(estimate(&spec) > items * std::mem::size_of::<v1::Component>());

        let labels = |value: &str| {
            let labels = (0..items).map(|i| (i.to_string(), value.to_owned()));
            estimate(&v1::Workload {
                labels: labels.collect(),
                ..Default::default()
            })
        };
        assert_eq!(labels(&"x".repeat(100)) - labels(""), 100 * items);
    }

    #[test]
    fn counting_ends_at_the_limit_and_at_a_fault() {
        let descriptor = descriptor_pool()
            .get_message_by_name("warren.v1.WorkloadSpec")
            .unwrap();
        let spec = v1::WorkloadSpec {
            components: vec![v1::Component::default(); 200_000],
            ..Default::default()
        };
        let mut encoded = spec.encode_to_vec();
        let counted = decoded_size(&descriptor, &encoded, 10_000);
        assert!((10_000..20_000).contains(&counted), "{counted}");
        encoded.truncate(1_001);
        assert!(v1::WorkloadSpec::decode(encoded.as_slice()).is_err());
        decoded_size(&descriptor, &encoded, usize::MAX);
    }
}
