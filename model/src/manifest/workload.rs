//! The fields of a manifest, and where each goes in the message.

use marked_yaml::{Node, types::MarkedMappingNode};
use warren_proto::v1;

use super::{Admit, FileRef, Manifest, Problem, reader::Reader, schema, service::service};

const API_VERSION: &str = "warren/v1";
const KIND: &str = "Workload";

/// Reads one document. The manifest is of use only when there are no problems.
pub(super) fn read(mut reader: Reader, root: &Node, admit: Admit) -> (Manifest, Vec<Problem>) {
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
        .violations(admit)
        .into_iter()
        .filter(|(field, _)| !related(field));
    let violations: Vec<_> = violations.collect();
    let all = problems.into_iter().chain(violations);
    (manifest, all.map(|(_, problem)| problem).collect())
}

fn workload(r: &mut Reader, root: &Node) -> v1::Workload {
    let Some(map) = r.fields(root, "", &schema::WORKLOAD) else {
        return v1::Workload::default();
    };
    constant(r, map, "apiVersion", API_VERSION);
    constant(r, map, "kind", KIND);
    let labels = r.pairs(map, "labels", "labels", |_, key| format!("labels[{key}]"));
    let name = r.text(map, "name", "name").unwrap_or_default();
    let namespace = r.text(map, "namespace", "namespace").unwrap_or_default();
    let spec = v1::WorkloadSpec {
        replicas: r.number(map, "replicas", "spec.replicas"),
        service: r.group(map, "service", "spec.service", service),
        components: r.list(map, "components", "spec.components", component),
        volumes: r.list(map, "volumes", "spec.volumes", volume),
        placement: r.group(map, "placement", "spec.placement", placement),
        update: r.group(map, "update", "spec.update", update),
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

fn component(r: &mut Reader, node: &Node, at: &str) -> Option<v1::Component> {
    let map = r.fields(node, at, &schema::COMPONENT)?;
    Some(v1::Component {
        name: r
            .text(map, "name", &format!("{at}.name"))
            .unwrap_or_default(),
        component: artifact(r, map, at),
        routes: r.list(map, "routes", &format!("{at}.routes"), route),
        env: env(r, map, at),
        egress: r.texts(map, "egress", &format!("{at}.egress")),
        limits: r.group(map, "limits", &format!("{at}.limits"), limits),
        reuse: r.group(map, "reuse", &format!("{at}.reuse"), reuse),
        reserve: r.group(map, "reserve", &format!("{at}.reserve"), reserve),
    })
}

/// A digest, or a path, which is noted.
pub(super) fn artifact(r: &mut Reader, map: &MarkedMappingNode, at: &str) -> String {
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

pub(super) fn env(r: &mut Reader, map: &MarkedMappingNode, at: &str) -> Vec<v1::EnvVar> {
    let pairs = r.pairs(map, "env", &format!("{at}.env"), |i, _| {
        format!("{at}.env[{i}]")
    });
    let vars = pairs.into_iter().map(|(name, value)| v1::EnvVar {
        name,
        source: Some(v1::env_var::Source::Value(value)),
    });
    vars.collect()
}

fn route(r: &mut Reader, node: &Node, at: &str) -> Option<v1::Route> {
    let map = r.fields(node, at, &schema::ROUTE)?;
    Some(v1::Route {
        host: r
            .text(map, "host", &format!("{at}.host"))
            .unwrap_or_default(),
        path: r
            .text(map, "path", &format!("{at}.path"))
            .unwrap_or_default(),
    })
}

fn limits(r: &mut Reader, node: &Node, at: &str) -> Option<v1::ComponentLimits> {
    let map = r.fields(node, at, &schema::COMPONENT_LIMITS)?;
    Some(v1::ComponentLimits {
        memory_bytes: r.bytes(map, "memory", &format!("{at}.memory_bytes")),
        timeout: r.duration(map, "timeout", &format!("{at}.timeout")),
        concurrency: r.number(map, "concurrency", &format!("{at}.concurrency")),
        request_body_bytes: r.bytes(map, "requestBody", &format!("{at}.request_body_bytes")),
        response_body_bytes: r.bytes(map, "responseBody", &format!("{at}.response_body_bytes")),
    })
}

pub(super) fn reserve(r: &mut Reader, node: &Node, at: &str) -> Option<v1::Reserve> {
    let map = r.fields(node, at, &schema::RESERVE)?;
    Some(v1::Reserve {
        memory_bytes: r.bytes(map, "memory", &format!("{at}.memory_bytes")),
    })
}

fn reuse(r: &mut Reader, node: &Node, at: &str) -> Option<v1::Reuse> {
    let map = r.fields(node, at, &schema::REUSE)?;
    Some(v1::Reuse {
        requests: r.number(map, "requests", &format!("{at}.requests")),
        concurrency: r.number(map, "concurrency", &format!("{at}.concurrency")),
    })
}

fn volume(r: &mut Reader, node: &Node, at: &str) -> Option<v1::Volume> {
    let map = r.fields(node, at, &schema::VOLUME)?;
    r.one_of(map, at, &["emptyDir", "host"]);
    let empty_dir = r.group(map, "emptyDir", &format!("{at}.empty_dir"), empty_dir);
    let host = r.text(map, "host", &format!("{at}.host"));
    Some(v1::Volume {
        name: r
            .text(map, "name", &format!("{at}.name"))
            .unwrap_or_default(),
        source: empty_dir
            .map(v1::volume::Source::EmptyDir)
            .or_else(|| host.map(v1::volume::Source::Host)),
    })
}

fn empty_dir(r: &mut Reader, node: &Node, at: &str) -> Option<v1::EmptyDir> {
    let map = r.fields(node, at, &schema::EMPTY_DIR)?;
    Some(v1::EmptyDir {
        size_limit_bytes: r.bytes(map, "sizeLimit", &format!("{at}.size_limit_bytes")),
        inodes: r.number(map, "inodes", &format!("{at}.inodes")),
    })
}

fn placement(r: &mut Reader, node: &Node, at: &str) -> Option<v1::Placement> {
    let map = r.fields(node, at, &schema::PLACEMENT)?;
    let labels = r.pairs(map, "labels", &format!("{at}.labels"), |_, key| {
        format!("{at}.labels[{key}]")
    });
    Some(v1::Placement {
        labels: labels.into_iter().collect(),
        spread: r
            .text(map, "spread", &format!("{at}.spread"))
            .unwrap_or_default(),
    })
}

fn update(r: &mut Reader, node: &Node, at: &str) -> Option<v1::Update> {
    let map = r.fields(node, at, &schema::UPDATE)?;
    Some(v1::Update {
        max_surge: r.number(map, "maxSurge", &format!("{at}.max_surge")),
        max_unavailable: r.number(map, "maxUnavailable", &format!("{at}.max_unavailable")),
        progress_deadline: r.duration(map, "progressDeadline", &format!("{at}.progress_deadline")),
        rollback_on_failure: r.boolean(
            map,
            "rollbackOnFailure",
            &format!("{at}.rollback_on_failure"),
        ),
        min_ready: r.duration(map, "minReady", &format!("{at}.min_ready")),
    })
}
