//! Fields of messages by their paths, found in the descriptors: nothing here knows a message by name.

use prost::{Message, Name};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};

use crate::json;

/// A field that a message has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetField {
    /// As violations write it, from the message: `service.routes[0].port`, with names as in the `.proto` files.
    pub path: String,
    /// What kind of field it is, wherever it stands: `service.routes.port`, with names as in JSON and no indices.
    pub kind: String,
}

/// The paths of every field that a message of this type may hold, with names as in JSON and without indices, in the
/// order of the contract. Messages of other packages (durations, timestamps) and maps are values.
pub fn kinds<M: Name>() -> Vec<String> {
    let mut found = Vec::new();
    kinds_of(&descriptor::<M>(), "", &mut found);
    found
}

/// Every field that the message has set, a message or list before what it holds. A list or map that is empty, and
/// a number, text or boolean without presence that is zero are not set. Items of a list of values are not told apart.
pub fn set<M: Message + Name>(message: &M) -> Vec<SetField> {
    let dynamic = DynamicMessage::decode(descriptor::<M>(), message.encode_to_vec().as_slice())
        .expect("a message decodes as itself");
    let mut found = Vec::new();
    set_in(&dynamic, &SetField::root(), &mut found);
    found
}

fn descriptor<M: Name>() -> MessageDescriptor {
    json::descriptor_pool()
        .get_message_by_name(&M::full_name())
        .expect("generated messages are in the pool")
}

fn kinds_of(message: &MessageDescriptor, at: &str, found: &mut Vec<String>) {
    for field in message.fields() {
        let path = join(at, field.json_name());
        found.push(path.clone());
        if let Some(inner) = own_message(&field) {
            kinds_of(&inner, &path, found);
        }
    }
}

fn set_in(message: &DynamicMessage, at: &SetField, found: &mut Vec<SetField>) {
    // In the order of the contract, not in that of the numbers.
    for field in message.descriptor().fields() {
        if !message.has_field(&field) {
            continue;
        }
        let here = at.child(&field);
        let value = message.get_field(&field);
        match (own_message(&field), value.as_ref()) {
            (Some(_), Value::Message(inner)) => {
                found.push(here.clone());
                set_in(inner, &here, found);
            }
            (Some(_), Value::List(items)) => {
                found.push(here.clone());
                for (i, item) in items.iter().enumerate() {
                    if let Value::Message(inner) = item {
                        set_in(inner, &here.item(i), found);
                    }
                }
            }
            _ => found.push(here),
        }
    }
}

/// The type of a field whose own fields matter.
fn own_message(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    match field.kind() {
        Kind::Message(inner)
            if !field.is_map() && inner.package_name() == field.parent_message().package_name() =>
        {
            Some(inner)
        }
        _ => None,
    }
}

fn join(at: &str, name: &str) -> String {
    if at.is_empty() {
        name.to_owned()
    } else {
        format!("{at}.{name}")
    }
}

// === impl SetField ===

impl SetField {
    fn root() -> Self {
        Self {
            path: String::new(),
            kind: String::new(),
        }
    }

    fn item(&self, index: usize) -> Self {
        Self {
            path: format!("{}[{index}]", self.path),
            kind: self.kind.clone(),
        }
    }

    fn child(&self, field: &FieldDescriptor) -> Self {
        Self {
            path: join(&self.path, field.name()),
            kind: join(&self.kind, field.json_name()),
        }
    }
}
