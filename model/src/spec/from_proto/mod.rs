//! From protobuf to the domain form: defaults filled in, bounds checked, every problem reported.

use std::{
    collections::{HashMap, hash_map::Entry},
    ops::RangeInclusive,
};

use warren_proto::v1;

use self::checks::{Bounds, HOUR, MIB, MILLISECOND, SECOND};
use super::{Component, ValidWorkload, WorkloadSpec};
use crate::{
    error::Violations,
    label,
    name::{Name, WorkloadId},
    route::Route,
};

mod checks;
mod service;

/// The namespace of a workload that names none.
pub const DEFAULT_NAMESPACE: &str = "default";
const MAX_REPLICAS: u32 = 1000;
const MAX_COMPONENTS: usize = 64;
const CONCURRENCY: RangeInclusive<u32> = 1..=1000;

/// Checks a workload as a whole, as Apply does. Output-only fields are ignored.
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
        .map(|s| service::service(v, "spec.service", s));
    let components: Vec<_> = spec
        .components
        .iter()
        .enumerate()
        .map(|(i, c)| component(v, &format!("spec.components[{i}]"), c))
        .collect();
    component_names_once(v, &spec.components);
    routes_once(v, &spec.components);
    Some(WorkloadSpec {
        replicas: spec.replicas,
        service: match service {
            Some(service) => Some(service?),
            None => None,
        },
        components: components.into_iter().collect::<Option<_>>()?,
    })
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
    let memory_bytes = checks::memory_bytes(v, at, limits.memory_bytes.unwrap_or(32 * MIB));
    let bounds = Bounds {
        default: 30 * SECOND,
        range: MILLISECOND..=HOUR,
    };
    let timeout = checks::duration(v, format!("{at}.limits.timeout"), limits.timeout, &bounds);
    let concurrency = limits.concurrency.unwrap_or(256);
    checks::within(
        v,
        format!("{at}.limits.concurrency"),
        concurrency,
        &CONCURRENCY,
        |n| n.to_string(),
    );
    Some(Component {
        name: name?,
        component: digest?,
        routes: routes?,
        env,
        egress: egress?,
        memory_bytes,
        timeout,
        concurrency,
    })
}

fn routes(v: &mut Violations, at: &str, routes: &[v1::Route]) -> Option<Vec<Route>> {
    let parsed = routes.iter().enumerate().map(|(i, route)| {
        let at = format!("{at}.routes[{i}]");
        // Each alone first, so that both are reported, each at its own field.
        let host = v.ok(format!("{at}.host"), Route::parse(&route.host, ""));
        let path = v.ok(format!("{at}.path"), Route::parse("", &route.path));
        Some(Route {
            host: host?.host,
            path: path?.path,
        })
    });
    parsed.collect::<Vec<_>>().into_iter().collect()
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

fn routes_once(v: &mut Violations, components: &[v1::Component]) {
    let mut holders = HashMap::new();
    for (i, component) in components.iter().enumerate() {
        for (j, route) in component.routes.iter().enumerate() {
            let Ok(route) = Route::parse(&route.host, &route.path) else {
                continue;
            };
            match holders.entry(route) {
                Entry::Occupied(holder) => v.push(
                    format!("spec.components[{i}].routes[{j}]"),
                    format_args!(
                        "{} is a route of component `{}` already",
                        holder.key(),
                        holder.get()
                    ),
                ),
                Entry::Vacant(entry) => {
                    entry.insert(&component.name);
                }
            }
        }
    }
}
