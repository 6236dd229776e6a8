#![allow(clippy::unwrap_used)]

use super::*;

mod print;
mod refusals;

fn one(text: &str) -> Manifest {
    let mut manifests = parse("test.yaml", text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(manifests.len(), 1);
    manifests.remove(0)
}

/// Each problem as `line:column: message`.
fn problems(text: &str) -> Vec<String> {
    let ManifestErrors(errors) = parse("test.yaml", text).unwrap_err();
    let shown = errors
        .iter()
        .map(|e| format!("{}:{}: {}", e.line, e.column, e.message));
    shown.collect()
}

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    assert_eq!(problems(text), expected, "{text}");
}

/// A workload whose service has more fields, each indented by two.
fn service(fields: &str) -> String {
    format!("name: a\nservice:\n  component: a.wasm\n{fields}\n")
}

const FULL: &str = r#"apiVersion: warren/v1
kind: Workload
name: counter
namespace: shop
labels: { tier: front, example.com/zone: a }
replicas: 2
service:
  component: ./cache.wasm
  args: [--verbose, 8080]
  env: { LOG: info, PORT: 6379, EMPTY: "" }
  restart: { policy: on-failure, initialBackoff: 200ms, maxBackoff: 10s, resetAfter: 1m, maxRestarts: 3, window: 2m30s }
  publish: [ { port: 6379, listen: "127.0.0.1:6379", protocol: tcp } ]
  egress: [ "db.internal:5432", "10.0.0.0/8:*" ]
  limits: { memory: 128MiB }
  stopGrace: 5s
components:
  - name: api
    component: ./api.wasm
    routes: [ { host: counter.localhost, path: / }, { path: /api } ]
    env:
      MODE: fast
    egress: []
    limits: { memory: 16MiB, timeout: 2s, concurrency: 10 }
  - name: words
    component: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
"#;

#[test]
fn reads_every_field() {
    let manifest = one(FULL);
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let var = |name: &str, value: &str| v1::EnvVar {
        name: name.into(),
        source: Some(v1::env_var::Source::Value(value.into())),
    };
    let route = |host: &str, path: &str| v1::Route {
        host: host.into(),
        path: path.into(),
    };
    let service = v1::Service {
        component: "./cache.wasm".into(),
        args: vec!["--verbose".into(), "8080".into()],
        env: vec![var("LOG", "info"), var("PORT", "6379"), var("EMPTY", "")],
        restart: Some(v1::RestartPolicy {
            policy: v1::restart_policy::Policy::OnFailure.into(),
            initial_backoff: Some(prost_types::Duration {
                seconds: 0,
                nanos: 200_000_000,
            }),
            max_backoff: seconds(10),
            reset_after: seconds(60),
            max_restarts: Some(3),
            window: seconds(150),
        }),
        publish: vec![v1::Publish {
            port: 6379,
            listen: "127.0.0.1:6379".into(),
            protocol: v1::publish::Protocol::Tcp.into(),
        }],
        egress: vec!["db.internal:5432".into(), "10.0.0.0/8:*".into()],
        limits: Some(v1::ServiceLimits {
            memory_bytes: Some(128 << 20),
        }),
        stop_grace: seconds(5),
    };
    let api = v1::Component {
        name: "api".into(),
        component: "./api.wasm".into(),
        routes: vec![route("counter.localhost", "/"), route("", "/api")],
        env: vec![var("MODE", "fast")],
        egress: vec![],
        limits: Some(v1::ComponentLimits {
            memory_bytes: Some(16 << 20),
            timeout: seconds(2),
            concurrency: Some(10),
        }),
    };
    let words = v1::Component {
        name: "words".into(),
        component: Digest::of(b"").to_string(),
        ..Default::default()
    };
    let labels = [("tier", "front"), ("example.com/zone", "a")];
    let expected = v1::Workload {
        namespace: "shop".into(),
        name: "counter".into(),
        labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        spec: Some(v1::WorkloadSpec {
            replicas: Some(2),
            service: Some(service),
            components: vec![api, words],
        }),
        ..Default::default()
    };
    assert_eq!(manifest.workload, expected);
    let file = |field: &str, path: &str| FileRef {
        field: field.into(),
        path: path.into(),
    };
    assert_eq!(
        manifest.files,
        [
            file("spec.service.component", "./cache.wasm"),
            file("spec.components[0].component", "./api.wasm"),
        ]
    );
}

#[test]
fn json_is_yaml() {
    let json = "{\n\t\"name\": \"a\",\n\t\"replicas\": 3,\n\t\"service\": {\"component\": \"a.wasm\", \"args\": [\"x\\ny\", 1, true]}\n}\n";
    let spec = one(json).workload.spec.unwrap();
    assert_eq!(spec.replicas, Some(3));
    assert_eq!(spec.service.unwrap().args, ["x\ny", "1", "true"]);
}

#[test]
fn a_field_without_a_value_is_absent() {
    let text = service("  env:\n  args: ~\n  limits: null\n  restart:\n  stopGrace:");
    let service = one(&text).workload.spec.unwrap().service.unwrap();
    assert_eq!(
        service,
        v1::Service {
            component: "a.wasm".into(),
            ..Default::default()
        }
    );
}

#[test]
fn positions_are_those_of_the_field_or_of_what_holds_it() {
    let manifest = one(FULL);
    for (field, position) in [
        ("name", (3, 7)),
        ("labels[tier]", (5, 11)),
        ("labels[example.com/zone]", (5, 24)),
        ("labels[example.com/other]", (5, 1)),
        ("spec.replicas", (6, 11)),
        ("spec.service", (7, 1)),
        ("spec.service.component", (8, 14)),
        ("spec.service.args[1]", (9, 21)),
        ("spec.service.env", (10, 3)),
        ("spec.service.env[1].name", (10, 21)),
        ("spec.service.restart.max_backoff", (11, 69)),
        ("spec.service.publish[0].listen", (12, 36)),
        ("spec.service.egress[1]", (13, 33)),
        ("spec.service.limits.memory_bytes", (14, 21)),
        ("spec.components[0]", (17, 5)),
        ("spec.components[0].routes[1].path", (19, 61)),
        ("spec.components[0].routes[1].host", (19, 53)),
        ("spec.components[1].limits.timeout", (24, 5)),
        ("spec", (1, 1)),
        ("", (1, 1)),
    ] {
        assert_eq!(manifest.position(field), Some(position), "{field}");
    }
    assert_eq!(manifest.position("expected_revision"), None);
}

#[test]
fn documents_are_separate_and_positions_are_those_of_the_file() {
    let text = "\u{feff}# two\n---\nname: a\nservice: { component: a.wasm }\n--- # second\nname: b\n\
        components:\n- name: c\n  component: c.wasm\n...\n---\n---\n# nothing\n";
    let manifests = parse("test.yaml", text).unwrap();
    let names: Vec<_> = manifests.iter().map(|m| m.workload.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(manifests[1].position("name"), Some((6, 7)));
    assert_eq!(
        manifests[1].position("spec.components[0].component"),
        Some((9, 14))
    );
    refused(
        "a: [\r\n---\r\nname: b\r\n",
        &[
            "2:1: not valid YAML: while parsing a node, did not find expected node content",
            "3:1: a workload needs a service or at least one component",
        ],
    );
}
