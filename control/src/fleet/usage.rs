//! The resource usage of replicas, as reported in heartbeats: kept in memory only, and read on
//! request.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use warren_proto::v1::{Replica, ReplicaUsage};

/// The last report of each connected worker, by worker name, with one entry per replica.
#[derive(Default)]
pub struct Usages(Mutex<HashMap<String, BTreeMap<String, ReplicaUsage>>>);

// === impl Usages ===

impl Usages {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Records a worker's heartbeat with the current usage of all its replicas.
    pub fn heard(&self, worker: &str, mut told: BTreeMap<String, ReplicaUsage>) {
        let mut workers = self.0.lock();
        let before = workers.entry(worker.to_owned()).or_default();
        for (replica, usage) in &mut told {
            let before = before.get(replica);
            usage.cpu_millicores = before.and_then(|before| millicores(before, usage));
        }
        *before = told;
    }

    /// Forgets the outdated report of a worker that is no longer connected.
    pub fn forget(&self, worker: &str) {
        self.0.lock().remove(worker);
    }

    /// A replica with what it uses, as far as that is known.
    pub fn shown(&self, replica: &Replica) -> Replica {
        let workers = self.0.lock();
        let usage = workers.get(&replica.worker);
        Replica {
            usage: usage.and_then(|told| told.get(&replica.id).copied()),
            ..replica.clone()
        }
    }
}

/// Returns the CPU use between two measurements in thousandths of a core; `None` if they are not
/// consecutive.
fn millicores(before: &ReplicaUsage, now: &ReplicaUsage) -> Option<u32> {
    let time = |usage: &ReplicaUsage| SystemTime::try_from(usage.time?).ok();
    let cpu = |usage: &ReplicaUsage| Duration::try_from(usage.cpu_time?).ok();
    let interval = time(now)?.duration_since(time(before)?).ok()?;
    let used = cpu(now)?.checked_sub(cpu(before)?)?;
    let share = (used * 1000).as_nanos().checked_div(interval.as_nanos())?;
    u32::try_from(share).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn usage(seconds: i64, cpu_millis: u64) -> ReplicaUsage {
        ReplicaUsage {
            memory_bytes: 1 << 20,
            cpu_time: Duration::from_millis(cpu_millis).try_into().ok(),
            cpu_millicores: None,
            time: Some(prost_types::Timestamp { seconds, nanos: 0 }),
        }
    }

    #[test]
    fn the_rate_is_that_of_the_last_interval() {
        let cases = [
            (usage(10, 1000), usage(12, 1500), Some(250)),
            (usage(10, 1000), usage(11, 3000), Some(2000)),
            (usage(10, 1000), usage(12, 1000), Some(0)),
            // The worker's process was replaced, its clock was set back, or nothing was measured in
            // between.
            (usage(10, 1000), usage(12, 3), None),
            (usage(10, 1000), usage(8, 1500), None),
            (usage(10, 1000), usage(10, 1500), None),
        ];
        for (before, now, expected) in cases {
            assert_eq!(millicores(&before, &now), expected, "{before:?} {now:?}");
        }
    }

    #[test]
    fn what_a_worker_does_not_tell_is_not_shown() {
        let usages = Usages::default();
        let replica = |id: &str| Replica {
            id: id.into(),
            worker: "w1".into(),
            ..Replica::default()
        };
        let tell = |ids: &[&str], cpu| {
            let told = ids.iter().map(|id| ((*id).to_owned(), usage(cpu, 0)));
            usages.heard("w1", told.collect());
        };
        let rate = |id| {
            usages
                .shown(&replica(id))
                .usage
                .map(|usage| usage.cpu_millicores)
        };
        tell(&["a", "b"], 1);
        assert_eq!((rate("a"), rate("c")), (Some(None), None));
        tell(&["a", "c"], 2);
        assert_eq!(rate("a"), Some(Some(0)));
        assert_eq!((rate("b"), rate("c")), (None, Some(None)));
        usages.forget("w1");
        assert_eq!(rate("a"), None);
    }
}
