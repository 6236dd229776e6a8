//! Artifacts that arrive damaged, truncated or too large.

use std::fs;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tonic::{Code, Status, transport::Endpoint};
use tonic_types::StatusExt as _;
use warren_proto::v1::{
    Artifact, PushHeader, PushRequest, artifact_service_client::ArtifactServiceClient,
    push_request::Message,
};
use warren_tests::{example, guest, within};

use super::{
    Standing,
    proxy::{Proxy, Then},
    refused_quietly,
};
use crate::lab;

/// The largest message that a client sends.
const CHUNK: usize = 1 << 20;

async fn push(url: &str, messages: Vec<Message>) -> Result<Artifact, Status> {
    let channel = Endpoint::from_shared(url.to_owned()).unwrap();
    let mut client = ArtifactServiceClient::new(channel.connect().await.unwrap());
    let requests = messages.into_iter().map(|message| PushRequest {
        message: Some(message),
    });
    let pushed = client.push(tokio_stream::iter(requests));
    let response = within("the end of a push", pushed).await?;
    Ok(response.into_inner().artifact.unwrap())
}

fn header(digest: &str, size_bytes: u64) -> Message {
    Message::Header(PushHeader {
        digest: digest.to_owned(),
        size_bytes,
    })
}

fn chunks(bytes: &[u8]) -> impl Iterator<Item = Message> {
    let chunks = bytes.chunks(CHUNK / 4);
    chunks.map(|chunk| Message::Chunk(Bytes::copy_from_slice(chunk)))
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

async fn artifacts(standing: &Standing) -> usize {
    let list = ["get", "artifacts", "-o", "json"];
    let list = standing.cluster.warren(&list).await.json();
    list.as_array().unwrap().len()
}

#[tokio::test]
async fn bytes_that_do_not_match_the_header_are_refused_and_not_kept() {
    let mut standing = Standing::start().await;
    let before = artifacts(&standing).await;
    let url = standing.cluster.control.url.clone();
    let whole = fs::read(guest("http-echo")).unwrap();
    let (part, size) = (&whole[..whole.len() / 2], whole.len() as u64);
    let wrong = digest(b"something else");

    for (first, bytes, field, words) in [
        // Truncated, with a size and without.
        (
            header(&digest(&whole), size),
            part,
            "header.size_bytes",
            "push the file again",
        ),
        (
            header(&digest(&whole), 0),
            part,
            "header.digest",
            "push the file again",
        ),
        (
            header(&wrong, size),
            &whole[..],
            "header.digest",
            "push the file again",
        ),
        (
            header(&digest(&whole), size / 2),
            &whole,
            "header.size_bytes",
            "push the file again",
        ),
        (header("sha256:12", 0), &whole, "header.digest", "sha256:"),
    ] {
        let messages = std::iter::once(first).chain(chunks(bytes)).collect();
        let refused = push(&url, messages).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let violations = refused.get_details_bad_request().unwrap().field_violations;
        assert_eq!(violations[0].field, field, "{violations:?}");
        assert!(violations[0].description.contains(words), "{violations:?}");
    }
    assert_eq!(artifacts(&standing).await, before);

    let messages = std::iter::once(header(&digest(&whole), size)).chain(chunks(&whole));
    let artifact = push(&url, messages.collect()).await.unwrap();
    assert_eq!(
        (artifact.digest, artifact.size_bytes),
        (digest(&whole), size)
    );
    standing.unharmed().await;
}

#[tokio::test]
async fn a_push_beyond_the_size_limit_ends_at_the_limit() {
    let mut standing = Standing::start().await;
    let url = standing.cluster.control.url.clone();
    let chunk = Bytes::from(vec![0; CHUNK - 64]);
    let endless = std::iter::repeat_n(Message::Chunk(chunk), 300);
    let messages = std::iter::once(header("", 0)).chain(endless).collect();
    let refused = push(&url, messages).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.message().contains("at most"), "{refused}");
    assert!(
        refused.get_details_quota_failure().is_some(),
        "trying again does not help: {refused:?}"
    );
    let left = fs::read_dir(standing.cluster.lab.path("control/artifacts")).unwrap();
    let names: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "{names:?}");
    standing.unharmed().await;
}

#[tokio::test]
async fn a_broken_push_is_retried_once() {
    let mut standing = Standing::start().await;
    let before = artifacts(&standing).await;
    let url = standing.cluster.control.url.clone();
    let file = guest("http-echo");

    let worse = Proxy::start(&url, 50_000, 2, Then::Cut).await;
    let push = ["push", &file, "--server", &worse.url];
    let answer = lab().warren(&push).await;
    let words = [
        "cannot push ",
        "http-echo.wasm",
        "the connection to ",
        &worse.url,
        "broke",
    ];
    refused_quietly(answer, &words);
    assert_eq!((worse.stopped(), artifacts(&standing).await), (2, before));

    let bad = Proxy::start(&url, 50_000, 1, Then::Cut).await;
    let push = ["push", &file, "--server", &bad.url];
    let pushed = lab().warren(&push).await.ok();
    assert_eq!((bad.stopped(), artifacts(&standing).await), (1, before + 1));
    assert_eq!(pushed.trim(), digest(&fs::read(&file).unwrap()));
    standing.unharmed().await;
}

#[tokio::test]
async fn artifacts_that_the_server_has_are_not_sent_again() {
    let standing = Standing::start().await;
    // Nothing of that size comes through.
    let narrow = Proxy::start(&standing.cluster.control.url, 50_000, 100, Then::Cut).await;
    let push = ["push", &example("cache"), "--server", &narrow.url];
    let answer = lab().warren(&push).await;
    assert!(answer.stderr.contains("was there already"), "{answer:#?}");
    answer.ok();
    let file = standing
        .cluster
        .lab
        .path("applied.yaml")
        .display()
        .to_string();
    let apply = ["apply", "-f", &file, "--server", &narrow.url];
    let answer = lab().warren(&apply).await;
    // Progress is for terminals.
    assert_eq!(answer.stderr, "", "{answer:#?}");
    assert_eq!(answer.ok(), "workload/counter unchanged\n");
    assert_eq!(narrow.stopped(), 0);
}
