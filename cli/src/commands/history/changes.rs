//! The changes from one revision to another, in the terms of the manifest.

use std::collections::BTreeMap;

use warren_model::manifest;
use warren_proto::v1;
use yaml_rust2::{Yaml, YamlLoader};

use crate::commands::get::short_digest;

/// The maximum length of a value that is shown; of a longer one only the name is.
const LONGEST: usize = 24;

/// Returns one entry per change, with the names of the manifest: `service.env.LOG info -> debug`.
pub fn between(before: &v1::Revision, after: &v1::Revision) -> Vec<String> {
    let mut changes = Vec::new();
    compare("", &tree(before), &tree(after), &mut changes);
    if changes.is_empty() {
        changes.push("nothing".to_owned());
    }
    changes
}

/// Returns the spec as the tree of its manifest, with the names, units and defaults that users
/// write.
fn tree(revision: &v1::Revision) -> Yaml {
    let workload = v1::Workload {
        spec: revision.spec.clone(),
        ..Default::default()
    };
    let documents = YamlLoader::load_from_str(&manifest::to_yaml(&workload));
    let document = documents
        .ok()
        .and_then(|documents| documents.into_iter().next());
    document.unwrap_or(Yaml::Null)
}

fn compare(path: &str, before: &Yaml, after: &Yaml, changes: &mut Vec<String>) {
    if before == after {
        return;
    }
    if let (Some(old), Some(new)) = (fields(before), fields(after)) {
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let at = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) => compare(&at, old, new, changes),
                // A group of settings that was added or removed is shown by those of its settings
                // that are not defaults.
                (Some(old), None) if is_group(&at, old) => compare(&at, old, &nothing(), changes),
                (None, Some(new)) if is_group(&at, new) => compare(&at, &nothing(), new, changes),
                (Some(old), None) => changes.push(format!("-{at}{}", said(old))),
                (None, Some(new)) => changes.push(format!("+{at}{}", said(new))),
                (None, None) => {}
            }
        }
        return;
    }
    if let (Yaml::Array(old), Yaml::Array(new)) = (before, after) {
        let only = |these: &[Yaml], those: &[Yaml], sign: &str| -> Vec<String> {
            let only = these.iter().filter(|one| !those.contains(one));
            only.map(|one| format!("{sign}{path}{}", said(one)))
                .collect()
        };
        let (gone, come) = (only(old, new, "-"), only(new, old, "+"));
        if gone.is_empty() && come.is_empty() {
            changes.push(format!("{path} in another order"));
        }
        changes.extend(gone);
        changes.extend(come);
        return;
    }
    changes.push(match (short(before), short(after)) {
        (Some(before), Some(after)) => format!("{path} {before} -> {after}"),
        _ => path.to_owned(),
    });
}

fn is_group(path: &str, value: &Yaml) -> bool {
    let is_thing = path == "service" || value["name"] != Yaml::BadValue;
    matches!(value, Yaml::Hash(_)) && !is_thing
}

fn nothing() -> Yaml {
    Yaml::Hash(yaml_rust2::yaml::Hash::new())
}

/// Returns the fields of a mapping, or the elements of a list by their names if they have some.
fn fields(value: &Yaml) -> Option<BTreeMap<String, Yaml>> {
    match value {
        Yaml::Hash(hash) => {
            let fields = hash
                .iter()
                .map(|(name, value)| Some((scalar(name)?, value.clone())));
            fields.collect()
        }
        Yaml::Array(items) if !items.is_empty() => {
            let named = |item: &Yaml| Some((scalar(&item["name"])?, item.clone()));
            items.iter().map(named).collect()
        }
        _ => None,
    }
}

/// Formats what follows the name of an added or removed value: the value if it is short, or else
/// its fields.
fn said(value: &Yaml) -> String {
    match value {
        Yaml::Hash(hash) if !hash.contains_key(&Yaml::String("name".to_owned())) => {
            let fields = hash.iter().map(|(name, value)| {
                let (name, value) = (scalar(name)?, short(value)?);
                Some(format!("{name}: {value}"))
            });
            let fields: Option<Vec<String>> = fields.collect();
            fields.map_or_else(String::new, |fields| {
                format!(" {{ {} }}", fields.join(", "))
            })
        }
        value => short(value).map_or_else(String::new, |value| format!(" {value}")),
    }
}

fn short(value: &Yaml) -> Option<String> {
    let text = scalar(value)?;
    if text.starts_with("sha256:") {
        return Some(format!("{}…", short_digest(&text)));
    }
    (text.chars().count() <= LONGEST).then_some(text)
}

fn scalar(value: &Yaml) -> Option<String> {
    match value {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(value) => Some(value.to_string()),
        Yaml::Null => Some("null".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(of: &str) -> String {
        format!("sha256:{}", of.repeat(32))
    }

    fn spec() -> v1::WorkloadSpec {
        v1::WorkloadSpec {
            service: Some(v1::Service {
                component: digest("ab"),
                args: vec!["serve".into()],
                egress: vec!["db.internal:5432".into()],
                limits: Some(v1::ServiceLimits {
                    memory_bytes: Some(64 << 20),
                    cpu_weight: Some(100),
                    ..v1::ServiceLimits::default()
                }),
                ..Default::default()
            }),
            components: vec![component("api"), component("cart")],
            ..Default::default()
        }
    }

    fn component(name: &str) -> v1::Component {
        v1::Component {
            name: name.into(),
            component: digest("cd"),
            routes: vec![v1::Route {
                host: format!("{name}.localhost"),
                path: "/".into(),
            }],
            ..Default::default()
        }
    }

    fn changed(change: impl FnOnce(&mut v1::WorkloadSpec, &mut v1::Service)) -> String {
        let revision = |spec| v1::Revision {
            spec: Some(spec),
            ..Default::default()
        };
        let (mut after, mut service) = (spec(), spec().service.unwrap_or_default());
        change(&mut after, &mut service);
        // If the service itself was removed, its fields are not listed.
        after.service = after.service.map(|_| service);
        between(&revision(spec()), &revision(after)).join(", ")
    }

    #[test]
    fn changes_in_the_words_of_a_manifest() {
        assert_eq!(changed(|_, _| {}), "nothing");
        assert_eq!(
            changed(|_, service| service.component = digest("ef")),
            "service.component sha256:abababababab… -> sha256:efefefefefef…"
        );
        assert_eq!(
            changed(
                |_, service| service.limits.get_or_insert_default().memory_bytes = Some(96 << 20)
            ),
            "+service.limits.memory 96MiB",
            "64MiB is the default, which nobody has to write"
        );
        assert_eq!(
            changed(|_, service| service.args = vec!["serve".into(), "-v".into()]),
            "+service.args -v"
        );
        assert_eq!(
            changed(|_, service| service.egress = vec!["db.internal:5433".into()]),
            "-service.egress db.internal:5432, +service.egress db.internal:5433"
        );
        assert_eq!(
            changed(|spec, _| spec.components[1].routes[0].path = "/v2".into()),
            "-components.cart.routes { host: cart.localhost }, \
             +components.cart.routes { host: cart.localhost, path: /v2 }"
        );
        assert_eq!(
            changed(|spec, _| spec.components[1].name = "basket".into()),
            "+components.basket, -components.cart"
        );
        assert_eq!(changed(|spec, _| spec.service = None), "-service");
        let long = "x".repeat(LONGEST + 1);
        assert_eq!(
            changed(|_, service| {
                service.env = vec![v1::EnvVar {
                    name: "LONG".into(),
                    source: Some(v1::env_var::Source::Value(long)),
                }];
            }),
            "+service.env.LONG"
        );
    }

    #[test]
    fn order_is_a_change_of_its_own() {
        let swapped = changed(|_, service| service.args = vec!["b".into(), "a".into()]);
        assert_eq!(
            swapped,
            "-service.args serve, +service.args b, +service.args a"
        );
        let (mut changes, list) = (Vec::new(), |items: [&str; 2]| {
            Yaml::Array(items.map(|item| Yaml::String(item.to_owned())).to_vec())
        });
        compare(
            "service.args",
            &list(["a", "b"]),
            &list(["b", "a"]),
            &mut changes,
        );
        assert_eq!(changes, ["service.args in another order"]);
    }
}
