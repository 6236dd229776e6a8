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
    resetAfter: 1m
    maxRestarts: 3
    window: 2m30s
  publish:
    - port: 6379
      listen: "127.0.0.1:6379"
      protocol: tcp
  egress:
    - "db.internal:5432"
    - "10.0.0.0/8:*"
  limits:
    memory: 128MiB
  stopGrace: 5s
components:
  - name: api
    component: ./api.wasm
    routes:
      - host: counter.localhost
        path: /
      - path: /api
    env:
      MODE: fast
    limits:
      memory: 16MiB
      timeout: 2s
      concurrency: 10
  - name: words
    component: sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
"#
    );
    assert_eq!(one(&printed).workload, one(FULL).workload);
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
        let read = parse("printed", &printed);
        prop_assert!(read.is_ok(), "{}\n{}", printed, read.unwrap_err());
        prop_assert_eq!(&read.unwrap()[0].workload, &workload);
    }

    #[test]
    fn no_text_panics(text in "([a-z&*!|>%@`{}\\[\\],#?: \"'\\-\n\t~]|name: |service:\n|--- ){0,40}") {
        let _ = parse("noise", &text);
    }
}
