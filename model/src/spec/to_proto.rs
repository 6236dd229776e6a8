//! From the domain form to protobuf, with every default written out: the canonical form.

use std::{collections::BTreeMap, time::Duration};

use warren_proto::v1;

use super::{Component, Publish, Restart, RestartPolicy, Service, WorkloadSpec};
use crate::{egress::EgressRule, route::Route};

impl WorkloadSpec {
    /// The canonical form: equal specs give equal messages, and reading one back gives an equal spec.
    pub fn to_proto(&self) -> v1::WorkloadSpec {
        v1::WorkloadSpec {
            replicas: self.replicas,
            service: self.service.as_ref().map(service),
            components: self.components.iter().map(component).collect(),
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
        egress: egress(&service.egress),
        limits: Some(v1::ServiceLimits {
            memory_bytes: Some(service.memory_bytes),
        }),
        stop_grace: Some(duration(service.stop_grace)),
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
        }),
    }
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
    }
}

fn publish(publish: &Publish) -> v1::Publish {
    v1::Publish {
        port: publish.port.get().into(),
        listen: publish.listen.to_string(),
        protocol: v1::publish::Protocol::Tcp.into(),
    }
}

fn route(route: &Route) -> v1::Route {
    v1::Route {
        host: route.host.clone().unwrap_or_default(),
        path: route.path.clone(),
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
