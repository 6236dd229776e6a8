use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use warren_model::{
    digest::Digest,
    name::{Name, WorkloadId},
};
use warren_proto::v1::{self, replica::Phase};

use super::contents::{Contents, Effects};
use crate::{
    state::{encode, keys, records::ReplicaRecord},
    store::{Change, Revision, Snapshot, Versioned},
};

fn id(name: &str) -> WorkloadId {
    keys::parse_id(&format!("default/{name}")).unwrap()
}

fn workload(name: &str, revision: Revision) -> Change {
    let value = v1::Workload {
        namespace: "default".into(),
        name: name.into(),
        uid: "u".into(),
        revision: 1,
        spec: Some(v1::WorkloadSpec {
            replicas: Some(1),
            ..Default::default()
        }),
        ..Default::default()
    };
    put(keys::workload(&id(name)), encode(&value), revision)
}

fn replica(of: &str, name: &str, worker: &str, phase: Phase, revision: Revision) -> Change {
    let record = ReplicaRecord {
        replica: v1::Replica {
            id: name.into(),
            workload: of.into(),
            worker: worker.into(),
            revision: 1,
            phase: phase.into(),
            ready: phase == Phase::Running,
            ..Default::default()
        },
        memory_bytes: 40,
        reserve_bytes: Some(6),
        ..Default::default()
    };
    put(keys::replica(&id(of), name), encode(&record), revision)
}

fn worker(name: &str, ready: bool, revision: Revision) -> Change {
    let value = v1::Worker {
        name: name.into(),
        ready,
        ..Default::default()
    };
    put(
        keys::worker(&Name::parse(name).unwrap()),
        encode(&value),
        revision,
    )
}

fn put(key: String, value: Bytes, revision: Revision) -> Change {
    Change {
        key,
        value: Some(value),
        revision,
        last: true,
    }
}

fn gone(change: &Change, revision: Revision) -> Change {
    Change {
        key: change.key.clone(),
        value: None,
        revision,
        last: true,
    }
}

/// What became of workloads, replicas and workers: added, modified, deleted.
fn kinds(effects: &Effects) -> [String; 3] {
    fn letters<T>(changes: &[super::Change<T>]) -> String {
        let letter = |change: &super::Change<T>| match (&change.before, &change.after) {
            (None, _) => 'A',
            (_, None) => 'D',
            _ => 'M',
        };
        changes.iter().map(letter).collect()
    }
    let seen = &effects.seen;
    [
        letters(&seen.workloads),
        letters(&seen.replicas),
        letters(&seen.workers),
    ]
}

#[test]
fn one_transaction_is_one_event_a_workload() {
    let mut contents = Contents::default();
    let effects = contents.apply(&[
        replica("a", "a-1", "w1", Phase::Running, 5),
        workload("a", 5),
        replica("a", "a-2", "", Phase::Pending, 5),
    ]);
    assert_eq!(kinds(&effects), ["A", "AA", ""]);
    let change = &effects.seen.workloads[0];
    let seen = change.after.as_ref().unwrap();
    assert_eq!((change.revision, seen.resource_version.as_str()), (5, "5"));
    let status = seen.status.as_ref().unwrap();
    assert_eq!((status.replicas, status.ready_replicas), (2, 1));
    assert!(
        effects
            .workers
            .contains("w1".parse::<Name>().as_ref().unwrap())
    );

    // A change that users do not see: the reconciler looks at it, watchers do not.
    let mut hidden = replica("a", "a-1", "w1", Phase::Running, 6);
    hidden.value = Some(encode(&ReplicaRecord {
        attempt: 3,
        ..prost::Message::decode(hidden.value.unwrap()).unwrap()
    }));
    let effects = contents.apply(&[hidden]);
    assert_eq!(kinds(&effects), ["", "", ""]);
    assert!(effects.workloads.contains(&id("a")));

    let effects = contents.apply(&[gone(&workload("a", 0), 7)]);
    assert_eq!(kinds(&effects), ["D", "", ""]);
    let effects = contents.apply(&[
        gone(&replica("a", "a-1", "w1", Phase::Running, 0), 8),
        gone(&replica("a", "a-2", "", Phase::Pending, 0), 8),
    ]);
    assert_eq!(kinds(&effects), ["", "DD", ""]);
    assert!(contents.workloads.is_empty() && contents.unplaced.is_empty());
}

#[test]
fn a_change_concerns_only_those_who_can_gain_or_lose_by_it() {
    let mut contents = Contents::default();
    contents.apply(&[
        workload("on-w1", 1),
        replica("on-w1", "r1", "w1", Phase::Running, 1),
        workload("on-w2", 1),
        replica("on-w2", "r2", "w2", Phase::Running, 1),
        workload("waiting", 1),
        replica("waiting", "r3", "", Phase::Pending, 1),
        worker("w1", true, 1),
        worker("w2", true, 1),
    ]);
    let concerned = |effects: Effects| -> Vec<String> {
        effects
            .workloads
            .iter()
            .map(|id| id.name.to_string())
            .collect()
    };
    let lost = contents.apply(&[worker("w1", false, 2)]);
    assert_eq!(concerned(lost), ["on-w1"]);
    let back = contents.apply(&[worker("w1", true, 3)]);
    assert_eq!(concerned(back), ["on-w1", "waiting"]);
    let room = contents.apply(&[replica("on-w2", "r2", "w2", Phase::Failed, 4)]);
    assert_eq!(concerned(room), ["on-w2", "waiting"]);
    let no_room = contents.apply(&[replica("on-w1", "r1", "w1", Phase::Backoff, 5)]);
    assert_eq!(concerned(no_room), ["on-w1"]);
}

#[test]
fn a_spec_is_parsed_once_when_its_workload_is_put() {
    let with_spec = |spec, revision| {
        let value = v1::Workload {
            spec: Some(spec),
            ..Default::default()
        };
        put(keys::workload(&id("a")), encode(&value), revision)
    };
    let service = |args: &[&str]| v1::WorkloadSpec {
        service: Some(v1::Service {
            component: Digest::of(b"").to_string(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let mut contents = Contents::default();
    contents.apply(&[with_spec(service(&["x"]), 5)]);
    let spec = |contents: &Contents| contents.workloads[&id("a")].spec.clone();
    let first = spec(&contents).unwrap();
    assert_eq!(first.service.as_ref().unwrap().args, ["x"]);
    contents.apply(&[replica("a", "a-1", "w1", Phase::Running, 6)]);
    assert!(Arc::ptr_eq(&first, &spec(&contents).unwrap()));
    contents.apply(&[with_spec(service(&["y"]), 7)]);
    let second = spec(&contents).unwrap();
    assert_eq!(second.service.as_ref().unwrap().args, ["y"]);
    // Nothing can run by a digest that is not one; the workload is still there.
    let unreadable = v1::WorkloadSpec {
        service: Some(v1::Service {
            component: "sha256:x".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    contents.apply(&[with_spec(unreadable, 8)]);
    assert!(spec(&contents).is_none());
    assert!(contents.workloads[&id("a")].stored.is_some());
}

#[test]
fn usage_counts_what_occupies() {
    let mut contents = Contents::default();
    contents.apply(&[
        replica("a", "r1", "w1", Phase::Running, 1),
        replica("a", "r2", "w1", Phase::Failed, 1),
        replica("a", "r3", "w1", Phase::Lost, 1),
    ]);
    let usage = |contents: &Contents| {
        let usage = &contents.workers[&Name::parse("w1").unwrap()].usage;
        (usage.replicas, usage.memory.limit, usage.memory.reserve)
    };
    assert_eq!(usage(&contents), (2, 80, 12));
    contents.apply(&[replica("a", "r1", "w2", Phase::Running, 2)]);
    assert_eq!(usage(&contents), (1, 40, 6));
}

/// A replica as versions without reserves stored it.
#[derive(Clone, PartialEq, prost::Message)]
struct EarlierRecord {
    #[prost(message, required, tag = "1")]
    replica: v1::Replica,
    #[prost(uint64, tag = "4")]
    memory_bytes: u64,
    #[prost(string, repeated, tag = "5")]
    ports: Vec<String>,
}

#[test]
fn a_replica_of_an_earlier_version_has_the_reserve_that_its_worker_gives_it() {
    let earlier = EarlierRecord {
        replica: v1::Replica {
            id: "r1".into(),
            workload: "a".into(),
            worker: "w1".into(),
            phase: Phase::Running.into(),
            ..Default::default()
        },
        memory_bytes: 96,
        ports: vec!["127.0.0.1:6379".into()],
    };
    let mut contents = Contents::default();
    let key = keys::replica(&id("a"), "r1");
    contents.apply(&[put(key, encode(&earlier), 1)]);
    let usage = &contents.workers[&Name::parse("w1").unwrap()].usage;
    assert_eq!((usage.memory.reserve, usage.memory.limit), (24, 96));
    assert_eq!(usage.ports.len(), 1);
}

#[test]
fn other_labels_are_a_change_of_every_replica_for_who_selects_by_them() {
    let mut contents = Contents::default();
    contents.apply(&[
        workload("a", 1),
        replica("a", "a-1", "w1", Phase::Running, 1),
    ]);
    let mut relabelled = workload("a", 2);
    let mut value: v1::Workload = prost::Message::decode(relabelled.value.unwrap()).unwrap();
    value.labels.insert("tier".into(), "x".into());
    relabelled.value = Some(encode(&value));
    let effects = contents.apply(&[relabelled]);
    assert_eq!(kinds(&effects), ["M", "M", ""]);
    let change = &effects.seen.replicas[0];
    let (before, after) = (
        change.before.as_ref().unwrap(),
        change.after.as_ref().unwrap(),
    );
    assert_eq!(before.replica, after.replica);
    assert_eq!((before.labels.len(), after.labels.len()), (0, 1));
}

#[test]
fn a_worker_changes_with_what_is_allocated_and_not_with_its_heartbeats() {
    let mut contents = Contents::default();
    assert_eq!(kinds(&contents.apply(&[worker("w1", true, 1)]))[2], "A");
    let mut heard = worker("w1", true, 2);
    let mut value: v1::Worker = prost::Message::decode(heard.value.unwrap()).unwrap();
    value.last_heartbeat = Some(prost_types::Timestamp::default());
    heard.value = Some(encode(&value));
    assert_eq!(kinds(&contents.apply(&[heard]))[2], "");
    let placed = replica("a", "a-1", "w1", Phase::Pending, 3);
    let effects = contents.apply(&[placed]);
    assert_eq!(kinds(&effects)[2], "M");
    let after = effects.seen.workers[0].after.as_ref().unwrap();
    assert_eq!(after.allocated.unwrap().replicas, 1);
    assert_eq!(after.resource_version, "3");
    let effects = contents.apply(&[gone(&worker("w1", true, 0), 4)]);
    assert_eq!(kinds(&effects)[2], "D");
}

/// What a store would hold after some changes.
#[derive(Default)]
struct Model(std::collections::BTreeMap<String, Versioned>);

impl Model {
    fn apply(&mut self, change: &Change) {
        match &change.value {
            Some(value) => {
                let held = Versioned {
                    value: value.clone(),
                    revision: change.revision,
                };
                self.0.insert(change.key.clone(), held);
            }
            None => drop(self.0.remove(&change.key)),
        }
    }

    fn snapshot(&self, prefix: &str, revision: Revision) -> Snapshot {
        let entries = self.0.iter().filter(|(key, _)| key.starts_with(prefix));
        Snapshot {
            entries: entries.map(|(k, v)| (k.clone(), v.clone())).collect(),
            revision,
        }
    }
}

fn changes() -> impl Strategy<Value = Vec<(u8, u8, u8, u8, bool)>> {
    proptest::collection::vec((0..3_u8, 0..3_u8, 0..3_u8, 0..10_u8, any::<bool>()), 1..60)
}

proptest! {
    /// An index that missed everything and reads the store anew is the same as one that followed
    /// every change.
    #[test]
    fn reading_anew_is_following(steps in changes(), split in 0..60_usize) {
        let mut model = Model::default();
        let mut followed = Contents::default();
        let mut behind = Contents::default();
        let mut revision = 0;
        for (step, (kind, name, place, phase, delete)) in steps.into_iter().enumerate() {
            revision += 1;
            let (name, place) = (format!("x{name}"), ["", "w1", "w2"][usize::from(place)]);
            let phase = Phase::try_from(i32::from(phase)).unwrap();
            let mut change = match kind {
                0 => workload(&name, revision),
                1 => replica(&name, &format!("{name}-r"), place, phase, revision),
                _ => worker(&name, delete, revision),
            };
            if delete {
                change = gone(&change, revision);
            }
            model.apply(&change);
            followed.apply(std::slice::from_ref(&change));
            if step < split {
                behind.apply(std::slice::from_ref(&change));
            }
        }
        let mut missed = Vec::new();
        for prefix in [keys::WORKLOADS, keys::REPLICAS, keys::WORKERS] {
            behind.difference(prefix, &model.snapshot(prefix, revision), &mut missed);
        }
        behind.apply(&missed);
        prop_assert_eq!(&behind.unplaced, &followed.unplaced);
        let shown = |contents: &Contents| -> Vec<_> {
            contents
                .workloads
                .iter()
                .map(|(id, entry)| {
                    let mut workload = entry.assembled.as_deref().cloned();
                    // The position of a change that was missed is not known any more.
                    if let Some(workload) = &mut workload {
                        workload.resource_version.clear();
                    }
                    (id.clone(), workload, entry.replicas.keys().cloned().collect::<Vec<_>>())
                })
                .collect()
        };
        prop_assert_eq!(shown(&behind), shown(&followed));
        let usages = |contents: &Contents| -> Vec<_> {
            contents
                .workers
                .iter()
                .filter(|(_, entry)| entry.stored.is_some() || !entry.replicas.is_empty())
                .map(|(name, entry)| (name.clone(), entry.usage.clone(), entry.replicas.clone()))
                .collect()
        };
        prop_assert_eq!(usages(&behind), usages(&followed));
        let objects = |contents: &Contents| {
            let replicas = contents.workloads.values().flat_map(|entry| entry.shown.values());
            let replicas: Vec<_> = replicas
                .map(|held| (v1::Replica {
                    resource_version: String::new(),
                    ..held.replica.clone()
                }, held.labels.clone()))
                .collect();
            let workers = contents.workers.values().filter_map(|entry| entry.shown.as_ref());
            let workers: Vec<_> = workers
                .map(|held| v1::Worker {
                    resource_version: String::new(),
                    ..v1::Worker::clone(held)
                })
                .collect();
            (replicas, workers)
        };
        prop_assert_eq!(objects(&behind), objects(&followed));
    }
}
