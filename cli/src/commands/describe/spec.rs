//! Describes what should run.

use std::time::Duration;

use warren_model::{
    manifest,
    quantity::{format_bytes, format_duration, rounded_bytes},
    schema,
    spec::{LEAST_BACKOFF, SHORT_RUN, default_reserve, min_ready, progress_deadline},
};
use warren_proto::{
    fields,
    v1::{self, probe::Check, volume::Source},
};

use super::text::Text;
use crate::{commands::get::short_digest, explain, output};

pub fn describe(text: &mut Text, workload: &v1::Workload) {
    let spec = workload.spec.clone().unwrap_or_default();
    text.heading("What should run");
    let placement = spec.placement.as_ref().map(place).unwrap_or_default();
    let replicas = output::count(explain::wanted(workload), "replica");
    text.line(1, replicas + &placement);
    if let Some(update) = &spec.update {
        text.line(1, rollout(update));
    }
    for volume in &spec.volumes {
        text.line(1, storage(volume));
    }
    if let Some(its) = &spec.service {
        text.line(1, format!("service {}", short_digest(&its.component)));
        service(text, its);
    }
    for its in &spec.components {
        let digest = short_digest(&its.component);
        text.line(1, format!("component {} {digest}", its.name));
        component(text, its);
    }
}

fn service(text: &mut Text, service: &v1::Service) {
    if !service.args.is_empty() {
        text.line(2, format!("arguments {:?}", service.args));
    }
    environment(text, &service.env);
    if let Some(probe) = &service.readiness {
        text.line(2, format!("is ready while {}", question(probe)));
    }
    if let Some(probe) = &service.liveness {
        text.line(2, format!("is restarted unless {}", question(probe)));
    }
    egress(text, &service.egress);
    if let Some(policy) = &service.restart {
        text.line(2, restarts(policy));
    }
    for mount in &service.volumes {
        let access = if mount.read_only { ", read-only" } else { "" };
        text.line(
            2,
            format!(
                "mounts volume {} at {}{access}",
                mount.name, mount.mount_path
            ),
        );
    }
    let limits = service.limits.unwrap_or_default();
    if let Some(limit) = limits.memory_bytes {
        let reserved = reserved(service.reserve, limit);
        let most = rounded_bytes(limit);
        text.line(
            2,
            format!("at most {most} of memory, {reserved} of it reserved"),
        );
    }
    let usual = schema::spec().group("service").group("limits");
    let usual = usual.field("cpu_weight").default_number();
    if let Some(weight) = limits.cpu_weight.filter(|weight| *weight != usual) {
        text.line(2, format!("CPU weight {weight} (the default is {usual})"));
    }
    bodies(text, limits.request_body_bytes, limits.response_body_bytes);
    if let Some(grace) = duration(service.stop_grace) {
        text.line(2, format!("may take {grace} to stop"));
    }
    if service.exclusive {
        text.line(
            2,
            "exclusive: the old replica stops before a new one starts",
        );
    }
    others(text, "service", &fields::dynamic(service));
}

fn component(text: &mut Text, component: &v1::Component) {
    environment(text, &component.env);
    egress(text, &component.egress);
    let limits = component.limits.unwrap_or_default();
    if let Some(limit) = limits.memory_bytes {
        let reserved = reserved(component.reserve, limit);
        let most = rounded_bytes(limit);
        text.line(
            2,
            format!("at most {most} of memory per instance, {reserved} reserved for all instances"),
        );
    }
    if let Some(timeout) = duration(limits.timeout) {
        text.line(2, format!("each invocation within {timeout}"));
    }
    if let Some(concurrency) = limits.concurrency {
        text.line(
            2,
            format!("at most {concurrency} invocations at once in a replica; as many again wait"),
        );
    }
    bodies(text, limits.request_body_bytes, limits.response_body_bytes);
    if let Some(reuse) = &component.reuse {
        let usual = |name| {
            schema::spec()
                .group("components")
                .group("reuse")
                .field(name)
        };
        let usual = |name| usual(name).default_number();
        let requests = reuse.requests.unwrap_or_else(|| usual("requests"));
        let concurrency = reuse.concurrency.unwrap_or_else(|| usual("concurrency"));
        text.line(
            2,
            format!("one instance serves up to {requests} requests, {concurrency} of them at once"),
        );
    }
    others(text, "components", &fields::dynamic(component));
}

/// The fields of the service and the components that have sentences of their own.
const DESCRIBED: [&str; 16] = [
    "name",
    "component",
    "args",
    "env",
    "restart",
    "readiness",
    "liveness",
    "publish",
    "routes",
    "egress",
    "limits",
    "reserve",
    "volumes",
    "stop_grace",
    "exclusive",
    "reuse",
];

/// Lists the fields of a guest that have no sentence of their own, as a manifest writes them.
fn others(text: &mut Text, guest: &str, message: &fields::DynamicMessage) {
    let schema = schema::spec().group(guest);
    let is_other = |field: &schema::Field| !DESCRIBED.contains(&field.descriptor.name());
    for (name, value) in manifest::settings(message, schema, is_other) {
        text.line(2, format!("{name}: {value}"));
    }
}

fn reserved(reserve: Option<v1::Reserve>, limit: u64) -> String {
    let named = reserve.and_then(|reserve| reserve.memory_bytes);
    rounded_bytes(named.unwrap_or(default_reserve(limit)))
}

fn bodies(text: &mut Text, request: Option<u64>, response: Option<u64>) {
    for (what, bytes) in [("request", request), ("response", response)] {
        if let Some(bytes) = bytes {
            let most = rounded_bytes(bytes);
            text.line(2, format!("{what} bodies of at most {most}"));
        }
    }
}

fn environment(text: &mut Text, env: &[v1::EnvVar]) {
    for variable in env {
        let value = match &variable.source {
            Some(v1::env_var::Source::Value(value)) => format!("{value:?}"),
            Some(v1::env_var::Source::Secret(secret)) => format!("from secret {secret}"),
            None => "nothing".to_owned(),
        };
        text.line(2, format!("environment {}={value}", variable.name));
    }
}

fn egress(text: &mut Text, egress: &[String]) {
    match egress {
        [] => text.line(2, "may not connect to anything outside the workload"),
        rules => text.line(2, format!("may connect to {}", rules.join(", "))),
    }
}

/// Formats ` on workers with zone=a, spread over zone`; empty if every worker qualifies.
fn place(placement: &v1::Placement) -> String {
    let mut words = String::new();
    if !placement.labels.is_empty() {
        let labels = placement
            .labels
            .iter()
            .map(|(key, value)| format!("{key}={value}"));
        let labels: Vec<_> = labels.collect();
        words.push_str(&format!(" on workers with {}", labels.join(" and ")));
    }
    if !placement.spread.is_empty() {
        words.push_str(&format!(", spread over {}", placement.spread));
    }
    words
}

/// Formats `an update starts 1 extra replica, keeps all available, and is rolled back after 2m
/// without progress`.
fn rollout(update: &v1::Update) -> String {
    let usual = |name| schema::spec().group("update").field(name).default_number();
    let more = match update.max_surge.unwrap_or_else(|| usual("max_surge")) {
        0 => "no extra replica".to_owned(),
        surge => format!("up to {} extra", output::count(surge, "replica")),
    };
    let missing = match update
        .max_unavailable
        .unwrap_or_else(|| usual("max_unavailable"))
    {
        0 => "keeps all available".to_owned(),
        missing => format!("lets up to {missing} be unavailable"),
    };
    let deadline = format_duration(progress_deadline(update));
    let then = match update.rollback_on_failure {
        Some(false) => "is stopped",
        Some(true) | None => "is rolled back",
    };
    let time = min_ready(update);
    let counts = if time == min_ready(&v1::Update::default()) {
        String::new()
    } else {
        let time = format_duration(time);
        format!("; a replica counts once it has been ready for {time}")
    };
    format!(
        "an update starts {more}, {missing}, and {then} after {deadline} without progress{counts}"
    )
}

fn storage(volume: &v1::Volume) -> String {
    let name = &volume.name;
    match &volume.source {
        Some(Source::EmptyDir(limits)) => {
            let size = limits
                .size_limit_bytes
                .map(|n| format!("at most {}", format_bytes(n)));
            let names = limits.inodes.map(|n| format!("at most {n} inodes"));
            let limits = [size, names]
                .into_iter()
                .flatten()
                .map(|it| format!(", {it}"));
            let limits: String = limits.collect();
            format!("volume {name} starts empty and is removed with its replica{limits}")
        }
        Some(Source::Host(host)) => {
            format!("volume {name} is the directory that workers offer as {host}")
        }
        None => format!("volume {name} has no source"),
    }
}

/// Formats `port 6379 accepts a connection, every 1s, fails after 3 failures`.
fn question(probe: &v1::Probe) -> String {
    let what = match &probe.check {
        Some(Check::Tcp(tcp)) => format!("port {} accepts a connection", tcp.port),
        Some(Check::Http(http)) => {
            let path = if http.path.is_empty() {
                "/"
            } else {
                &http.path
            };
            format!("http://127.0.0.1:{}{path} answers with success", http.port)
        }
        Some(Check::Grpc(grpc)) if grpc.service.is_empty() => {
            format!("the gRPC server at port {} is healthy", grpc.port)
        }
        Some(Check::Grpc(grpc)) => {
            format!(
                "the gRPC service {} at port {} is healthy",
                grpc.service, grpc.port
            )
        }
        None => "it has no check".to_owned(),
    };
    let mut words = what;
    if let Some(interval) = duration(probe.interval) {
        words.push_str(&format!(", checked every {interval}"));
    }
    if let Some(threshold) = probe.failure_threshold {
        let failures = output::count(threshold, "failure");
        words.push_str(&format!(", failing after {failures} in a row"));
    }
    if let Some(start) = duration(probe.start_period).filter(|start| start != "0s") {
        words.push_str(&format!(", not counting the first {start}"));
    }
    words
}

/// Formats `restarts always, after 100ms doubling to 30s, at most 10 times in 5m`.
fn restarts(policy: &v1::RestartPolicy) -> String {
    use v1::restart_policy::Policy;
    let when = match policy.policy() {
        Policy::Never => return "never restarts".to_owned() + &recovery(policy),
        Policy::OnFailure => "restarts on failure",
        Policy::Always | Policy::Unspecified => "restarts always",
    };
    let mut sentence = when.to_owned();
    if let (Some(first), Some(last)) = (
        duration(policy.initial_backoff),
        duration(policy.max_backoff),
    ) {
        sentence.push_str(&format!(", after {first} doubling to {last}"));
        let first: Option<Duration> = policy.initial_backoff.and_then(|it| it.try_into().ok());
        if first.is_some_and(|first| first < LEAST_BACKOFF) {
            let (least, run) = (format_duration(LEAST_BACKOFF), format_duration(SHORT_RUN));
            sentence.push_str(&format!(
                " (not below {least} after a run of less than {run})"
            ));
        }
    }
    if let (Some(times), Some(window)) = (policy.max_restarts, duration(policy.window)) {
        sentence.push_str(&format!(", at most {} in {window}", output::times(times)));
    }
    sentence + &recovery(policy)
}

/// Formats `; not replaced when it failed or is lost`: only what is not the default of its policy.
fn recovery(policy: &v1::RestartPolicy) -> String {
    use v1::restart_policy::{Policy, Recovery};
    let usual = match policy.policy() {
        Policy::Never => Recovery::Keep,
        Policy::OnFailure | Policy::Always | Policy::Unspecified => Recovery::Replace,
    };
    let said = |recovery: Recovery, when: &str| match recovery {
        Recovery::Unspecified => None,
        recovery if recovery == usual => None,
        Recovery::Replace => Some(format!("; is replaced when it {when}")),
        Recovery::Keep => Some(format!("; is not replaced when it {when}")),
    };
    let failed = said(policy.on_failed(), "failed");
    let lost = said(policy.on_lost(), "is lost");
    [failed, lost].into_iter().flatten().collect()
}

fn duration(duration: Option<prost_types::Duration>) -> Option<String> {
    let duration = Duration::try_from(duration?).ok()?;
    Some(format_duration(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_that_crashes_do_not_get_is_said_so() {
        let policy = |millis: u64| v1::RestartPolicy {
            initial_backoff: Duration::from_millis(millis).try_into().ok(),
            max_backoff: Duration::from_secs(30).try_into().ok(),
            ..v1::RestartPolicy::default()
        };
        assert_eq!(
            restarts(&policy(1)),
            "restarts always, after 1ms doubling to 30s (not below 100ms after a run of less than 1s)"
        );
        assert_eq!(
            restarts(&policy(100)),
            "restarts always, after 100ms doubling to 30s"
        );
    }
}
