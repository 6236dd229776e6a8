//! The reference: every field of a manifest in words.

use crate::{
    feature,
    schema::{self, Field, Kind, Schema},
};

/// One line of the manifest reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the document: `service.publish[].port`.
    pub path: String,
    /// The kind of its value, in words: "whole number", "one of tcp, udp".
    pub value: String,
    pub required: bool,
    /// What absence means, as it would be written; `None` where absence has a meaning of its own.
    pub default: Option<&'static str>,
    /// The least and the greatest value, as they would be written.
    pub bounds: Option<(&'static str, &'static str)>,
    /// The greatest number of entries, and of bytes where those are bounded in total.
    pub most: Option<String>,
    /// A value as it could be written; `None` for mappings and lists of fields.
    pub example: Option<&'static str>,
    pub meaning: &'static str,
    /// This version honours the field. Otherwise it is refused.
    pub supported: bool,
    /// As servers list it: `spec.service.publish.port`.
    pub feature: &'static str,
}

/// Returns every field of a manifest, in the order in which a manifest is written, a mapping before
/// its fields.
pub fn reference() -> Vec<Entry> {
    let constants = schema::CONSTANTS.iter().map(|constant| Entry {
        path: constant.name.to_owned(),
        value: format!("always {}", constant.value),
        required: false,
        default: Some(constant.value),
        bounds: None,
        most: None,
        example: Some(constant.value),
        meaning: constant.meaning,
        supported: true,
        feature: constant.name,
    });
    let mut entries: Vec<_> = constants.collect();
    entries_of(schema::workload(), "", &mut entries);
    entries
}

fn entries_of(schema: &'static Schema, at: &str, entries: &mut Vec<Entry>) {
    for field in schema.written() {
        let path = format!("{at}{}", field.name);
        entries.push(entry(field, path.clone()));
        match &field.kind {
            Kind::Group(inner) => entries_of(inner, &format!("{path}."), entries),
            Kind::List(inner) => entries_of(inner, &format!("{path}[]."), entries),
            _ => {}
        }
    }
}

fn entry(field: &'static Field, path: String) -> Entry {
    let option = &field.option;
    let given = |text: &'static str| (!text.is_empty()).then_some(text);
    let default = given(&option.default);
    Entry {
        path,
        value: field.kind.words(),
        required: option.required,
        default,
        bounds: given(&option.min).zip(given(&option.max)),
        most: given(&option.max)
            .filter(|_| option.min.is_empty())
            .map(|most| match option.max_size.as_str() {
                "" => most.to_owned(),
                size => format!("{most}, with {size} in total"),
            }),
        example: default.or(given(&option.example)),
        meaning: &field.meaning,
        supported: feature::is_honoured(&field.feature),
        feature: &field.feature,
    }
}
