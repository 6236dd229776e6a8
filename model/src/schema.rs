//! The fields of a workload, as the options in the contract describe them.
//!
//! The reader and the printer of manifests, their reference, the checks of a spec, its defaults and
//! `warren describe` all take names, kinds, defaults and bounds from here. A message that is used
//! in several places has a schema in each of them, as the places may differ in a default or a
//! bound.

use std::{sync::LazyLock, time::Duration};

use prost_reflect::{FieldDescriptor, Kind as Type, MessageDescriptor, Value};
use warren_proto::{
    fields,
    v1::{self, field},
};

use crate::quantity::{parse_bytes, parse_duration};

/// The fields of a message in one place.
#[derive(Debug)]
pub struct Schema {
    /// The thing that the fields describe, for messages: "the service".
    pub noun: String,
    pub message: MessageDescriptor,
    /// In the order in which a manifest is written.
    pub fields: Vec<Field>,
    /// A message whose fields a manifest writes among those of this one, after them.
    pub inline: Option<(FieldDescriptor, Box<Schema>)>,
}

/// One field of a message.
#[derive(Debug)]
pub struct Field {
    /// The name in a manifest: `requestBody`.
    pub name: String,
    pub descriptor: FieldDescriptor,
    pub kind: Kind,
    /// The name that servers list: `spec.service.limits.requestBodyBytes`.
    pub feature: String,
    pub meaning: String,
    /// The option in the contract.
    pub option: v1::Field,
    amounts: Amounts,
}

/// How a manifest writes the value of a field.
#[derive(Debug)]
pub enum Kind {
    Text,
    /// The path of a file, or a digest.
    Artifact,
    Number,
    Boolean,
    /// In bytes.
    Size,
    Duration,
    /// The words, each with its number in the enum.
    Word(Vec<(String, i32)>),
    Texts,
    /// Free names with texts.
    Map,
    /// The same, as messages of a name and the source of its value.
    Pairs,
    Group(Schema),
    List(Schema),
}

/// A number, size or duration, or a number of entries: in units, bytes or nanoseconds.
type Amount = u64;

#[derive(Clone, Copy, Debug, Default)]
struct Amounts {
    default: Option<Amount>,
    min: Option<Amount>,
    max: Option<Amount>,
    max_size: Option<Amount>,
}

/// A field that documents have and no message: it can only have one value.
#[derive(Debug)]
pub struct Constant {
    pub name: &'static str,
    pub value: &'static str,
    pub meaning: &'static str,
}

pub const CONSTANTS: [Constant; 2] = [
    Constant {
        name: "apiVersion",
        value: "warren/v1",
        meaning: "The version of this format.",
    },
    Constant {
        name: "kind",
        value: "Workload",
        meaning: "What the document describes.",
    },
];

static WORKLOAD: LazyLock<Schema> = LazyLock::new(|| {
    let message = fields::descriptor::<v1::Workload>();
    Schema::new(message, "a workload", "", &[])
});

/// Returns the schema of a document: of a workload and, inline, its spec.
pub fn workload() -> &'static Schema {
    &WORKLOAD
}

/// Returns the schema of a workload's spec.
pub fn spec() -> &'static Schema {
    let spec = WORKLOAD.inline.as_ref();
    &spec.expect("the spec is written inline").1
}

/// Returns the path of a field of the message as a manifest writes it: `limits.memory` for
/// `limits.memory_bytes`.
pub fn manifest_name(path: &str) -> String {
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
    fn new(
        message: MessageDescriptor,
        noun: &str,
        at: &str,
        differences: &[field::Difference],
    ) -> Self {
        let mut schema = Self {
            noun: noun.to_owned(),
            message,
            fields: Vec::new(),
            inline: None,
        };
        for descriptor in fields::declared(&schema.message) {
            let Some(mut option) = fields::options(&descriptor) else {
                continue;
            };
            let feature = format!("{at}{}", descriptor.json_name());
            if option.kind() == field::Kind::Inline {
                let inner = Self::of(&descriptor, noun, &feature, &[]);
                schema.inline = Some((descriptor, Box::new(inner)));
                continue;
            }
            for difference in differences.iter().filter(|d| d.field == descriptor.name()) {
                let differs = |to: &mut String, from: &String| {
                    if !from.is_empty() {
                        to.clone_from(from);
                    }
                };
                differs(&mut option.default, &difference.default);
                differs(&mut option.max, &difference.max);
            }
            schema.fields.push(Field::new(descriptor, option, feature));
        }
        schema
    }

    /// The schema of the message that a field holds.
    fn of(
        field: &FieldDescriptor,
        noun: &str,
        feature: &str,
        differences: &[field::Difference],
    ) -> Self {
        let Type::Message(message) = field.kind() else {
            unreachable!("{feature} is not a message");
        };
        Self::new(message, noun, &format!("{feature}."), differences)
    }

    /// Returns the fields that a mapping of a manifest may have, those of an inline message
    /// included.
    pub fn written(&self) -> impl Iterator<Item = &Field> {
        let inline = self.inline.iter().flat_map(|(_, inner)| &inner.fields);
        self.fields.iter().chain(inline)
    }

    /// Returns the names that a mapping of a manifest may have.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let is_document = self.inline.is_some();
        let constants = CONSTANTS.iter().filter(move |_| is_document);
        let constants = constants.map(|constant| constant.name);
        constants.chain(self.written().map(|field| field.name.as_str()))
    }

    /// Returns the path of a field of this name in one of the mappings that this one holds:
    /// `limits.memory`.
    pub fn below(&self, name: &str) -> Option<String> {
        self.written().find_map(|field| match &field.kind {
            Kind::Group(inner) => inner
                .names()
                .any(|known| known == name)
                .then(|| format!("{}.{name}", field.name)),
            _ => None,
        })
    }

    /// Returns the field with this name in the message. Panics where there is none: names come from
    /// the code.
    pub fn field(&self, name: &str) -> &Field {
        let mut fields = self.fields.iter();
        let found = fields.find(|field| field.descriptor.name() == name);
        found.unwrap_or_else(|| panic!("{} has no field `{name}`", self.message.name()))
    }

    /// Returns the schema of a message, or of the items of a list of messages, with this name.
    pub fn group(&self, name: &str) -> &Schema {
        match &self.field(name).kind {
            Kind::Group(inner) | Kind::List(inner) => inner,
            _ => panic!("`{name}` is a value"),
        }
    }
}

// === impl Field ===

impl Field {
    fn new(descriptor: FieldDescriptor, option: v1::Field, feature: String) -> Self {
        let kind = Kind::of(&descriptor, &option, &feature);
        let meaning = match option.meaning.as_str() {
            "" => in_words_of_a_manifest(&fields::comment(&descriptor)),
            meaning => format!("{meaning}."),
        };
        let amounts = Amounts {
            default: kind.amount(&option.default),
            min: kind.amount(&option.min),
            max: kind.amount(&option.max),
            max_size: Kind::Size.amount(&option.max_size),
        };
        Self {
            name: manifest_name(descriptor.name()),
            descriptor,
            kind,
            feature,
            meaning,
            option,
            amounts,
        }
    }

    /// Returns whether the value says no more than the absence of the field.
    pub fn is_default(&self, value: &Value) -> bool {
        let default = self.option.default.as_str();
        match &self.kind {
            _ if default.is_empty() => false,
            Kind::Text => value.as_str() == Some(default),
            Kind::Boolean => value.as_bool().is_some_and(|it| it.to_string() == default),
            Kind::Word(words) => words
                .iter()
                .any(|(word, number)| word == default && value.as_enum_number() == Some(*number)),
            kind => self.amounts.default.is_some() && kind.amount_of(value) == self.amounts.default,
        }
    }

    /// Returns the default of a number or size.
    pub fn default_amount(&self) -> u64 {
        let default = self.amounts.default;
        default.unwrap_or_else(|| panic!("{} has no default", self.feature))
    }

    /// Returns the default of a number.
    pub fn default_number(&self) -> u32 {
        u32::try_from(self.default_amount()).unwrap_or(u32::MAX)
    }

    /// Returns the default of a duration.
    pub fn default_duration(&self) -> Duration {
        Duration::from_nanos(self.default_amount())
    }

    /// Returns the greatest number of entries.
    pub fn most(&self) -> u64 {
        self.amounts.max.unwrap_or(u64::MAX)
    }

    /// Returns the greatest number of bytes in total.
    pub fn most_bytes(&self) -> u64 {
        self.amounts.max_size.unwrap_or(u64::MAX)
    }

    /// Returns what is wrong with a number, size or duration that is out of bounds.
    pub fn out_of_bounds(&self, amount: Amount, shown: impl FnOnce() -> String) -> Option<String> {
        let Amounts { min, max, .. } = self.amounts;
        let is_within = min.is_none_or(|min| amount >= min) && max.is_none_or(|max| amount <= max);
        let v1::Field { min, max, .. } = &self.option;
        (!is_within).then(|| format!("{} is out of bounds: use {min} to {max}", shown()))
    }
}

/// Names of fields and of words of enums, in backticks, as a manifest writes them.
fn in_words_of_a_manifest(comment: &str) -> String {
    let parts = comment.split('`').enumerate().map(|(i, part)| {
        let is_code = i % 2 == 1;
        let all = |is: fn(&u8) -> bool| part.bytes().all(|b| is(&b) || b"_.".contains(&b));
        if is_code && all(u8::is_ascii_lowercase) {
            manifest_name(part)
        } else if is_code && all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()) {
            word(part)
        } else {
            part.to_owned()
        }
    });
    parts.collect::<Vec<_>>().join("`")
}

/// `on-failure` of `ON_FAILURE`.
fn word(value: &str) -> String {
    value.to_ascii_lowercase().replace('_', "-")
}

// === impl Kind ===

impl Kind {
    fn of(field: &FieldDescriptor, option: &v1::Field, feature: &str) -> Self {
        let schema = || Schema::of(field, &option.noun, feature, &option.differences);
        match (option.kind(), field.kind()) {
            (field::Kind::Artifact, _) => Self::Artifact,
            (field::Kind::Pairs, _) => Self::Pairs,
            _ if field.is_map() => Self::Map,
            (_, Type::Message(_)) if field.is_list() => Self::List(schema()),
            (_, Type::Message(message)) if message.full_name() == "google.protobuf.Duration" => {
                Self::Duration
            }
            (_, Type::Message(_)) => Self::Group(schema()),
            (_, Type::Enum(words)) => {
                let words = words.values().filter(|value| value.number() != 0);
                let words = words.map(|value| (word(value.name()), value.number()));
                Self::Word(words.collect())
            }
            (_, Type::String) if field.is_list() => Self::Texts,
            (_, Type::String) => Self::Text,
            (_, Type::Bool) => Self::Boolean,
            (_, Type::Uint32) => Self::Number,
            (_, Type::Uint64) => Self::Size,
            (_, other) => unreachable!("{feature}: a manifest cannot write {other:?}"),
        }
    }

    /// Reads an amount of the option; `None` for an empty text and for kinds without amounts.
    fn amount(&self, text: &str) -> Option<Amount> {
        if text.is_empty() {
            return None;
        }
        match self {
            Self::Size => parse_bytes(text).ok(),
            Self::Duration => parse_duration(text).ok().map(nanos),
            Self::Number | Self::Map | Self::Pairs | Self::List(_) => text.parse().ok(),
            _ => None,
        }
    }

    fn amount_of(&self, value: &Value) -> Option<Amount> {
        match self {
            Self::Number => value.as_u32().map(Into::into),
            Self::Size => value.as_u64(),
            Self::Duration => duration(value).map(nanos),
            _ => None,
        }
    }

    /// Describes the value in words, for the reference.
    pub fn words(&self) -> String {
        let words = match self {
            Self::Text => "text",
            Self::Artifact => "path of a .wasm file, or sha256:DIGEST",
            Self::Number => "whole number",
            Self::Boolean => "true or false",
            Self::Size => "size",
            Self::Duration => "duration",
            Self::Word(words) => {
                let words: Vec<_> = words.iter().map(|(word, _)| word.as_str()).collect();
                return format!("one of {}", words.join(", "));
            }
            Self::Texts => "list of texts",
            Self::Map | Self::Pairs => "names with values",
            Self::Group(_) => "fields",
            Self::List(_) => "list",
        };
        words.to_owned()
    }
}

/// Returns a duration in nanoseconds, or the greatest number where it is longer.
pub fn nanos(duration: Duration) -> Amount {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Reads a `google.protobuf.Duration`; `None` where it is negative.
pub fn duration(value: &Value) -> Option<Duration> {
    let message = value.as_message()?;
    let duration: prost_types::Duration = message.transcode_to().ok()?;
    duration.try_into().ok()
}
