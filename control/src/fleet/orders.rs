//! The assignments that a worker was sent in this session, and those to send next.

use std::{collections::BTreeSet, sync::Arc};

use warren_proto::v1::replica::Phase;

use crate::state::records::ReplicaRecord;

/// The assignments that were sent in one session.
#[derive(Default)]
pub(super) struct Orders {
    /// The assignments that the worker was sent.
    running: BTreeSet<String>,
    /// The replicas that it may have: those that it reported, and those assigned to it since.
    held: BTreeSet<String>,
}

/// The difference between what was sent and what should run.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub assign: Vec<Arc<ReplicaRecord>>,
    pub stop: Vec<String>,
    /// Replicas to stop that the worker was never sent: no report of their end will arrive.
    pub never_held: Vec<Arc<ReplicaRecord>>,
}

// === impl Orders ===

impl Orders {
    /// Creates the state of a session whose worker reported that it has these replicas.
    pub fn beginning_with(held: impl IntoIterator<Item = String>) -> Self {
        Self {
            running: BTreeSet::new(),
            held: held.into_iter().collect(),
        }
    }

    /// Compares with the replicas that are placed on the worker now. The returned changes count as
    /// sent.
    pub fn update(&mut self, placed: &[Arc<ReplicaRecord>]) -> Difference {
        let mut difference = Difference::default();
        let mut wanted = BTreeSet::new();
        for record in placed {
            let id = &record.replica.id;
            match record.phase() {
                Phase::Lost | Phase::Stopped => {}
                Phase::Stopping => {
                    if !self.held.contains(id) {
                        difference.never_held.push(record.clone());
                    }
                }
                // Its worker has forgotten it. A replica that ended is not started again, and one
                // that failed is replaced, not revived.
                Phase::Completed | Phase::Failed if !self.held.contains(id) => {}
                _ => {
                    if self.running.insert(id.clone()) {
                        difference.assign.push(record.clone());
                    }
                    wanted.insert(id.clone());
                }
            }
        }
        self.held.extend(wanted.iter().cloned());
        difference.stop = self.running.difference(&wanted).cloned().collect();
        self.running = wanted;
        difference
    }

    /// Records that the assignment could not be built, so the worker was not sent it.
    pub fn untold(&mut self, id: &str) {
        self.running.remove(id);
        self.held.remove(id);
    }

    /// Records that the worker has nothing left of a replica.
    pub fn gone(&mut self, id: &str) {
        self.held.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placed(replicas: &[(&str, Phase)]) -> Vec<Arc<ReplicaRecord>> {
        let record = |(id, phase): &(&str, Phase)| {
            let mut record = ReplicaRecord::default();
            record.replica.id = (*id).to_owned();
            record.enter(*phase, prost_types::Timestamp::default());
            Arc::new(record)
        };
        replicas.iter().map(record).collect()
    }

    fn ids(records: &[Arc<ReplicaRecord>]) -> Vec<&str> {
        records
            .iter()
            .map(|record| record.replica.id.as_str())
            .collect()
    }

    #[test]
    fn tells_each_change_once() {
        let mut orders = Orders::beginning_with(["a".to_owned()]);
        let first = orders.update(&placed(&[("a", Phase::Running), ("b", Phase::Pending)]));
        assert_eq!((ids(&first.assign), first.stop.len()), (vec!["a", "b"], 0));
        let same = orders.update(&placed(&[("a", Phase::Running), ("b", Phase::Running)]));
        assert!(same.assign.is_empty() && same.stop.is_empty());
        let stop = orders.update(&placed(&[("a", Phase::Stopping), ("b", Phase::Running)]));
        assert_eq!(
            (stop.stop, stop.never_held.len()),
            (vec!["a".to_owned()], 0)
        );
        let gone = orders.update(&placed(&[]));
        assert_eq!(gone.stop, ["b"]);
    }

    #[test]
    fn what_the_worker_never_held_needs_no_stop() {
        let mut orders = Orders::beginning_with(["held".to_owned()]);
        let records = placed(&[
            ("held", Phase::Stopping),
            ("never", Phase::Stopping),
            ("lost", Phase::Lost),
            ("done", Phase::Completed),
            ("failed", Phase::Failed),
        ]);
        let first = orders.update(&records);
        assert!(first.assign.is_empty() && first.stop.is_empty());
        assert_eq!(ids(&first.never_held), ["never"]);
    }
}
