//! The plan as it is stored and sent.

use warren_proto::v1;

use super::{HostInterfaces, Link, LinkPlan};
use crate::{error::Violations, name::Name, spec::WorkloadSpec};

/// Names the service as an importer; no component has this name.
const SERVICE: &str = "service";

impl LinkPlan {
    /// Writes the plan as it is stored and sent.
    pub fn to_proto(&self) -> v1::LinkPlan {
        let link = |importer: &str, link: &Link| v1::Link {
            importer: importer.to_owned(),
            import: link.import.clone(),
            exporter: link.exporter.to_string(),
            export: link.export.clone(),
        };
        let of_service = self.service.iter().map(|one| link(SERVICE, one));
        let of_components = self.components.iter().flat_map(|(name, links)| {
            let links = links.iter();
            links.map(move |one| link(name.as_str(), one))
        });
        v1::LinkPlan {
            links: of_service.chain(of_components).collect(),
            interfaces: self.interfaces.names().collect(),
        }
    }

    /// Reads the plan of a workload's revision. Every guest that it names must be one of `spec`.
    pub fn from_proto(plan: &v1::LinkPlan, spec: &WorkloadSpec) -> Result<Self, Violations> {
        let mut read = Self {
            service: Vec::new(),
            components: spec
                .components
                .iter()
                .map(|component| (component.name.clone(), Vec::new()))
                .collect(),
            interfaces: HostInterfaces::named(&plan.interfaces),
        };
        let mut violations = Violations::default();
        for (i, link) in plan.links.iter().enumerate() {
            let at = |field: &str| format!("link_plan.links[{i}].{field}");
            let is_exporter = |name: &&Name| name.as_str() == link.exporter;
            let mut names = spec.components.iter().map(|component| &component.name);
            let Some(exporter) = names.find(is_exporter).cloned() else {
                violations.push(at("exporter"), not_here(&link.exporter));
                continue;
            };
            let mut components = read.components.iter_mut();
            let links = match link.importer.as_str() {
                SERVICE if spec.service.is_some() => Some(&mut read.service),
                importer => components
                    .find(|(name, _)| name.as_str() == importer)
                    .map(|(_, links)| links),
            };
            match links {
                Some(links) => links.push(Link {
                    import: link.import.clone(),
                    exporter,
                    export: link.export.clone(),
                }),
                None => violations.push(at("importer"), not_here(&link.importer)),
            }
        }
        match violations.0.is_empty() {
            true => Ok(read),
            false => Err(violations),
        }
    }
}

fn not_here(guest: &str) -> String {
    format!("`{guest}` is not a guest of the workload")
}
