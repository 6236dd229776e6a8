//! Requests for lines.

use tonic::Code;
use warren_proto::v1;

use super::{About, check, failure};
use crate::{
    components,
    harness::{Control, http_workload},
};

#[tokio::test]
async fn of_logs() {
    let mut control = Control::start().await;
    let http = components::http("web");
    control.push(&http).await;
    control
        .apply(http_workload("web", &http, "a.localhost"))
        .await
        .unwrap();
    let one = |w: &v1::Workload| w.status.as_ref().is_some_and(|s| s.replicas == 1);
    control.until("web", one).await;
    let request = || v1::LogsRequest {
        name: "web".to_owned(),
        ..Default::default()
    };
    let failures = vec![
        failure(
            "of nothing",
            control
                .workloads
                .logs(v1::LogsRequest {
                    name: "wbe".to_owned(),
                    ..request()
                })
                .await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("workload", "default/wbe"),
            &["did you mean `web`?"],
        ),
        failure(
            "of no source",
            control
                .workloads
                .logs(v1::LogsRequest {
                    source: "service".to_owned(),
                    ..request()
                })
                .await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("source", "service"),
            &["`default/web` has `web`"],
        ),
        failure(
            "of no replica",
            control
                .workloads
                .logs(v1::LogsRequest {
                    replica: "000".to_owned(),
                    ..request()
                })
                .await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("replica", "000"),
            &["workload `default/web` has `web-"],
        ),
        failure(
            "of before, for ever",
            control
                .workloads
                .logs(v1::LogsRequest {
                    previous: true,
                    follow: true,
                    ..request()
                })
                .await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("previous"),
            &["follow"],
        ),
        failure(
            "of the future",
            control
                .workloads
                .logs(v1::LogsRequest {
                    since: Some(prost_types::Duration {
                        seconds: -1,
                        nanos: 0,
                    }),
                    ..request()
                })
                .await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("since"),
            &[],
        ),
    ];
    check(failures);
}
