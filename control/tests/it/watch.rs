//! Watch: present state, bookmark, changes, resumption.

use tonic::Code;
use warren_proto::v1::{self, watch_response::Type};

use crate::{
    components,
    harness::{Control, is_settled, next, service_workload, within},
    worker::Machine,
};

#[tokio::test]
async fn tells_the_present_then_every_change() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.run("first", 0, &service).await;

    let mut watch = control.watch("", "").await;
    let present = next(&mut watch).await.unwrap().unwrap();
    assert_eq!(
        (present.r#type(), present.workload.unwrap().name),
        (Type::Added, "first".into())
    );
    let bookmark = next(&mut watch).await.unwrap().unwrap();
    assert_eq!(
        (bookmark.r#type(), bookmark.workload),
        (Type::Bookmark, None)
    );

    let _worker = Machine::new("w1").connect(&control).await;
    control.run("second", 1, &service).await;
    let added = next(&mut watch).await.unwrap().unwrap();
    assert_eq!(
        (added.r#type(), added.workload.unwrap().name),
        (Type::Added, "second".into())
    );
    loop {
        let change = next(&mut watch).await.unwrap().unwrap();
        assert_eq!(change.r#type(), Type::Modified);
        let workload = change.workload.unwrap();
        assert_eq!(workload.resource_version, change.resource_version);
        if is_settled(&workload) {
            break;
        }
    }
}

#[tokio::test]
async fn resumes_where_it_ended_without_gap_or_repetition() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.run("w", 0, &service).await;
    let mut watch = control.watch("w", "").await;
    let mut position = String::new();
    while let Some(seen) = next(&mut watch).await.unwrap() {
        position = seen.resource_version;
        if seen.r#type == Type::Bookmark as i32 {
            break;
        }
    }
    drop(watch);

    // Nobody runs them, so that the status changes with each scale and never by itself.
    let mut versions = Vec::new();
    for replicas in 1..=3 {
        control
            .apply(service_workload("w", Some(replicas), &service))
            .await
            .unwrap();
        let all = |w: &v1::Workload| w.status.as_ref().is_some_and(|s| s.replicas == replicas);
        control.until("w", all).await;
    }
    let mut watch = control.watch("w", &position).await;
    let last = loop {
        let change = next(&mut watch).await.unwrap().unwrap();
        assert_eq!(change.r#type(), Type::Modified);
        versions.push(change.resource_version);
        let workload = change.workload.unwrap();
        if workload
            .status
            .as_ref()
            .is_some_and(|status| status.replicas == 3)
        {
            break workload;
        }
    };
    let mut sorted = versions.clone();
    sorted.sort_by_key(|version| version.parse::<u64>().unwrap());
    sorted.dedup();
    assert_eq!(versions, sorted);
    let get = v1::GetRequest {
        name: "w".to_owned(),
        ..Default::default()
    };
    let got = within(control.workloads.get(get))
        .await
        .unwrap()
        .into_inner()
        .workload
        .unwrap();
    assert_eq!(got, last);
}

#[tokio::test]
async fn a_position_of_a_former_life_is_out_of_range() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.run("w", 0, &service).await;
    let mut watch = control.watch("w", "").await;
    let old = next(&mut watch).await.unwrap().unwrap().resource_version;
    let data = control.stop().await;

    let mut control = Control::start_in(data, crate::harness::WORKER_TIMEOUT).await;
    // Something that the old position has missed.
    control
        .apply(service_workload("w", Some(2), &service))
        .await
        .unwrap();
    let request = v1::WatchRequest {
        resource_version: old,
        ..Default::default()
    };
    let refused = within(control.workloads.watch(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);

    let request = v1::WatchRequest {
        resource_version: "made up".to_owned(),
        ..Default::default()
    };
    let refused = within(control.workloads.watch(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn a_watch_ends_with_the_server() {
    let mut control = Control::start().await;
    let mut watch = control.watch("", "").await;
    assert_eq!(
        next(&mut watch).await.unwrap().unwrap().r#type(),
        Type::Bookmark
    );
    let stopping = tokio::spawn(control.stop());
    let ended = next(&mut watch).await.unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    within(stopping).await.unwrap();
}
