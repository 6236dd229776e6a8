//! Printing, and what must hold for every text.

use proptest::prelude::*;

use super::*;
use crate::spec::{WorkloadSpec, tests::arbitrary::any_spec};

#[test]
fn prints_what_was_asked_for() {
    let printed = to_yaml(&one(FULL).workload);
    assert_eq!(
        printed,
        r#"apiVersion: warren/v1
kind: Workload
name: counter
namespace: shop
labels:
  example.com/zone: a
  tier: front
replicas: 2
service:
  component: ./cache.wasm
  args:
    - "--verbose"
    - "8080"
  env:
    LOG: info
    PORT: "6379"
    EMPTY: ""
  restart:
    policy: on-failure
    initialBackoff: 200ms
    maxBackoff: 10s
    maxRestarts: 3
    window: 2m30s
  publish:
    - port: 6379
      listen: "127.0.0.1:6379"
  routes:
    - host: db.localhost
      path: /q
      port: 8080
      protocol: h2c
    - port: 9
  egress:
    - "db.internal:5432"
    - "10.0.0.0/8:*"
  limits:
    memory: 128MiB
    requestBody: 1MiB
  stopGrace: 5s
components:
  - name: api
    component: ./api.wasm
    routes:
      - host: counter.localhost
      - path: /api
    env:
      MODE: fast
    limits:
      memory: 16MiB
      timeout: 2s
      concurrency: 10
      requestBody: 64KiB
      responseBody: 1GiB
  - name: words
    component: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
"#
    );
    assert_eq!(one(&printed).workload, shortened(&one(FULL)));
}

#[test]
fn prints_the_rest_of_the_contract() {
    let printed = to_yaml(&whole(MORE).workload);
    assert_eq!(
        printed,
        r"apiVersion: warren/v1
kind: Workload
name: store
service:
  component: ./store.wasm
  config:
    greeting: hello
    max-items: ten
  restart:
    policy: never
    onFailed: replace
  readiness:
    http:
      port: 8080
      path: /ready
    interval: 2s
    timeout: 500ms
    failureThreshold: 5
    successThreshold: 2
    startPeriod: 3s
  liveness:
    grpc:
      port: 9090
      service: store.v1.Store
  limits:
    cpuWeight: 300
  reserve:
    memory: 4MiB
  volumes:
    - name: data
      mountPath: /data/
      readOnly: true
    - name: shared
      mountPath: /shared
  exclusive: true
components:
  - name: a
    component: ./a.wasm
    reserve:
      memory: 2MiB
    reuse:
      requests: 10
      concurrency: 2
  - name: b
    component: ./b.wasm
    reuse: {}
volumes:
  - name: data
    emptyDir:
      sizeLimit: 2GiB
      inodes: 7
  - name: shared
    host: nfs
placement:
  labels:
    zone: a
  spread: example.com/rack
update:
  maxSurge: 0
  maxUnavailable: 2
  minReady: 5s
  progressDeadline: 1m30s
  rollbackOnFailure: false
"
    );
    assert_eq!(whole(&printed).workload.spec, shortened(&whole(MORE)).spec);
}

#[test]
fn a_route_that_matches_everything_is_not_printed_as_nothing() {
    let text =
        "name: a\ncomponents:\n  - name: c\n    component: c.wasm\n    routes:\n      - path: /\n";
    let printed = to_yaml(&one(text).workload);
    assert!(
        printed.ends_with("    routes:\n      - path: /\n"),
        "{printed}"
    );
}

/// The workload without what is set to its default.
fn shortened(manifest: &Manifest) -> v1::Workload {
    let spec = manifest.workload.spec.as_ref().map(spec::without_defaults);
    v1::Workload {
        spec,
        ..manifest.workload.clone()
    }
}

fn workload(spec: &WorkloadSpec, labels: BTreeMap<String, String>) -> v1::Workload {
    v1::Workload {
        namespace: "default".into(),
        name: "a".into(),
        labels,
        spec: Some(spec.to_proto()),
        ..Default::default()
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read_back(
        spec in any_spec(),
        labels in prop::collection::btree_map("[a-z]([a-z./]{0,8}[a-z])?", "([a-zA-Z0-9.]{1,8})?", 0..4),
    ) {
        let valid = |(key, value): &(String, String)| {
            let mut violations = Violations::default();
            crate::label::check("labels", &[(key.clone(), value.clone())].into(), &mut violations);
            violations.0.is_empty()
        };
        let workload = workload(&spec, labels.into_iter().filter(valid).collect());
        let printed = to_yaml(&workload);
        let read = parse_with("printed", &printed, spec::validate_workload);
        prop_assert!(read.is_ok(), "{}\n{}", printed, read.unwrap_err());
        let read = read.unwrap().remove(0).workload;
        prop_assert_eq!(&read.labels, &workload.labels);
        prop_assert_eq!(WorkloadSpec::from_proto(&read.spec.unwrap()).unwrap(), spec);
    }

    #[test]
    fn every_text_is_read_or_refused_at_a_place(text in "([a-z&*!|>%@`{}\\[\\],#?: \"'\\-\n\t~]|name: |service:\n|--- ){0,40}") {
        if let Err(ManifestErrors(errors)) = parse("noise", &text) {
            prop_assert!(!errors.is_empty());
            for ManifestError { line, column, .. } in errors {
                // The end of the text is a place as well.
                prop_assert!(line >= 1 && line <= text.split('\n').count() + 1 && column >= 1, "{}", line);
            }
        }
    }
}
