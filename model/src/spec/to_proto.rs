//! From the domain form to protobuf, with every default written out: the canonical form.

use std::{collections::BTreeMap, time::Duration};

use warren_proto::v1;

use super::{
    Component, EmptyDir, Placement, Probe, ProbeCheck, Publish, Recovery, Restart, RestartPolicy,
    RouteProtocol, Service, ServiceRoute, Update, Volume, VolumeMount, VolumeSource, WorkloadSpec,
    defaults,
};
use crate::{egress::EgressRule, host_port::Transport, route::Route};

impl WorkloadSpec {
    /// The canonical form: equal specs give equal messages, and reading one back gives an equal spec.
    ///
    /// Defaults are written out, except those of groups that stand for a choice of their own (`placement`, `update`,
    /// `reserve`, `limits.cpu_weight`, `empty_dir`): a spec that makes no such choice is the same to a server that knows nothing of it.
    pub fn to_proto(&self) -> v1::WorkloadSpec {
        v1::WorkloadSpec {
            replicas: self.replicas,
            service: self.service.as_ref().map(service),
            components: self.components.iter().map(component).collect(),
            volumes: self.volumes.iter().map(volume).collect(),
            placement: placement(&self.placement),
            update: (self.update != Update::default()).then(|| update(&self.update)),
        }
    }
}

fn service(service: &Service) -> v1::Service {
    v1::Service {
        component: service.component.to_string(),
        args: service.args.clone(),
        env: env(&service.env),
        restart: Some(restart(&service.restart)),
        publish: service.publish.iter().map(publish).collect(),
        routes: service.routes.iter().map(service_route).collect(),
        egress: egress(&service.egress),
        limits: Some(v1::ServiceLimits {
            memory_bytes: Some(service.memory_bytes),
            cpu_weight: (service.cpu_weight != defaults::CPU_WEIGHT).then_some(service.cpu_weight),
            request_body_bytes: service.bodies.request,
            response_body_bytes: service.bodies.response,
        }),
        stop_grace: Some(duration(service.stop_grace)),
        readiness: service.readiness.as_ref().map(probe),
        liveness: service.liveness.as_ref().map(probe),
        volumes: service.volumes.iter().map(mount).collect(),
        exclusive: service.exclusive,
        reserve: reserve(service.reserve_bytes, service.memory_bytes),
    }
}

fn component(component: &Component) -> v1::Component {
    v1::Component {
        name: component.name.to_string(),
        component: component.component.to_string(),
        routes: component.routes.iter().map(route).collect(),
        env: env(&component.env),
        egress: egress(&component.egress),
        limits: Some(v1::ComponentLimits {
            memory_bytes: Some(component.memory_bytes),
            timeout: Some(duration(component.timeout)),
            concurrency: Some(component.concurrency),
            request_body_bytes: component.bodies.request,
            response_body_bytes: component.bodies.response,
        }),
        reuse: component.reuse.map(|reuse| v1::Reuse {
            requests: Some(reuse.requests),
            concurrency: Some(reuse.concurrency),
        }),
        reserve: reserve(component.reserve_bytes, component.memory_bytes),
    }
}

fn reserve(bytes: u64, limit: u64) -> Option<v1::Reserve> {
    (bytes != defaults::default_reserve(limit)).then_some(v1::Reserve {
        memory_bytes: Some(bytes),
    })
}

fn env(env: &BTreeMap<String, String>) -> Vec<v1::EnvVar> {
    env.iter()
        .map(|(name, value)| v1::EnvVar {
            name: name.clone(),
            source: Some(v1::env_var::Source::Value(value.clone())),
        })
        .collect()
}

fn restart(policy: &RestartPolicy) -> v1::RestartPolicy {
    let restart = match policy.restart {
        Restart::Always => v1::restart_policy::Policy::Always,
        Restart::OnFailure => v1::restart_policy::Policy::OnFailure,
        Restart::Never => v1::restart_policy::Policy::Never,
    };
    v1::RestartPolicy {
        policy: restart.into(),
        initial_backoff: Some(duration(policy.initial_backoff)),
        max_backoff: Some(duration(policy.max_backoff)),
        reset_after: Some(duration(policy.reset_after)),
        max_restarts: Some(policy.max_restarts),
        window: Some(duration(policy.window)),
        on_failed: recovery(policy.on_failed).into(),
        on_lost: recovery(policy.on_lost).into(),
    }
}

fn recovery(recovery: Recovery) -> v1::restart_policy::Recovery {
    match recovery {
        Recovery::Replace => v1::restart_policy::Recovery::Replace,
        Recovery::Keep => v1::restart_policy::Recovery::Keep,
    }
}

fn publish(publish: &Publish) -> v1::Publish {
    let protocol = match publish.listen.transport {
        Transport::Tcp => v1::publish::Protocol::Tcp,
        Transport::Udp => v1::publish::Protocol::Udp,
    };
    v1::Publish {
        port: publish.port.get().into(),
        listen: publish.listen.address.to_string(),
        protocol: protocol.into(),
    }
}

fn route(route: &Route) -> v1::Route {
    v1::Route {
        host: route.host.clone().unwrap_or_default(),
        path: route.path.clone(),
    }
}

fn service_route(route: &ServiceRoute) -> v1::ServiceRoute {
    let protocol = match route.protocol {
        RouteProtocol::Http1 => v1::service_route::Protocol::Http1,
        RouteProtocol::H2c => v1::service_route::Protocol::H2c,
    };
    v1::ServiceRoute {
        host: route.route.host.clone().unwrap_or_default(),
        path: route.route.path.clone(),
        port: route.port.get().into(),
        protocol: protocol.into(),
    }
}

fn probe(probe: &Probe) -> v1::Probe {
    use v1::probe::Check;

    let check = match &probe.check {
        ProbeCheck::Tcp { port } => Check::Tcp(v1::TcpProbe {
            port: port.get().into(),
        }),
        ProbeCheck::Http { port, path } => Check::Http(v1::HttpProbe {
            port: port.get().into(),
            path: path.clone(),
        }),
        ProbeCheck::Grpc { port, service } => Check::Grpc(v1::GrpcProbe {
            port: port.get().into(),
            service: service.clone(),
        }),
    };
    v1::Probe {
        check: Some(check),
        interval: Some(duration(probe.interval)),
        timeout: Some(duration(probe.timeout)),
        failure_threshold: Some(probe.failure_threshold),
        success_threshold: Some(probe.success_threshold),
        start_period: Some(duration(probe.start_period)),
    }
}

fn volume(volume: &Volume) -> v1::Volume {
    let source = match &volume.source {
        VolumeSource::EmptyDir(limits) => v1::volume::Source::EmptyDir(empty_dir(limits)),
        VolumeSource::Host(host) => v1::volume::Source::Host(host.to_string()),
    };
    v1::Volume {
        name: volume.name.to_string(),
        source: Some(source),
    }
}

fn empty_dir(limits: &EmptyDir) -> v1::EmptyDir {
    let EmptyDir { size_limit, inodes } = *limits;
    v1::EmptyDir {
        size_limit_bytes: (size_limit != defaults::SIZE_LIMIT).then_some(size_limit),
        inodes: (inodes != defaults::INODES).then_some(inodes),
    }
}

fn mount(mount: &VolumeMount) -> v1::VolumeMount {
    v1::VolumeMount {
        name: mount.name.to_string(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only,
    }
}

fn placement(placement: &Placement) -> Option<v1::Placement> {
    (*placement != Placement::default()).then(|| v1::Placement {
        labels: placement.labels.clone(),
        spread: placement.spread.clone().unwrap_or_default(),
    })
}

fn update(update: &Update) -> v1::Update {
    v1::Update {
        max_surge: Some(update.max_surge),
        max_unavailable: Some(update.max_unavailable),
        progress_deadline: Some(duration(update.progress_deadline)),
        rollback_on_failure: Some(update.rollback_on_failure),
        min_ready: Some(duration(update.min_ready)),
    }
}

fn egress(rules: &[EgressRule]) -> Vec<String> {
    rules.iter().map(ToString::to_string).collect()
}

fn duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        // Every duration of a spec is bounded by hours.
        seconds: duration.as_secs().cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}
