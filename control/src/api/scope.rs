//! What a request is about: one namespace or all, one workload or all.

use tonic::Status;
use warren_model::{
    error::Violations,
    name::{Name, WorkloadId},
};

use super::error;

/// An empty namespace in a request means this one.
const DEFAULT_NAMESPACE: &str = "default";
/// Every namespace.
const ALL: &str = "*";

/// Selects workloads by namespace and name.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    namespace: Option<Name>,
    name: Option<Name>,
}

// === impl Scope ===

impl Scope {
    /// An empty namespace is "default", "*" is all; an empty name is all. `name_field` is what the request calls it.
    pub fn parse(namespace: &str, name: &str, name_field: &str) -> Result<Self, Status> {
        let mut violations = Violations::default();
        let namespace = match namespace {
            ALL => None,
            other => violations.ok("namespace", Name::parse(or_default(other))),
        };
        let name = match name {
            "" => None,
            other => violations.ok(name_field, Name::parse(other)),
        };
        if violations.0.is_empty() {
            Ok(Self { namespace, name })
        } else {
            Err(error::invalid(&violations))
        }
    }

    pub fn contains(&self, id: &WorkloadId) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|namespace| *namespace == id.namespace)
            && self.name.as_ref().is_none_or(|name| *name == id.name)
    }

    /// Whether something that is about a workload, by its names, belongs here. Events of workers have no namespace.
    pub fn contains_event(&self, namespace: &str, workload: &str) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|wanted| wanted.as_str() == namespace)
            && self
                .name
                .as_ref()
                .is_none_or(|wanted| wanted.as_str() == workload)
    }
}

/// The one workload that a request names.
pub(super) fn workload(namespace: &str, name: &str) -> Result<WorkloadId, Status> {
    let mut violations = Violations::default();
    let namespace = violations.ok("namespace", Name::parse(or_default(namespace)));
    let name = violations.ok("name", Name::parse(name));
    match (namespace, name) {
        (Some(namespace), Some(name)) => Ok(WorkloadId { namespace, name }),
        _ => Err(error::invalid(&violations)),
    }
}

/// NOT_FOUND for a workload.
pub(super) fn no_workload(id: &WorkloadId) -> Status {
    error::not_found("workload", &id.to_string())
}

fn or_default(namespace: &str) -> &str {
    if namespace.is_empty() {
        DEFAULT_NAMESPACE
    } else {
        namespace
    }
}
