//! The current state of one workload and its replicas.

use std::collections::BTreeMap;

use futures::{FutureExt as _, StreamExt as _};
use tonic::Status;
use warren_proto::v1;

use super::watch::{Change, Changes, Target, changes};
use crate::client::Server;

/// Follows one workload, also across restarts of the control plane.
pub struct View {
    workloads: Changes<v1::Workload>,
    replicas: Changes<v1::Replica>,
    pub seen: Seen,
}

/// What has been received so far. Pure.
#[derive(Debug, Default)]
pub struct Seen {
    workloads: Known<v1::Workload>,
    replicas: Known<v1::Replica>,
    /// Why the connection is broken, while it is.
    pub broken: Option<String>,
}

#[derive(Debug)]
struct Known<T> {
    items: BTreeMap<String, T>,
    /// The current state while it is sent again. Until that is complete, the previous state holds.
    incoming: BTreeMap<String, T>,
    telling_anew: bool,
    /// Whether the state has been complete once.
    complete: bool,
}

// === impl View ===

impl View {
    pub fn new(server: &Server, workload: &v1::Workload) -> Self {
        let target = Target {
            server: server.clone(),
            namespace: workload.namespace.clone(),
            name: workload.name.clone(),
            labels: Default::default(),
        };
        Self {
            workloads: changes(target.clone()),
            replicas: changes(target),
            seen: Seen::default(),
        }
    }

    /// Returns after a change, with all changes that arrived together. Dropping the future loses
    /// nothing.
    pub async fn changed(&mut self) -> Result<(), Status> {
        self.take_one().await?;
        while let Some(taken) = self.take_one().now_or_never() {
            taken?;
        }
        Ok(())
    }

    async fn take_one(&mut self) -> Result<(), Status> {
        tokio::select! {
            Some(change) = self.workloads.next() => self.seen.workload(change?),
            Some(change) = self.replicas.next() => self.seen.replica(change?),
            else => return Err(Status::unavailable("the watch has ended")),
        }
        Ok(())
    }
}

// === impl Seen ===

impl Seen {
    /// Returns the workload, or `None` if it is gone, and its replicas. The outer `None` means that
    /// the state is not complete yet.
    pub fn now(&self) -> Option<(Option<&v1::Workload>, Vec<v1::Replica>)> {
        if !self.workloads.complete || !self.replicas.complete {
            return None;
        }
        let workload = self.workloads.items.values().next();
        Some((workload, self.replicas.items.values().cloned().collect()))
    }

    fn workload(&mut self, change: Change<v1::Workload>) {
        self.hear(&change);
        self.workloads.take(change, |workload| &workload.name);
    }

    fn replica(&mut self, change: Change<v1::Replica>) {
        self.hear(&change);
        self.replicas.take(change, |replica| &replica.id);
    }

    fn hear<T>(&mut self, change: &Change<T>) {
        self.broken = match change {
            Change::Broken(why) => Some(why.clone()),
            Change::Resync => return,
            Change::Is(_) | Change::Gone(_) | Change::Complete => None,
        };
    }
}

// === impl Known ===

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            items: BTreeMap::new(),
            incoming: BTreeMap::new(),
            telling_anew: true,
            complete: false,
        }
    }
}

impl<T> Known<T> {
    fn take(&mut self, change: Change<T>, key: impl Fn(&T) -> &String) {
        let items = if self.telling_anew {
            &mut self.incoming
        } else {
            &mut self.items
        };
        match change {
            Change::Is(item) => {
                items.insert(key(&item).clone(), item);
            }
            Change::Gone(item) => {
                items.remove(key(&item));
            }
            Change::Resync => {
                self.incoming.clear();
                self.telling_anew = true;
            }
            Change::Complete => {
                self.items = std::mem::take(&mut self.incoming);
                self.telling_anew = false;
                self.complete = true;
            }
            Change::Broken(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(seen: &Seen) -> Option<Vec<String>> {
        let (_, replicas) = seen.now()?;
        Some(replicas.into_iter().map(|replica| replica.id).collect())
    }

    fn replica(id: &str) -> v1::Replica {
        v1::Replica {
            id: id.to_owned(),
            ..Default::default()
        }
    }

    #[test]
    fn nothing_is_said_before_everything_is_known() {
        let mut seen = Seen::default();
        seen.workload(Change::Is(v1::Workload::default()));
        seen.workload(Change::Complete);
        seen.replica(Change::Is(replica("a")));
        assert!(seen.now().is_none());
        seen.replica(Change::Complete);
        assert_eq!(ids(&seen), Some(vec!["a".to_owned()]));
        seen.workload(Change::Gone(v1::Workload::default()));
        assert!(seen.now().is_some_and(|(workload, _)| workload.is_none()));
    }

    #[test]
    fn a_new_state_replaces_the_old_one_once_it_is_complete() {
        let mut seen = Seen::default();
        seen.workload(Change::Complete);
        seen.replica(Change::Is(replica("a")));
        seen.replica(Change::Complete);
        seen.replica(Change::Broken("gone away".to_owned()));
        assert!(seen.broken.is_some());
        seen.replica(Change::Resync);
        seen.replica(Change::Is(replica("b")));
        assert_eq!(ids(&seen), Some(vec!["a".to_owned()]));
        assert_eq!(seen.broken, None);
        seen.replica(Change::Complete);
        assert_eq!(ids(&seen), Some(vec!["b".to_owned()]));
    }
}
