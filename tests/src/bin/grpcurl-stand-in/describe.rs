//! A service, message or enum as it stands in its .proto file.

use std::fmt::Write as _;

use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor,
    MethodDescriptor, ServiceDescriptor,
};

/// What a name stands for; nothing when the pool does not know it.
pub fn describe(pool: &DescriptorPool, symbol: &str) -> Option<String> {
    let (kind, text) = if let Some(found) = pool.get_service_by_name(symbol) {
        ("a service", service(&found))
    } else if let Some(found) = pool.get_message_by_name(symbol) {
        ("a message", message(&found))
    } else if let Some(found) = pool.get_enum_by_name(symbol) {
        ("an enum", enumeration(&found))
    } else {
        let (service, name) = symbol.rsplit_once('.')?;
        let service = pool.get_service_by_name(service)?;
        let found = service.methods().find(|method| method.name() == name)?;
        ("a method", method(&found))
    };
    Some(format!("{symbol} is {kind}:\n{text}"))
}

fn service(service: &ServiceDescriptor) -> String {
    let methods = service.methods().map(|one| format!("  {}\n", method(&one)));
    format!(
        "service {} {{\n{}}}",
        service.name(),
        methods.collect::<String>()
    )
}

fn method(method: &MethodDescriptor) -> String {
    let stream = |is: bool| if is { "stream " } else { "" };
    format!(
        "rpc {} ( {}.{} ) returns ( {}.{} );",
        method.name(),
        stream(method.is_client_streaming()),
        method.input().full_name(),
        stream(method.is_server_streaming()),
        method.output().full_name()
    )
}

fn message(message: &MessageDescriptor) -> String {
    let mut text = format!("message {} {{\n", message.name());
    for field in message.fields() {
        let label = match field.cardinality() {
            Cardinality::Repeated if !field.is_map() => "repeated ",
            _ if optional(&field) => "optional ",
            _ => "",
        };
        let oneof = field.containing_oneof().filter(|_| !optional(&field));
        let note = oneof.map_or(String::new(), |oneof| format!(" // oneof {}", oneof.name()));
        let _ = writeln!(
            text,
            "  {label}{} {} = {};{note}",
            kind(&field),
            field.name(),
            field.number()
        );
    }
    text + "}"
}

/// A field marked so is the only one of a oneof that nobody wrote.
fn optional(field: &FieldDescriptor) -> bool {
    field.field_descriptor_proto().proto3_optional()
}

fn kind(field: &FieldDescriptor) -> String {
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let (key, value) = (entry.map_entry_key_field(), entry.map_entry_value_field());
            format!("map<{}, {}>", kind(&key), kind(&value))
        }
        Kind::Message(message) => format!(".{}", message.full_name()),
        Kind::Enum(one) => format!(".{}", one.full_name()),
        scalar => format!("{scalar:?}").to_lowercase(),
    }
}

fn enumeration(one: &EnumDescriptor) -> String {
    let values = one.values();
    let values = values.map(|value| format!("  {} = {};\n", value.name(), value.number()));
    format!("enum {} {{\n{}}}", one.name(), values.collect::<String>())
}
