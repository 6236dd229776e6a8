//! Artifacts in and out, and workers that come.

use tonic::Code;
use warren_proto::v1;

use super::{About, check, failure};
use crate::{components, harness::Control, worker::Machine};

#[tokio::test]
async fn of_artifacts_and_workers() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.run("w", 0, &service).await;
    let machine = Machine::new("worker-1");
    let _worker = machine.connect(&control).await;
    let digest = components::service("never").digest.to_string();
    let missing: &'static str = Box::leak(digest.clone().into_boxed_str());
    let in_use = service.digest.to_string();
    let mut taken = machine.clone();
    taken.id = "another".to_owned();
    let mut old = machine.hello();
    old.protocol_version = 99;

    let failures = vec![
        failure(
            "no digest",
            control
                .artifacts
                .stat(v1::StatRequest {
                    digest: "x".to_owned(),
                })
                .await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("digest"),
            &[],
        ),
        failure(
            "stat of nothing",
            control
                .artifacts
                .stat(v1::StatRequest {
                    digest: digest.clone(),
                })
                .await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("artifact", missing),
            &["warren push FILE"],
        ),
        failure(
            "pull of nothing",
            control
                .artifacts
                .pull(v1::PullRequest {
                    digest: digest.clone(),
                })
                .await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("artifact", missing),
            &[],
        ),
        failure(
            "delete of nothing",
            control
                .artifacts
                .delete(v1::ArtifactServiceDeleteRequest { digest })
                .await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("artifact", missing),
            &[],
        ),
        failure(
            "delete of what is in use",
            control
                .artifacts
                .delete(v1::ArtifactServiceDeleteRequest { digest: in_use })
                .await,
            (Code::FailedPrecondition, "ARTIFACT_IN_USE"),
            About::Precondition("ARTIFACT_IN_USE", false),
            &["default/w"],
        ),
        failure(
            "an empty push",
            control.artifacts.push(tokio_stream::iter([])).await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("header"),
            &[],
        ),
        failure(
            "a worker that is none",
            control
                .workers
                .get(v1::WorkerServiceGetRequest {
                    name: "wroker-1".to_owned(),
                })
                .await,
            (Code::NotFound, "NOT_FOUND"),
            About::Resource("worker", "wroker-1"),
            &["did you mean `worker-1`?"],
        ),
        failure(
            "a name that is taken",
            taken.try_connect(&control, taken.hello()).await,
            (Code::AlreadyExists, "ALREADY_EXISTS"),
            About::Resource("warren.v1.Worker", "worker-1"),
            &["--name"],
        ),
        failure(
            "another protocol",
            machine.try_connect(&control, old).await,
            (Code::FailedPrecondition, "PROTOCOL_VERSION"),
            About::Precondition("PROTOCOL_VERSION", false),
            &["99", "same version"],
        ),
        failure(
            "an empty Hello",
            machine
                .try_connect(
                    &control,
                    v1::Hello {
                        protocol_version: 1,
                        ..Default::default()
                    },
                )
                .await,
            (Code::InvalidArgument, "INVALID_FIELDS"),
            About::Field("hello.name"),
            &[],
        ),
    ];
    check(failures);
}
