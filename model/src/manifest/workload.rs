//! The fields of a manifest, and where each goes in the message.

use marked_yaml::{Node, types::MarkedMappingNode};
use warren_proto::v1;

use super::{
    FileRef, Manifest, Problem,
    reader::{Reader, Schema},
};

const API_VERSION: &str = "warren/v1";
const KIND: &str = "Workload";

const WORKLOAD: Schema = Schema {
    what: "a workload",
    known: &[
        "apiVersion",
        "kind",
        "name",
        "namespace",
        "labels",
        "replicas",
        "service",
        "components",
    ],
    later: &["volumes", "placement", "update"],
};
const SERVICE: Schema = Schema {
    what: "the service",
    known: &[
        "component",
        "args",
        "env",
        "restart",
        "publish",
        "egress",
        "limits",
        "stopGrace",
    ],
    later: &["readiness", "liveness", "routes", "volumes", "exclusive"],
};
const RESTART: Schema = Schema {
    what: "the restart policy",
    known: &[
        "policy",
        "initialBackoff",
        "maxBackoff",
        "resetAfter",
        "maxRestarts",
        "window",
    ],
    later: &[],
};
const PUBLISH: Schema = Schema {
    what: "a published port",
    known: &["port", "listen", "protocol"],
    later: &[],
};
const SERVICE_LIMITS: Schema = Schema {
    what: "the service's limits",
    known: &["memory"],
    later: &["cpuWeight"],
};
const COMPONENT: Schema = Schema {
    what: "a component",
    known: &["name", "component", "routes", "env", "egress", "limits"],
    later: &["reuse"],
};
const ROUTE: Schema = Schema {
    what: "a route",
    known: &["host", "path"],
    later: &[],
};
const COMPONENT_LIMITS: Schema = Schema {
    what: "the component's limits",
    known: &["memory", "timeout", "concurrency"],
    later: &["cpuWeight"],
};

/// Reads one document. The manifest is of use only when there are no problems.
pub(super) fn read(mut reader: Reader, root: &Node) -> (Manifest, Vec<Problem>) {
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
    // What could not be read was left out, and is not to be reported as missing on top of that.
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
        .violations()
        .into_iter()
        .filter(|(field, _)| !related(field));
    let violations: Vec<_> = violations.collect();
    let all = problems.into_iter().chain(violations);
    (manifest, all.map(|(_, problem)| problem).collect())
}

fn workload(r: &mut Reader, root: &Node) -> v1::Workload {
    let Some(map) = r.fields(root, "", &WORKLOAD) else {
        return v1::Workload::default();
    };
    constant(r, map, "apiVersion", API_VERSION);
    constant(r, map, "kind", KIND);
    let labels = r.pairs(map, "labels", "labels", |_, key| format!("labels[{key}]"));
    let name = r.text(map, "name", "name").unwrap_or_default();
    let namespace = r.text(map, "namespace", "namespace").unwrap_or_default();
    let replicas = r.number(map, "replicas", "spec.replicas");
    let service = r
        .value(map, "service", "spec.service")
        .and_then(|node| service(r, node, "spec.service"));
    let components = r.items(map, "components", "spec.components");
    let components = components
        .into_iter()
        .map(|(at, node)| component(r, node, &at));
    let spec = v1::WorkloadSpec {
        replicas,
        components: components.collect(),
        service,
    };
    v1::Workload {
        namespace,
        name,
        labels: labels.into_iter().collect(),
        spec: Some(spec),
        ..Default::default()
    }
}

fn constant(r: &mut Reader, map: &MarkedMappingNode, name: &str, expected: &str) {
    if let Some(found) = r.text(map, name, name)
        && found != expected
    {
        r.problem(name, format!("`{found}` is not known: write `{expected}`"));
    }
}

fn service(r: &mut Reader, node: &Node, at: &str) -> Option<v1::Service> {
    let map = r.fields(node, at, &SERVICE)?;
    Some(v1::Service {
        component: artifact(r, map, at),
        args: r.texts(map, "args", &format!("{at}.args")),
        env: env(r, map, at),
        restart: r
            .value(map, "restart", &format!("{at}.restart"))
            .and_then(|node| restart(r, node, &format!("{at}.restart"))),
        publish: {
            let items = r.items(map, "publish", &format!("{at}.publish"));
            let publish = items.into_iter().map(|(at, node)| publish(r, node, &at));
            publish.collect()
        },
        egress: r.texts(map, "egress", &format!("{at}.egress")),
        limits: r
            .value(map, "limits", &format!("{at}.limits"))
            .and_then(|node| service_limits(r, node, &format!("{at}.limits"))),
        stop_grace: r.duration(map, "stopGrace", &format!("{at}.stop_grace")),
    })
}

fn component(r: &mut Reader, node: &Node, at: &str) -> v1::Component {
    let Some(map) = r.fields(node, at, &COMPONENT) else {
        return v1::Component::default();
    };
    v1::Component {
        name: r
            .text(map, "name", &format!("{at}.name"))
            .unwrap_or_default(),
        component: artifact(r, map, at),
        routes: {
            let items = r.items(map, "routes", &format!("{at}.routes"));
            let routes = items.into_iter().map(|(at, node)| route(r, node, &at));
            routes.collect()
        },
        env: env(r, map, at),
        egress: r.texts(map, "egress", &format!("{at}.egress")),
        limits: r
            .value(map, "limits", &format!("{at}.limits"))
            .and_then(|node| component_limits(r, node, &format!("{at}.limits"))),
    }
}

/// A digest, or a path, which is noted.
fn artifact(r: &mut Reader, map: &MarkedMappingNode, at: &str) -> String {
    let field = format!("{at}.component");
    let Some(text) = r.text(map, "component", &field) else {
        return String::new();
    };
    if let Some((scheme, _)) = text.split_once("://") {
        r.problem(
            &field,
            format!(
                "`{scheme}://` is not supported by this version of Warren yet: write the path of a .wasm file, or sha256:DIGEST"
            ),
        );
    } else if !text.is_empty() && !text.starts_with("sha256:") {
        r.files.push(FileRef {
            field,
            path: text.clone(),
        });
    }
    text
}

fn env(r: &mut Reader, map: &MarkedMappingNode, at: &str) -> Vec<v1::EnvVar> {
    let pairs = r.pairs(map, "env", &format!("{at}.env"), |i, _| {
        format!("{at}.env[{i}]")
    });
    let vars = pairs.into_iter().map(|(name, value)| v1::EnvVar {
        name,
        source: Some(v1::env_var::Source::Value(value)),
    });
    vars.collect()
}

fn restart(r: &mut Reader, node: &Node, at: &str) -> Option<v1::RestartPolicy> {
    use v1::restart_policy::Policy;

    let map = r.fields(node, at, &RESTART)?;
    let policies = [
        ("always", Policy::Always),
        ("on-failure", Policy::OnFailure),
        ("never", Policy::Never),
    ];
    let policy = r.choice(map, "policy", &format!("{at}.policy"), &policies);
    Some(v1::RestartPolicy {
        policy: policy.unwrap_or_default().into(),
        initial_backoff: r.duration(map, "initialBackoff", &format!("{at}.initial_backoff")),
        max_backoff: r.duration(map, "maxBackoff", &format!("{at}.max_backoff")),
        reset_after: r.duration(map, "resetAfter", &format!("{at}.reset_after")),
        max_restarts: r.number(map, "maxRestarts", &format!("{at}.max_restarts")),
        window: r.duration(map, "window", &format!("{at}.window")),
    })
}

fn publish(r: &mut Reader, node: &Node, at: &str) -> v1::Publish {
    use v1::publish::Protocol;

    let Some(map) = r.fields(node, at, &PUBLISH) else {
        return v1::Publish::default();
    };
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let protocol = r.choice(map, "protocol", &format!("{at}.protocol"), &protocols);
    v1::Publish {
        port: r
            .number(map, "port", &format!("{at}.port"))
            .unwrap_or_default(),
        listen: r
            .text(map, "listen", &format!("{at}.listen"))
            .unwrap_or_default(),
        protocol: protocol.unwrap_or_default().into(),
    }
}

fn route(r: &mut Reader, node: &Node, at: &str) -> v1::Route {
    let Some(map) = r.fields(node, at, &ROUTE) else {
        return v1::Route::default();
    };
    v1::Route {
        host: r
            .text(map, "host", &format!("{at}.host"))
            .unwrap_or_default(),
        path: r
            .text(map, "path", &format!("{at}.path"))
            .unwrap_or_default(),
    }
}

fn service_limits(r: &mut Reader, node: &Node, at: &str) -> Option<v1::ServiceLimits> {
    let map = r.fields(node, at, &SERVICE_LIMITS)?;
    Some(v1::ServiceLimits {
        memory_bytes: r.bytes(map, "memory", &format!("{at}.memory_bytes")),
    })
}

fn component_limits(r: &mut Reader, node: &Node, at: &str) -> Option<v1::ComponentLimits> {
    let map = r.fields(node, at, &COMPONENT_LIMITS)?;
    Some(v1::ComponentLimits {
        memory_bytes: r.bytes(map, "memory", &format!("{at}.memory_bytes")),
        timeout: r.duration(map, "timeout", &format!("{at}.timeout")),
        concurrency: r.number(map, "concurrency", &format!("{at}.concurrency")),
    })
}
