//! The routes that a workload claims: each (host, path) has one holder in the whole fleet.

use warren_model::{route::Route, spec::WorkloadSpec};

/// Returns every route of a spec, of the service and of the components, with its field.
pub fn routes(spec: &WorkloadSpec) -> Vec<(String, &Route)> {
    let service = spec.service.iter().flat_map(|service| {
        let routes = service.routes.iter().enumerate();
        routes.map(|(i, held)| (format!("spec.service.routes[{i}]"), &held.route))
    });
    let components = spec.components.iter().enumerate().flat_map(|(i, held)| {
        let routes = held.routes.iter().enumerate();
        routes.map(move |(j, route)| (format!("spec.components[{i}].routes[{j}]"), route))
    });
    service.chain(components).collect()
}
