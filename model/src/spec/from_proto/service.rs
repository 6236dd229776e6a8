//! The service: its restart policy, its published ports and its routes.

use std::{net::SocketAddr, ops::RangeInclusive, time::Duration};

use warren_proto::v1;

use super::{
    checks::{self, Bounds, DAY, HOUR, MILLISECOND, SECOND},
    probe::{LIVENESS, READINESS, probe},
    volume,
};
use crate::{
    error::Violations,
    host_port::{HostPort, Transport},
    quantity::format_duration,
    spec::{
        Publish, Recovery, Restart, RestartPolicy, RouteProtocol, Service, ServiceRoute, defaults,
    },
};

const CPU_WEIGHT: RangeInclusive<u32> = 1..=10_000;

/// `volumes` are the workload's: what the service may mount.
pub(super) fn service(
    v: &mut Violations,
    at: &str,
    service: &v1::Service,
    volumes: &[v1::Volume],
) -> Option<Service> {
    let component = checks::artifact(v, at, &service.component);
    for (i, arg) in service.args.iter().enumerate() {
        if arg.contains('\0') {
            v.push(
                format!("{at}.args[{i}]"),
                "an argument cannot hold a NUL character",
            );
        }
    }
    let env = checks::env(v, at, &service.env);
    let restart = restart(
        v,
        &format!("{at}.restart"),
        &service.restart.unwrap_or_default(),
    );
    let publish = publish_all(v, &format!("{at}.publish"), &service.publish);
    let routes = routes(v, at, &service.routes);
    let egress = checks::egress(v, at, &service.egress);
    let readiness = service.readiness.as_ref();
    let readiness = readiness.map(|p| probe(v, &format!("{at}.readiness"), p, &READINESS));
    let liveness = service.liveness.as_ref();
    let liveness = liveness.map(|p| probe(v, &format!("{at}.liveness"), p, &LIVENESS));
    let volumes = volume::mounts(v, &format!("{at}.volumes"), &service.volumes, volumes);
    let limits = service.limits.unwrap_or_default();
    let memory_bytes = checks::memory_bytes(
        v,
        at,
        limits.memory_bytes.unwrap_or(defaults::SERVICE_MEMORY),
    );
    let reserve_bytes = checks::reserve_bytes(v, at, service.reserve, memory_bytes);
    let cpu_weight = checks::within(
        v,
        format!("{at}.limits.cpu_weight"),
        limits.cpu_weight.unwrap_or(defaults::CPU_WEIGHT),
        &CPU_WEIGHT,
        u32::to_string,
    );
    let bodies = checks::bodies(v, at, limits.request_body_bytes, limits.response_body_bytes);
    let grace = Bounds {
        default: defaults::STOP_GRACE,
        range: Duration::ZERO..=HOUR,
    };
    let stop_grace = checks::duration(v, format!("{at}.stop_grace"), service.stop_grace, &grace);
    Some(Service {
        component: component?,
        args: service.args.clone(),
        env,
        restart,
        publish: publish?,
        routes: routes?,
        egress: egress?,
        readiness: given(readiness)?,
        liveness: given(liveness)?,
        volumes: volumes?,
        memory_bytes,
        reserve_bytes,
        cpu_weight,
        bodies,
        stop_grace,
        exclusive: service.exclusive,
    })
}

/// `None` where something was given and is wrong.
#[allow(clippy::option_option)]
fn given<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(value) => value.map(Some),
    }
}

fn routes(v: &mut Violations, at: &str, routes: &[v1::ServiceRoute]) -> Option<Vec<ServiceRoute>> {
    let parsed = routes.iter().enumerate().map(|(i, route)| {
        let at = format!("{at}.routes[{i}]");
        let target = checks::route(v, &at, &route.host, &route.path);
        let port = checks::guest_port(v, &at, route.port);
        let protocol = route_protocol(v, &at, route.protocol);
        Some(ServiceRoute {
            route: target?,
            port: port?,
            protocol,
        })
    });
    parsed.collect::<Vec<_>>().into_iter().collect()
}

fn route_protocol(v: &mut Violations, at: &str, protocol: i32) -> RouteProtocol {
    use v1::service_route::Protocol;

    match Protocol::try_from(protocol) {
        Ok(Protocol::Unspecified | Protocol::Http1) => RouteProtocol::Http1,
        Ok(Protocol::H2c) => RouteProtocol::H2c,
        Err(error) => {
            v.push(format!("{at}.protocol"), error);
            RouteProtocol::Http1
        }
    }
}

fn restart(v: &mut Violations, at: &str, policy: &v1::RestartPolicy) -> RestartPolicy {
    use v1::restart_policy::Policy;

    let restart = match Policy::try_from(policy.policy) {
        Ok(Policy::Unspecified | Policy::Always) => Restart::Always,
        Ok(Policy::OnFailure) => Restart::OnFailure,
        Ok(Policy::Never) => Restart::Never,
        Err(error) => {
            v.push(format!("{at}.policy"), error);
            Restart::Always
        }
    };
    let mut read = |name: &str, value, default, range| {
        checks::duration(v, format!("{at}.{name}"), value, &Bounds { default, range })
    };
    let initial_backoff = read(
        "initial_backoff",
        policy.initial_backoff,
        defaults::INITIAL_BACKOFF,
        MILLISECOND..=HOUR,
    );
    // A first wait beyond the default of the longest raises it: only two given values can contradict each other.
    let longest = initial_backoff.max(defaults::MAX_BACKOFF);
    let max_backoff = read(
        "max_backoff",
        policy.max_backoff,
        longest,
        MILLISECOND..=HOUR,
    );
    let reset_after = read(
        "reset_after",
        policy.reset_after,
        defaults::RESET_AFTER,
        Duration::ZERO..=DAY,
    );
    let window = read("window", policy.window, defaults::WINDOW, SECOND..=DAY);
    if max_backoff < initial_backoff {
        v.push(
            format!("{at}.max_backoff"),
            format_args!(
                "{} is less than `initialBackoff`, {}",
                format_duration(max_backoff),
                format_duration(initial_backoff)
            ),
        );
    }
    let on_failed = recovery(v, format!("{at}.on_failed"), policy.on_failed, restart);
    let on_lost = recovery(v, format!("{at}.on_lost"), policy.on_lost, restart);
    RestartPolicy {
        restart,
        initial_backoff,
        max_backoff,
        reset_after,
        max_restarts: policy.max_restarts.unwrap_or(defaults::MAX_RESTARTS),
        window,
        on_failed,
        on_lost,
    }
}

fn recovery(v: &mut Violations, at: String, given: i32, restart: Restart) -> Recovery {
    use v1::restart_policy::Recovery as Given;

    match Given::try_from(given) {
        Ok(Given::Unspecified) => defaults::recovery(restart),
        Ok(Given::Replace) => Recovery::Replace,
        Ok(Given::Keep) => Recovery::Keep,
        Err(error) => {
            v.push(at, error);
            Recovery::Replace
        }
    }
}

fn publish_all(v: &mut Violations, at: &str, all: &[v1::Publish]) -> Option<Vec<Publish>> {
    let mut listens: Vec<HostPort> = Vec::new();
    let parsed = all.iter().enumerate().map(|(i, publish)| {
        let at = format!("{at}[{i}]");
        let port = checks::guest_port(v, &at, publish.port);
        let address = listen(v, &at, publish);
        let transport = transport(v, &at, publish.protocol);
        let listen = address.map(|address| HostPort { transport, address });
        if let Some(listen) = listen {
            if let Some(earlier) = listens.iter().find(|other| listen.conflicts(other)) {
                v.push(
                    format!("{at}.listen"),
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

fn listen(v: &mut Violations, at: &str, publish: &v1::Publish) -> Option<SocketAddr> {
    let text = &publish.listen;
    let valid = text.parse().ok();
    if valid.is_none() {
        // Shows the right form with the port that was meant, where that can be told.
        let port = text.rsplit(':').next().unwrap_or_default();
        let port = port.parse::<u16>().map_or(publish.port, u32::from);
        let form = format!(
            "write IP:PORT, such as 127.0.0.1:{port}, or 0.0.0.0:{port} for every address of the machine"
        );
        let field = format!("{at}.listen");
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

fn transport(v: &mut Violations, at: &str, protocol: i32) -> Transport {
    use v1::publish::Protocol;

    match Protocol::try_from(protocol) {
        Ok(Protocol::Unspecified | Protocol::Tcp) => Transport::Tcp,
        Ok(Protocol::Udp) => Transport::Udp,
        Err(error) => {
            v.push(format!("{at}.protocol"), error);
            Transport::Tcp
        }
    }
}
