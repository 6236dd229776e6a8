//! The kinds of objects that can be watched, as users see them.

use std::{collections::BTreeMap, sync::Arc};

use prost::Message as _;
use warren_proto::v1;

use super::{Index, contents::Contents, feed::Feed};

pub type Labels = BTreeMap<String, String>;

/// An object of the index whose changes can be watched.
pub trait Watched: Send + Sync + Sized + 'static {
    /// Returns what tells this object from another one of the same name.
    fn life(&self) -> &str;

    /// Returns the version, which differs whenever users see something else.
    fn resource_version(&self) -> &str;

    /// Returns the bytes that it takes as a message.
    fn size(&self) -> usize;

    fn feed(index: &Index) -> &Feed<Self>;

    /// Returns all objects of this kind in the order of their names.
    fn present(contents: &Contents) -> Vec<Arc<Self>>;
}

/// A replica as users see it, with its workload's labels.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownReplica {
    pub replica: v1::Replica,
    pub labels: Arc<Labels>,
}

// === impl Watched ===

impl Watched for v1::Workload {
    fn life(&self) -> &str {
        &self.uid
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }

    fn size(&self) -> usize {
        self.encoded_len()
    }

    fn feed(index: &Index) -> &Feed<Self> {
        &index.workload_changes
    }

    fn present(contents: &Contents) -> Vec<Arc<Self>> {
        let entries = contents.workloads.values();
        entries.filter_map(|held| held.assembled.clone()).collect()
    }
}

impl Watched for ShownReplica {
    fn life(&self) -> &str {
        &self.replica.id
    }

    fn resource_version(&self) -> &str {
        &self.replica.resource_version
    }

    fn size(&self) -> usize {
        self.replica.encoded_len()
    }

    fn feed(index: &Index) -> &Feed<Self> {
        &index.replica_changes
    }

    fn present(contents: &Contents) -> Vec<Arc<Self>> {
        let entries = contents.workloads.values();
        entries
            .flat_map(|held| held.shown.values().cloned())
            .collect()
    }
}

impl Watched for v1::Worker {
    fn life(&self) -> &str {
        &self.id
    }

    fn resource_version(&self) -> &str {
        &self.resource_version
    }

    fn size(&self) -> usize {
        self.encoded_len()
    }

    fn feed(index: &Index) -> &Feed<Self> {
        &index.worker_changes
    }

    fn present(contents: &Contents) -> Vec<Arc<Self>> {
        let entries = contents.workers.values();
        entries.filter_map(|held| held.shown.clone()).collect()
    }
}
