//! From the message back to a manifest.

use std::collections::BTreeMap;

use warren_proto::v1;

use super::emit::{Yaml, bytes, duration, fields, given, optional, text, texts};
use crate::spec;

/// The workload as a manifest that `apply` accepts: what was asked for, without what the server added and without what
/// is set to its default.
pub fn to_yaml(workload: &v1::Workload) -> String {
    let spec = workload.spec.as_ref().map(spec::without_defaults);
    let spec = spec.unwrap_or_default();
    let document = fields([
        ("apiVersion", Yaml::Plain("warren/v1".to_owned())),
        ("kind", Yaml::Plain("Workload".to_owned())),
        ("name", text(&workload.name)),
        ("namespace", given(&workload.namespace)),
        ("labels", labels(&workload.labels)),
        ("replicas", optional(spec.replicas)),
        ("service", group(spec.service.as_ref(), service)),
        ("components", list(&spec.components, component)),
        ("volumes", list(&spec.volumes, volume)),
        ("placement", group(spec.placement.as_ref(), placement)),
        ("update", group(spec.update.as_ref(), update)),
    ]);
    document.document()
}

fn group<T>(message: Option<&T>, print: impl FnOnce(&T) -> Yaml) -> Yaml {
    message.map_or(Yaml::Absent, print)
}

fn list<T>(messages: &[T], print: impl Fn(&T) -> Yaml) -> Yaml {
    Yaml::List(messages.iter().map(print).collect())
}

fn labels(labels: &BTreeMap<String, String>) -> Yaml {
    let pairs = labels.iter().map(|(key, value)| (key.clone(), text(value)));
    Yaml::Map(pairs.collect())
}

fn service(service: &v1::Service) -> Yaml {
    let limits = service.limits.unwrap_or_default();
    fields([
        ("component", text(&service.component)),
        ("args", texts(&service.args)),
        ("env", env(&service.env)),
        ("restart", group(service.restart.as_ref(), restart)),
        ("readiness", group(service.readiness.as_ref(), probe)),
        ("liveness", group(service.liveness.as_ref(), probe)),
        ("publish", list(&service.publish, publish)),
        ("routes", list(&service.routes, service_route)),
        ("egress", texts(&service.egress)),
        (
            "limits",
            fields([
                ("memory", bytes(limits.memory_bytes)),
                ("cpuWeight", optional(limits.cpu_weight)),
                ("requestBody", bytes(limits.request_body_bytes)),
                ("responseBody", bytes(limits.response_body_bytes)),
            ]),
        ),
        ("reserve", group(service.reserve.as_ref(), reserve)),
        ("volumes", list(&service.volumes, mount)),
        ("stopGrace", duration(service.stop_grace)),
        ("exclusive", flag(service.exclusive)),
    ])
}

fn component(component: &v1::Component) -> Yaml {
    let limits = component.limits.unwrap_or_default();
    fields([
        ("name", text(&component.name)),
        ("component", text(&component.component)),
        ("routes", list(&component.routes, route)),
        ("env", env(&component.env)),
        ("egress", texts(&component.egress)),
        (
            "limits",
            fields([
                ("memory", bytes(limits.memory_bytes)),
                ("timeout", duration(limits.timeout)),
                ("concurrency", optional(limits.concurrency)),
                ("requestBody", bytes(limits.request_body_bytes)),
                ("responseBody", bytes(limits.response_body_bytes)),
            ]),
        ),
        ("reserve", group(component.reserve.as_ref(), reserve)),
        ("reuse", group(component.reuse.as_ref(), reuse)),
    ])
}

fn reserve(reserve: &v1::Reserve) -> Yaml {
    fields([("memory", bytes(reserve.memory_bytes))])
}

fn restart(policy: &v1::RestartPolicy) -> Yaml {
    use v1::restart_policy::{Policy, Recovery};

    let recovery = |recovery| match recovery {
        Recovery::Unspecified => None,
        Recovery::Replace => Some("replace"),
        Recovery::Keep => Some("keep"),
    };
    let word = match policy.policy() {
        Policy::Unspecified => None,
        Policy::Always => Some("always"),
        Policy::OnFailure => Some("on-failure"),
        Policy::Never => Some("never"),
    };
    fields([
        ("policy", optional(word)),
        ("initialBackoff", duration(policy.initial_backoff)),
        ("maxBackoff", duration(policy.max_backoff)),
        ("resetAfter", duration(policy.reset_after)),
        ("maxRestarts", optional(policy.max_restarts)),
        ("window", duration(policy.window)),
        ("onFailed", optional(recovery(policy.on_failed()))),
        ("onLost", optional(recovery(policy.on_lost()))),
    ])
}

fn probe(probe: &v1::Probe) -> Yaml {
    use v1::probe::Check;

    let (name, check) = match &probe.check {
        Some(Check::Tcp(tcp)) => ("tcp", fields([("port", optional(Some(tcp.port)))])),
        Some(Check::Http(http)) => (
            "http",
            fields([
                ("port", optional(Some(http.port))),
                ("path", given(&http.path)),
            ]),
        ),
        Some(Check::Grpc(grpc)) => (
            "grpc",
            fields([
                ("port", optional(Some(grpc.port))),
                ("service", given(&grpc.service)),
            ]),
        ),
        // No server accepted it.
        None => ("tcp", Yaml::Absent),
    };
    fields([
        (name, check),
        ("interval", duration(probe.interval)),
        ("timeout", duration(probe.timeout)),
        ("failureThreshold", optional(probe.failure_threshold)),
        ("successThreshold", optional(probe.success_threshold)),
        ("startPeriod", duration(probe.start_period)),
    ])
}

fn publish(publish: &v1::Publish) -> Yaml {
    let protocol = match publish.protocol() {
        v1::publish::Protocol::Unspecified => None,
        v1::publish::Protocol::Tcp => Some("tcp"),
        v1::publish::Protocol::Udp => Some("udp"),
    };
    fields([
        ("port", optional(Some(publish.port))),
        ("listen", text(&publish.listen)),
        ("protocol", optional(protocol)),
    ])
}

fn service_route(route: &v1::ServiceRoute) -> Yaml {
    let protocol = match route.protocol() {
        v1::service_route::Protocol::Unspecified => None,
        v1::service_route::Protocol::Http1 => Some("http1"),
        v1::service_route::Protocol::H2c => Some("h2c"),
    };
    fields([
        ("host", given(&route.host)),
        ("path", given(&route.path)),
        ("port", optional(Some(route.port))),
        ("protocol", optional(protocol)),
    ])
}

/// One that matches everything says so: an empty mapping looks like a mistake.
fn route(route: &v1::Route) -> Yaml {
    let path = match (route.host.as_str(), route.path.as_str()) {
        ("", "") => "/",
        (_, path) => path,
    };
    fields([("host", given(&route.host)), ("path", given(path))])
}

fn mount(mount: &v1::VolumeMount) -> Yaml {
    fields([
        ("name", text(&mount.name)),
        ("mountPath", text(&mount.mount_path)),
        ("readOnly", flag(mount.read_only)),
    ])
}

fn reuse(reuse: &v1::Reuse) -> Yaml {
    let fields = fields([
        ("requests", optional(reuse.requests)),
        ("concurrency", optional(reuse.concurrency)),
    ]);
    fields.or_marker()
}

fn volume(volume: &v1::Volume) -> Yaml {
    use v1::volume::Source;

    let source = match &volume.source {
        Some(Source::EmptyDir(limits)) => {
            let limits = fields([
                ("sizeLimit", bytes(limits.size_limit_bytes)),
                ("inodes", optional(limits.inodes)),
            ]);
            ("emptyDir", limits.or_marker())
        }
        Some(Source::Host(host)) => ("host", text(host)),
        // No server accepted it.
        None => ("emptyDir", Yaml::Absent),
    };
    fields([("name", text(&volume.name)), source])
}

fn placement(placement: &v1::Placement) -> Yaml {
    fields([
        ("labels", labels(&placement.labels)),
        ("spread", given(&placement.spread)),
    ])
}

fn update(update: &v1::Update) -> Yaml {
    fields([
        ("maxSurge", optional(update.max_surge)),
        ("maxUnavailable", optional(update.max_unavailable)),
        ("minReady", duration(update.min_ready)),
        ("progressDeadline", duration(update.progress_deadline)),
        ("rollbackOnFailure", optional(update.rollback_on_failure)),
    ])
}

fn env(vars: &[v1::EnvVar]) -> Yaml {
    let pairs = vars.iter().filter_map(|var| match &var.source {
        Some(v1::env_var::Source::Value(value)) => Some((var.name.clone(), text(value))),
        // A manifest cannot say it, and no server accepted it.
        Some(v1::env_var::Source::Secret(_)) | None => None,
    });
    Yaml::Map(pairs.collect())
}

/// Left out when false, which is the default of every one.
fn flag(value: bool) -> Yaml {
    optional(value.then_some(value))
}
