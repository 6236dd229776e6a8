//! Artifacts in and out.

use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tonic::Code;
use warren_control::Config;
use warren_model::component::Limits;
use warren_proto::v1::{self, artifact::Use, push_request::Message};

use crate::{
    components::{self, Built},
    harness::{Control, WORKER_TIMEOUT, next, service_workload, within},
};

#[tokio::test]
async fn a_pushed_artifact_is_returned_unchanged_and_stored_once() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let pushed = control.push(&service).await;
    assert!(!pushed.existed);
    let artifact = pushed.artifact.unwrap();
    assert_eq!(artifact.digest, service.digest.to_string());
    assert_eq!(artifact.size_bytes, service.bytes.len() as u64);
    assert_eq!(artifact.uses().collect::<Vec<_>>(), [Use::Service]);
    let again = control.push(&service).await;
    assert!(again.existed);
    // That it was pushed again is all that is new.
    let artifact = v1::Artifact {
        unused_since: again.artifact.as_ref().unwrap().unused_since,
        ..artifact
    };
    assert_eq!(again.artifact.unwrap(), artifact);

    let digest = artifact.digest.clone();
    let pull = v1::PullRequest {
        digest: digest.clone(),
    };
    let mut stream = control.artifacts.pull(pull).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(chunk) = next(&mut stream).await.unwrap() {
        bytes.extend_from_slice(&chunk.chunk);
    }
    assert_eq!(bytes, service.bytes);

    let listed = control
        .artifacts
        .list(v1::ArtifactServiceListRequest::default())
        .await
        .unwrap();
    assert_eq!(listed.into_inner().artifacts, [artifact]);
    let delete = v1::ArtifactServiceDeleteRequest {
        digest: digest.clone(),
    };
    control.artifacts.delete(delete).await.unwrap();
    let stat = control
        .artifacts
        .stat(v1::StatRequest {
            digest: digest.clone(),
        })
        .await;
    assert_eq!(stat.unwrap_err().code(), Code::NotFound);
    let pull = control.artifacts.pull(v1::PullRequest { digest }).await;
    assert_eq!(pull.err().unwrap().code(), Code::NotFound);
}

#[tokio::test]
async fn an_artifact_in_use_stays() {
    let mut control = Control::start().await;
    let service = components::service("a");
    control.run("w", 0, &service).await;
    let delete = v1::ArtifactServiceDeleteRequest {
        digest: service.digest.to_string(),
    };
    let refused = within(control.artifacts.delete(delete)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("default/w"), "{refused}");
}

#[tokio::test]
async fn an_upload_that_is_not_a_whole_component_leaves_nothing() {
    let mut control = Control::start().await;
    let service = components::service("a");
    let other = components::service("b");
    let bytes = |bytes: &[u8]| Message::Chunk(bytes.to_vec().into());
    let header = |digest: &str, size_bytes| {
        Message::Header(v1::PushHeader {
            digest: digest.to_owned(),
            size_bytes,
        })
    };
    let size = service.bytes.len() as u64;
    let cases = [
        ("no header", vec![bytes(&service.bytes)], "header"),
        (
            "truncated",
            vec![header("", size), bytes(&service.bytes[1..])],
            "header.size_bytes",
        ),
        (
            "too long",
            vec![header("", size - 1), bytes(&service.bytes)],
            "header.size_bytes",
        ),
        (
            "another's digest",
            vec![header(&other.digest.to_string(), 0), bytes(&service.bytes)],
            "header.digest",
        ),
        (
            "no component",
            vec![header("", 0), bytes(b"#!/bin/sh")],
            "chunk",
        ),
        (
            "a second header",
            vec![header("", 0), header("", 0)],
            "chunk",
        ),
    ];
    for (case, messages, field) in cases {
        let messages = messages.into_iter().map(|message| v1::PushRequest {
            message: Some(message),
        });
        let push = control
            .artifacts
            .push(tokio_stream::iter(messages.collect::<Vec<_>>()));
        let refused = within(push).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{case}: {refused}");
        assert!(refused.message().starts_with(field), "{case}: {refused}");
    }
    let listed = control
        .artifacts
        .list(v1::ArtifactServiceListRequest::default())
        .await
        .unwrap();
    assert!(listed.into_inner().artifacts.is_empty());
}

/// Long enough for a busy machine to push, ask and apply within half of it.
const RETENTION: Duration = Duration::from_secs(8);

async fn collecting(data: TempDir) -> Control {
    let config = Config {
        worker_timeout: WORKER_TIMEOUT,
        artifact_retention: RETENTION,
        revision_history_limit: 1,
        ..Config::new(data.path().to_owned())
    };
    Control::start_with(data, config).await
}

/// What is known of an artifact; `None` where it is not there.
async fn found(control: &mut Control, built: &Built) -> Option<v1::Artifact> {
    let listed = control
        .artifacts
        .list(v1::ArtifactServiceListRequest::default());
    let listed = within(listed).await.unwrap().into_inner();
    let digest = built.digest.to_string();
    listed
        .artifacts
        .into_iter()
        .find(|one| one.digest == digest)
}

/// Waits until an artifact is gone, with its file.
async fn gone(control: &mut Control, built: &Built) {
    let started = Instant::now();
    let file = control.data().join("artifacts").join(built.digest.hex());
    while found(control, built).await.is_some() || file.exists() {
        assert!(started.elapsed() < RETENTION * 10, "it stays");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_unused_artifact_is_removed_after_its_time_and_a_used_one_stays() {
    let mut control = collecting(TempDir::new().unwrap()).await;
    let [old, new, unused] = ["old", "new", "unused"].map(components::service);
    let started = Instant::now();
    for built in [&old, &new, &unused] {
        control.push(built).await;
    }
    assert!(
        found(&mut control, &unused)
            .await
            .unwrap()
            .unused_since
            .is_some()
    );
    let workload = service_workload("w", Some(0), &old);
    control.apply(workload).await.unwrap();
    assert_eq!(found(&mut control, &old).await.unwrap().unused_since, None);
    gone(&mut control, &unused).await;
    assert!(started.elapsed() >= RETENTION, "it went too early");

    // No replica runs, so that only the newest revision is kept.
    assert!(found(&mut control, &old).await.is_some(), "it is named");
    control.push(&new).await;
    let replaced = Instant::now();
    let workload = service_workload("w", Some(0), &new);
    control.apply(workload).await.unwrap();
    gone(&mut control, &old).await;
    assert!(replaced.elapsed() >= RETENTION, "it went too early");
    assert_eq!(found(&mut control, &new).await.unwrap().unused_since, None);
}

#[tokio::test]
async fn the_time_without_use_goes_on_over_a_restart() {
    let mut control = collecting(TempDir::new().unwrap()).await;
    let unused = components::service("unused");
    control.push(&unused).await;
    let before = found(&mut control, &unused).await.unwrap().unused_since;
    let mut control = collecting(control.stop().await).await;
    let after = found(&mut control, &unused).await.unwrap().unused_since;
    assert_eq!(after, before);
    // Its file alone, as a restore of an earlier state leaves it.
    gone(&mut control, &unused).await;
    let stray = control.data().join("artifacts").join(unused.digest.hex());
    std::fs::write(&stray, &unused.bytes).unwrap();
    gone(&mut control, &unused).await;
}

#[tokio::test]
async fn what_would_take_long_to_inspect_is_refused_at_once() {
    let mut control = Control::start().await;
    // A type in a type in a type: read by recursion, it would overflow a stack and end the process.
    let mut types = vec![1];
    for _ in 0..1_000_000 {
        types.extend([0x41, 1, 1]);
    }
    types.extend([0x41, 0]);
    let mut deep = b"\0asm\x0d\0\x01\0\x07".to_vec();
    let mut size = types.len();
    while size > 0x7f {
        deep.push(u8::try_from(size & 0x7f).unwrap() | 0x80);
        size >>= 7;
    }
    deep.push(u8::try_from(size).unwrap());
    deep.extend(types);
    let pieces = deep.chunks(64 << 10);
    let pieces = pieces.map(|piece| Message::Chunk(piece.to_vec().into()));
    let header = Message::Header(v1::PushHeader::default());
    let messages = [header].into_iter().chain(pieces);
    let messages = messages.map(|message| v1::PushRequest {
        message: Some(message),
    });
    let messages: Vec<_> = messages.collect();
    let push = control.artifacts.push(tokio_stream::iter(messages));
    let refused = within(push).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    assert!(
        refused.message().contains("the limit `nesting` of 32"),
        "{refused}"
    );
    let service = components::service("a");
    assert!(!control.push(&service).await.existed);
}

#[tokio::test]
async fn limits_of_artifacts_are_the_operators() {
    let data = TempDir::new().unwrap();
    let config = Config {
        artifact_limits: Limits::default().changed(&["modules=1".parse().unwrap()]),
        ..Config::new(data.path().to_owned())
    };
    let control = Control::start_with(data, config).await;
    let service = components::service("a");
    let messages = [Message::Chunk(service.bytes.clone().into())];
    let header = Message::Header(v1::PushHeader::default());
    let messages = [header].into_iter().chain(messages);
    let messages = messages.map(|message| v1::PushRequest {
        message: Some(message),
    });
    let messages: Vec<_> = messages.collect();
    let push = |mut control: Control| {
        let messages = tokio_stream::iter(messages.clone());
        async move { (within(control.artifacts.push(messages)).await, control) }
    };
    let (refused, control) = push(control).await;
    let refused = refused.unwrap_err();
    assert!(
        refused.message().contains("--artifact-limit modules=VALUE"),
        "{refused}"
    );
    let data = control.stop().await;
    let config = Config::new(data.path().to_owned());
    let (accepted, _control) = push(Control::start_with(data, config).await).await;
    accepted.unwrap();
}
