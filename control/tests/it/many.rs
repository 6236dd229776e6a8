//! Many at once: nothing is done twice, and everyone sees the same.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join_all, try_join_all};
use warren_proto::v1::{
    self, watch_response::Type, workload_service_client::WorkloadServiceClient,
};

use crate::{
    components,
    harness::{Control, is_settled, next, service_workload, within},
    worker::Machine,
};

const WORKLOADS: usize = 100;
const WATCHERS: usize = 50;

#[tokio::test]
async fn a_hundred_workloads_get_one_replica_each_and_every_watcher_sees_them() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    let _workers = join_all(
        [Machine::new("w1"), Machine::new("w2")]
            .iter()
            .map(|machine| machine.connect(&control)),
    )
    .await;
    let watches = join_all((0..WATCHERS).map(|_| {
        let mut client = control.workloads.clone();
        async move {
            client
                .watch(v1::WatchRequest::default())
                .await
                .unwrap()
                .into_inner()
        }
    }))
    .await;
    let watching = watches.into_iter().map(|mut watch| async move {
        let mut settled = BTreeSet::new();
        let mut last = BTreeMap::new();
        while settled.len() < WORKLOADS {
            let seen = next(&mut watch).await.unwrap().unwrap();
            let Some(workload) = seen.workload else {
                continue;
            };
            let position: u64 = seen.resource_version.parse().unwrap();
            let before = last.insert(workload.name.clone(), position);
            assert_eq!(before.is_none(), seen.r#type == Type::Added as i32);
            assert!(before.is_none_or(|before| before < position));
            if is_settled(&workload) {
                settled.insert(workload.name);
            }
        }
    });
    let applies = (0..WORKLOADS).map(|number| {
        let mut client = control.workloads.clone();
        let workload = service_workload(&format!("w{number}"), Some(1), &service);
        async move {
            client
                .apply(v1::ApplyRequest {
                    workload: Some(workload),
                    ..Default::default()
                })
                .await
        }
    });
    let all = async { tokio::join!(try_join_all(applies), join_all(watching)) };
    within(all).await.0.unwrap();

    let mut replicas = BTreeMap::<String, u32>::new();
    for replica in control.replicas("").await {
        *replicas.entry(replica.workload).or_default() += 1;
    }
    assert_eq!(replicas.len(), WORKLOADS);
    assert!(replicas.values().all(|count| *count == 1), "{replicas:?}");
    let (w1, w2) = (control.worker("w1").await, control.worker("w2").await);
    let placed = |worker: &v1::Worker| worker.allocated.unwrap().replicas;
    assert_eq!((placed(&w1), placed(&w2)), (50, 50));
}

#[tokio::test]
async fn the_same_apply_from_many_makes_one_workload() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    let applies = (0..20).map(|_| {
        let mut client = control.workloads.clone();
        let workload = service_workload("w", Some(0), &service);
        async move {
            let request = v1::ApplyRequest {
                workload: Some(workload),
                ..Default::default()
            };
            client
                .apply(request)
                .await
                .map(|response| response.into_inner())
        }
    });
    let answers = within(try_join_all(applies)).await.unwrap();
    let created = answers
        .iter()
        .filter(|answer| answer.outcome() == v1::apply_response::Outcome::Created);
    assert_eq!(created.count(), 1);
    let uids: BTreeSet<_> = answers
        .iter()
        .map(|answer| answer.workload.as_ref().unwrap().uid.clone())
        .collect();
    assert_eq!(uids.len(), 1);
    assert!(
        answers
            .iter()
            .all(|answer| answer.workload.as_ref().unwrap().revision == 1)
    );
}

/// Watches that nobody reads, of every kind: they cost the writers nothing, and those who read see
/// everything.
#[tokio::test]
async fn a_thousand_watches_that_do_not_read_delay_nobody() {
    const IDLE: usize = 1000;
    const APPLIED: usize = 200;
    let mut control = Control::start().await;
    let service = components::service("a");
    control.push(&service).await;
    let client = WorkloadServiceClient::new(control.another_channel());
    let idle = (0..IDLE).map(|number| {
        let mut control = client.clone();
        async move {
            match number % 2 {
                0 => {
                    let watch = control.watch(v1::WatchRequest::default()).await;
                    (Some(watch.unwrap()), None)
                }
                _ => {
                    let request = v1::WatchReplicasRequest::default();
                    let watch = control.watch_replicas(request).await;
                    (None, Some(watch.unwrap()))
                }
            }
        }
    });
    let idle = within(join_all(idle)).await;
    let mut reader = control.watch("", "").await;
    let applies = async {
        for number in 0..APPLIED {
            let workload = service_workload(&format!("w{number}"), Some(0), &service);
            control.apply(workload).await.unwrap();
        }
    };
    let reading = async {
        let mut seen = BTreeSet::new();
        while seen.len() < APPLIED {
            let message = next(&mut reader).await.unwrap().unwrap();
            seen.extend(message.workload.map(|workload| workload.name));
        }
    };
    within(async { tokio::join!(applies, reading) }).await;
    assert_eq!(idle.len(), IDLE);
}
