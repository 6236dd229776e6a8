//! The fields that the service and the components share.

use std::collections::BTreeMap;

use warren_proto::v1;

use super::{default_reserve, place::Place};
use crate::{
    digest::Digest, egress::EgressRule, error::Violations, quantity::format_bytes, route::Route,
};

/// The largest bodies of HTTP messages, in bytes. `None`: bounded by time and back-pressure alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodyLimits {
    pub request: Option<u64>,
    pub response: Option<u64>,
}

pub(super) fn artifact(v: &mut Violations, at: &Place, digest: &str) -> Option<Digest> {
    let field = at.field("component");
    if digest.is_empty() {
        v.push(field, "it is required: name the component to run");
        return None;
    }
    v.ok(field, Digest::parse(digest))
}

/// Reads names with values, within the bounds that the schema gives the field `field`.
pub(super) fn pairs(
    v: &mut Violations,
    at: &Place,
    field: &str,
    vars: &[v1::EnvVar],
) -> BTreeMap<String, String> {
    at.count(v, field, vars.len());
    let mut env = BTreeMap::new();
    for (i, var) in vars.iter().enumerate() {
        let at = at.field(&format!("{field}[{i}]"));
        let name = &var.name;
        if name.is_empty() || name.contains(['=', '\0']) {
            v.push(
                format!("{at}.name"),
                format_args!(
                    "`{name}` is not a variable's name: it cannot be empty or hold '=' or NUL"
                ),
            );
        }
        let value = match &var.source {
            Some(v1::env_var::Source::Value(value)) => value.clone(),
            Some(v1::env_var::Source::Secret(_)) => {
                v.push(
                    format!("{at}.secret"),
                    "secrets are not supported by this version of Warren yet: give a value",
                );
                continue;
            }
            None => {
                v.push(
                    at,
                    format_args!("`{name}` has no value: give one, if only an empty one"),
                );
                continue;
            }
        };
        if value.contains('\0') {
            v.push(format!("{at}.value"), "a value cannot hold a NUL character");
        }
        if env.insert(name.clone(), value).is_some() {
            v.push(
                format!("{at}.name"),
                format_args!("`{name}` is given more than once"),
            );
        }
    }
    let bytes = env.iter().map(|(name, value)| name.len() + value.len());
    at.total(v, field, bytes.sum());
    env
}

pub(super) fn pairs_to_proto(env: &BTreeMap<String, String>) -> Vec<v1::EnvVar> {
    env.iter()
        .map(|(name, value)| v1::EnvVar {
            name: name.clone(),
            source: Some(v1::env_var::Source::Value(value.clone())),
        })
        .collect()
}

pub(super) fn egress(v: &mut Violations, at: &Place, rules: &[String]) -> Option<Vec<EgressRule>> {
    let parsed = rules.iter().enumerate().map(|(i, rule)| {
        let field = at.field(&format!("egress[{i}]"));
        v.ok(field, EgressRule::parse(rule))
    });
    parsed.collect::<Vec<_>>().into_iter().collect()
}

pub(super) fn egress_to_proto(rules: &[EgressRule]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

/// Reads what a guest with this limit, in bytes, is always granted.
pub(super) fn reserve(
    v: &mut Violations,
    at: &Place,
    reserve: Option<v1::Reserve>,
    limit: u64,
) -> u64 {
    let Some(bytes) = reserve.and_then(|reserve| reserve.memory_bytes) else {
        return default_reserve(limit);
    };
    let place = at.group("reserve");
    let is_possible = |place: &Place, bytes| {
        let field = place.schema().field("memory_bytes");
        field.out_of_bounds(bytes, String::new).is_none()
    };
    // A limit that is out of bounds has a problem of its own.
    if is_possible(&place, bytes) && is_possible(&at.group("limits"), limit) && bytes > limit {
        v.push(
            place.field("memory_bytes"),
            format_args!(
                "{} is more than `limits.memory`, {}: reserve at most what it may use",
                format_bytes(bytes),
                format_bytes(limit)
            ),
        );
        return bytes;
    }
    place.size(v, "memory_bytes", Some(bytes))
}

pub(super) fn reserve_to_proto(bytes: u64, limit: u64) -> Option<v1::Reserve> {
    (bytes != default_reserve(limit)).then_some(v1::Reserve {
        memory_bytes: Some(bytes),
    })
}

/// Reads the bounds of HTTP bodies from the limits.
pub(super) fn bodies(
    v: &mut Violations,
    limits: &Place,
    request: Option<u64>,
    response: Option<u64>,
) -> BodyLimits {
    BodyLimits {
        request: limits.optional_size(v, "request_body_bytes", request),
        response: limits.optional_size(v, "response_body_bytes", response),
    }
}

/// Reads a host and a path separately, so that both are reported, each at its own field.
pub(super) fn route(v: &mut Violations, at: &Place, host: &str, path: &str) -> Option<Route> {
    let host = v.ok(at.field("host"), Route::parse(host, ""));
    let path = v.ok(at.field("path"), Route::parse("", path));
    Some(Route {
        host: host?.host,
        path: path?.path,
    })
}
