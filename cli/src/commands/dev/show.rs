//! How to reach running workloads, as lines that are ready to paste.

use std::net::SocketAddr;

use warren_proto::v1::{self, service_route::Protocol};

use crate::process;

/// Returns the routes and published ports of a workload. A port that the worker chose is shown as
/// it is.
pub fn ways_in(http: SocketAddr, workload: &v1::Workload, replicas: &[v1::Replica]) -> Vec<String> {
    let spec = workload.spec.iter();
    let components = spec.clone().flat_map(|spec| &spec.components);
    let mut lines: Vec<String> = components
        .flat_map(|component| &component.routes)
        .map(|route| curl(http, "", &route.host, &route.path))
        .collect();
    let services = spec.flat_map(|spec| &spec.service);
    lines.extend(services.flat_map(|service| &service.routes).map(|route| {
        // It supports only HTTP/2.
        let flags = match route.protocol() {
            Protocol::H2c => "--http2-prior-knowledge ",
            Protocol::Http1 | Protocol::Unspecified => "",
        };
        let line = curl(http, flags, &route.host, &route.path);
        format!("{line} (port {} of the service)", route.port)
    }));
    for replica in replicas.iter().filter(|replica| replica.ready) {
        lines.extend(replica.endpoints.iter().map(|endpoint| {
            let protocol = endpoint.protocol().as_str_name().to_lowercase();
            format!(
                "{protocol} {} (port {} of {})",
                endpoint.address, endpoint.guest_port, replica.id
            )
        }));
    }
    lines
}

/// Formats the `curl` command of a route.
fn curl(http: SocketAddr, flags: &str, host: &str, path: &str) -> String {
    let address = process::reachable(http);
    let port = address.port();
    let path = if path.is_empty() { "/" } else { path };
    if host.is_empty() {
        return format!("curl {flags}http://{address}{path}");
    }
    // curl and browsers resolve every name below localhost to this machine's loopback (RFC 6761).
    let resolves = host == "localhost" || host.ends_with(".localhost");
    if resolves && address.ip().is_loopback() {
        return format!("curl {flags}http://{host}:{port}{path}");
    }
    format!("curl {flags}-H 'Host: {host}' http://{address}{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn curl_lines() {
        for (http, host, path, line) in [
            (
                "127.0.0.1:8000",
                "counter.localhost",
                "/",
                "curl http://counter.localhost:8000/",
            ),
            (
                "0.0.0.0:80",
                "a.localhost",
                "/api",
                "curl http://a.localhost:80/api",
            ),
            ("127.0.0.1:8000", "", "", "curl http://127.0.0.1:8000/"),
            (
                "127.0.0.1:8000",
                "shop.example",
                "/",
                "curl -H 'Host: shop.example' http://127.0.0.1:8000/",
            ),
            (
                "10.0.0.5:8000",
                "a.localhost",
                "/",
                "curl -H 'Host: a.localhost' http://10.0.0.5:8000/",
            ),
        ] {
            let http = http.parse().expect("an address");
            assert_eq!(curl(http, "", host, path), line);
        }
    }

    #[test]
    fn routes_of_the_service_and_published_ports_of_ready_replicas() {
        let replica = |id: &str, ready| v1::Replica {
            id: id.into(),
            ready,
            endpoints: vec![v1::Endpoint {
                protocol: v1::publish::Protocol::Tcp.into(),
                guest_port: 6379,
                address: "127.0.0.1:6380".into(),
            }],
            ..Default::default()
        };
        let route = |path: &str, protocol: Protocol| v1::ServiceRoute {
            host: "db.localhost".into(),
            path: path.into(),
            port: 8080,
            protocol: protocol.into(),
        };
        let workload = v1::Workload {
            spec: Some(v1::WorkloadSpec {
                service: Some(v1::Service {
                    routes: vec![
                        route("/", Protocol::Unspecified),
                        route("/rpc", Protocol::H2c),
                    ],
                    ..Default::default()
                }),
                ..Default::default()
            }),
            ..Default::default()
        };
        let http = SocketAddr::from(([127, 0, 0, 1], 8000));
        let lines = ways_in(http, &workload, &[replica("a", true), replica("b", false)]);
        assert_eq!(
            lines,
            [
                "curl http://db.localhost:8000/ (port 8080 of the service)",
                "curl --http2-prior-knowledge http://db.localhost:8000/rpc (port 8080 of the service)",
                "tcp 127.0.0.1:6380 (port 6379 of a)",
            ]
        );
    }
}
