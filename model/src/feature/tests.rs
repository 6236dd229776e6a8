#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    digest::Digest,
    spec::{WorkloadSpec, tests::arbitrary::any_spec},
};

fn workload(change: impl FnOnce(&mut v1::WorkloadSpec)) -> v1::Workload {
    let service = v1::Service {
        component: Digest::of(b"").to_string(),
        ..Default::default()
    };
    let mut spec = v1::WorkloadSpec {
        service: Some(service),
        ..Default::default()
    };
    change(&mut spec);
    v1::Workload {
        name: "a".into(),
        spec: Some(spec),
        ..Default::default()
    }
}

fn tcp_probe(port: u32) -> v1::Probe {
    v1::Probe {
        check: Some(v1::probe::Check::Tcp(v1::TcpProbe { port })),
        ..Default::default()
    }
}

/// Uses everything that is not honoured.
fn everything(spec: &mut v1::WorkloadSpec) {
    let secret = || v1::EnvVar {
        name: "A".into(),
        source: Some(v1::env_var::Source::Secret("s".into())),
    };
    let service = spec.service.as_mut().unwrap();
    service.readiness = Some(tcp_probe(1));
    service.liveness = Some(tcp_probe(1));
    service.exclusive = true;
    service.limits.get_or_insert_default().cpu_weight = Some(7);
    service.env = vec![secret()];
    service.volumes = vec![v1::VolumeMount {
        name: "data".into(),
        mount_path: "/data".into(),
        read_only: true,
    }];
    spec.volumes = vec![v1::Volume {
        name: "data".into(),
        source: Some(v1::volume::Source::EmptyDir(v1::EmptyDir::default())),
    }];
    spec.placement = Some(v1::Placement {
        spread: "zone".into(),
        ..Default::default()
    });
    spec.update = Some(v1::Update {
        max_surge: Some(2),
        progress_deadline: Some(prost_types::Duration {
            seconds: 7,
            nanos: 0,
        }),
        ..Default::default()
    });
    spec.components = vec![v1::Component {
        name: "c".into(),
        component: Digest::of(b"").to_string(),
        env: vec![secret()],
        reuse: Some(v1::Reuse::default()),
        ..Default::default()
    }];
}

#[test]
fn features_are_the_fields_of_the_contract() {
    let honoured = honoured();
    for feature in [
        "spec.replicas",
        "spec.service",
        "spec.service.stopGrace",
        "spec.service.restart.initialBackoff",
        "spec.service.routes.port",
        "spec.service.env.value",
        "spec.service.limits.memoryBytes",
        "spec.components.limits.timeout",
        "spec.components.routes.host",
    ] {
        assert!(honoured.iter().any(|f| f == feature), "{feature}");
    }
    // Durations are values: their seconds are not a feature.
    assert!(!honoured.iter().any(|f| f.ends_with(".seconds")));
    let all: BTreeSet<_> = features().into_iter().collect();
    assert_eq!(all.len(), features().len());
    assert!(NOT_YET.contains(&"spec.service.env.secret".to_owned()));
    assert!(NOT_YET.iter().all(|feature| feature.ends_with(".secret")));
    for prefix in NOT_YET.iter() {
        assert!(!honoured.iter().any(|f| is_within(f, prefix)), "{prefix}");
    }
    // What the first servers did not know is known for ever.
    let not_by_the_first = [
        "spec.service.readiness",
        "spec.service.liveness",
        "spec.service.volumes",
        "spec.service.routes",
        "spec.volumes",
        "spec.service.exclusive",
        "spec.placement",
        "spec.update",
        "spec.components.reuse",
        "spec.service.limits.cpuWeight",
        "spec.service.env.secret",
        "spec.components.env.secret",
        "spec.service.limits.requestBodyBytes",
        "spec.service.limits.responseBodyBytes",
        "spec.components.limits.requestBodyBytes",
        "spec.components.limits.responseBodyBytes",
        "spec.service.reserve",
        "spec.components.reserve",
        "spec.service.restart.onFailed",
        "spec.service.restart.onLost",
    ];
    for prefix in not_by_the_first {
        assert!(NOT_BY_THE_FIRST.iter().any(|f| f == prefix), "{prefix}");
    }
    assert!(
        NOT_YET
            .iter()
            .all(|prefix| is_within_any(prefix, &NOT_BY_THE_FIRST))
    );
}

#[test]
fn all_that_is_not_honoured_is_refused_at_its_field() {
    let Violations(found) = admit(&workload(everything)).unwrap_err();
    let fields: Vec<_> = found.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.service.env[0].secret",
            "spec.components[0].env[0].secret",
        ]
    );
    assert_eq!(
        found[0].message,
        "`spec.service.env.secret` is not supported by this version of Warren yet: leave it out"
    );
}

#[test]
fn what_else_is_wrong_is_reported_with_it() {
    let broken = workload(|spec| {
        spec.replicas = Some(5000);
        // That it has no name is not worth a word while it is not supported at all.
        spec.service.as_mut().unwrap().env = vec![v1::EnvVar {
            name: "A".into(),
            source: Some(v1::env_var::Source::Secret(String::new())),
        }];
    });
    let Violations(found) = admit(&broken).unwrap_err();
    let fields: Vec<_> = found.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["spec.service.env[0].secret", "spec.replicas"]);
}

#[test]
fn a_default_that_is_written_out_needs_no_feature() {
    let defaults = workload(|spec| {
        spec.placement = Some(v1::Placement::default());
        spec.update = Some(v1::Update {
            max_surge: Some(1),
            max_unavailable: Some(0),
            progress_deadline: Some(prost_types::Duration {
                seconds: 120,
                nanos: 0,
            }),
            rollback_on_failure: Some(true),
            min_ready: Some(prost_types::Duration {
                seconds: 1,
                nanos: 0,
            }),
        });
        let limits = v1::ServiceLimits {
            memory_bytes: Some(64 << 20),
            cpu_weight: Some(100),
            ..v1::ServiceLimits::default()
        };
        let service = spec.service.as_mut().unwrap();
        service.limits = Some(limits);
        service.reserve = Some(v1::Reserve {
            memory_bytes: Some(16 << 20),
        });
    });
    let fields: Vec<_> = used(&defaults).into_iter().map(|u| u.field).collect();
    assert_eq!(fields, ["spec.service", "spec.service.component"]);
    assert!(admit(&defaults).is_ok());
}

#[test]
fn servers_are_asked_by_what_they_name() {
    let routed = workload(|spec| {
        spec.service.as_mut().unwrap().routes = vec![v1::ServiceRoute {
            port: 80,
            ..Default::default()
        }];
    });
    let refused = |features: &[&str]| {
        let features: Vec<_> = features.iter().map(|f| (*f).to_owned()).collect();
        let offer = Offer::of_server(&features);
        let by = By::Server { version: "0.1.0" };
        check(&routed, |feature| offer.has(feature), by).0
    };
    let own: Vec<_> = honoured();
    let own: Vec<_> = own.iter().map(String::as_str).collect();
    assert_eq!(refused(&own), []);

    let [Violation { field, message }] = &refused(&["publish.tcp", "egress"])[..] else {
        panic!("one of the first servers knew no service routes");
    };
    assert_eq!(field, "spec.service.routes");
    assert_eq!(
        message,
        "the server (version 0.1.0) does not know `spec.service.routes`: upgrade the server, or leave the field out"
    );

    let without_port: Vec<_> = own
        .into_iter()
        .filter(|f| !f.ends_with("routes.port"))
        .collect();
    assert_eq!(
        refused(&without_port)[0].field,
        "spec.service.routes[0].port"
    );
}

#[test]
fn a_worker_must_know_what_the_first_ones_did_not() {
    let config = vec![v1::EnvVar {
        name: "a".into(),
        source: Some(v1::env_var::Source::Value("b".into())),
    }];
    let spec = |config: &[v1::EnvVar]| {
        let workload = workload(|spec| {
            spec.service.as_mut().unwrap().config = config.to_vec();
        });
        workload.spec.unwrap()
    };
    assert!(required_of_worker(&spec(&[])).is_empty());
    let required = required_of_worker(&spec(&config));
    assert_eq!(required, ["spec.service.config".to_owned()].into());
    assert!(required.iter().all(|feature| of_worker().contains(feature)));
}

proptest! {
    #[test]
    fn the_shortest_message_means_the_same(spec in any_spec()) {
        let long = spec.to_proto();
        let short = spec::without_defaults(&long);
        prop_assert_eq!(WorkloadSpec::from_proto(&short).unwrap(), spec);
        prop_assert_eq!(spec::without_defaults(&short), short);
    }
}
