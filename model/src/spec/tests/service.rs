//! The service's restart policy, environment and published ports.

use super::*;

fn with_restart(policy: v1::RestartPolicy) -> impl FnOnce(&mut v1::WorkloadSpec) {
    with_service(move |service| service.restart = Some(policy))
}

fn value(name: &str, value: &str) -> v1::EnvVar {
    v1::EnvVar {
        name: name.into(),
        source: Some(v1::env_var::Source::Value(value.into())),
    }
}

#[test]
fn refuses_restart_policies_that_contradict_themselves() {
    let policy = v1::RestartPolicy::default;
    refused(
        "spec.service.restart.policy",
        "9",
        with_restart(v1::RestartPolicy {
            policy: 9,
            ..policy()
        }),
    );
    refused(
        "spec.service.restart.initial_backoff",
        "use 1ms to 1h",
        with_restart(v1::RestartPolicy {
            initial_backoff: seconds(0),
            ..policy()
        }),
    );
    refused(
        "spec.service.restart.max_backoff",
        "1s is less than `initialBackoff`, 2s",
        with_restart(v1::RestartPolicy {
            initial_backoff: seconds(2),
            max_backoff: seconds(1),
            ..policy()
        }),
    );
    refused(
        "spec.service.restart.window",
        "use 1s to 1d",
        with_restart(v1::RestartPolicy {
            window: seconds(0),
            ..policy()
        }),
    );
    refused(
        "spec.service.restart.reset_after",
        "use 0s to 1d",
        with_restart(v1::RestartPolicy {
            reset_after: seconds(86_401),
            ..policy()
        }),
    );
}

#[test]
fn what_becomes_of_failed_and_lost_replicas_follows_the_policy_unless_it_is_said() {
    use v1::restart_policy::{Policy, Recovery as Given};

    let read = |policy: Policy, on_failed: Given, on_lost: Given| {
        let mut spec = spec();
        with_restart(v1::RestartPolicy {
            policy: policy.into(),
            on_failed: on_failed.into(),
            on_lost: on_lost.into(),
            ..Default::default()
        })(&mut spec);
        let restart = WorkloadSpec::from_proto(&spec)
            .unwrap()
            .service
            .unwrap()
            .restart;
        (restart.on_failed, restart.on_lost, restart.runs_once())
    };
    let (replace, keep) = (Recovery::Replace, Recovery::Keep);
    let unsaid = |policy| read(policy, Given::Unspecified, Given::Unspecified);
    assert_eq!(unsaid(Policy::Unspecified), (replace, replace, false));
    assert_eq!(unsaid(Policy::Always), (replace, replace, false));
    assert_eq!(unsaid(Policy::OnFailure), (replace, replace, false));
    assert_eq!(unsaid(Policy::Never), (keep, keep, true));
    let said = |policy, on_failed, on_lost| read(policy, on_failed, on_lost);
    assert_eq!(
        said(Policy::Never, Given::Replace, Given::Replace),
        (replace, replace, false)
    );
    assert_eq!(
        said(Policy::Always, Given::Unspecified, Given::Keep),
        (replace, keep, false)
    );
    refused(
        "spec.service.restart.on_lost",
        "9",
        with_restart(v1::RestartPolicy {
            on_lost: 9,
            ..Default::default()
        }),
    );
}

#[test]
fn a_long_first_backoff_raises_the_longest_that_is_not_given() {
    let mut spec = spec();
    with_restart(v1::RestartPolicy {
        initial_backoff: seconds(60),
        ..Default::default()
    })(&mut spec);
    let spec = WorkloadSpec::from_proto(&spec).unwrap();
    assert_eq!(
        spec.service.unwrap().restart.max_backoff,
        Duration::from_secs(60)
    );
}

#[test]
fn refuses_environments_that_no_process_could_have() {
    let env = |vars: Vec<v1::EnvVar>| with_service(move |s| s.env = vars);
    refused(
        "spec.service.env[0].name",
        "cannot be empty",
        env(vec![value("", "x")]),
    );
    refused(
        "spec.service.env[0].name",
        "'='",
        env(vec![value("A=B", "x")]),
    );
    refused(
        "spec.service.env[0].value",
        "NUL",
        env(vec![value("A", "x\0")]),
    );
    refused(
        "spec.service.env[1].name",
        "more than once",
        env(vec![value("A", "1"), value("A", "2")]),
    );
    let unset = v1::EnvVar {
        name: "A".into(),
        source: None,
    };
    refused("spec.service.env[0]", "`A` has no value", env(vec![unset]));
    let secret = v1::env_var::Source::Secret("password".into());
    let secret = v1::EnvVar {
        name: "A".into(),
        source: Some(secret),
    };
    refused(
        "spec.service.env[0].secret",
        "not supported",
        env(vec![secret]),
    );
    refused(
        "spec.service.args[1]",
        "NUL",
        with_service(|s| s.args = vec!["a".into(), "\0".into()]),
    );
}

#[test]
fn refuses_ports_that_cannot_be_published() {
    let ports = |all: Vec<v1::Publish>| with_service(move |s| s.publish = all);
    refused(
        "spec.service.publish[0].port",
        "1 to 65535",
        ports(vec![publish(0, "127.0.0.1:1")]),
    );
    refused(
        "spec.service.publish[0].port",
        "65536",
        ports(vec![publish(65536, "127.0.0.1:1")]),
    );
    for (listen, form) in [
        ("", "it is required: write IP:PORT, such as 127.0.0.1:6379"),
        ("7000", "such as 127.0.0.1:7000"),
        (":7000", "such as 127.0.0.1:7000"),
        ("localhost:7000", "such as 127.0.0.1:7000"),
        ("127.0.0.1", "such as 127.0.0.1:6379"),
    ] {
        refused(
            "spec.service.publish[0].listen",
            form,
            ports(vec![publish(6379, listen)]),
        );
    }
    let unknown = v1::Publish {
        protocol: 9,
        ..publish(1, "[::]:1")
    };
    refused(
        "spec.service.publish[0].protocol",
        "9",
        ports(vec![unknown]),
    );
}

#[test]
fn fixed_addresses_are_published_once() {
    for (first, second, clash) in [
        ("127.0.0.1:80", "127.0.0.1:80", true),
        ("0.0.0.0:80", "127.0.0.1:80", true),
        ("127.0.0.1:80", "[::]:80", true),
        ("[::1]:80", "0.0.0.0:80", false),
        ("127.0.0.1:80", "127.0.0.1:81", false),
        ("127.0.0.1:80", "127.0.0.2:80", false),
        ("127.0.0.1:0", "127.0.0.1:0", false),
        ("127.0.0.1:80", "127.0.0.1:80/udp", false),
        ("127.0.0.1:80/udp", "[::]:80/udp", true),
    ] {
        let publish = |port, text: &str| match text.strip_suffix("/udp") {
            None => publish(port, text),
            Some(address) => v1::Publish {
                protocol: v1::publish::Protocol::Udp.into(),
                ..publish(port, address)
            },
        };
        let mut spec = spec();
        with_service(|s| s.publish = vec![publish(1, first), publish(2, second)])(&mut spec);
        let result = WorkloadSpec::from_proto(&spec);
        assert_eq!(result.is_err(), clash, "{first} {second}: {result:?}");
        if let Err(Violations(found)) = result {
            assert_eq!(found[0].field, "spec.service.publish[1].listen");
        }
    }
}

#[test]
fn routes_of_the_service_need_a_port_and_know_two_protocols() {
    let routes = |all: Vec<v1::ServiceRoute>| with_service(move |s| s.routes = all);
    refused(
        "spec.service.routes[0].port",
        "it is required: use 1 to 65535",
        routes(vec![service_route("a.b", "/", 0)]),
    );
    refused(
        "spec.service.routes[1].port",
        "70000 is not a port: use 1 to 65535",
        routes(vec![
            service_route("a.b", "/", 1),
            service_route("a.b", "/x", 70_000),
        ]),
    );
    refused(
        "spec.service.routes[0].protocol",
        "9",
        routes(vec![v1::ServiceRoute {
            protocol: 9,
            ..service_route("a.b", "/", 1)
        }]),
    );
    let mut spec = spec();
    let h2c = v1::ServiceRoute {
        protocol: v1::service_route::Protocol::H2c.into(),
        ..service_route("A.b.", "/x/", 65_535)
    };
    routes(vec![h2c, service_route("", "", 1)])(&mut spec);
    let spec = WorkloadSpec::from_proto(&spec).unwrap();
    let route = |host, path, port, protocol| ServiceRoute {
        route: Route::parse(host, path).unwrap(),
        port: NonZeroU16::new(port).unwrap(),
        protocol,
    };
    assert_eq!(
        spec.service.unwrap().routes,
        [
            route("a.b", "/x", 65_535, RouteProtocol::H2c),
            route("", "/", 1, RouteProtocol::Http1),
        ]
    );
}

#[test]
fn an_exclusive_service_runs_once() {
    let exclusive = |replicas| {
        move |spec: &mut v1::WorkloadSpec| {
            spec.replicas = replicas;
            spec.service.as_mut().unwrap().exclusive = true;
        }
    };
    refused(
        "spec.service.exclusive",
        "3 replicas would run at once, and an exclusive service never runs twice",
        exclusive(Some(3)),
    );
    for replicas in [None, Some(0), Some(1)] {
        let mut spec = spec();
        exclusive(replicas)(&mut spec);
        assert!(
            WorkloadSpec::from_proto(&spec)
                .unwrap()
                .service
                .unwrap()
                .exclusive
        );
    }
}

#[test]
fn config_has_bounds() {
    let with_config = |config: Vec<v1::EnvVar>| with_service(|service| service.config = config);
    refused(
        "spec.service.config",
        "257 are more than 256",
        with_config((0..257).map(|i| value(&format!("k{i}"), "")).collect()),
    );
    refused(
        "spec.service.config",
        "its names and values have 64KiB in total: use at most 64KiB",
        with_config(vec![value("k", &"x".repeat(64 << 10))]),
    );
    refused(
        "spec.service.config[1].name",
        "`k` is given more than once",
        with_config(vec![value("k", "1"), value("k", "2")]),
    );
}
