//! The service: its published ports and its routes.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU16, time::Duration};

use warren_proto::v1;

use super::{
    BodyLimits, Probe, RestartPolicy, VolumeMount, duration_to_proto, guest, place::Place,
};
use crate::{
    digest::Digest,
    egress::EgressRule,
    error::Violations,
    host_port::{HostPort, Transport},
    route::Route,
};

/// The long-running half of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub component: Digest,
    pub args: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// The values that the guest reads through `wasi:config/store`.
    pub config: BTreeMap<String, String>,
    pub restart: RestartPolicy,
    pub publish: Vec<Publish>,
    pub routes: Vec<ServiceRoute>,
    pub egress: Vec<EgressRule>,
    pub readiness: Option<Probe>,
    pub liveness: Option<Probe>,
    /// Each path occurs once; each name is one of the workload's volumes.
    pub volumes: Vec<VolumeMount>,
    pub memory_bytes: u64,
    /// At most `memory_bytes`: what the service is always granted, and what placement counts.
    pub reserve_bytes: u64,
    pub cpu_weight: u32,
    /// The limits of the bodies that its routes carry.
    pub bodies: BodyLimits,
    pub stop_grace: Duration,
    /// Two replicas never run at once.
    pub exclusive: bool,
}

/// A port of the service that the worker offers on its machine's network, by the same transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub port: NonZeroU16,
    /// With port 0 the worker chooses one.
    pub listen: HostPort,
}

/// An HTTP route to a port of the service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRoute {
    pub route: Route,
    pub port: NonZeroU16,
    pub protocol: RouteProtocol,
}

/// How the worker speaks to the service behind a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteProtocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge for gRPC.
    #[default]
    Http1,
    /// HTTP/2 with prior knowledge.
    H2c,
}

// === impl Service ===

impl Service {
    /// `volumes` are the workload's: what the service may mount.
    pub(super) fn from_proto(
        v: &mut Violations,
        at: &Place,
        service: &v1::Service,
        volumes: &[v1::Volume],
    ) -> Option<Self> {
        let component = guest::artifact(v, at, &service.component);
        for (i, arg) in service.args.iter().enumerate() {
            if arg.contains('\0') {
                v.push(
                    at.field(&format!("args[{i}]")),
                    "an argument cannot hold a NUL character",
                );
            }
        }
        let env = guest::pairs(v, at, "env", &service.env);
        let config = guest::pairs(v, at, "config", &service.config);
        let restart = service.restart.unwrap_or_default();
        let restart = RestartPolicy::from_proto(v, &at.group("restart"), &restart);
        let publish = publish_all(v, at, &service.publish);
        let routes = routes(v, at, &service.routes);
        let egress = guest::egress(v, at, &service.egress);
        let mut probe = |name: &str, given: Option<&v1::Probe>| match given {
            None => Some(None),
            Some(probe) => Probe::from_proto(v, &at.group(name), probe).map(Some),
        };
        let readiness = probe("readiness", service.readiness.as_ref());
        let liveness = probe("liveness", service.liveness.as_ref());
        let volumes = VolumeMount::all_from_proto(v, at, &service.volumes, volumes);
        let given = service.limits.unwrap_or_default();
        let limits = at.group("limits");
        let memory_bytes = limits.size(v, "memory_bytes", given.memory_bytes);
        let reserve_bytes = guest::reserve(v, at, service.reserve, memory_bytes);
        let cpu_weight = limits.number(v, "cpu_weight", given.cpu_weight);
        let bodies = guest::bodies(
            v,
            &limits,
            given.request_body_bytes,
            given.response_body_bytes,
        );
        let stop_grace = at.duration(v, "stop_grace", service.stop_grace);
        Some(Self {
            component: component?,
            args: service.args.clone(),
            env,
            config,
            restart,
            publish: publish?,
            routes: routes?,
            egress: egress?,
            readiness: readiness?,
            liveness: liveness?,
            volumes: volumes?,
            memory_bytes,
            reserve_bytes,
            cpu_weight,
            bodies,
            stop_grace,
            exclusive: service.exclusive,
        })
    }

    pub(super) fn to_proto(&self) -> v1::Service {
        let usual = Place::spec().group("service").group("limits");
        let usual = usual.schema().field("cpu_weight").default_number();
        v1::Service {
            component: self.component.to_string(),
            args: self.args.clone(),
            env: guest::pairs_to_proto(&self.env),
            config: guest::pairs_to_proto(&self.config),
            restart: Some(self.restart.to_proto()),
            publish: self.publish.iter().map(Publish::to_proto).collect(),
            routes: self.routes.iter().map(ServiceRoute::to_proto).collect(),
            egress: guest::egress_to_proto(&self.egress),
            limits: Some(v1::ServiceLimits {
                memory_bytes: Some(self.memory_bytes),
                cpu_weight: (self.cpu_weight != usual).then_some(self.cpu_weight),
                request_body_bytes: self.bodies.request,
                response_body_bytes: self.bodies.response,
            }),
            stop_grace: Some(duration_to_proto(self.stop_grace)),
            readiness: self.readiness.as_ref().map(Probe::to_proto),
            liveness: self.liveness.as_ref().map(Probe::to_proto),
            volumes: self.volumes.iter().map(VolumeMount::to_proto).collect(),
            exclusive: self.exclusive,
            reserve: guest::reserve_to_proto(self.reserve_bytes, self.memory_bytes),
        }
    }
}

// === impl Publish ===

impl Publish {
    fn to_proto(&self) -> v1::Publish {
        let protocol = match self.listen.transport {
            Transport::Tcp => v1::publish::Protocol::Tcp,
            Transport::Udp => v1::publish::Protocol::Udp,
        };
        v1::Publish {
            port: self.port.get().into(),
            listen: self.listen.address.to_string(),
            protocol: protocol.into(),
        }
    }
}

// === impl ServiceRoute ===

impl ServiceRoute {
    fn to_proto(&self) -> v1::ServiceRoute {
        let protocol = match self.protocol {
            RouteProtocol::Http1 => v1::service_route::Protocol::Http1,
            RouteProtocol::H2c => v1::service_route::Protocol::H2c,
        };
        v1::ServiceRoute {
            host: self.route.host.clone().unwrap_or_default(),
            path: self.route.path.clone(),
            port: self.port.get().into(),
            protocol: protocol.into(),
        }
    }
}

fn routes(
    v: &mut Violations,
    at: &Place,
    routes: &[v1::ServiceRoute],
) -> Option<Vec<ServiceRoute>> {
    use v1::service_route::Protocol;

    let parsed = routes.iter().enumerate().map(|(i, route)| {
        let at = at.item("routes", i);
        let target = guest::route(v, &at, &route.host, &route.path);
        let port = at.port(v, route.port);
        let protocol = match at.word(v, "protocol", route.protocol) {
            Protocol::Unspecified | Protocol::Http1 => RouteProtocol::Http1,
            Protocol::H2c => RouteProtocol::H2c,
        };
        Some(ServiceRoute {
            route: target?,
            port: port?,
            protocol,
        })
    });
    parsed.collect::<Vec<_>>().into_iter().collect()
}

fn publish_all(v: &mut Violations, at: &Place, all: &[v1::Publish]) -> Option<Vec<Publish>> {
    use v1::publish::Protocol;

    let mut listens: Vec<HostPort> = Vec::new();
    let parsed = all.iter().enumerate().map(|(i, publish)| {
        let at = at.item("publish", i);
        let port = at.port(v, publish.port);
        let address = listen(v, &at, publish);
        let transport = match at.word(v, "protocol", publish.protocol) {
            Protocol::Unspecified | Protocol::Tcp => Transport::Tcp,
            Protocol::Udp => Transport::Udp,
        };
        let listen = address.map(|address| HostPort { transport, address });
        if let Some(listen) = listen {
            if let Some(earlier) = listens.iter().find(|other| listen.conflicts(other)) {
                v.push(
                    at.field("listen"),
                    format_args!(
                        "{listen} is taken by {earlier} above: publish each address once, or use port 0 to let the worker choose"
                    ),
                );
            }
            listens.push(listen);
        }
        Some(Publish { port: port?, listen: listen? })
    });
    parsed.collect::<Vec<_>>().into_iter().collect()
}

fn listen(v: &mut Violations, at: &Place, publish: &v1::Publish) -> Option<SocketAddr> {
    let text = &publish.listen;
    let valid = text.parse().ok();
    if valid.is_none() {
        // Shows the right form with the port that was meant, where that can be guessed.
        let port = text.rsplit(':').next().unwrap_or_default();
        let port = port.parse::<u16>().map_or(publish.port, u32::from);
        let form = format!(
            "write IP:PORT, such as 127.0.0.1:{port}, or 0.0.0.0:{port} for every address of the machine"
        );
        let field = at.field("listen");
        if text.is_empty() {
            v.push(field, format_args!("it is required: {form}"));
        } else {
            v.push(
                field,
                format_args!("`{text}` is not an address to listen on: {form}"),
            );
        }
    }
    valid
}
