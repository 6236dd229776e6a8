//! From the message back to a manifest.

use std::time::Duration;

use prost_reflect::{DynamicMessage, Value};
use warren_proto::{fields, v1};
use yaml_rust2::{Yaml, yaml::Hash};

use super::emit::{self, plain, text};
use crate::{
    quantity::{format_bytes, format_duration},
    schema::{self, CONSTANTS, Field, Kind, Schema},
    spec,
};

/// Returns the workload as a manifest that `apply` accepts: what was asked for, without what the
/// server added and without what is set to its default.
pub fn to_yaml(workload: &v1::Workload) -> String {
    let spec = workload.spec.as_ref().map(spec::without_defaults);
    let workload = v1::Workload {
        spec: Some(spec.unwrap_or_default()),
        ..workload.clone()
    };
    let mut document = Hash::new();
    for constant in &CONSTANTS {
        document.insert(text(constant.name), text(constant.value));
    }
    document.extend(group(&fields::dynamic(&workload), schema::workload()));
    emit::document(&Yaml::Hash(document))
}

fn group(message: &DynamicMessage, schema: &Schema) -> Hash {
    let mut printed = Hash::new();
    for field in &schema.fields {
        let is_given = message.has_field(&field.descriptor) || field.option.required;
        let value = is_given.then(|| value(&message.get_field(&field.descriptor), field));
        if let Some(value) = value.flatten() {
            printed.insert(text(&field.name), value);
        }
    }
    if let Some((field, inner)) = &schema.inline
        && let Some(message) = message.get_field(field).as_message()
    {
        printed.extend(group(message, inner));
    }
    printed
}

/// Returns the fields of a message that it has set and that are wanted, each with its value in the
/// words of a manifest; what a field holds follows its name: `config.greeting`.
pub fn settings(
    message: &DynamicMessage,
    schema: &Schema,
    is_wanted: impl Fn(&Field) -> bool,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for field in schema.fields.iter().filter(|field| is_wanted(field)) {
        let is_set = message.has_field(&field.descriptor);
        let value = is_set.then(|| value(&message.get_field(&field.descriptor), field));
        if let Some(value) = value.flatten() {
            flatten(&field.name, &value, &mut found);
        }
    }
    found
}

fn flatten(at: &str, value: &Yaml, found: &mut Vec<(String, String)>) {
    match value {
        Yaml::Hash(pairs) => {
            for (name, value) in pairs {
                let Yaml::Real(name) = name else { continue };
                flatten(&format!("{at}.{name}"), value, found);
            }
        }
        Yaml::Array(items) => {
            for (i, item) in items.iter().enumerate() {
                flatten(&format!("{at}[{i}]"), item, found);
            }
        }
        Yaml::Real(value) => found.push((at.to_owned(), value.clone())),
        _ => {}
    }
}

/// An item of a list. One that says nothing shows its defaults: an empty mapping looks like a
/// mistake.
fn item(message: &DynamicMessage, schema: &Schema) -> Yaml {
    let mut printed = group(message, schema);
    if printed.is_empty() {
        let fields = schema
            .fields
            .iter()
            .filter(|field| !field.option.default.is_empty());
        printed.extend(fields.map(|field| (text(&field.name), text(&field.option.default))));
    }
    Yaml::Hash(printed)
}

/// `None` for a group that says nothing, and for a value that only a server could have refused.
fn value(value: &Value, field: &Field) -> Option<Yaml> {
    match (&field.kind, value) {
        (Kind::Text | Kind::Artifact, Value::String(value)) => Some(text(value)),
        (Kind::Number, Value::U32(number)) => Some(plain(number)),
        (Kind::Boolean, Value::Bool(value)) => Some(plain(value)),
        (Kind::Size, Value::U64(bytes)) => Some(plain(format_bytes(*bytes))),
        (Kind::Duration, value) => {
            let duration: Duration = schema::duration(value)?;
            Some(plain(format_duration(duration)))
        }
        (Kind::Word(words), Value::EnumNumber(given)) => {
            let word = words.iter().find(|(_, number)| number == given);
            word.map(|(word, _)| text(word))
        }
        (Kind::Texts, Value::List(items)) => {
            let items = items.iter().filter_map(Value::as_str).map(text);
            Some(Yaml::Array(items.collect()))
        }
        (Kind::Map, Value::Map(pairs)) => {
            let pairs = pairs.iter();
            let mut pairs: Vec<_> = pairs
                .filter_map(|(k, v)| Some((k.as_str()?, v.as_str()?)))
                .collect();
            pairs.sort_unstable();
            let pairs = pairs
                .into_iter()
                .map(|(key, value)| (text(key), text(value)));
            Some(Yaml::Hash(pairs.collect()))
        }
        (Kind::Pairs, Value::List(items)) => {
            let pairs = items.iter().filter_map(|item| {
                let pair: v1::EnvVar = item.as_message()?.transcode_to().ok()?;
                match pair.source? {
                    v1::env_var::Source::Value(value) => Some((text(&pair.name), text(&value))),
                    // A manifest cannot say it, and no server accepted it.
                    v1::env_var::Source::Secret(_) => None,
                }
            });
            Some(Yaml::Hash(pairs.collect()))
        }
        (Kind::Group(inner), Value::Message(message)) => {
            let printed = group(message, inner);
            (!printed.is_empty() || field.option.significant).then_some(Yaml::Hash(printed))
        }
        (Kind::List(inner), Value::List(items)) => {
            let items = items.iter().filter_map(Value::as_message);
            Some(Yaml::Array(
                items.map(|message| item(message, inner)).collect(),
            ))
        }
        _ => None,
    }
}
