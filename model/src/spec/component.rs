//! A stateless component.

use std::{collections::BTreeMap, time::Duration};

use warren_proto::v1;

use super::{BodyLimits, duration_to_proto, guest, place::Place};
use crate::{digest::Digest, egress::EgressRule, error::Violations, name::Name, route::Route};

/// A stateless component: a fresh instance for each invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    pub name: Name,
    pub component: Digest,
    pub routes: Vec<Route>,
    pub env: BTreeMap<String, String>,
    /// The values that the guest reads through `wasi:config/store`.
    pub config: BTreeMap<String, String>,
    pub egress: Vec<EgressRule>,
    /// The limit of one instance.
    pub memory_bytes: u64,
    /// As for the service, but of all instances in one replica together.
    pub reserve_bytes: u64,
    pub timeout: Duration,
    pub concurrency: u32,
    pub bodies: BodyLimits,
    /// `None`: a fresh instance for each invocation.
    pub reuse: Option<Reuse>,
}

/// The number of requests that one instance of a component serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reuse {
    /// In total; then it is dropped.
    pub requests: u32,
    /// At once.
    pub concurrency: u32,
}

// === impl Component ===

impl Component {
    pub(super) fn from_proto(
        v: &mut Violations,
        at: &Place,
        component: &v1::Component,
    ) -> Option<Self> {
        let name = if component.name.is_empty() {
            v.push(
                at.field("name"),
                "it is required: give the component a name",
            );
            None
        } else {
            v.ok(at.field("name"), Name::parse(&component.name))
        };
        if component.name == "service" {
            v.push(
                at.field("name"),
                "`service` means the service in logs: choose another name",
            );
        }
        let digest = guest::artifact(v, at, &component.component);
        let routes = component.routes.iter().enumerate();
        let routes = routes
            .map(|(i, route)| guest::route(v, &at.item("routes", i), &route.host, &route.path))
            .collect::<Vec<_>>();
        let env = guest::pairs(v, at, "env", &component.env);
        let config = guest::pairs(v, at, "config", &component.config);
        let egress = guest::egress(v, at, &component.egress);
        let given = component.limits.unwrap_or_default();
        let limits = at.group("limits");
        let memory_bytes = limits.size(v, "memory_bytes", given.memory_bytes);
        let reserve_bytes = guest::reserve(v, at, component.reserve, memory_bytes);
        let timeout = limits.duration(v, "timeout", given.timeout);
        let concurrency = limits.number(v, "concurrency", given.concurrency);
        let bodies = guest::bodies(
            v,
            &limits,
            given.request_body_bytes,
            given.response_body_bytes,
        );
        let reuse = component
            .reuse
            .map(|reuse| Reuse::from_proto(v, &at.group("reuse"), reuse));
        Some(Self {
            name: name?,
            component: digest?,
            routes: routes.into_iter().collect::<Option<_>>()?,
            env,
            config,
            egress: egress?,
            memory_bytes,
            reserve_bytes,
            timeout,
            concurrency,
            bodies,
            reuse,
        })
    }

    pub(super) fn to_proto(&self) -> v1::Component {
        let routes = self.routes.iter().map(|route| v1::Route {
            host: route.host.clone().unwrap_or_default(),
            path: route.path.clone(),
        });
        v1::Component {
            name: self.name.to_string(),
            component: self.component.to_string(),
            routes: routes.collect(),
            env: guest::pairs_to_proto(&self.env),
            config: guest::pairs_to_proto(&self.config),
            egress: guest::egress_to_proto(&self.egress),
            limits: Some(v1::ComponentLimits {
                memory_bytes: Some(self.memory_bytes),
                timeout: Some(duration_to_proto(self.timeout)),
                concurrency: Some(self.concurrency),
                request_body_bytes: self.bodies.request,
                response_body_bytes: self.bodies.response,
            }),
            reuse: self.reuse.map(|reuse| v1::Reuse {
                requests: Some(reuse.requests),
                concurrency: Some(reuse.concurrency),
            }),
            reserve: guest::reserve_to_proto(self.reserve_bytes, self.memory_bytes),
        }
    }
}

// === impl Reuse ===

impl Reuse {
    fn from_proto(v: &mut Violations, at: &Place, reuse: v1::Reuse) -> Self {
        Self {
            requests: at.number(v, "requests", reuse.requests),
            concurrency: at.number(v, "concurrency", reuse.concurrency),
        }
    }
}
