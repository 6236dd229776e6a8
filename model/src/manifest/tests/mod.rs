#![allow(clippy::unwrap_used)]

use super::*;

mod print;
mod reference;
mod refusals;

fn one(text: &str) -> Manifest {
    alone(parse("test.yaml", text))
}

/// As [`one`], by the rules of the contract alone: what this version does not honour yet is read
/// all the same.
fn whole(text: &str) -> Manifest {
    alone(parse_with("test.yaml", text, spec::validate_workload))
}

fn alone(parsed: Result<Vec<Manifest>, ManifestErrors>) -> Manifest {
    let mut manifests = parsed.unwrap_or_else(|errors| panic!("{errors}"));
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
  routes: [ { host: db.localhost, path: /q, port: 8080, protocol: h2c }, { port: 9 } ]
  egress: [ "db.internal:5432", "10.0.0.0/8:*" ]
  limits: { memory: 128MiB, requestBody: 1MiB }
  stopGrace: 5s
components:
  - name: api
    component: ./api.wasm
    routes: [ { host: counter.localhost, path: / }, { path: /api } ]
    env:
      MODE: fast
    egress: []
    limits: { memory: 16MiB, timeout: 2s, concurrency: 10, requestBody: 64KiB, responseBody: 1GiB }
  - name: words
    component: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
"#;

/// What [`FULL`] leaves out.
const MORE: &str = r#"name: store
service:
  component: ./store.wasm
  readiness: { http: { port: 8080, path: /ready }, interval: 2s, timeout: 500ms, failureThreshold: 5, successThreshold: 2, startPeriod: 3s }
  liveness:
    grpc: { port: 9090, service: store.v1.Store }
  limits: { cpuWeight: 300 }
  config: { greeting: hello, max-items: ten }
  reserve: { memory: 4MiB }
  volumes:
    - { name: data, mountPath: /data/, readOnly: true }
    - { name: shared, mountPath: /shared }
  exclusive: true
  restart: { policy: never, onFailed: replace, onLost: keep }
components:
  - { name: a, component: ./a.wasm, reserve: { memory: 2MiB }, reuse: { requests: 10, concurrency: 2 } }
  - { name: b, component: ./b.wasm, reuse: {} }
volumes: [ { name: data, emptyDir: { sizeLimit: 2GiB, inodes: 7 } }, { name: shared, host: nfs } ]
placement: { labels: { zone: a }, spread: example.com/rack }
update: { maxSurge: 0, maxUnavailable: 2, minReady: 5s, progressDeadline: 90s, rollbackOnFailure: false }
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
            ..Default::default()
        }),
        publish: vec![v1::Publish {
            port: 6379,
            listen: "127.0.0.1:6379".into(),
            protocol: v1::publish::Protocol::Tcp.into(),
        }],
        egress: vec!["db.internal:5432".into(), "10.0.0.0/8:*".into()],
        limits: Some(v1::ServiceLimits {
            memory_bytes: Some(128 << 20),
            cpu_weight: None,
            request_body_bytes: Some(1 << 20),
            response_body_bytes: None,
        }),
        stop_grace: seconds(5),
        routes: vec![
            v1::ServiceRoute {
                host: "db.localhost".into(),
                path: "/q".into(),
                port: 8080,
                protocol: v1::service_route::Protocol::H2c.into(),
            },
            v1::ServiceRoute {
                port: 9,
                ..Default::default()
            },
        ],
        ..Default::default()
    };
    let api = v1::Component {
        name: "api".into(),
        component: "./api.wasm".into(),
        routes: vec![route("counter.localhost", "/"), route("", "/api")],
        env: vec![var("MODE", "fast")],
        config: vec![],
        egress: vec![],
        limits: Some(v1::ComponentLimits {
            memory_bytes: Some(16 << 20),
            timeout: seconds(2),
            concurrency: Some(10),
            request_body_bytes: Some(64 << 10),
            response_body_bytes: Some(1 << 30),
        }),
        reserve: None,
        reuse: None,
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
            ..Default::default()
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
fn reads_the_rest_of_the_contract() {
    let spec = whole(MORE).workload.spec.unwrap();
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let service = spec.service.unwrap();
    assert_eq!(
        service.readiness,
        Some(v1::Probe {
            check: Some(v1::probe::Check::Http(v1::HttpProbe {
                port: 8080,
                path: "/ready".into(),
            })),
            interval: seconds(2),
            timeout: Some(prost_types::Duration {
                seconds: 0,
                nanos: 500_000_000,
            }),
            failure_threshold: Some(5),
            success_threshold: Some(2),
            start_period: seconds(3),
        })
    );
    assert_eq!(
        service.liveness,
        Some(v1::Probe {
            check: Some(v1::probe::Check::Grpc(v1::GrpcProbe {
                port: 9090,
                service: "store.v1.Store".into(),
            })),
            ..Default::default()
        })
    );
    assert_eq!(service.limits.unwrap().cpu_weight, Some(300));
    let config = |name: &str, value: &str| v1::EnvVar {
        name: name.into(),
        source: Some(v1::env_var::Source::Value(value.into())),
    };
    assert_eq!(
        service.config,
        [config("greeting", "hello"), config("max-items", "ten")]
    );
    let mount = |name: &str, mount_path: &str, read_only| v1::VolumeMount {
        name: name.into(),
        mount_path: mount_path.into(),
        read_only,
    };
    assert_eq!(
        service.volumes,
        [
            mount("data", "/data/", true),
            mount("shared", "/shared", false)
        ]
    );
    assert!(service.exclusive);
    let reserve = |bytes| {
        Some(v1::Reserve {
            memory_bytes: Some(bytes),
        })
    };
    assert_eq!(service.reserve, reserve(4 << 20));
    assert_eq!(spec.components[0].reserve, reserve(2 << 20));
    let restart = service.restart.unwrap();
    assert_eq!(restart.on_failed(), v1::restart_policy::Recovery::Replace);
    assert_eq!(restart.on_lost(), v1::restart_policy::Recovery::Keep);

    let reuse = |requests, concurrency| {
        Some(v1::Reuse {
            requests,
            concurrency,
        })
    };
    assert_eq!(spec.components[0].reuse, reuse(Some(10), Some(2)));
    assert_eq!(spec.components[1].reuse, reuse(None, None));

    let volume = |name: &str, source| v1::Volume {
        name: name.into(),
        source: Some(source),
    };
    assert_eq!(
        spec.volumes,
        [
            volume(
                "data",
                v1::volume::Source::EmptyDir(v1::EmptyDir {
                    size_limit_bytes: Some(2 << 30),
                    inodes: Some(7),
                }),
            ),
            volume("shared", v1::volume::Source::Host("nfs".into())),
        ]
    );
    assert_eq!(
        spec.placement,
        Some(v1::Placement {
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            spread: "example.com/rack".into(),
        })
    );
    assert_eq!(
        spec.update,
        Some(v1::Update {
            max_surge: Some(0),
            max_unavailable: Some(2),
            progress_deadline: seconds(90),
            rollback_on_failure: Some(false),
            min_ready: seconds(5),
        })
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
fn json_is_yaml_however_its_characters_are_written() {
    let args = |text: &str| one(text).workload.spec.unwrap().service.unwrap().args;
    let wave = "\u{1f44b}";
    let json = r#"{"name":"a","labels":{},"service":{"component":"a.wasm","args":["\ud83d\udc4b","x\uD83D\uDC4B y\u00e9\/","\\ud83d"]}}"#;
    assert_eq!(
        args(json),
        [
            wave.to_owned(),
            format!("x{wave} y\u{e9}/"),
            "\\ud83d".to_owned()
        ]
    );
    // In YAML too, and only where an escape is one.
    let yaml = service(
        "  args: [ \"\\ud83d\\udc4b\", '\\uD83D', \\ud83d ] # \\ud83d\n  env:\n    \"\\ud83d\\udc4b\": |\n      \\ud83d",
    );
    assert_eq!(args(&yaml), [wave, "\\uD83D", "\\ud83d"]);
    let env = &one(&yaml).workload.spec.unwrap().service.unwrap().env[0];
    let value = v1::env_var::Source::Value("\\ud83d\n".into());
    assert_eq!((&*env.name, &env.source), (wave, &Some(value)));
    // Positions behind such a character are those in the file.
    let shifted =
        r#"{"name":"a","service":{"component":"a.wasm","args":["\ud83d\udc4b"],"stopgrace":"1s"}}"#;
    refused(
        shifted,
        &["1:69: unknown field `stopgrace` in the service: did you mean `stopGrace`?"],
    );
}

#[test]
fn half_a_character_is_refused_where_it_is_written() {
    let message = "this escape is half of a character: write both halves, such as \"\\ud83d\\ude00\", or the character itself";
    for (json, place) in [
        (
            r#"{"name":"a","service":{"component":"a.wasm","args":["x \ud83d"]}}"#,
            "1:56",
        ),
        (
            "{\n \"name\": \"a\",\n \"service\": { \"\\ude00\\ud83d\": 1 } }",
            "3:16",
        ),
    ] {
        assert_eq!(problems(json), [format!("{place}: {message}")], "{json}");
    }
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
        ("spec.service.routes[0].port", (13, 51)),
        ("spec.service.routes[1].host", (13, 74)),
        ("spec.service.egress[1]", (14, 33)),
        ("spec.service.limits.memory_bytes", (15, 21)),
        ("spec.components[0]", (18, 5)),
        ("spec.components[0].routes[1].path", (20, 61)),
        ("spec.components[0].routes[1].host", (20, 53)),
        ("spec.components[1].limits.timeout", (25, 5)),
        ("spec", (1, 1)),
        ("", (1, 1)),
    ] {
        assert_eq!(manifest.position(field), Some(position), "{field}");
    }
    assert_eq!(manifest.position("expected_revision"), None);
}

#[test]
fn what_only_a_server_finds_is_placed_and_put_in_words() {
    let manifest = whole(MORE);
    let located = |field: &str| {
        let found = manifest.locate("more.yaml", field, "no").unwrap();
        found.to_string()
    };
    for (field, said) in [
        ("spec.components[1].component", "17:27: no"),
        ("spec.service.readiness.http.port", "4:30: no"),
        ("spec.service.liveness.grpc.service", "6:34: no"),
        ("spec.service.liveness.interval", "5:3: interval: no"),
        ("spec.service.config[1]", "8:30: no"),
        ("spec.service.volumes[1].mount_path", "12:34: no"),
        ("spec.service.volumes[1].read_only", "12:7: readOnly: no"),
        ("spec.service.limits.memory_bytes", "7:3: memory: no"),
        ("spec.service.limits.cpu_weight", "7:24: no"),
        ("spec.service.exclusive", "13:14: no"),
        (
            "spec.components[1].reuse.concurrency",
            "17:37: concurrency: no",
        ),
        ("spec.volumes[0].empty_dir", "18:26: no"),
        ("spec.volumes[1].host", "18:92: no"),
        ("spec.placement.labels[zone]", "19:24: no"),
        ("spec.placement.spread", "19:43: no"),
        ("spec.update.progress_deadline", "20:75: no"),
        ("spec.replicas", "1:1: replicas: no"),
        ("namespace", "1:1: namespace: no"),
        ("spec", "1:1: no"),
    ] {
        assert_eq!(located(field), format!("more.yaml:{said}"), "{field}");
    }
    assert_eq!(manifest.locate("more.yaml", "page_size", "no"), None);
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
