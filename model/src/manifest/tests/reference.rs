//! The schema against the reader, the contract and the checks of the spec.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use warren_proto::fields;

use super::*;
use crate::{schema::manifest_name, spec::WorkloadSpec};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A value of every group of fields, with what is required of it and nothing else.
fn scaffold() -> Value {
    json!({
        "name": "a",
        "service": {
            "component": DIGEST,
            "restart": {},
            "readiness": { "tcp": { "port": 1 } },
            "liveness": { "tcp": { "port": 1 } },
            "publish": [ { "port": 1, "listen": "127.0.0.1:1" } ],
            "routes": [ { "host": "s.localhost", "port": 1 } ],
            "limits": {},
            "reserve": {},
            "volumes": [ { "name": "data", "mountPath": "/data" } ],
        },
        "components": [ {
            "name": "c",
            "component": DIGEST,
            "routes": [ { "host": "c.localhost" } ],
            "limits": {},
            "reserve": {},
            "reuse": {},
        } ],
        "volumes": [ { "name": "data", "emptyDir": {} } ],
        "placement": {},
        "update": {},
    })
}

/// The scaffold with this value, as YAML would read it, at a path of the reference.
fn with(path: &str, value: &str) -> String {
    let mut document = scaffold();
    let segments: Vec<_> = path.split('.').collect();
    let (last, parents) = segments.split_last().unwrap();
    let mut at = &mut document;
    for segment in parents {
        at = match segment.strip_suffix("[]") {
            Some(list) => &mut at[list][0],
            None => &mut at[*segment],
        };
    }
    // Of these a mapping may hold one.
    let sources: &[&str] = &["emptyDir", "host"];
    let checks: &[&str] = &["tcp", "http", "grpc"];
    let probe = parents.iter().position(|p| p.ends_with("ness"));
    if parents == ["volumes[]"] && sources.contains(last) {
        at.as_object_mut()
            .unwrap()
            .retain(|k, _| !sources.contains(&k.as_str()));
    }
    if let (Some(probe), Some(check)) = (probe, parents.last().filter(|p| checks.contains(p))) {
        let probe = &mut document["service"][parents[probe]];
        *probe = json!({ *check: { "port": 1 } });
        at = &mut probe[*check];
    }
    at[*last] = Value::String("\u{1}".to_owned());
    document.to_string().replace("\"\\u0001\"", value)
}

fn read(text: &str) -> Result<WorkloadSpec, ManifestErrors> {
    let mut manifests = parse_with("test.yaml", text, spec::validate_workload)?;
    let Manifest { mut workload, .. } = manifests.remove(0);
    let spec = workload.spec.as_mut().unwrap();
    // A path of the example stands for the same program.
    spec.service.as_mut().unwrap().component = DIGEST.to_owned();
    spec.components[0].component = DIGEST.to_owned();
    Ok(WorkloadSpec::from_proto(spec).unwrap())
}

fn leaves() -> impl Iterator<Item = Entry> {
    let entries = reference().into_iter();
    entries.filter(|entry| entry.example.is_some())
}

#[test]
fn every_field_is_read_as_its_example_says() {
    let none = read(&scaffold().to_string()).unwrap();
    for Entry { path, example, .. } in leaves() {
        let text = with(&path, example.unwrap());
        let read = read(&text).unwrap_or_else(|errors| panic!("{path}: {errors}\n{text}"));
        // A service of the wrong port would be no proof that it was read at all.
        if path.ends_with(".port") {
            assert_ne!(read, none, "{path}");
        }
    }
}

#[test]
fn every_group_is_read() {
    for Entry { path, value, .. } in reference().into_iter().filter(|e| e.example.is_none()) {
        let errors = read(&with(&path, "what")).unwrap_err().to_string();
        let expected = match value.as_str() {
            "list" => "expected a list, found `what`",
            _ => "expected the fields of ",
        };
        assert!(errors.contains(expected), "{path}: {errors}");
    }
}

#[test]
fn every_default_is_what_absence_means() {
    for Entry { path, default, .. } in leaves() {
        if let Some(default) = default {
            let absent = read(&with(&path, "null")).unwrap();
            assert_eq!(read(&with(&path, default)).unwrap(), absent, "{path}");
        }
    }
}

#[test]
fn every_required_field_is_missed() {
    for Entry { path, required, .. } in leaves() {
        // Of two sources the other is gone as well.
        let one_of_two = ["volumes[].emptyDir", "volumes[].host"].contains(&path.as_str());
        let errors = read(&with(&path, "null"));
        assert_eq!(
            errors.is_err(),
            required || one_of_two,
            "{path}: {errors:?}"
        );
    }
}

#[test]
fn every_bound_is_the_last_that_is_possible() {
    for Entry {
        path,
        bounds,
        value,
        ..
    } in leaves()
    {
        let Some((least, greatest)) = bounds else {
            assert!(
                !["whole number", "size", "duration"].contains(&value.as_str()),
                "{path} has no bounds"
            );
            continue;
        };
        let (below, above) = match value.as_str() {
            "whole number" => {
                let number = |text: &str, by| text.parse::<i64>().unwrap() + by;
                (
                    number(least, -1).to_string(),
                    number(greatest, 1).to_string(),
                )
            }
            "size" => {
                let bytes = |text| crate::quantity::parse_bytes(text).unwrap();
                (
                    (bytes(least) - 1).to_string(),
                    (bytes(greatest) + 1).to_string(),
                )
            }
            "duration" if least == "0s" => ("-1s".to_owned(), format!("{greatest}1ns")),
            "duration" => {
                let least = crate::quantity::parse_duration(least).unwrap();
                let below = least - std::time::Duration::from_nanos(1);
                let below = crate::quantity::format_duration(below);
                (below, format!("{greatest}1ns"))
            }
            other => panic!("{path}: {other}"),
        };
        // Two that look at each other, each with the other out of its way.
        let text = |value: &str| {
            let text = with(&path, value);
            match path.as_str() {
                "service.restart.maxBackoff" => text.replace(
                    "\"restart\":{",
                    "\"restart\":{\"initialBackoff\": \"1ms\", ",
                ),
                "service.restart.initialBackoff" => {
                    text.replace("\"restart\":{", "\"restart\":{\"maxBackoff\": \"1h\", ")
                }
                "update.maxSurge" => {
                    text.replace("\"update\":{", "\"update\":{\"maxUnavailable\": 1, ")
                }
                "service.reserve.memory" | "components[].reserve.memory" => {
                    text.replace("\"limits\":{}", "\"limits\":{\"memory\": \"4GiB\"}")
                }
                _ => text,
            }
        };
        for possible in [least, greatest] {
            let read = read(&text(possible));
            assert!(read.is_ok(), "{path}: {possible}: {read:?}");
        }
        for impossible in [below, above] {
            let read = read(&text(&impossible));
            assert!(read.is_err(), "{path}: {impossible}");
        }
    }
}

#[test]
fn manifest_and_contract_have_the_same_fields() {
    let contract: BTreeSet<_> = fields::kinds::<v1::WorkloadSpec>()
        .into_iter()
        .map(|kind| format!("spec.{kind}"))
        // A mapping of names in a manifest. Secrets have no form there yet.
        .filter(|kind| {
            ![".env.", ".config."]
                .iter()
                .any(|pairs| kind.contains(pairs))
        })
        .collect();
    let manifest: BTreeSet<_> = reference()
        .into_iter()
        .map(|entry| entry.feature.to_owned())
        .filter(|feature| feature.starts_with("spec."))
        .collect();
    assert_eq!(manifest, contract);
}

#[test]
fn what_is_not_honoured_is_marked() {
    let supported = |path: &str| {
        let entry = reference().into_iter().find(|entry| entry.path == path);
        entry.unwrap().supported
    };
    assert!(supported("name") && supported("service.limits.memory"));
    for entry in reference() {
        assert_eq!(
            entry.supported,
            feature::is_honoured(entry.feature),
            "{entry:?}"
        );
    }
}

#[test]
fn names_of_the_message_become_those_of_a_manifest() {
    for (field, name) in [
        ("limits.memory_bytes", "limits.memory"),
        ("volumes[0].mount_path", "volumes[0].mountPath"),
        ("component", "component"),
    ] {
        assert_eq!(manifest_name(field), name);
    }
}

#[test]
fn every_field_says_what_it_means() {
    for Entry {
        path,
        meaning,
        example,
        value,
        ..
    } in reference()
    {
        assert!(meaning.ends_with('.'), "{path}: {meaning}");
        let is_group = value == "fields" || value == "list";
        assert_eq!(example.is_none(), is_group, "{path}");
    }
}
