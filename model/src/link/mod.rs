//! Which component's export answers each import of a workload's service and components, and which
//! imports its worker answers.
//!
//! Links are by interface name and semver track. Components may import from each other, not in a
//! circle, and never from the service.

use std::fmt;

use crate::{
    component::{ComponentInfo, Use},
    name::Name,
    spec::WorkloadSpec,
};

mod cycle;
mod explain;
mod host;
mod proto;
mod resolve;

use resolve::{Exports, Resolver};

pub use explain::{Explanation, Export, ExportImporter, Import, Wanted, explain};
pub use host::HostInterfaces;
pub use resolve::Answer;

/// The links of one workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinkPlan {
    /// The links of the service; empty where there is none.
    pub service: Vec<Link>,
    /// The links of each component, in the order given.
    pub components: Vec<(Name, Vec<Link>)>,
    /// The interfaces that a worker must provide, each in the least version that does.
    pub interfaces: HostInterfaces,
}

/// One import and the export that answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The import's name as the importer spells it.
    pub import: String,
    /// The component that exports it.
    pub exporter: Name,
    /// The export's name as the exporter spells it: its version may differ.
    pub export: String,
}

/// One thing that keeps a workload from being linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkError {
    pub importer: Importer,
    pub message: String,
    field: String,
}

/// The guest that needs something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Importer {
    Service,
    Component(Name),
}

/// Finds the export for every import, or everything that is wrong with them.
///
/// This is the one rule of what links to what: Apply refuses by it, placement looks for a worker
/// that provides the plan's interfaces, and the worker links by the plan. Functions must agree in
/// name and type; the highest version on the import's track that does is taken. `provided` is what
/// workers provide: they answer imports of `wasi`, and those of other namespaces that no component
/// exports.
pub fn plan(
    service: Option<&ComponentInfo>,
    components: &[(Name, &ComponentInfo)],
    provided: &HostInterfaces,
) -> Result<LinkPlan, Vec<LinkError>> {
    let mut errors = Vec::new();
    let mut plan = LinkPlan::default();
    let exported = Exports::new(components);
    if let Some(info) = service {
        let importer = Site::service(info);
        if !info.uses.contains(&Use::Service) {
            errors.push(importer.error(format_args!(
                "it cannot be the service: a service exports `wasi:cli/run`; {}",
                exports(info)
            )));
        }
        let links = Resolver {
            service: None,
            exporters: exported.all(),
            provided,
        };
        plan.service = links.of(&importer, &mut plan.interfaces, &mut errors);
    }
    for (i, (name, info)) in components.iter().enumerate() {
        let importer = Site::component(i, name, info);
        let links = Resolver {
            service,
            exporters: exported.except(i),
            provided,
        };
        let links = links.of(&importer, &mut plan.interfaces, &mut errors);
        plan.components.push((name.clone(), links));
    }
    for circle in cycle::walk(&plan.components).cycles {
        let (name, info) = &components[circle[0]];
        let path: Vec<_> = circle.iter().map(|i| components[*i].0.as_str()).collect();
        errors.push(Site::component(circle[0], name, info).error(format_args!(
            "components import from each other in a circle: {}",
            path.join(" -> ")
        )));
    }
    if errors.is_empty() {
        Ok(plan)
    } else {
        Err(errors)
    }
}

/// Does what [`plan`] does, and checks that each component can be used as `spec` uses it: one with
/// routes exports `wasi:http`, one that is reused exports it in 0.3.
///
/// `components` are those of the spec, in its order.
pub fn check(
    spec: &WorkloadSpec,
    service: Option<&ComponentInfo>,
    components: &[(Name, &ComponentInfo)],
    provided: &HostInterfaces,
) -> Result<LinkPlan, Vec<LinkError>> {
    let result = plan(service, components, provided);
    let mut misused = Vec::new();
    for (i, (spec, (name, info))) in spec.components.iter().zip(components).enumerate() {
        let site = Site::component(i, name, info);
        if !spec.routes.is_empty() && !info.answers_http() {
            misused.push(site.error(format_args!(
                "it has routes and cannot answer HTTP: it should export `wasi:http/incoming-handler` 0.2 or `wasi:http/handler` 0.3; {}",
                exports(info)
            )));
        } else if spec.reuse.is_some() && !info.can_be_reused() {
            misused.push(site.error(format_args!(
                "`reuse` needs `wasi:http/handler` of WASI 0.3, whose instances keep requests apart: leave it out; {}",
                exports(info)
            )));
        }
    }
    match result {
        Ok(plan) if misused.is_empty() => Ok(plan),
        Ok(_) => Err(misused),
        Err(mut errors) => {
            errors.extend(misused);
            Err(errors)
        }
    }
}

/// One importer, and the field of the spec that names it.
struct Site<'a> {
    importer: Importer,
    field: String,
    info: &'a ComponentInfo,
}

// === impl Site ===

impl<'a> Site<'a> {
    fn service(info: &'a ComponentInfo) -> Self {
        Self {
            importer: Importer::Service,
            field: "spec.service.component".to_owned(),
            info,
        }
    }

    fn component(index: usize, name: &Name, info: &'a ComponentInfo) -> Self {
        Self {
            importer: Importer::Component(name.clone()),
            field: format!("spec.components[{index}].component"),
            info,
        }
    }

    fn error(&self, message: impl fmt::Display) -> LinkError {
        LinkError {
            importer: self.importer.clone(),
            message: message.to_string(),
            field: self.field.clone(),
        }
    }
}

/// The most names that a message lists; it counts the rest.
const NAMED: usize = 3;

/// Returns "`a`, `b`, `c` and 4 more".
fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| format!("`{name}`")).collect();
    // One more name takes no more room than its count.
    let shown = if names.len() == NAMED + 1 {
        NAMED + 1
    } else {
        NAMED
    };
    let (shown, rest) = names.split_at(names.len().min(shown));
    match rest.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// The most exports that a message lists about the wrong component.
const LISTED: usize = 20;

/// Returns "it exports `a`, `b`", for a message about the wrong component.
fn exports(info: &ComponentInfo) -> String {
    let each = info.exports.iter().take(LISTED);
    let names: Vec<_> = each.map(|item| format!("`{}`", item.name)).collect();
    let names = names.join(", ");
    match info.exports.len() {
        0 => "it exports nothing".to_owned(),
        all if all > LISTED => format!("it exports {names} and {} more", all - LISTED),
        _ => format!("it exports {names}"),
    }
}

// === impl LinkError ===

impl LinkError {
    /// Returns the path of the spec's field that names the importer: `spec.service.component` or
    /// `spec.components[0].component`.
    pub fn field(&self) -> String {
        self.field.clone()
    }
}

impl LinkPlan {
    /// Returns the positions of the components, each after those that it imports from.
    pub fn order(&self) -> Vec<usize> {
        cycle::walk(&self.components).order
    }
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.importer, self.message)
    }
}

impl std::error::Error for LinkError {}

// === impl Importer ===

impl fmt::Display for Importer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service => f.write_str("service"),
            Self::Component(name) => write!(f, "component `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests;
