//! Checks of fields that the service and the components share.
//!
//! Each notes what is wrong and still gives a value to go on with, or `None` where there is none to give.

use std::{collections::BTreeMap, num::NonZeroU16, ops::RangeInclusive, time::Duration};

use warren_proto::v1;

use crate::{
    digest::Digest,
    egress::EgressRule,
    error::Violations,
    quantity::{format_bytes, format_duration},
    route::Route,
    spec::{BodyLimits, default_reserve},
};

pub(super) const MILLISECOND: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);
const MEMORY: RangeInclusive<u64> = 64 << 10..=4 << 30;
/// From the default of the least limit.
const RESERVE: RangeInclusive<u64> = 16 << 10..=4 << 30;
const BODY: RangeInclusive<u64> = 1..=1 << 40;

/// What a duration is when absent, and what it may be.
pub(super) struct Bounds {
    pub default: Duration,
    pub range: RangeInclusive<Duration>,
}

pub(super) fn artifact(v: &mut Violations, at: &str, digest: &str) -> Option<Digest> {
    let field = format!("{at}.component");
    if digest.is_empty() {
        v.push(field, "it is required: name the component to run");
        return None;
    }
    v.ok(field, Digest::parse(digest))
}

pub(super) fn env(v: &mut Violations, at: &str, vars: &[v1::EnvVar]) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (i, var) in vars.iter().enumerate() {
        let at = format!("{at}.env[{i}]");
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
    env
}

pub(super) fn egress(v: &mut Violations, at: &str, rules: &[String]) -> Option<Vec<EgressRule>> {
    let parsed = rules
        .iter()
        .enumerate()
        .map(|(i, rule)| v.ok(format!("{at}.egress[{i}]"), EgressRule::parse(rule)));
    parsed.collect::<Vec<_>>().into_iter().collect()
}

pub(super) fn memory_bytes(v: &mut Violations, at: &str, bytes: u64) -> u64 {
    within(
        v,
        format!("{at}.limits.memory_bytes"),
        bytes,
        &MEMORY,
        |n| format_bytes(*n),
    )
}

/// What a guest with this limit, in bytes, is always granted.
pub(super) fn reserve_bytes(
    v: &mut Violations,
    at: &str,
    reserve: Option<v1::Reserve>,
    limit: u64,
) -> u64 {
    let Some(bytes) = reserve.and_then(|reserve| reserve.memory_bytes) else {
        return default_reserve(limit);
    };
    let field = format!("{at}.reserve.memory_bytes");
    // A limit that is out of bounds has a problem of its own.
    if RESERVE.contains(&bytes) && MEMORY.contains(&limit) && bytes > limit {
        v.push(
            field,
            format_args!(
                "{} is more than `limits.memory`, {}: reserve at most what it may use",
                format_bytes(bytes),
                format_bytes(limit)
            ),
        );
        return bytes;
    }
    within(v, field, bytes, &RESERVE, |n| format_bytes(*n))
}

/// The bounds of HTTP bodies, of whatever stands at `at`.
pub(super) fn bodies(
    v: &mut Violations,
    at: &str,
    request: Option<u64>,
    response: Option<u64>,
) -> BodyLimits {
    let mut within = |field: &str, bytes: Option<u64>| {
        let at = format!("{at}.limits.{field}");
        bytes.map(|bytes| within(v, at, bytes, &BODY, |n| format_bytes(*n)))
    };
    BodyLimits {
        request: within("request_body_bytes", request),
        response: within("response_body_bytes", response),
    }
}

/// A port of the service, at the field `port` of what stands at `at`.
pub(super) fn guest_port(v: &mut Violations, at: &str, port: u32) -> Option<NonZeroU16> {
    let valid = u16::try_from(port).ok().and_then(NonZeroU16::new);
    if valid.is_none() {
        let problem = match port {
            0 => "it is required".to_owned(),
            port => format!("{port} is not a port"),
        };
        v.push(
            format!("{at}.port"),
            format_args!("{problem}: use 1 to 65535"),
        );
    }
    valid
}

/// A host and a path, each alone, so that both are reported, each at its own field.
pub(super) fn route(v: &mut Violations, at: &str, host: &str, path: &str) -> Option<Route> {
    let host = v.ok(format!("{at}.host"), Route::parse(host, ""));
    let path = v.ok(format!("{at}.path"), Route::parse("", path));
    Some(Route {
        host: host?.host,
        path: path?.path,
    })
}

/// Gives the default where the duration is absent, and also where it is wrong, so that the caller goes on.
pub(super) fn duration(
    v: &mut Violations,
    field: String,
    given: Option<prost_types::Duration>,
    bounds: &Bounds,
) -> Duration {
    let Some(given) = given else {
        return bounds.default;
    };
    match Duration::try_from(given) {
        Ok(duration) => within(v, field, duration, &bounds.range, |d| format_duration(*d)),
        Err(_) => {
            v.push(
                field,
                format_args!("a negative duration ({given}) is not possible"),
            );
            bounds.default
        }
    }
}

pub(super) fn within<T: PartialOrd>(
    v: &mut Violations,
    field: String,
    value: T,
    range: &RangeInclusive<T>,
    show: impl Fn(&T) -> String,
) -> T {
    if !range.contains(&value) {
        let (value, low, high) = (show(&value), show(range.start()), show(range.end()));
        v.push(
            field,
            format_args!("{value} is out of bounds: use {low} to {high}"),
        );
    }
    value
}
