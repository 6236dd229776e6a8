//! The objects that a request is about: those of one namespace or all, one workload or all, those
//! with certain labels.

use std::collections::BTreeMap;

use tonic::Status;
use warren_model::{
    error::Violations,
    label,
    name::{Name, WorkloadId},
};

use super::{error, page::Listing};

/// The namespace that an empty one in a request stands for.
const DEFAULT_NAMESPACE: &str = "default";
/// The text that stands for every namespace.
const ALL: &str = "*";

/// Selects workloads by namespace and name.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    namespace: Option<Name>,
    name: Option<Name>,
}

/// Labels that must all be equal.
#[derive(Clone, Debug, Default)]
pub(super) struct Selector(BTreeMap<String, String>);

// === impl Selector ===

impl Selector {
    pub fn parse(labels: BTreeMap<String, String>) -> Result<Self, Status> {
        let mut violations = Violations::default();
        label::check("labels", &labels, &mut violations);
        if violations.0.is_empty() {
            Ok(Self(labels))
        } else {
            Err(error::invalid(&violations))
        }
    }

    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
    }

    /// Narrows a list to this selection.
    pub fn narrow(&self, list: Listing) -> Listing {
        list.labelled(&self.0)
    }
}

// === impl Scope ===

impl Scope {
    /// Parses a scope: an empty namespace is "default" and "*" is all; an empty name is all.
    /// `name_field` is what the request calls the name.
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

    /// Narrows a list to this selection.
    pub fn narrow(&self, list: Listing) -> Listing {
        let text = |name: &Option<Name>| name.as_ref().map_or(ALL.to_owned(), Name::to_string);
        list.about(text(&self.namespace)).about(text(&self.name))
    }

    /// Whether a workload, or something about it, belongs here. Events of workers have no
    /// namespace.
    pub fn contains(&self, namespace: &str, workload: &str) -> bool {
        self.namespace
            .as_ref()
            .is_none_or(|wanted| wanted.as_str() == namespace)
            && self
                .name
                .as_ref()
                .is_none_or(|wanted| wanted.as_str() == workload)
    }
}

/// Parses the name of one workload.
pub(super) fn workload(namespace: &str, name: &str) -> Result<WorkloadId, Status> {
    let mut violations = Violations::default();
    let namespace = violations.ok("namespace", Name::parse(or_default(namespace)));
    let name = violations.ok("name", Name::parse(name));
    match (namespace, name) {
        (Some(namespace), Some(name)) => Ok(WorkloadId { namespace, name }),
        _ => Err(error::invalid(&violations)),
    }
}

fn or_default(namespace: &str) -> &str {
    if namespace.is_empty() {
        DEFAULT_NAMESPACE
    } else {
        namespace
    }
}
