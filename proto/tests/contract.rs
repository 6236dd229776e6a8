//! What the contract promises about itself: everything is documented, and names follow the design.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeSet, HashSet};

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet};

/// Numbers of fields in `descriptor.proto`: they make the paths of source locations.
mod field {
    pub const FILE_MESSAGE: i32 = 4;
    pub const FILE_ENUM: i32 = 5;
    pub const FILE_SERVICE: i32 = 6;
    pub const MESSAGE_FIELD: i32 = 2;
    pub const MESSAGE_NESTED: i32 = 3;
    pub const MESSAGE_ENUM: i32 = 4;
    pub const MESSAGE_ONEOF: i32 = 8;
    pub const ENUM_VALUE: i32 = 2;
    pub const SERVICE_METHOD: i32 = 2;
}

fn files() -> Vec<FileDescriptorProto> {
    let set = FileDescriptorSet::decode(warren_proto::FILE_DESCRIPTOR_SET).unwrap();
    let own = set
        .file
        .into_iter()
        .filter(|file| file.package() == "warren.v1");
    let own: Vec<_> = own.collect();
    assert!(
        own.len() >= 7,
        "the descriptors hold {} files of warren.v1",
        own.len()
    );
    own
}

/// Notes the names of all that has no comment before it.
struct Audit {
    commented: HashSet<Vec<i32>>,
    bare: Vec<String>,
}

impl Audit {
    fn see(&mut self, path: &[i32], name: &str) {
        if !self.commented.contains(path) {
            self.bare.push(name.to_owned());
        }
    }

    fn message(&mut self, path: &[i32], name: &str, message: &DescriptorProto) {
        if message
            .options
            .as_ref()
            .is_some_and(|options| options.map_entry())
        {
            return;
        }
        self.see(path, name);
        let at = |kind, i| child(path, kind, i);
        for (i, item) in message.field.iter().enumerate() {
            self.see(
                &at(field::MESSAGE_FIELD, i),
                &format!("{name}.{}", item.name()),
            );
        }
        let optional = |i| {
            message
                .field
                .iter()
                .any(|f| f.proto3_optional() && f.oneof_index == i32::try_from(i).ok())
        };
        for (i, item) in message.oneof_decl.iter().enumerate() {
            // The compiler makes one for each `optional` field.
            if !optional(i) {
                self.see(
                    &at(field::MESSAGE_ONEOF, i),
                    &format!("{name}.{}", item.name()),
                );
            }
        }
        for (i, item) in message.enum_type.iter().enumerate() {
            self.enumeration(
                &at(field::MESSAGE_ENUM, i),
                &format!("{name}.{}", item.name()),
                item,
            );
        }
        for (i, item) in message.nested_type.iter().enumerate() {
            self.message(
                &at(field::MESSAGE_NESTED, i),
                &format!("{name}.{}", item.name()),
                item,
            );
        }
    }

    fn enumeration(&mut self, path: &[i32], name: &str, item: &EnumDescriptorProto) {
        self.see(path, name);
        for (i, value) in item.value.iter().enumerate() {
            self.see(
                &child(path, field::ENUM_VALUE, i),
                &format!("{name}.{}", value.name()),
            );
        }
    }
}

fn child(path: &[i32], kind: i32, index: usize) -> Vec<i32> {
    [path, &[kind, i32::try_from(index).unwrap()]].concat()
}

#[test]
fn everything_has_a_comment() {
    let mut bare = Vec::new();
    for file in files() {
        let locations = file.source_code_info.iter().flat_map(|info| &info.location);
        let commented = locations.filter(|location| !location.leading_comments().trim().is_empty());
        let commented = commented.map(|location| location.path.clone()).collect();
        let mut audit = Audit {
            commented,
            bare: Vec::new(),
        };
        for (i, message) in file.message_type.iter().enumerate() {
            audit.message(
                &[field::FILE_MESSAGE, i32::try_from(i).unwrap()],
                message.name(),
                message,
            );
        }
        for (i, item) in file.enum_type.iter().enumerate() {
            audit.enumeration(
                &[field::FILE_ENUM, i32::try_from(i).unwrap()],
                item.name(),
                item,
            );
        }
        for (i, service) in file.service.iter().enumerate() {
            let path = [field::FILE_SERVICE, i32::try_from(i).unwrap()];
            audit.see(&path, service.name());
            for (j, method) in service.method.iter().enumerate() {
                let name = format!("{}.{}", service.name(), method.name());
                audit.see(&child(&path, field::SERVICE_METHOD, j), &name);
            }
        }
        bare.extend(
            audit
                .bare
                .into_iter()
                .map(|name| format!("{}: {name}", file.name())),
        );
    }
    assert!(bare.is_empty(), "without a comment:\n{}", bare.join("\n"));
}

fn messages(all: &[DescriptorProto]) -> Vec<&DescriptorProto> {
    all.iter()
        .flat_map(|m| [vec![m], messages(&m.nested_type)].concat())
        .collect()
}

#[test]
fn enums_are_nested_and_begin_with_unspecified() {
    let files = files();
    let mut seen = 0;
    for file in &files {
        assert!(
            file.enum_type.is_empty(),
            "{}: an enum outside a message",
            file.name()
        );
        for item in messages(&file.message_type)
            .iter()
            .flat_map(|message| &message.enum_type)
        {
            let zero = &item.value[0];
            let expected = format!("{}_UNSPECIFIED", item.name().to_uppercase());
            assert_eq!((zero.name(), zero.number()), (expected.as_str(), 0));
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn each_rpc_has_a_request_and_a_response_of_its_own() {
    let mut seen = BTreeSet::new();
    for file in files() {
        for service in &file.service {
            for method in &service.method {
                let rpc = format!("{}.{}", service.name(), method.name());
                for (ty, suffix) in [
                    (method.input_type(), "Request"),
                    (method.output_type(), "Response"),
                ] {
                    let short = format!(".warren.v1.{}{suffix}", method.name());
                    let long = format!(".warren.v1.{}{}{suffix}", service.name(), method.name());
                    assert!(ty == short || ty == long, "{rpc} takes or gives {ty}");
                    assert!(seen.insert(ty.to_owned()), "{ty} is used twice");
                }
            }
        }
    }
}

#[test]
fn reflection_can_be_given_the_descriptors() {
    let pool = warren_proto::json::descriptor_pool();
    for service in [
        "WorkloadService",
        "WorkerService",
        "ArtifactService",
        "SystemService",
        "FleetService",
    ] {
        assert!(
            pool.get_service_by_name(&format!("warren.v1.{service}"))
                .is_some(),
            "{service}"
        );
    }
    for import in [
        "google/protobuf/duration.proto",
        "google/protobuf/timestamp.proto",
    ] {
        assert!(pool.get_file_by_name(import).is_some(), "{import}");
    }
}
