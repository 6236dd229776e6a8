//! What a worker offers to replicas.

use warren_model::{link::HostInterfaces, name::Name};
use warren_proto::v1;

use super::{Access, Offers};

// === impl Offers ===

impl Offers {
    /// Reads what a worker said that it has.
    pub fn of(worker: &v1::Worker) -> Self {
        Self {
            labels: worker.labels.clone(),
            volumes: worker.volumes.iter().filter_map(offered).collect(),
            network: Some(worker.network.clone()).filter(|network| !network.is_empty()),
            // Every rule was checked when the worker sent it.
            publish: worker
                .publish_allow
                .iter()
                .filter_map(|rule| rule.parse().ok())
                .collect(),
            interfaces: HostInterfaces::stated(&worker.interfaces),
            features: worker.features.iter().cloned().collect(),
        }
    }
}

fn offered(volume: &v1::HostVolume) -> Option<(Name, Access)> {
    let access = if volume.read_only {
        Access::Read
    } else {
        Access::Write
    };
    Some((Name::parse(&volume.name).ok()?, access))
}
