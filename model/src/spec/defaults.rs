//! What a field means when it is absent, and the message without what says no more than that.

use std::time::Duration;

use prost_reflect::{DynamicMessage, Value};
use warren_proto::{fields, v1};

use super::{Recovery, Restart};
use crate::schema::{self, Kind, Schema};

/// The reserve of a guest with this limit, both in bytes, where the manifest names none.
pub const fn default_reserve(limit: u64) -> u64 {
    limit / 4
}

/// What becomes of the place of a FAILED or LOST replica where the policy does not say.
pub(crate) fn recovery(restart: Restart) -> Recovery {
    match restart {
        Restart::Never => Recovery::Keep,
        Restart::Always | Restart::OnFailure => Recovery::Replace,
    }
}

/// Returns how long a rollout may make no progress, however much of the policy is given.
pub fn progress_deadline(update: &v1::Update) -> Duration {
    time_of_update("progress_deadline", update.progress_deadline)
}

/// Returns how long a replica must be ready before it counts, however much of the policy is given.
pub fn min_ready(update: &v1::Update) -> Duration {
    time_of_update("min_ready", update.min_ready)
}

fn time_of_update(name: &str, given: Option<prost_types::Duration>) -> Duration {
    given
        .and_then(|given| given.try_into().ok())
        .unwrap_or_else(|| {
            schema::spec()
                .group("update")
                .field(name)
                .default_duration()
        })
}

/// Returns the shortest message that means the same: without fields that are set to their defaults,
/// and without messages that say nothing then. What is not valid stays as it is.
pub fn without_defaults(spec: &v1::WorkloadSpec) -> v1::WorkloadSpec {
    let mut spec = spec.clone();
    drop_derived(&mut spec);
    let mut message = fields::dynamic(&spec);
    shorten(&mut message, schema::spec());
    message.transcode_to().expect("a message decodes as itself")
}

/// Drops what is set to a default that depends on other fields, while those are still there.
fn drop_derived(spec: &mut v1::WorkloadSpec) {
    if let Some(service) = &mut spec.service {
        let limit = service.limits.and_then(|limits| limits.memory_bytes);
        drop_reserve(&mut service.reserve, limit, schema::spec().group("service"));
        if let Some(restart) = &mut service.restart {
            drop_derived_of_restart(restart);
        }
    }
    for component in &mut spec.components {
        let limit = component.limits.and_then(|limits| limits.memory_bytes);
        drop_reserve(
            &mut component.reserve,
            limit,
            schema::spec().group("components"),
        );
    }
}

fn drop_reserve(reserve: &mut Option<v1::Reserve>, limit: Option<u64>, guest: &Schema) {
    let usual = || guest.group("limits").field("memory_bytes").default_amount();
    let default = default_reserve(limit.unwrap_or_else(usual));
    if let Some(reserve) = reserve {
        reserve.memory_bytes.take_if(|bytes| *bytes == default);
    }
}

fn drop_derived_of_restart(restart: &mut v1::RestartPolicy) {
    use v1::restart_policy::{Policy, Recovery};

    let own = match restart.policy() {
        Policy::Never => Recovery::Keep,
        Policy::Unspecified | Policy::Always | Policy::OnFailure => Recovery::Replace,
    };
    for recovery in [&mut restart.on_failed, &mut restart.on_lost] {
        if *recovery == i32::from(own) {
            *recovery = Recovery::Unspecified.into();
        }
    }
    // A first wait beyond the default of the longest is the longest as well.
    let first = restart.initial_backoff.and_then(|d| d.try_into().ok());
    let policy = schema::spec().group("service").group("restart");
    let usual = policy.field("max_backoff").default_duration();
    if first.is_some_and(|first: Duration| first >= usual) {
        let first = restart.initial_backoff;
        restart
            .max_backoff
            .take_if(|longest| Some(*longest) == first);
    }
}

fn shorten(message: &mut DynamicMessage, schema: &Schema) {
    for field in &schema.fields {
        let descriptor = &field.descriptor;
        if !message.has_field(descriptor) {
            continue;
        }
        let value = message.get_field_mut(descriptor);
        let says_nothing = match (&field.kind, &mut *value) {
            (Kind::Group(inner), Value::Message(message)) => {
                shorten(message, inner);
                let is_empty = message.fields().next().is_none();
                // One of several alternatives is a choice, even if it is empty.
                is_empty && !field.option.significant && descriptor.containing_oneof().is_none()
            }
            (Kind::List(inner), Value::List(items)) => {
                for item in items {
                    if let Value::Message(message) = item {
                        shorten(message, inner);
                    }
                }
                false
            }
            _ => field.is_default(value),
        };
        if says_nothing {
            message.clear_field(descriptor);
        }
    }
}
