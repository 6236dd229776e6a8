//! Every field that a manifest may have: the one list that the reader takes its names from, and the reference its lines.

use crate::feature;

mod table;

pub(super) use table::*;

/// The fields of one kind of mapping.
pub(super) struct Schema {
    /// What the mapping describes, for messages: "the service".
    pub what: &'static str,
    pub fields: &'static [Field],
}

/// One field of a mapping.
pub(super) struct Field {
    pub name: &'static str,
    pub kind: Kind,
    presence: Presence,
    bounds: Option<(&'static str, &'static str)>,
    meaning: &'static str,
}

/// How a field's value is written.
pub(super) enum Kind {
    Text,
    /// A path of a file or a digest.
    Artifact,
    Number,
    Boolean,
    Size,
    Duration,
    Word(&'static [&'static str]),
    Texts,
    /// Free names with texts.
    Map,
    Fields(&'static Schema),
    List(&'static Schema),
}

/// What is so without a field.
enum Presence {
    /// Nothing: it must be there, for example as this.
    Required(&'static str),
    /// The same as with this value.
    Default(&'static str),
    /// There is none; with one, for example, as this.
    Optional(&'static str),
    /// A mapping or a list, with presence in its fields.
    Group,
}

/// One line of the manifest reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the document: `service.publish[].port`.
    pub path: String,
    /// What its value is, in words: "whole number", "one of tcp, udp".
    pub value: String,
    pub required: bool,
    /// What absence means, as it would be written; `None` where absence means that there is none.
    pub default: Option<&'static str>,
    /// The least and the greatest value, as they would be written.
    pub bounds: Option<(&'static str, &'static str)>,
    /// A value as it could be written; `None` for mappings and lists of fields.
    pub example: Option<&'static str>,
    /// One line.
    pub meaning: &'static str,
    /// Whether this version honours it; where not, it is refused.
    pub supported: bool,
}

/// Every field of a manifest, in the order in which a manifest is written, a mapping before its fields.
pub fn reference() -> Vec<Entry> {
    let mut entries = Vec::new();
    entries_of(&WORKLOAD, "", &mut entries);
    entries
}

fn entries_of(schema: &Schema, at: &str, entries: &mut Vec<Entry>) {
    for field in schema.fields {
        let path = format!("{at}{}", field.name);
        entries.push(field.entry(path.clone()));
        match field.kind {
            Kind::Fields(inner) => entries_of(inner, &format!("{path}."), entries),
            Kind::List(inner) => entries_of(inner, &format!("{path}[]."), entries),
            _ => {}
        }
    }
}

/// The path of a field of the message as a manifest writes it: `limits.memory` for `limits.memory_bytes`.
pub(super) fn manifest_name(path: &str) -> String {
    let path = path.strip_suffix("_bytes").unwrap_or(path);
    let mut name = String::new();
    let mut upper = false;
    for c in path.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                name.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => name.push(c),
        }
    }
    name
}

// === impl Schema ===

impl Schema {
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.fields.iter().map(|field| field.name)
    }

    /// Where a field of this name stands in one of the mappings that this one holds: `limits.memory`.
    pub(super) fn below(&self, name: &str) -> Option<String> {
        self.fields.iter().find_map(|field| match field.kind {
            Kind::Fields(inner) => inner
                .names()
                .any(|known| known == name)
                .then(|| format!("{}.{name}", field.name)),
            _ => None,
        })
    }
}

// === impl Field ===

impl Field {
    const fn new(
        name: &'static str,
        kind: Kind,
        presence: Presence,
        meaning: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            presence,
            bounds: None,
            meaning,
        }
    }

    /// A mapping or a list of mappings.
    const fn group(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self::new(name, kind, Presence::Group, meaning)
    }

    const fn within(mut self, least: &'static str, greatest: &'static str) -> Self {
        self.bounds = Some((least, greatest));
        self
    }

    fn entry(&self, path: String) -> Entry {
        let (required, default, example) = match self.presence {
            Presence::Required(example) => (true, None, Some(example)),
            Presence::Default(value) => (false, Some(value), Some(value)),
            Presence::Optional(example) => (false, None, Some(example)),
            Presence::Group => (false, None, None),
        };
        Entry {
            value: self.kind.words(),
            required,
            default,
            bounds: self.bounds,
            example,
            meaning: self.meaning,
            supported: feature::is_honoured(&feature_of(&path)),
            path,
        }
    }
}

/// The field of the message that a field of a manifest becomes, as [`feature`] names it.
fn feature_of(path: &str) -> String {
    let path = path.replace("[]", "");
    // Sizes: the message names their unit.
    let is_size = [".memory", ".requestBody", ".responseBody", ".sizeLimit"]
        .iter()
        .any(|size| path.ends_with(size));
    let unit = if is_size { "Bytes" } else { "" };
    format!("spec.{path}{unit}")
}

// === impl Kind ===

impl Kind {
    fn words(&self) -> String {
        let words = match self {
            Self::Text => "text",
            Self::Artifact => "path of a .wasm file, or sha256:DIGEST",
            Self::Number => "whole number",
            Self::Boolean => "true or false",
            Self::Size => "size",
            Self::Duration => "duration",
            Self::Word(words) => return format!("one of {}", words.join(", ")),
            Self::Texts => "list of texts",
            Self::Map => "names with values",
            Self::Fields(_) => "fields",
            Self::List(_) => "list",
        };
        words.to_owned()
    }
}

#[cfg(test)]
mod tests;
