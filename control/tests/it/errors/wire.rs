//! What tonic refuses by itself, and the end of the server.

use tonic::{Code, Request};
use warren_proto::v1;

use super::{About, check, failure};
use crate::harness::{Control, next, within};

/// What never reaches our code: tonic refuses it.
#[tokio::test]
async fn of_requests_that_are_none() {
    let control = Control::start().await;
    let channel = control.channel.clone();
    let call = |path: &'static str, body: Vec<u8>| {
        let mut client = tonic::client::Grpc::new(channel.clone());
        async move {
            client.ready().await.unwrap();
            // A message of one field of bytes stands for any bytes on the wire.
            let message = v1::PullResponse { chunk: body.into() };
            let codec = tonic_prost::ProstCodec::<v1::PullResponse, v1::GetResponse>::default();
            let path = http::uri::PathAndQuery::from_static(path);
            within(client.unary(Request::new(message), path, codec)).await
        }
    };
    let mut health = tonic_health::pb::health_client::HealthClient::new(control.channel.clone());
    let unknown = tonic_health::pb::HealthCheckRequest {
        service: "no.such.Service".to_owned(),
    };
    let failures = vec![
        failure(
            "an RPC of a later version",
            call("/warren.v1.WorkloadService/Gett", Vec::new()).await,
            (Code::Unimplemented, "NO_SUCH_RPC"),
            About::Resource("RPC", "/warren.v1.WorkloadService/Gett"),
            &["did you mean `/warren.v1.WorkloadService/Get`?"],
        ),
        failure(
            "a service of another server",
            call("/acme.Other/Thing", Vec::new()).await,
            (Code::Unimplemented, "NO_SUCH_RPC"),
            About::Resource("RPC", "/acme.Other/Thing"),
            &[],
        ),
        failure(
            "text that is no UTF-8",
            call("/warren.v1.WorkloadService/Get", vec![0xff]).await,
            (Code::InvalidArgument, "MALFORMED_REQUEST"),
            About::Field("request"),
            &["UTF-8"],
        ),
        failure(
            "more than a message may hold",
            call("/warren.v1.WorkloadService/Get", vec![b'a'; 5 << 20]).await,
            (Code::ResourceExhausted, "TOO_LARGE"),
            About::Quota("message"),
            &["4194304"],
        ),
        failure(
            "the health of nothing",
            within(health.check(unknown)).await,
            (Code::NotFound, "NOT_FOUND"),
            About::Reason,
            &[],
        ),
    ];
    check(failures);
}

#[tokio::test]
async fn of_a_server_that_ends() {
    let mut control = Control::start().await;
    let mut watch = control.watch("", "").await;
    next(&mut watch).await.unwrap().unwrap();
    let stopping = tokio::spawn(control.stop());
    let ended = next(&mut watch).await;
    within(stopping).await.unwrap();
    check(vec![failure(
        "a watch",
        ended,
        (Code::Unavailable, "SHUTTING_DOWN"),
        About::Retry,
        &[],
    )]);
}
