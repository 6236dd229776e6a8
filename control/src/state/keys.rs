//! The keys of the store. Names are DNS labels, so `/` and `|` never occur in them.

use warren_model::{
    digest::Digest,
    name::{Name, WorkloadId},
    route::Route,
};

pub const TERM: &str = "meta/term";
/// The store's identity.
pub const CLUSTER_ID: &str = "meta/cluster-id";
pub const FENCE: &str = "meta/fence";
/// The longest worker timeout, in milliseconds.
pub const WORKER_TIMEOUT: &str = "meta/worker-timeout";
pub const WORKLOADS: &str = "workload/";
pub const REPLICAS: &str = "replica/";
pub const WORKERS: &str = "worker/";
pub const ARTIFACTS: &str = "artifact/";
/// The prefix of the snapshots of all workloads' revisions.
pub const REVISIONS: &str = "revision/";
pub const EVENTS: &str = "event/";

/// Stands for the empty namespace, which events of workers have. It is not a DNS label, so it is
/// not a namespace.
const NO_NAMESPACE: &str = "_";

/// A key that the index follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Workload(WorkloadId),
    Replica { workload: WorkloadId, id: String },
    Worker(Name),
    Artifact(Digest),
}

pub fn workload(id: &WorkloadId) -> String {
    format!("{WORKLOADS}{id}")
}

pub fn replica(workload: &WorkloadId, id: &str) -> String {
    format!("{REPLICAS}{workload}/{id}")
}

pub fn worker(name: &Name) -> String {
    format!("{WORKERS}{name}")
}

pub fn artifact(digest: Digest) -> String {
    format!("{ARTIFACTS}{}", digest.hex())
}

/// Returns the key of the claim on a route, which has one holder in the whole fleet.
pub fn route(route: &Route) -> String {
    format!(
        "route/{}|{}",
        route.host.as_deref().unwrap_or(""),
        route.path
    )
}

/// Returns the prefix of the snapshots of a workload's revisions.
pub fn revisions(workload: &WorkloadId) -> String {
    format!("{REVISIONS}{workload}/")
}

/// Returns the key of one snapshot; ten digits, so that keys sort as numbers do.
pub fn revision(workload: &WorkloadId, revision: u32) -> String {
    format!("{REVISIONS}{workload}/{revision:010}")
}

pub fn event(namespace: &str, sequence: u64) -> String {
    let namespace = if namespace.is_empty() {
        NO_NAMESPACE
    } else {
        namespace
    };
    format!("{EVENTS}{namespace}/{sequence:020}")
}

/// Reads the namespace and sequence number of an event's key.
pub fn parse_event(key: &str) -> Option<(String, u64)> {
    let (namespace, sequence) = key.strip_prefix(EVENTS)?.split_once('/')?;
    let namespace = if namespace == NO_NAMESPACE {
        ""
    } else {
        namespace
    };
    Some((namespace.to_owned(), sequence.parse().ok()?))
}

/// Reads the revision number at the end of a snapshot's key.
pub fn parse_revision(key: &str) -> Option<u32> {
    key.rsplit_once('/')?.1.parse().ok()
}

// === impl Key ===

impl Key {
    /// Reads a key; `None` for keys that the index does not follow.
    pub fn parse(key: &str) -> Option<Self> {
        let (kind, rest) = key.split_once('/')?;
        match kind {
            "workload" => parse_id(rest).map(Self::Workload),
            "replica" => {
                let (workload, id) = rest.rsplit_once('/')?;
                Some(Self::Replica {
                    workload: parse_id(workload)?,
                    id: id.to_owned(),
                })
            }
            "worker" => Name::parse(rest).ok().map(Self::Worker),
            "artifact" => Digest::parse(&format!("sha256:{rest}"))
                .ok()
                .map(Self::Artifact),
            _ => None,
        }
    }
}

/// Reads `NAMESPACE/NAME`.
pub fn parse_id(text: &str) -> Option<WorkloadId> {
    let (namespace, name) = text.split_once('/')?;
    Some(WorkloadId {
        namespace: Name::parse(namespace).ok()?,
        name: Name::parse(name).ok()?,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let id = parse_id("default/cache").unwrap();
        assert_eq!(Key::parse(&workload(&id)), Some(Key::Workload(id.clone())));
        assert_eq!(
            Key::parse(&replica(&id, "cache-aaaa")),
            Some(Key::Replica {
                workload: id.clone(),
                id: "cache-aaaa".into()
            })
        );
        let digest = Digest::of(b"component");
        assert_eq!(Key::parse(&artifact(digest)), Some(Key::Artifact(digest)));
        let name = Name::parse("w1").unwrap();
        assert_eq!(Key::parse(&worker(&name)), Some(Key::Worker(name)));
        assert_eq!(Key::parse(&revision(&id, 7)), None);
        assert_eq!(parse_revision(&revision(&id, 7)), Some(7));
        assert_eq!(parse_event(&event("", 9)), Some((String::new(), 9)));
        assert_eq!(
            parse_event(&event("default", 9)),
            Some(("default".into(), 9))
        );
    }

    #[test]
    fn one_workloads_prefix_is_not_anothers() {
        let (a, ab) = (
            parse_id("default/a").unwrap(),
            parse_id("default/a-b").unwrap(),
        );
        assert!(!revision(&ab, 1).starts_with(&revisions(&a)));
    }
}
