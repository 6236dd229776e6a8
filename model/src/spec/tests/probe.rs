//! Readiness and liveness.

use super::*;

fn tcp(port: u32) -> v1::Probe {
    v1::Probe {
        check: Some(v1::probe::Check::Tcp(v1::TcpProbe { port })),
        ..Default::default()
    }
}

fn http(path: &str) -> v1::Probe {
    let http = v1::HttpProbe {
        port: 8080,
        path: path.into(),
    };
    v1::Probe {
        check: Some(v1::probe::Check::Http(http)),
        ..Default::default()
    }
}

fn readiness(probe: v1::Probe) -> impl FnOnce(&mut v1::WorkloadSpec) {
    with_service(move |service| service.readiness = Some(probe))
}

fn liveness(probe: v1::Probe) -> impl FnOnce(&mut v1::WorkloadSpec) {
    with_service(move |service| service.liveness = Some(probe))
}

#[test]
fn defaults_differ_by_kind_and_are_written_out() {
    let mut spec = spec();
    readiness(tcp(1))(&mut spec);
    liveness(http(""))(&mut spec);
    let spec = WorkloadSpec::from_proto(&spec).unwrap();
    let service = spec.service.as_ref().unwrap();
    let port = |port| NonZeroU16::new(port).unwrap();
    let probe = |check, interval| Probe {
        check,
        interval: Duration::from_secs(interval),
        timeout: Duration::from_secs(1),
        failure_threshold: 3,
        success_threshold: 1,
        start_period: Duration::ZERO,
    };
    let tcp = ProbeCheck::Tcp { port: port(1) };
    assert_eq!(service.readiness, Some(probe(tcp, 1)));
    let http = ProbeCheck::Http {
        port: port(8080),
        path: "/".into(),
    };
    assert_eq!(service.liveness, Some(probe(http, 10)));

    let canonical = spec.to_proto().service.unwrap().liveness.unwrap();
    assert_eq!(canonical.interval, seconds(10));
    assert_eq!(canonical.timeout, seconds(1));
    assert_eq!(canonical.failure_threshold, Some(3));
    assert_eq!(canonical.success_threshold, Some(1));
    assert_eq!(canonical.start_period, seconds(0));
}

#[test]
fn refuses_probes_that_ask_nothing_or_nowhere() {
    refused(
        "spec.service.readiness",
        "give it one of `tcp`, `http` and `grpc`",
        readiness(v1::Probe::default()),
    );
    refused(
        "spec.service.liveness.tcp.port",
        "it is required",
        liveness(tcp(0)),
    );
    refused(
        "spec.service.liveness.tcp.port",
        "65536 is not a port",
        liveness(tcp(65_536)),
    );
    let grpc = v1::probe::Check::Grpc(v1::GrpcProbe::default());
    refused(
        "spec.service.readiness.grpc.port",
        "it is required",
        readiness(v1::Probe {
            check: Some(grpc),
            ..Default::default()
        }),
    );
    let long = format!("/{}", "x".repeat(1024));
    for (path, problem) in [
        ("healthz", "begin with '/'"),
        ("/a b", "percent-encoded"),
        ("/\u{e9}", "percent-encoded"),
        ("/a#b", "end it before '#'"),
        (&long, "at most 1024"),
    ] {
        refused(
            "spec.service.readiness.http.path",
            problem,
            readiness(http(path)),
        );
    }
}

#[test]
fn refuses_times_and_thresholds_out_of_bounds() {
    type Change = fn(&mut v1::Probe);
    let cases: [(&str, &str, Change); 8] = [
        ("interval", "use 10ms to 1h", |p| p.interval = seconds(0)),
        ("interval", "use 10ms to 1h", |p| p.interval = seconds(3601)),
        ("timeout", "use 1ms to 1h", |p| p.timeout = seconds(0)),
        ("timeout", "negative", |p| p.timeout = seconds(-1)),
        ("start_period", "use 0s to 1h", |p| {
            p.start_period = seconds(3601);
        }),
        ("failure_threshold", "use 1 to 1000", |p| {
            p.failure_threshold = Some(0);
        }),
        ("failure_threshold", "use 1 to 1000", |p| {
            p.failure_threshold = Some(1001);
        }),
        ("success_threshold", "0", |p| p.success_threshold = Some(0)),
    ];
    for (field, message, change) in cases {
        let mut probe = tcp(1);
        change(&mut probe);
        refused(
            &format!("spec.service.readiness.{field}"),
            message,
            readiness(probe.clone()),
        );
        refused(
            &format!("spec.service.liveness.{field}"),
            message,
            liveness(probe),
        );
    }
}

#[test]
fn one_success_proves_life() {
    let twice = || v1::Probe {
        success_threshold: Some(2),
        ..tcp(1)
    };
    refused(
        "spec.service.liveness.success_threshold",
        "2 is not possible for liveness: its first success counts",
        liveness(twice()),
    );
    let mut spec = spec();
    readiness(twice())(&mut spec);
    assert!(WorkloadSpec::from_proto(&spec).is_ok());
}
