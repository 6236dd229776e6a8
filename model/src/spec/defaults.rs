//! What a field means when it is absent, and the message without what says no more than that.

use std::time::Duration;

use warren_proto::v1;

use super::{Recovery, Restart, Reuse, Update};

pub(crate) const SERVICE_MEMORY: u64 = 64 << 20;
pub(crate) const CPU_WEIGHT: u32 = 100;
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);

pub(crate) const COMPONENT_MEMORY: u64 = 32 << 20;
pub(crate) const COMPONENT_TIMEOUT: Duration = Duration::from_secs(30);
pub(crate) const COMPONENT_CONCURRENCY: u32 = 256;
pub(crate) const REUSE: Reuse = Reuse {
    requests: 128,
    concurrency: 16,
};

/// Of an empty directory.
pub(crate) const SIZE_LIMIT: u64 = 1 << 30;
pub(crate) const INODES: u32 = 100_000;

pub(crate) const INITIAL_BACKOFF: Duration = Duration::from_millis(100);
/// Of the longest wait, where the first is not longer.
pub(crate) const MAX_BACKOFF: Duration = Duration::from_secs(30);
pub(crate) const RESET_AFTER: Duration = Duration::from_secs(60);
pub(crate) const MAX_RESTARTS: u32 = 10;
pub(crate) const WINDOW: Duration = Duration::from_secs(300);

pub(crate) const READINESS_INTERVAL: Duration = Duration::from_secs(1);
pub(crate) const LIVENESS_INTERVAL: Duration = Duration::from_secs(10);
pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
pub(crate) const FAILURE_THRESHOLD: u32 = 3;
pub(crate) const SUCCESS_THRESHOLD: u32 = 1;
pub(crate) const START_PERIOD: Duration = Duration::ZERO;

const UPDATE: Update = Update {
    max_surge: 1,
    max_unavailable: 0,
    progress_deadline: Duration::from_secs(120),
    rollback_on_failure: true,
    min_ready: Duration::from_secs(1),
};

/// The reserve of a guest with this limit, both in bytes, where the manifest names none.
pub const fn default_reserve(limit: u64) -> u64 {
    limit / 4
}

/// What becomes of a FAILED or LOST replica's place where the policy does not say.
pub(crate) fn recovery(restart: Restart) -> Recovery {
    match restart {
        Restart::Never => Recovery::Keep,
        Restart::Always | Restart::OnFailure => Recovery::Replace,
    }
}

/// How long a rollout may make no progress, whatever of it is written.
pub fn progress_deadline(update: &v1::Update) -> Duration {
    let given = update.progress_deadline;
    given
        .and_then(|deadline| deadline.try_into().ok())
        .unwrap_or(UPDATE.progress_deadline)
}

/// How long a replica is ready before it counts, whatever of it is written.
pub fn min_ready(update: &v1::Update) -> Duration {
    let given = update.min_ready;
    given
        .and_then(|time| time.try_into().ok())
        .unwrap_or(UPDATE.min_ready)
}

/// The shortest message that means the same: without fields that are set to their defaults, and without messages that
/// say nothing then. What is not valid stays as it is.
pub fn without_defaults(spec: &v1::WorkloadSpec) -> v1::WorkloadSpec {
    let mut spec = spec.clone();
    if let Some(service) = &mut spec.service {
        shorten_service(service);
    }
    spec.components.iter_mut().for_each(shorten_component);
    for volume in &mut spec.volumes {
        if let Some(v1::volume::Source::EmptyDir(limits)) = &mut volume.source {
            drop_default(&mut limits.size_limit_bytes, SIZE_LIMIT);
            drop_default(&mut limits.inodes, INODES);
        }
    }
    if let Some(update) = &mut spec.update {
        drop_default(&mut update.max_surge, UPDATE.max_surge);
        drop_default(&mut update.max_unavailable, UPDATE.max_unavailable);
        drop_duration(&mut update.progress_deadline, UPDATE.progress_deadline);
        drop_default(&mut update.rollback_on_failure, UPDATE.rollback_on_failure);
        drop_duration(&mut update.min_ready, UPDATE.min_ready);
    }
    drop_empty(&mut spec.update);
    drop_empty(&mut spec.placement);
    spec
}

fn shorten_service(service: &mut v1::Service) {
    if let Some(restart) = &mut service.restart {
        shorten_restart(restart);
    }
    drop_empty(&mut service.restart);
    for publish in &mut service.publish {
        drop_word(&mut publish.protocol, v1::publish::Protocol::Tcp.into());
    }
    for route in &mut service.routes {
        drop_root(&mut route.path);
        drop_word(
            &mut route.protocol,
            v1::service_route::Protocol::Http1.into(),
        );
    }
    // Its default depends on the limit, so it is looked at before that one is gone.
    let limit = service.limits.and_then(|limits| limits.memory_bytes);
    shorten_reserve(&mut service.reserve, limit.unwrap_or(SERVICE_MEMORY));
    if let Some(limits) = &mut service.limits {
        drop_default(&mut limits.memory_bytes, SERVICE_MEMORY);
        drop_default(&mut limits.cpu_weight, CPU_WEIGHT);
    }
    drop_empty(&mut service.limits);
    drop_duration(&mut service.stop_grace, STOP_GRACE);
    if let Some(readiness) = &mut service.readiness {
        shorten_probe(readiness, READINESS_INTERVAL);
    }
    if let Some(liveness) = &mut service.liveness {
        shorten_probe(liveness, LIVENESS_INTERVAL);
    }
}

fn shorten_restart(restart: &mut v1::RestartPolicy) {
    use v1::restart_policy::{Policy, Recovery};

    // Their default depends on the policy, so that is looked at before it is gone.
    let own = match restart.policy() {
        Policy::Never => Recovery::Keep,
        Policy::Unspecified | Policy::Always | Policy::OnFailure => Recovery::Replace,
    };
    drop_word(&mut restart.on_failed, own.into());
    drop_word(&mut restart.on_lost, own.into());
    drop_word(&mut restart.policy, Policy::Always.into());
    // Its default depends on the first wait, so that one is looked at before it is gone.
    let first = restart.initial_backoff.and_then(|d| d.try_into().ok());
    let longest = first.map_or(MAX_BACKOFF, |first: Duration| first.max(MAX_BACKOFF));
    drop_duration(&mut restart.max_backoff, longest);
    drop_duration(&mut restart.initial_backoff, INITIAL_BACKOFF);
    drop_duration(&mut restart.reset_after, RESET_AFTER);
    drop_default(&mut restart.max_restarts, MAX_RESTARTS);
    drop_duration(&mut restart.window, WINDOW);
}

/// The probe itself stays: that there is one is no default.
fn shorten_probe(probe: &mut v1::Probe, interval: Duration) {
    if let Some(v1::probe::Check::Http(http)) = &mut probe.check {
        drop_root(&mut http.path);
    }
    drop_duration(&mut probe.interval, interval);
    drop_duration(&mut probe.timeout, PROBE_TIMEOUT);
    drop_default(&mut probe.failure_threshold, FAILURE_THRESHOLD);
    drop_default(&mut probe.success_threshold, SUCCESS_THRESHOLD);
    drop_duration(&mut probe.start_period, START_PERIOD);
}

fn shorten_component(component: &mut v1::Component) {
    for route in &mut component.routes {
        drop_root(&mut route.path);
    }
    let limit = component.limits.and_then(|limits| limits.memory_bytes);
    shorten_reserve(&mut component.reserve, limit.unwrap_or(COMPONENT_MEMORY));
    if let Some(limits) = &mut component.limits {
        drop_default(&mut limits.memory_bytes, COMPONENT_MEMORY);
        drop_duration(&mut limits.timeout, COMPONENT_TIMEOUT);
        drop_default(&mut limits.concurrency, COMPONENT_CONCURRENCY);
    }
    drop_empty(&mut component.limits);
    // That it is reused stays as well.
    if let Some(reuse) = &mut component.reuse {
        drop_default(&mut reuse.requests, REUSE.requests);
        drop_default(&mut reuse.concurrency, REUSE.concurrency);
    }
}

fn shorten_reserve(reserve: &mut Option<v1::Reserve>, limit: u64) {
    if let Some(reserve) = reserve {
        drop_default(&mut reserve.memory_bytes, default_reserve(limit));
    }
    drop_empty(reserve);
}

fn drop_default<T: PartialEq>(field: &mut Option<T>, default: T) {
    field.take_if(|value| *value == default);
}

fn drop_duration(field: &mut Option<prost_types::Duration>, default: Duration) {
    field.take_if(|given| Duration::try_from(*given) == Ok(default));
}

fn drop_empty<T: PartialEq + Default>(field: &mut Option<T>) {
    field.take_if(|message| *message == T::default());
}

fn drop_word(field: &mut i32, default: i32) {
    if *field == default {
        *field = 0;
    }
}

fn drop_root(path: &mut String) {
    if path == "/" {
        path.clear();
    }
}

// === impl Update ===

impl Default for Update {
    fn default() -> Self {
        UPDATE
    }
}
