//! Requests about workloads.

use tonic::Code;
use warren_proto::v1;

use super::{About, check, failure};
use crate::{
    components,
    harness::{Control, http_workload, service_workload, workload_with},
};

#[tokio::test]
async fn of_workloads() {
    let mut control = Control::start().await;
    let (service, http) = (components::service("a"), components::http("web"));
    control.push(&service).await;
    control.push(&http).await;
    control
        .apply(workload_with("counter", &service, "x"))
        .await
        .unwrap();
    let mut elsewhere = service_workload("cache", None, &service);
    elsewhere.namespace = "prod".to_owned();
    control.apply(elsewhere).await.unwrap();
    control
        .apply(http_workload("web", &http, "a.localhost"))
        .await
        .unwrap();
    let pushed_never = components::service("never");

    let failures = vec![
        failure(
            "a typing mistake",
            control.workloads.get(get("conuter")).await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("workload", "default/conuter"),
            &["did you mean `counter`?"],
        ),
        failure(
            "another namespace",
            control.workloads.get(get("cache")).await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("workload", "default/cache"),
            &["there is one in namespace `prod`"],
        ),
        failure(
            "delete of nothing",
            control
                .workloads
                .delete(v1::DeleteRequest {
                    name: "x".to_owned(),
                    ..Default::default()
                })
                .await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("workload", "default/x"),
            &[],
        ),
        failure(
            "no name at all",
            control.workloads.get(v1::GetRequest::default()).await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("name"),
            &[],
        ),
        failure(
            "a namespace that is none",
            control
                .workloads
                .list(v1::ListRequest {
                    namespace: "A B".to_owned(),
                    ..Default::default()
                })
                .await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("namespace"),
            &["`A B`"],
        ),
        failure(
            "labels that are none",
            control
                .workloads
                .list(v1::ListRequest {
                    labels: [("-".to_owned(), String::new())].into(),
                    ..Default::default()
                })
                .await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("labels[-]"),
            &[],
        ),
        failure(
            "a made-up page",
            control
                .workloads
                .list(v1::ListRequest {
                    page_token: "x".to_owned(),
                    ..Default::default()
                })
                .await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("page_token"),
            &["next_page_token"],
        ),
        failure(
            "an empty Apply",
            control.workloads.apply(v1::ApplyRequest::default()).await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("name"),
            &[],
        ),
        failure(
            "an artifact that was never pushed",
            control
                .apply(service_workload("w", None, &pushed_never))
                .await,
            (Code::FailedPrecondition, "ARTIFACT_MISSING"),
            About::Precondition("ARTIFACT_MISSING", false),
            &["warren push FILE"],
        ),
        failure(
            "a route of another",
            control
                .apply(http_workload("w", &http, "a.localhost"))
                .await,
            (Code::FailedPrecondition, "ROUTE_TAKEN"),
            About::Precondition("ROUTE_TAKEN", false),
            &["default/web"],
        ),
        failure(
            "a lost update",
            control
                .workloads
                .apply(v1::ApplyRequest {
                    workload: Some(service_workload("counter", None, &service)),
                    expected_revision: Some(7),
                })
                .await,
            (Code::Aborted, "LOST_UPDATE"),
            About::Reason,
            &["7", "1"],
        ),
        failure(
            "nothing to go back to",
            control
                .workloads
                .rollback(v1::RollbackRequest {
                    name: "counter".to_owned(),
                    ..Default::default()
                })
                .await,
            (Code::FailedPrecondition, "NO_EARLIER_REVISION"),
            About::Precondition("NO_EARLIER_REVISION", false),
            &["default/counter"],
        ),
        failure(
            "a revision that never was",
            control
                .workloads
                .rollback(v1::RollbackRequest {
                    name: "counter".to_owned(),
                    revision: 9,
                    ..Default::default()
                })
                .await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("revision", "default/counter@9"),
            &["these are kept: 1"],
        ),
        failure(
            "too many replicas",
            control
                .workloads
                .scale(v1::ScaleRequest {
                    name: "counter".to_owned(),
                    replicas: 5000,
                    ..Default::default()
                })
                .await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("replicas"),
            &["1000"],
        ),
        failure(
            "a position that is none",
            control
                .workloads
                .watch(v1::WatchRequest {
                    resource_version: "x".to_owned(),
                    ..Default::default()
                })
                .await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("resource_version"),
            &[],
        ),
        failure(
            "a position that is not kept",
            control
                .workloads
                .watch_replicas(v1::WatchReplicasRequest {
                    resource_version: "1".to_owned(),
                    ..Default::default()
                })
                .await,
            (Code::OutOfRange, "POSITION_NOT_KEPT"),
            About::Reason,
            &["without resource_version"],
        ),
        failure(
            "events of the future",
            control
                .workloads
                .events(v1::EventsRequest {
                    since: Some(prost_types::Duration {
                        seconds: -1,
                        nanos: 0,
                    }),
                    ..Default::default()
                })
                .await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("since"),
            &[],
        ),
    ];
    check(failures);
}

fn get(name: &str) -> v1::GetRequest {
    v1::GetRequest {
        name: name.to_owned(),
        ..Default::default()
    }
}
