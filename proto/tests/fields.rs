//! Fields by their paths, as `warren_proto::fields` finds them.

use warren_proto::{
    fields::{self, SetField},
    v1,
};

fn set(path: &str, kind: &str) -> SetField {
    SetField {
        path: path.to_owned(),
        kind: kind.to_owned(),
    }
}

#[test]
fn kinds_are_those_of_the_contract() {
    let kinds = fields::kinds::<v1::Probe>();
    assert_eq!(
        kinds,
        [
            "tcp",
            "tcp.port",
            "http",
            "http.port",
            "http.path",
            "grpc",
            "grpc.port",
            "grpc.service",
            "interval",
            "timeout",
            "failureThreshold",
            "successThreshold",
            "startPeriod",
        ]
    );
    // A map is a value, and so is a message of another package.
    assert_eq!(fields::kinds::<v1::Placement>(), ["labels", "spread"]);
}

#[test]
fn what_is_set_is_found_where_it_stands() {
    let spec = v1::WorkloadSpec {
        // Zero and given: there is a presence to tell.
        replicas: Some(0),
        service: Some(v1::Service {
            args: vec!["a".into(), "b".into()],
            stop_grace: Some(prost_types::Duration::default()),
            restart: Some(v1::RestartPolicy::default()),
            env: vec![
                v1::EnvVar::default(),
                v1::EnvVar {
                    name: String::new(),
                    source: Some(v1::env_var::Source::Value(String::new())),
                },
            ],
            routes: vec![v1::ServiceRoute {
                port: 80,
                ..Default::default()
            }],
            ..Default::default()
        }),
        placement: Some(v1::Placement {
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            spread: String::new(),
        }),
        ..Default::default()
    };
    assert_eq!(
        fields::set(&spec),
        [
            set("replicas", "replicas"),
            set("service", "service"),
            set("service.args", "service.args"),
            set("service.env", "service.env"),
            set("service.env[1].value", "service.env.value"),
            set("service.restart", "service.restart"),
            set("service.stop_grace", "service.stopGrace"),
            set("service.routes", "service.routes"),
            set("service.routes[0].port", "service.routes.port"),
            set("placement", "placement"),
            set("placement.labels", "placement.labels"),
        ]
    );
    assert_eq!(fields::set(&v1::WorkloadSpec::default()), []);
}
