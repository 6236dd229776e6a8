//! Derives the routes and the expected ports of a replica from its spec.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use warren_model::{host_port::Transport, route::Route, spec::Service};
use warren_net::Network;

use crate::{
    http::HttpTarget,
    ingress::{PortLimits, ServicePort, ServiceTarget},
    logs::ReplicaLog,
    replica::Assignment,
    runtime::{ComponentHandle, Prepared},
};

/// The routes of a replica with their targets.
pub(super) struct Routes {
    pub(super) targets: Vec<(Route, Arc<dyn HttpTarget>)>,
    /// The distinct ports of the service that routes lead to.
    pub(super) ports: Vec<Arc<ServicePort>>,
}

// === impl Routes ===

impl Routes {
    pub(super) fn new(
        assignment: &Assignment,
        prepared: &Prepared,
        network: &Network,
        log: &ReplicaLog,
    ) -> Self {
        let spec = &assignment.spec;
        let mut targets = Vec::new();
        for (spec, component) in spec.components.iter().zip(&prepared.components) {
            let target: Arc<dyn HttpTarget> = Arc::new(ComponentHandle(Arc::clone(component)));
            targets.extend(spec.routes.iter().map(|r| (r.clone(), Arc::clone(&target))));
        }
        let mut ports = BTreeMap::new();
        let bodies = spec.service.as_ref().map(|service| service.bodies);
        let limits = PortLimits {
            bodies: bodies.unwrap_or_default(),
            ..PortLimits::default()
        };
        for route in spec.service.iter().flat_map(|service| &service.routes) {
            let port = ports.entry(route.port).or_insert_with(|| {
                let (network, log) = (network.clone(), log.clone());
                ServicePort::new(&assignment.id, route.port, network, limits, log)
            });
            let target = ServiceTarget {
                port: Arc::clone(port),
                protocol: route.protocol,
            };
            targets.push((route.route.clone(), Arc::new(target)));
        }
        Self {
            targets,
            ports: ports.into_values().collect(),
        }
    }
}

/// Returns the distinct ports on which a service is expected to listen: those that it publishes and
/// those that its routes lead to.
pub(super) fn expected_ports(service: &Service) -> Vec<(Transport, u16)> {
    let published = service.publish.iter();
    let published = published.map(|publish| (publish.listen.transport, publish.port.get()));
    let routed = service.routes.iter();
    let routed = routed.map(|route| (Transport::Tcp, route.port.get()));
    let each_once: BTreeSet<_> = published.chain(routed).collect();
    each_once.into_iter().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use warren_model::spec::WorkloadSpec;
    use warren_proto::v1;

    use super::*;

    #[test]
    fn published_and_routed_ports_are_expected_once_each() {
        let publish = |port| v1::Publish {
            port,
            listen: "127.0.0.1:0".into(),
            ..Default::default()
        };
        let udp = |port| v1::Publish {
            protocol: v1::publish::Protocol::Udp.into(),
            ..publish(port)
        };
        let route = |path: &str, port| v1::ServiceRoute {
            host: "a.localhost".into(),
            path: path.into(),
            port,
            ..Default::default()
        };
        let service = v1::Service {
            component: format!("sha256:{}", "0".repeat(64)),
            publish: vec![publish(6379), publish(80), udp(80)],
            routes: vec![route("/", 80), route("/admin", 9000), route("/x", 80)],
            ..Default::default()
        };
        let spec = v1::WorkloadSpec {
            service: Some(service),
            ..Default::default()
        };
        let spec = WorkloadSpec::from_proto(&spec).unwrap();
        let tcp = [80, 6379, 9000].map(|port| (Transport::Tcp, port));
        let udp = [(Transport::Udp, 80)];
        let expected = expected_ports(&spec.service.unwrap());
        assert_eq!(expected, [&tcp[..], &udp].concat());
    }
}
