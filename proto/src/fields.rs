//! Fields of messages by their paths, found in the descriptors: nothing here knows a message by
//! name.

use std::sync::LazyLock;

use prost::{Message, Name};
pub use prost_reflect::DynamicMessage;
use prost_reflect::{
    ExtensionDescriptor, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage as _, Value,
};

use crate::{json, v1};

static OPTION: LazyLock<ExtensionDescriptor> = LazyLock::new(|| {
    let option = json::descriptor_pool().get_extension_by_name("warren.v1.field");
    option.expect("the contract has the option")
});

/// A field that a message has set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetField {
    /// The path that violations name, with names as in the `.proto` files:
    /// `service.routes[0].port`.
    pub path: String,
    /// The path of the field in any message, with names as in JSON and without indices:
    /// `service.routes.port`.
    pub kind: String,
}

/// Returns the paths of every field that a message of this type may hold, with names as in JSON and
/// without indices. Messages of other packages (durations, timestamps) and maps are values.
pub fn kinds<M: Name>() -> Vec<String> {
    kinds_with::<M>(|_| true)
}

/// Returns the paths of [`kinds`] whose options satisfy the predicate.
pub fn kinds_with<M: Name>(is_wanted: impl Fn(&v1::Field) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    kinds_of(&descriptor::<M>(), "", &is_wanted, &mut found);
    found
}

/// Returns every field that the message has set, a message or list before what it holds. A list or
/// map that is empty, and a number, text or boolean without presence that is zero are not set. The
/// items of a list of values are not listed one by one.
pub fn set<M: Message + Name>(message: &M) -> Vec<SetField> {
    let mut found = Vec::new();
    set_in(&dynamic(message), &SetField::root(), &mut found);
    found
}

/// Returns the descriptor of a message of the contract.
pub fn descriptor<M: Name>() -> MessageDescriptor {
    json::descriptor_pool()
        .get_message_by_name(&M::full_name())
        .expect("generated messages are in the pool")
}

/// Returns the message with its fields accessible by their descriptors.
pub fn dynamic<M: Message + Name>(message: &M) -> DynamicMessage {
    DynamicMessage::decode(descriptor::<M>(), message.encode_to_vec().as_slice())
        .expect("a message decodes as itself")
}

/// Returns the fields of a message in the order of the `.proto` file.
pub fn declared(message: &MessageDescriptor) -> Vec<FieldDescriptor> {
    let mut fields: Vec<_> = message.fields().collect();
    fields.sort_by_key(|field| field.path().last().copied());
    fields
}

/// Returns the option of a field; `None` for a field without one.
pub fn options(field: &FieldDescriptor) -> Option<v1::Field> {
    let options = field.options();
    if !options.has_extension(&OPTION) {
        return None;
    }
    let option = options.get_extension(&OPTION);
    let option = option.as_message().expect("the option is a message");
    Some(option.transcode_to().expect("a message decodes as itself"))
}

/// Returns the comment before a field in the `.proto` file, as one line.
pub fn comment(field: &FieldDescriptor) -> String {
    let file = field.parent_file();
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let mut locations = info.into_iter().flat_map(|info| &info.location);
    let location = locations.find(|location| location.path == field.path());
    let lines = location.map_or("", |location| location.leading_comments());
    lines.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn kinds_of(
    message: &MessageDescriptor,
    at: &str,
    is_wanted: &impl Fn(&v1::Field) -> bool,
    found: &mut Vec<String>,
) {
    for field in message.fields() {
        let path = join(at, field.json_name());
        if is_wanted(&options(&field).unwrap_or_default()) {
            found.push(path.clone());
        }
        if let Some(inner) = own_message(&field) {
            kinds_of(&inner, &path, is_wanted, found);
        }
    }
}

fn set_in(message: &DynamicMessage, at: &SetField, found: &mut Vec<SetField>) {
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
