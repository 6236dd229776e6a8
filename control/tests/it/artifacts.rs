//! Artifacts in and out.

use tonic::Code;
use warren_proto::v1::{self, artifact::Use, push_request::Message};

use crate::{
    components,
    harness::{Control, next, within},
};

#[tokio::test]
async fn what_goes_in_comes_out_and_is_stored_once() {
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
async fn what_is_no_whole_component_leaves_nothing() {
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
