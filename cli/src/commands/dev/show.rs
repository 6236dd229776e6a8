//! How to reach what runs, as lines ready to paste.

use std::net::SocketAddr;

use warren_proto::v1;

use crate::{commands::get::route, process};

/// The routes and published ports of a workload.
pub fn ways_in(http: SocketAddr, workload: &v1::Workload, replicas: &[v1::Replica]) -> Vec<String> {
    let components = workload.spec.iter().flat_map(|spec| &spec.components);
    let mut lines: Vec<String> = components
        .flat_map(|component| &component.routes)
        .map(|route| curl(http, route))
        .collect();
    for replica in replicas {
        let ready = replica.endpoints.iter().filter(|_| replica.ready);
        lines.extend(ready.map(|endpoint| {
            format!(
                "tcp {} (port {} of {})",
                endpoint.address, endpoint.guest_port, replica.id
            )
        }));
    }
    lines
}

/// The `curl` line of a route.
fn curl(http: SocketAddr, to: &v1::Route) -> String {
    let address = process::reachable(http);
    let port = address.port();
    let path = if to.path.is_empty() { "/" } else { &to.path };
    if to.host.is_empty() {
        return format!("curl http://{address}{path}");
    }
    // curl and browsers resolve every name below localhost to this machine's loopback (RFC 6761).
    let resolves = to.host == "localhost" || to.host.ends_with(".localhost");
    if resolves && address.ip().is_loopback() {
        return format!("curl http://{}:{port}{path}", to.host);
    }
    let shown = route(to);
    let host = shown.split('/').next().unwrap_or_default();
    format!("curl -H 'Host: {host}' http://{address}{path}")
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
            let route = v1::Route {
                host: host.into(),
                path: path.into(),
            };
            assert_eq!(curl(http.parse().expect("an address"), &route), line);
        }
    }

    #[test]
    fn published_ports_of_ready_replicas() {
        let replica = |id: &str, ready| v1::Replica {
            id: id.into(),
            ready,
            endpoints: vec![v1::Endpoint {
                guest_port: 6379,
                address: "127.0.0.1:6380".into(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let http = SocketAddr::from(([127, 0, 0, 1], 8000));
        let lines = ways_in(
            http,
            &v1::Workload::default(),
            &[replica("a", true), replica("b", false)],
        );
        assert_eq!(lines, ["tcp 127.0.0.1:6380 (port 6379 of a)"]);
    }
}
