//! From protobuf to the domain form: defaults filled in, bounds checked, every problem reported.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::RangeInclusive,
};

use warren_proto::v1;

use self::checks::{Bounds, HOUR, MILLISECOND};
use super::{Component, Reuse, ValidWorkload, WorkloadSpec, defaults};
use crate::{
    error::Violations,
    label,
    name::{Name, WorkloadId},
    route::Route,
};

mod checks;
mod probe;
mod rollout;
mod service;
mod volume;

/// The namespace of a workload that names none.
pub const DEFAULT_NAMESPACE: &str = "default";
const MAX_REPLICAS: u32 = 1000;
const MAX_COMPONENTS: usize = 64;
const CONCURRENCY: RangeInclusive<u32> = 1..=1000;
const REUSED_REQUESTS: RangeInclusive<u32> = 1..=1_000_000;

/// Checks a workload as a whole by the rules of the contract. Output-only fields are ignored.
///
/// What this version does not honour yet is valid here; Apply goes through [`crate::feature::admit`], which refuses it.
pub fn validate_workload(workload: &v1::Workload) -> Result<ValidWorkload, Violations> {
    let mut violations = Violations::default();
    let namespace = match workload.namespace.as_str() {
        "" => DEFAULT_NAMESPACE,
        namespace => namespace,
    };
    let namespace = violations.ok("namespace", Name::parse(namespace));
    let name = if workload.name.is_empty() {
        violations.push("name", "it is required: give the workload a name");
        None
    } else {
        violations.ok("name", Name::parse(&workload.name))
    };
    label::check("labels", &workload.labels, &mut violations);
    let spec = workload_spec(&mut violations, &workload.spec.clone().unwrap_or_default());
    match (namespace, name, spec) {
        (Some(namespace), Some(name), Some(spec)) if violations.0.is_empty() => Ok(ValidWorkload {
            id: WorkloadId { namespace, name },
            labels: workload.labels.clone(),
            spec,
        }),
        _ => Err(violations),
    }
}

impl WorkloadSpec {
    /// Checks every field and fills in every default. The error lists all that is wrong, by paths from `spec`.
    pub fn from_proto(spec: &v1::WorkloadSpec) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        match workload_spec(&mut violations, spec) {
            Some(spec) if violations.0.is_empty() => Ok(spec),
            _ => Err(violations),
        }
    }
}

// Each function below notes what is wrong and gives `None` only when it noted something.

fn workload_spec(v: &mut Violations, spec: &v1::WorkloadSpec) -> Option<WorkloadSpec> {
    if spec.service.is_none() && spec.components.is_empty() {
        v.push(
            "spec",
            "a workload needs a service or at least one component",
        );
    }
    if let Some(replicas) = spec.replicas
        && replicas > MAX_REPLICAS
    {
        v.push(
            "spec.replicas",
            format_args!("{replicas} is more than {MAX_REPLICAS}"),
        );
    }
    if spec.components.len() > MAX_COMPONENTS {
        let count = spec.components.len();
        v.push(
            "spec.components",
            format_args!("{count} are more than {MAX_COMPONENTS}"),
        );
    }
    let service = spec
        .service
        .as_ref()
        .map(|s| service::service(v, "spec.service", s, &spec.volumes));
    let components: Vec<_> = spec
        .components
        .iter()
        .enumerate()
        .map(|(i, c)| component(v, &format!("spec.components[{i}]"), c))
        .collect();
    component_names_once(v, &spec.components);
    routes_once(v, spec);
    let volumes = volume::volumes(v, &spec.volumes);
    let placement = rollout::placement(v, &spec.placement.clone().unwrap_or_default());
    let update = rollout::update(v, &spec.update.unwrap_or_default());
    exclusive_alone(v, spec);
    Some(WorkloadSpec {
        replicas: spec.replicas,
        service: match service {
            Some(service) => Some(service?),
            None => None,
        },
        components: components.into_iter().collect::<Option<_>>()?,
        volumes: volumes?,
        placement,
        update,
    })
}

fn exclusive_alone(v: &mut Violations, spec: &v1::WorkloadSpec) {
    let exclusive = spec.service.as_ref().is_some_and(|s| s.exclusive);
    if let Some(replicas @ 2..) = spec.replicas
        && exclusive
    {
        v.push(
            "spec.service.exclusive",
            format_args!(
                "{replicas} replicas would run at once, and an exclusive service never runs twice: ask for 1 replica, or leave `exclusive` out"
            ),
        );
    }
}

fn component(v: &mut Violations, at: &str, component: &v1::Component) -> Option<Component> {
    let name = if component.name.is_empty() {
        v.push(
            format!("{at}.name"),
            "it is required: give the component a name",
        );
        None
    } else {
        v.ok(format!("{at}.name"), Name::parse(&component.name))
    };
    if component.name == "service" {
        v.push(
            format!("{at}.name"),
            "`service` means the service in logs: choose another name",
        );
    }
    let digest = checks::artifact(v, at, &component.component);
    let routes = routes(v, at, &component.routes);
    let env = checks::env(v, at, &component.env);
    let egress = checks::egress(v, at, &component.egress);
    let limits = component.limits.unwrap_or_default();
    let memory_bytes = checks::memory_bytes(
        v,
        at,
        limits.memory_bytes.unwrap_or(defaults::COMPONENT_MEMORY),
    );
    let reserve_bytes = checks::reserve_bytes(v, at, component.reserve, memory_bytes);
    let bounds = Bounds {
        default: defaults::COMPONENT_TIMEOUT,
        range: MILLISECOND..=HOUR,
    };
    let timeout = checks::duration(v, format!("{at}.limits.timeout"), limits.timeout, &bounds);
    let concurrency = limits
        .concurrency
        .unwrap_or(defaults::COMPONENT_CONCURRENCY);
    checks::within(
        v,
        format!("{at}.limits.concurrency"),
        concurrency,
        &CONCURRENCY,
        u32::to_string,
    );
    let bodies = checks::bodies(v, at, limits.request_body_bytes, limits.response_body_bytes);
    let reuse = component
        .reuse
        .map(|given| reuse(v, &format!("{at}.reuse"), given));
    Some(Component {
        name: name?,
        component: digest?,
        routes: routes?,
        env,
        egress: egress?,
        memory_bytes,
        reserve_bytes,
        timeout,
        concurrency,
        bodies,
        reuse,
    })
}

fn routes(v: &mut Violations, at: &str, routes: &[v1::Route]) -> Option<Vec<Route>> {
    let parsed = routes
        .iter()
        .enumerate()
        .map(|(i, route)| checks::route(v, &format!("{at}.routes[{i}]"), &route.host, &route.path));
    parsed.collect::<Vec<_>>().into_iter().collect()
}

fn reuse(v: &mut Violations, at: &str, reuse: v1::Reuse) -> Reuse {
    let requests = checks::within(
        v,
        format!("{at}.requests"),
        reuse.requests.unwrap_or(defaults::REUSE.requests),
        &REUSED_REQUESTS,
        u32::to_string,
    );
    let concurrency = checks::within(
        v,
        format!("{at}.concurrency"),
        reuse.concurrency.unwrap_or(defaults::REUSE.concurrency),
        &CONCURRENCY,
        u32::to_string,
    );
    Reuse {
        requests,
        concurrency,
    }
}

fn component_names_once(v: &mut Violations, components: &[v1::Component]) {
    let mut first = HashMap::new();
    for (i, component) in components.iter().enumerate() {
        let name = component.name.as_str();
        match first.entry(name) {
            Entry::Occupied(first) if !name.is_empty() => v.push(
                format!("spec.components[{i}].name"),
                format_args!(
                    "`{name}` is the name of components[{}] already",
                    first.get()
                ),
            ),
            Entry::Occupied(_) => {}
            Entry::Vacant(entry) => {
                entry.insert(i);
            }
        }
    }
}

/// A (host, path) once, over the service and the components.
fn routes_once(v: &mut Violations, spec: &v1::WorkloadSpec) {
    let service = spec.service.iter().flat_map(|service| {
        let routes = service.routes.iter().enumerate();
        routes.map(|(j, route)| {
            let at = format!("spec.service.routes[{j}]");
            (at, "the service".to_owned(), &route.host, &route.path)
        })
    });
    let components = spec.components.iter().enumerate().flat_map(|(i, c)| {
        c.routes.iter().enumerate().map(move |(j, route)| {
            let at = format!("spec.components[{i}].routes[{j}]");
            let holder = format!("component `{}`", c.name);
            (at, holder, &route.host, &route.path)
        })
    });
    let mut holders = HashMap::new();
    for (at, owner, host, path) in service.chain(components) {
        let Ok(route) = Route::parse(host, path) else {
            continue;
        };
        match holders.entry(route) {
            Entry::Occupied(holder) => v.push(
                at,
                format_args!("{} is a route of {} already", holder.key(), holder.get()),
            ),
            Entry::Vacant(entry) => {
                entry.insert(owner);
            }
        }
    }
}
