//! One document: from its fields to the message, by the schema.

use std::collections::HashMap;

use marked_yaml::{Node, types::MarkedMappingNode};
use prost_reflect::{DynamicMessage, MapKey, Value};
use warren_proto::v1;

use super::{Admit, FileRef, Manifest, Problem, reader::Reader};
use crate::schema::{self, CONSTANTS, Field, Kind, Schema};

/// Reads one document. The manifest is usable only if there are no problems.
pub(super) fn read(mut reader: Reader, root: &Node, admit: Admit) -> (Manifest, Vec<Problem>) {
    reader.mark("", root);
    reader.mark("spec", root);
    let workload = workload(&mut reader, root);
    let Reader {
        positions,
        files,
        problems,
        ..
    } = reader;
    let manifest = Manifest {
        workload,
        files,
        positions,
    };
    // A field that could not be read was left out; that it is missing is no second problem.
    let related = |field: &str| {
        let within = |a: &str, b: &str| {
            a.strip_prefix(b)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        problems
            .iter()
            .any(|(path, _)| within(field, path) || within(path, field))
    };
    let violations = manifest
        .violations(admit)
        .into_iter()
        .filter(|(field, _)| !related(field))
        .collect::<Vec<_>>();
    let all = problems.into_iter().chain(violations);
    (manifest, all.map(|(_, problem)| problem).collect())
}

fn workload(r: &mut Reader, root: &Node) -> v1::Workload {
    let schema = schema::workload();
    let Some(map) = r.fields(root, "", schema) else {
        return v1::Workload::default();
    };
    for constant in &CONSTANTS {
        if let Some(found) = r.text(map, constant.name, constant.name)
            && found != constant.value
        {
            let message = format!("`{found}` is not known: write `{}`", constant.value);
            r.problem(constant.name, message);
        }
    }
    let workload = message(r, map, "", schema);
    workload
        .transcode_to()
        .expect("the schema is that of a workload")
}

fn message(r: &mut Reader, map: &MarkedMappingNode, at: &str, schema: &Schema) -> DynamicMessage {
    let mut message = DynamicMessage::new(schema.message.clone());
    for oneof in schema
        .message
        .oneofs()
        .filter(|oneof| !oneof.is_synthetic())
    {
        let is_of_it =
            |field: &&Field| field.descriptor.containing_oneof().as_ref() == Some(&oneof);
        let names = schema.fields.iter().filter(is_of_it);
        let names: Vec<_> = names.map(|field| field.name.as_str()).collect();
        r.one_of(map, at, &names);
    }
    for field in &schema.fields {
        let at = join(at, field.descriptor.name());
        if let Some(value) = value(r, map, &at, field) {
            message.set_field(&field.descriptor, value);
        }
    }
    if let Some((field, inner)) = &schema.inline {
        let inner = self::message(r, map, &join(at, field.name()), inner);
        message.set_field(field, Value::Message(inner));
    }
    message
}

fn join(at: &str, name: &str) -> String {
    match at {
        "" => name.to_owned(),
        at => format!("{at}.{name}"),
    }
}

/// Reads the value of a field; `None` where it is absent or wrong.
fn value(r: &mut Reader, map: &MarkedMappingNode, at: &str, field: &Field) -> Option<Value> {
    let name = field.name.as_str();
    let value = match &field.kind {
        Kind::Text => Value::String(r.text(map, name, at)?),
        Kind::Artifact => Value::String(artifact(r, map, name, at)?),
        Kind::Number => Value::U32(r.number(map, name, at)?),
        Kind::Boolean => Value::Bool(r.boolean(map, name, at)?),
        Kind::Size => Value::U64(r.bytes(map, name, at)?),
        Kind::Duration => {
            let duration = r.duration(map, name, at)?;
            let mut message = DynamicMessage::new(field.descriptor.kind().as_message()?.clone());
            message.transcode_from(&duration).ok()?;
            Value::Message(message)
        }
        Kind::Word(words) => Value::EnumNumber(r.choice(map, name, at, words)?),
        Kind::Texts => {
            let texts = r.texts(map, name, at).into_iter();
            Value::List(texts.map(Value::String).collect())
        }
        Kind::Map => {
            let pairs = r.pairs(map, name, at, |_, key| format!("{at}[{key}]"));
            let pairs = pairs.into_iter();
            let pairs = pairs.map(|(key, value)| (MapKey::String(key), Value::String(value)));
            Value::Map(HashMap::from_iter(pairs))
        }
        Kind::Pairs => {
            let pairs = r.pairs(map, name, at, |i, _| format!("{at}[{i}]"));
            let message = field.descriptor.kind().as_message()?.clone();
            let pairs = pairs.into_iter().map(|(name, value)| {
                let mut pair = DynamicMessage::new(message.clone());
                pair.set_field_by_name("name", Value::String(name));
                pair.set_field_by_name("value", Value::String(value));
                Value::Message(pair)
            });
            Value::List(pairs.collect())
        }
        Kind::Group(inner) => {
            let node = r.value(map, name, at)?;
            let map = r.fields(node, at, inner)?;
            Value::Message(message(r, map, at, inner))
        }
        Kind::List(inner) => {
            let items = r.items(map, name, at).into_iter().map(|(at, node)| {
                // An item that is not a mapping leaves an empty message, which keeps the indices of
                // the items after it.
                let map = r.fields(node, &at, inner);
                let item = map.map(|map| message(r, map, &at, inner));
                Value::Message(item.unwrap_or_else(|| DynamicMessage::new(inner.message.clone())))
            });
            Value::List(items.collect())
        }
    };
    Some(value)
}

/// Reads a digest, or a path, which is noted.
fn artifact(r: &mut Reader, map: &MarkedMappingNode, name: &str, at: &str) -> Option<String> {
    let text = r.text(map, name, at)?;
    if let Some((scheme, _)) = text.split_once("://") {
        r.problem(
            at,
            format!(
                "`{scheme}://` is not supported by this version of Warren yet: write the path of a \
                 .wasm file, or sha256:DIGEST"
            ),
        );
    } else if !text.is_empty() && !text.starts_with("sha256:") {
        r.files.push(FileRef {
            field: at.to_owned(),
            path: text.clone(),
        });
    }
    Some(text)
}
