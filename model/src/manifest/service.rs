//! The fields of the service.

use marked_yaml::{Node, types::MarkedMappingNode};
use warren_proto::v1;

use super::{
    reader::Reader,
    schema::{self, Schema},
    workload::{artifact, env, reserve},
};

pub(super) fn service(r: &mut Reader, node: &Node, at: &str) -> Option<v1::Service> {
    let map = r.fields(node, at, &schema::SERVICE)?;
    Some(v1::Service {
        component: artifact(r, map, at),
        args: r.texts(map, "args", &format!("{at}.args")),
        env: env(r, map, at),
        restart: r.group(map, "restart", &format!("{at}.restart"), restart),
        publish: r.list(map, "publish", &format!("{at}.publish"), publish),
        egress: r.texts(map, "egress", &format!("{at}.egress")),
        limits: r.group(map, "limits", &format!("{at}.limits"), limits),
        stop_grace: r.duration(map, "stopGrace", &format!("{at}.stop_grace")),
        readiness: r.group(
            map,
            "readiness",
            &format!("{at}.readiness"),
            |r, node, at| probe(r, node, at, &schema::READINESS),
        ),
        liveness: r.group(map, "liveness", &format!("{at}.liveness"), |r, node, at| {
            probe(r, node, at, &schema::LIVENESS)
        }),
        routes: r.list(map, "routes", &format!("{at}.routes"), route),
        volumes: r.list(map, "volumes", &format!("{at}.volumes"), mount),
        exclusive: r
            .boolean(map, "exclusive", &format!("{at}.exclusive"))
            .unwrap_or_default(),
        reserve: r.group(map, "reserve", &format!("{at}.reserve"), reserve),
    })
}

fn restart(r: &mut Reader, node: &Node, at: &str) -> Option<v1::RestartPolicy> {
    use v1::restart_policy::{Policy, Recovery};

    let map = r.fields(node, at, &schema::RESTART)?;
    let policies = [
        ("always", Policy::Always),
        ("on-failure", Policy::OnFailure),
        ("never", Policy::Never),
    ];
    let policy = r.choice(map, "policy", &format!("{at}.policy"), &policies);
    let recoveries = [("replace", Recovery::Replace), ("keep", Recovery::Keep)];
    let on_failed = r.choice(map, "onFailed", &format!("{at}.on_failed"), &recoveries);
    let on_lost = r.choice(map, "onLost", &format!("{at}.on_lost"), &recoveries);
    Some(v1::RestartPolicy {
        policy: policy.unwrap_or_default().into(),
        initial_backoff: r.duration(map, "initialBackoff", &format!("{at}.initial_backoff")),
        max_backoff: r.duration(map, "maxBackoff", &format!("{at}.max_backoff")),
        reset_after: r.duration(map, "resetAfter", &format!("{at}.reset_after")),
        max_restarts: r.number(map, "maxRestarts", &format!("{at}.max_restarts")),
        window: r.duration(map, "window", &format!("{at}.window")),
        on_failed: on_failed.unwrap_or_default().into(),
        on_lost: on_lost.unwrap_or_default().into(),
    })
}

fn publish(r: &mut Reader, node: &Node, at: &str) -> Option<v1::Publish> {
    use v1::publish::Protocol;

    let map = r.fields(node, at, &schema::PUBLISH)?;
    let protocols = [("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];
    let protocol = r.choice(map, "protocol", &format!("{at}.protocol"), &protocols);
    Some(v1::Publish {
        port: port(r, map, at),
        listen: r
            .text(map, "listen", &format!("{at}.listen"))
            .unwrap_or_default(),
        protocol: protocol.unwrap_or_default().into(),
    })
}

fn route(r: &mut Reader, node: &Node, at: &str) -> Option<v1::ServiceRoute> {
    use v1::service_route::Protocol;

    let map = r.fields(node, at, &schema::SERVICE_ROUTE)?;
    let protocols = [("http1", Protocol::Http1), ("h2c", Protocol::H2c)];
    let protocol = r.choice(map, "protocol", &format!("{at}.protocol"), &protocols);
    Some(v1::ServiceRoute {
        host: r
            .text(map, "host", &format!("{at}.host"))
            .unwrap_or_default(),
        path: r
            .text(map, "path", &format!("{at}.path"))
            .unwrap_or_default(),
        port: port(r, map, at),
        protocol: protocol.unwrap_or_default().into(),
    })
}

fn limits(r: &mut Reader, node: &Node, at: &str) -> Option<v1::ServiceLimits> {
    let map = r.fields(node, at, &schema::SERVICE_LIMITS)?;
    Some(v1::ServiceLimits {
        memory_bytes: r.bytes(map, "memory", &format!("{at}.memory_bytes")),
        cpu_weight: r.number(map, "cpuWeight", &format!("{at}.cpu_weight")),
        request_body_bytes: r.bytes(map, "requestBody", &format!("{at}.request_body_bytes")),
        response_body_bytes: r.bytes(map, "responseBody", &format!("{at}.response_body_bytes")),
    })
}

fn probe(r: &mut Reader, node: &Node, at: &str, schema: &Schema) -> Option<v1::Probe> {
    let map = r.fields(node, at, schema)?;
    r.one_of(map, at, &["tcp", "http", "grpc"]);
    let tcp = r.group(map, "tcp", &format!("{at}.tcp"), tcp);
    let http = r.group(map, "http", &format!("{at}.http"), http);
    let grpc = r.group(map, "grpc", &format!("{at}.grpc"), grpc);
    Some(v1::Probe {
        check: tcp.or(http).or(grpc),
        interval: r.duration(map, "interval", &format!("{at}.interval")),
        timeout: r.duration(map, "timeout", &format!("{at}.timeout")),
        failure_threshold: r.number(map, "failureThreshold", &format!("{at}.failure_threshold")),
        success_threshold: r.number(map, "successThreshold", &format!("{at}.success_threshold")),
        start_period: r.duration(map, "startPeriod", &format!("{at}.start_period")),
    })
}

fn tcp(r: &mut Reader, node: &Node, at: &str) -> Option<v1::probe::Check> {
    let map = r.fields(node, at, &schema::TCP)?;
    let port = port(r, map, at);
    Some(v1::probe::Check::Tcp(v1::TcpProbe { port }))
}

fn http(r: &mut Reader, node: &Node, at: &str) -> Option<v1::probe::Check> {
    let map = r.fields(node, at, &schema::HTTP)?;
    let port = port(r, map, at);
    let path = r
        .text(map, "path", &format!("{at}.path"))
        .unwrap_or_default();
    Some(v1::probe::Check::Http(v1::HttpProbe { port, path }))
}

fn grpc(r: &mut Reader, node: &Node, at: &str) -> Option<v1::probe::Check> {
    let map = r.fields(node, at, &schema::GRPC)?;
    let port = port(r, map, at);
    let service = r
        .text(map, "service", &format!("{at}.service"))
        .unwrap_or_default();
    Some(v1::probe::Check::Grpc(v1::GrpcProbe { port, service }))
}

fn mount(r: &mut Reader, node: &Node, at: &str) -> Option<v1::VolumeMount> {
    let map = r.fields(node, at, &schema::MOUNT)?;
    Some(v1::VolumeMount {
        name: r
            .text(map, "name", &format!("{at}.name"))
            .unwrap_or_default(),
        mount_path: r
            .text(map, "mountPath", &format!("{at}.mount_path"))
            .unwrap_or_default(),
        read_only: r
            .boolean(map, "readOnly", &format!("{at}.read_only"))
            .unwrap_or_default(),
    })
}

/// 0 where there is none: no port is 0.
fn port(r: &mut Reader, map: &MarkedMappingNode, at: &str) -> u32 {
    r.number(map, "port", &format!("{at}.port"))
        .unwrap_or_default()
}
