#![allow(clippy::unwrap_used)]

use std::num::NonZeroU16;

use warren_proto::v1;

use super::*;
use crate::digest::Digest;

pub(crate) mod arbitrary;
mod probe;
mod rollout;
mod service;
mod volume;

const MIB: u64 = 1 << 20;

fn digest() -> String {
    Digest::of(b"component").to_string()
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn service() -> v1::Service {
    v1::Service {
        component: digest(),
        ..Default::default()
    }
}

fn component(name: &str) -> v1::Component {
    v1::Component {
        name: name.into(),
        component: digest(),
        ..Default::default()
    }
}

fn spec() -> v1::WorkloadSpec {
    v1::WorkloadSpec {
        replicas: None,
        service: Some(service()),
        components: vec![component("api")],
        ..Default::default()
    }
}

fn publish(port: u32, listen: &str) -> v1::Publish {
    v1::Publish {
        port,
        listen: listen.into(),
        protocol: 0,
    }
}

fn route(host: &str, path: &str) -> v1::Route {
    v1::Route {
        host: host.into(),
        path: path.into(),
    }
}

fn service_route(host: &str, path: &str, port: u32) -> v1::ServiceRoute {
    v1::ServiceRoute {
        host: host.into(),
        path: path.into(),
        port,
        protocol: 0,
    }
}

/// Fields and messages of everything that is wrong, after a change of a valid spec.
fn violations(change: impl FnOnce(&mut v1::WorkloadSpec)) -> Vec<(String, String)> {
    let mut spec = spec();
    change(&mut spec);
    let Violations(found) = WorkloadSpec::from_proto(&spec).unwrap_err();
    found.into_iter().map(|v| (v.field, v.message)).collect()
}

#[track_caller]
fn refused(field: &str, message: &str, change: impl FnOnce(&mut v1::WorkloadSpec)) {
    let found = violations(change);
    let [(at, text)] = found.as_slice() else {
        panic!("{found:?}")
    };
    assert_eq!(at, field, "{text}");
    assert!(text.contains(message), "{text}");
}

fn with_service(change: impl FnOnce(&mut v1::Service)) -> impl FnOnce(&mut v1::WorkloadSpec) {
    |spec| change(spec.service.as_mut().unwrap())
}

fn with_component(change: impl FnOnce(&mut v1::Component)) -> impl FnOnce(&mut v1::WorkloadSpec) {
    |spec| change(&mut spec.components[0])
}

#[test]
fn absent_fields_become_the_documented_defaults() {
    let digest = Digest::of(b"component");
    let expected = WorkloadSpec {
        replicas: None,
        service: Some(Service {
            component: digest,
            args: vec![],
            env: BTreeMap::new(),
            config: BTreeMap::new(),
            restart: RestartPolicy {
                restart: Restart::Always,
                initial_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(30),
                reset_after: Duration::from_secs(60),
                max_restarts: 10,
                window: Duration::from_secs(300),
                on_failed: Recovery::Replace,
                on_lost: Recovery::Replace,
            },
            publish: vec![],
            routes: vec![],
            egress: vec![],
            readiness: None,
            liveness: None,
            volumes: vec![],
            memory_bytes: 64 * MIB,
            reserve_bytes: 16 * MIB,
            cpu_weight: 100,
            bodies: BodyLimits::default(),
            stop_grace: Duration::from_secs(10),
            exclusive: false,
        }),
        components: vec![Component {
            name: Name::parse("api").unwrap(),
            component: digest,
            routes: vec![],
            env: BTreeMap::new(),
            config: BTreeMap::new(),
            egress: vec![],
            memory_bytes: 32 * MIB,
            reserve_bytes: 8 * MIB,
            timeout: Duration::from_secs(30),
            concurrency: 256,
            bodies: BodyLimits::default(),
            reuse: None,
        }],
        volumes: vec![],
        placement: Placement::default(),
        update: Update {
            max_surge: 1,
            max_unavailable: 0,
            progress_deadline: Duration::from_secs(120),
            rollback_on_failure: true,
            min_ready: Duration::from_secs(1),
        },
    };
    assert_eq!(WorkloadSpec::from_proto(&spec()), Ok(expected.clone()));
    assert_eq!(reserve_bytes(&expected), 24 * MIB);
    assert_eq!(limit_bytes(&expected), 96 * MIB);
}

#[test]
fn a_reserve_is_a_quarter_of_the_limit_unless_it_is_named_and_never_more() {
    let reserve = |bytes| {
        Some(v1::Reserve {
            memory_bytes: bytes,
        })
    };
    let limits = |bytes| {
        Some(v1::ServiceLimits {
            memory_bytes: Some(bytes),
            ..v1::ServiceLimits::default()
        })
    };
    for (limit, given, expected) in [
        (256 * MIB, None, 64 * MIB),
        (256 * MIB, reserve(None), 64 * MIB),
        (256 * MIB, reserve(Some(MIB)), MIB),
        (256 * MIB, reserve(Some(256 * MIB)), 256 * MIB),
        (64 << 10, None, 16 << 10),
        (64 << 10, reserve(Some(16 << 10)), 16 << 10),
    ] {
        let mut message = spec();
        let service = message.service.as_mut().unwrap();
        (service.limits, service.reserve) = (limits(limit), given);
        let read = WorkloadSpec::from_proto(&message).unwrap();
        assert_eq!(read.service.as_ref().unwrap().reserve_bytes, expected);
        let written = read.to_proto().service.unwrap().reserve;
        assert_eq!(
            written.is_some(),
            expected != limit / 4,
            "a default is written out"
        );
    }
    refused(
        "spec.service.reserve.memory_bytes",
        "65MiB is more than `limits.memory`, 64MiB",
        with_service(|s| s.reserve = reserve(Some(65 * MIB))),
    );
    refused(
        "spec.components[0].reserve.memory_bytes",
        "16383B is out of bounds: use 16KiB to 4GiB",
        with_component(|c| c.reserve = reserve(Some((16 << 10) - 1))),
    );
    // One problem, at the limit that is wrong.
    refused(
        "spec.service.limits.memory_bytes",
        "out of bounds",
        with_service(|s| (s.limits, s.reserve) = (limits(1), reserve(Some(MIB)))),
    );
}

#[test]
fn refuses_what_is_missing() {
    refused("spec", "a service or at least one component", |spec| {
        *spec = Default::default();
    });
    refused(
        "spec.service.component",
        "required",
        with_service(|s| s.component.clear()),
    );
    refused(
        "spec.components[0].component",
        "required",
        with_component(|c| c.component.clear()),
    );
    refused(
        "spec.components[0].name",
        "give the component a name",
        with_component(|c| c.name.clear()),
    );
}

#[test]
fn refuses_numbers_out_of_bounds() {
    refused("spec.replicas", "1001 is more than 1000", |spec| {
        spec.replicas = Some(1001);
    });
    refused("spec.components", "65 are more than 64", |spec| {
        spec.components = (0..65).map(|i| component(&format!("c{i}"))).collect();
    });
    refused(
        "spec.service.limits.memory_bytes",
        "65535B is out of bounds: use 64KiB to 4GiB",
        with_service(|s| {
            s.limits = Some(v1::ServiceLimits {
                memory_bytes: Some(65535),
                ..v1::ServiceLimits::default()
            });
        }),
    );
    let limits = |change: fn(&mut v1::ComponentLimits)| {
        with_component(move |c| change(c.limits.get_or_insert_default()))
    };
    refused(
        "spec.components[0].limits.memory_bytes",
        "64KiB to 4GiB",
        limits(|l| l.memory_bytes = Some((4 << 30) + 1)),
    );
    refused(
        "spec.components[0].limits.timeout",
        "0s is out of bounds: use 1ms to 1h",
        limits(|l| l.timeout = seconds(0)),
    );
    for concurrency in [0, 1001] {
        refused(
            "spec.components[0].limits.concurrency",
            "use 1 to 1000",
            with_component(move |c| {
                c.limits.get_or_insert_default().concurrency = Some(concurrency);
            }),
        );
    }
    for (bytes, told) in [(0, "0B"), ((1 << 40) + 1, "1099511627777B")] {
        refused(
            "spec.components[0].limits.request_body_bytes",
            &format!("{told} is out of bounds: use 1B to 1TiB"),
            with_component(move |c| {
                c.limits.get_or_insert_default().request_body_bytes = Some(bytes);
            }),
        );
        refused(
            "spec.components[0].limits.response_body_bytes",
            "use 1B to 1TiB",
            with_component(move |c| {
                c.limits.get_or_insert_default().response_body_bytes = Some(bytes);
            }),
        );
        refused(
            "spec.service.limits.request_body_bytes",
            "use 1B to 1TiB",
            with_service(move |s| {
                s.limits.get_or_insert_default().request_body_bytes = Some(bytes);
            }),
        );
        refused(
            "spec.service.limits.response_body_bytes",
            "use 1B to 1TiB",
            with_service(move |s| {
                s.limits.get_or_insert_default().response_body_bytes = Some(bytes);
            }),
        );
    }
    for cpu_weight in [0, 10_001] {
        refused(
            "spec.service.limits.cpu_weight",
            "use 1 to 10000",
            with_service(move |s| s.limits.get_or_insert_default().cpu_weight = Some(cpu_weight)),
        );
    }
    let reuse = |requests, concurrency| {
        with_component(move |c| {
            c.reuse = Some(v1::Reuse {
                requests,
                concurrency,
            });
        })
    };
    refused(
        "spec.components[0].reuse.requests",
        "1000001 is out of bounds: use 1 to 1000000",
        reuse(Some(1_000_001), None),
    );
    refused(
        "spec.components[0].reuse.concurrency",
        "0 is out of bounds: use 1 to 1000",
        reuse(None, Some(0)),
    );
    refused(
        "spec.service.stop_grace",
        "use 0s to 1h",
        with_service(|s| s.stop_grace = seconds(3601)),
    );
    refused(
        "spec.service.stop_grace",
        "negative",
        with_service(|s| s.stop_grace = seconds(-1)),
    );
}

#[test]
fn names_and_routes_are_given_once() {
    refused("spec.components[1].name", "components[0]", |spec| {
        spec.components.push(component("api"));
    });
    refused(
        "spec.components[0].name",
        "choose another",
        with_component(|c| c.name = "service".into()),
    );
    refused(
        "spec.components[1].routes[0]",
        "a.b/x is a route of component `api` already",
        |spec| {
            spec.components[0].routes = vec![route("a.b", "/x")];
            let routes = vec![route("A.B.", "/x/"), route("a.b", "/")];
            spec.components.push(v1::Component {
                routes,
                ..component("other")
            });
        },
    );
    refused(
        "spec.service.routes[1]",
        "a.b/x is a route of the service already",
        with_service(|s| {
            s.routes = vec![
                service_route("a.b", "/x", 80),
                service_route("A.B", "/x/", 81),
            ];
        }),
    );
    // The service and the components share one space of routes.
    refused(
        "spec.components[0].routes[1]",
        "*/ is a route of the service already",
        |spec| {
            spec.service.as_mut().unwrap().routes = vec![service_route("", "", 80)];
            spec.components[0].routes = vec![route("a.b", ""), route("", "/")];
        },
    );
}

#[test]
fn every_problem_is_reported_at_its_field() {
    let found = violations(|spec| {
        spec.replicas = Some(5000);
        let service = spec.service.as_mut().unwrap();
        service.component = "latest".into();
        service.egress = vec!["db:1".into(), "db".into(), "localhost:1".into()];
        service.publish = vec![publish(0, "x")];
        service.routes = vec![service_route("a b", "x", 65_536)];
        service.readiness = Some(v1::Probe::default());
        service.volumes = vec![v1::VolumeMount::default()];
        let api = &mut spec.components[0];
        api.name = "API".into();
        api.routes = vec![route("a b", "x"), route("", "x?")];
    });
    let fields: Vec<_> = found.iter().map(|(field, _)| field.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.replicas",
            "spec.service.component",
            "spec.service.publish[0].port",
            "spec.service.publish[0].listen",
            "spec.service.routes[0].host",
            "spec.service.routes[0].path",
            "spec.service.routes[0].port",
            "spec.service.egress[1]",
            "spec.service.egress[2]",
            "spec.service.readiness",
            "spec.service.volumes[0].name",
            "spec.service.volumes[0].mount_path",
            "spec.components[0].name",
            "spec.components[0].routes[0].host",
            "spec.components[0].routes[0].path",
            "spec.components[0].routes[1].path",
        ]
    );
}

#[test]
fn workloads_need_a_name_and_have_a_namespace() {
    let workload = v1::Workload {
        name: "counter".into(),
        labels: [("zone".to_owned(), "a".to_owned())].into(),
        spec: Some(spec()),
        ..Default::default()
    };
    let valid = validate_workload(&workload).unwrap();
    assert_eq!(valid.id.to_string(), "default/counter");
    assert_eq!(valid.labels, workload.labels);
    assert_eq!(valid.spec, WorkloadSpec::from_proto(&spec()).unwrap());

    let Violations(found) = validate_workload(&v1::Workload {
        namespace: "No".into(),
        labels: [("a b".to_owned(), String::new())].into(),
        ..Default::default()
    })
    .unwrap_err();
    let fields: Vec<_> = found.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["namespace", "name", "labels[a b]", "spec"]);
}
