//! Watch: present state, bookmark, changes, resumption.

use tonic::Code;
use warren_proto::v1::{self, watch_response::Type};

use crate::{
    components,
    harness::{Control, is_settled, next, service_workload, within, workload_with},
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

    // No worker runs them, so the status changes with each scale and never by itself.
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

/// A client that does not read holds nobody up: it is told, and what it missed is in the next
/// watch's present state.
#[tokio::test]
async fn a_watch_that_falls_behind_is_told_so_and_watches_anew() {
    /// More bytes than are kept of the past, and than a connection takes.
    const CHANGES: usize = 700;
    const ARGUMENT: usize = 60 << 10;

    let mut control = Control::start().await;
    let service = components::service("a");
    control.run("w", 0, &service).await;
    let mut slow = control.watch("w", "").await;
    let first = next(&mut slow).await.unwrap().unwrap();
    assert_eq!(first.r#type(), Type::Added);

    let mut last = 0;
    for change in 0..CHANGES {
        let argument = format!("{change:0>ARGUMENT$}");
        let applied = control
            .apply(workload_with("w", &service, &argument))
            .await
            .unwrap();
        last = applied.workload.unwrap().revision;
    }

    let mut seen = 0;
    let (refused, position) = {
        let mut position = first.resource_version;
        loop {
            match next(&mut slow).await {
                Ok(told) => position = told.unwrap().resource_version,
                Err(status) => break (status, position),
            }
            seen += 1;
        }
    };
    assert_eq!(refused.code(), Code::OutOfRange);
    assert!(refused.message().contains("fell behind"), "{refused}");
    assert!(seen < CHANGES, "it did not fall behind");
    // What it missed is gone, and it is not left to guess so.
    let request = v1::WatchRequest {
        resource_version: position,
        ..Default::default()
    };
    let refused = within(control.workloads.watch(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange);
    let mut anew = control.watch("w", "").await;
    let present = next(&mut anew).await.unwrap().unwrap();
    assert_eq!(present.workload.unwrap().revision, last);
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
