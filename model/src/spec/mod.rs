//! The domain form of a workload's spec: every default filled in, every bound checked.
//!
//! Each type is read from the message by a `from_proto`, which notes every problem, and written by
//! a `to_proto` in the canonical form. Bounds and defaults come from the [schema](crate::schema).

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    time::Duration,
};

use warren_proto::v1;

use self::place::Place;
use crate::{
    digest::Digest,
    error::Violations,
    label,
    name::{Name, WorkloadId},
    route::Route,
};

mod component;
mod defaults;
mod guest;
mod place;
mod probe;
mod restart;
mod rollout;
mod service;
mod volume;

pub use component::{Component, Reuse};
pub use defaults::{default_reserve, min_ready, progress_deadline, without_defaults};
pub use guest::BodyLimits;
pub use probe::{Probe, ProbeCheck};
pub use restart::{
    LEAST_BACKOFF, LEAST_BACKOFF_OF_A_LOOP, Recovery, Restart, RestartPolicy, SHORT_RUN,
    least_backoff,
};
pub use rollout::{Placement, Update};
pub use service::{Publish, RouteProtocol, Service, ServiceRoute};
pub use volume::{EmptyDir, Volume, VolumeMount, VolumeSource};

/// The namespace of a workload that names none.
pub const DEFAULT_NAMESPACE: &str = "default";

/// A workload whose every field is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidWorkload {
    pub id: WorkloadId,
    pub labels: BTreeMap<String, String>,
    pub spec: WorkloadSpec,
}

/// What should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadSpec {
    /// How many replicas run at once; `None` keeps the present number.
    pub replicas: Option<u32>,
    pub service: Option<Service>,
    /// In the order of the request.
    pub components: Vec<Component>,
    /// Each name occurs once.
    pub volumes: Vec<Volume>,
    pub placement: Placement,
    pub update: Update,
}

/// Checks a workload as a whole by the rules of the contract. Output-only fields are ignored.
///
/// What this version does not honour yet is valid here; Apply goes through
/// [`crate::feature::admit`], which refuses it.
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
    let spec = workload.spec.clone().unwrap_or_default();
    let spec = WorkloadSpec::checked(&mut violations, &spec);
    match (namespace, name, spec) {
        (Some(namespace), Some(name), Some(spec)) if violations.0.is_empty() => Ok(ValidWorkload {
            id: WorkloadId { namespace, name },
            labels: workload.labels.clone(),
            spec,
        }),
        _ => Err(violations),
    }
}

// === impl WorkloadSpec ===

impl WorkloadSpec {
    /// Checks every field and fills in every default. The error lists all that is wrong, by paths
    /// from `spec`.
    pub fn from_proto(spec: &v1::WorkloadSpec) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        match Self::checked(&mut violations, spec) {
            Some(spec) if violations.0.is_empty() => Ok(spec),
            _ => Err(violations),
        }
    }

    /// Returns the artifacts that a replica runs.
    pub fn digests(&self) -> impl Iterator<Item = Digest> {
        let service = self.service.iter().map(|service| service.component);
        service.chain(self.components.iter().map(|component| component.component))
    }

    /// Notes what is wrong and returns `None` only if it noted something; so does each `from_proto`
    /// below it.
    fn checked(v: &mut Violations, spec: &v1::WorkloadSpec) -> Option<Self> {
        let at = Place::spec();
        if spec.service.is_none() && spec.components.is_empty() {
            v.push(
                at.path(),
                "a workload needs a service or at least one component",
            );
        }
        let most = at.schema().field("replicas").most();
        if let Some(replicas) = spec.replicas
            && u64::from(replicas) > most
        {
            v.push(
                at.field("replicas"),
                format_args!("{replicas} is more than {most}"),
            );
        }
        at.count(v, "components", spec.components.len());
        let service = match &spec.service {
            None => Some(None),
            Some(service) => {
                Service::from_proto(v, &at.group("service"), service, &spec.volumes).map(Some)
            }
        };
        let components = spec.components.iter().enumerate();
        let components: Vec<_> = components
            .map(|(i, component)| Component::from_proto(v, &at.item("components", i), component))
            .collect();
        component_names_once(v, &spec.components);
        routes_once(v, spec);
        let volumes = Volume::all_from_proto(v, &at, &spec.volumes);
        let placement = spec.placement.clone().unwrap_or_default();
        let placement = Placement::from_proto(v, &at.group("placement"), &placement);
        let update = spec.update.unwrap_or_default();
        let update = Update::from_proto(v, &at.group("update"), &update);
        exclusive_alone(v, spec);
        Some(Self {
            replicas: spec.replicas,
            service: service?,
            components: components.into_iter().collect::<Option<_>>()?,
            volumes: volumes?,
            placement,
            update,
        })
    }

    /// Returns the canonical form: equal specs give equal messages, and reading one back gives an
    /// equal spec.
    ///
    /// Defaults are written out, except those of groups that are a choice of their own
    /// (`placement`, `update`, `reserve`, `limits.cpu_weight`, `empty_dir`): a spec that makes no
    /// such choice is the same to a server that does not know it.
    pub fn to_proto(&self) -> v1::WorkloadSpec {
        v1::WorkloadSpec {
            replicas: self.replicas,
            service: self.service.as_ref().map(Service::to_proto),
            components: self.components.iter().map(Component::to_proto).collect(),
            volumes: self.volumes.iter().map(Volume::to_proto).collect(),
            placement: self.placement.to_proto(),
            update: self.update.to_proto(),
        }
    }
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

fn duration_to_proto(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        // Every duration of a spec is bounded by hours.
        seconds: duration.as_secs().cast_signed(),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

/// What one replica is always granted of its worker's memory, in bytes: the reserves of the service
/// and of each component, which count once however many instances run.
pub fn reserve_bytes(spec: &WorkloadSpec) -> u64 {
    let service = spec.service.as_ref().map(|service| service.reserve_bytes);
    let components = spec.components.iter().map(|c| c.reserve_bytes);
    components.fold(service.unwrap_or(0), u64::saturating_add)
}

/// The limits of the service and of one instance of each component, in bytes: what placement counts
/// on a worker that does not keep reserves.
pub fn limit_bytes(spec: &WorkloadSpec) -> u64 {
    let service = spec.service.as_ref().map(|service| service.memory_bytes);
    let components = spec.components.iter().map(|c| c.memory_bytes);
    components.fold(service.unwrap_or(0), u64::saturating_add)
}

#[cfg(test)]
pub(crate) mod tests;
