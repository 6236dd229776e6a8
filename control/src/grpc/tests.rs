//! Every layer together, in the server's order.

use std::{convert::Infallible, future::ready, sync::Arc};

use bytes::Bytes;
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, StreamBody};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, body::Body};
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::{
    authz::{AdmitAll, Authorizer, AuthzLayer, Caller},
    details::DetailsLayer,
    limits::LimitsLayer,
    methods::Methods,
};
use crate::{grpc::error, listen::ClientLimits};

const UNARY: &str = "/warren.v1.WorkloadService/Get";
const SERVER_STREAM: &str = "/warren.v1.WorkloadService/Logs";
const CLIENT_STREAM: &str = "/warren.v1.ArtifactService/Push";
const BOTH: &str = "/warren.v1.FleetService/Session";
const ALL: [&str; 4] = [UNARY, SERVER_STREAM, CLIENT_STREAM, BOTH];

struct AdmitNobody;

impl Authorizer for AdmitNobody {
    fn authorize(&self, _: &http::request::Parts) -> Result<Caller, Status> {
        Err(Status::unauthenticated("who are you?"))
    }
}

/// A response as the listener gives it to hyper, through every layer in the server's order.
async fn through_all(
    path: &str,
    authorizer: impl Authorizer,
    answer: fn() -> http::Response<Body>,
) -> http::Response<Body> {
    let methods = Arc::new(Methods::of(&[warren_proto::FILE_DESCRIPTOR_SET]).unwrap());
    let handler = service_fn(move |_: http::Request<Body>| ready(Ok::<_, Infallible>(answer())));
    let limits = LimitsLayer::new(
        methods.clone(),
        &ClientLimits::default(),
        CancellationToken::new(),
    );
    let service = super::tracing::layer().layer(
        DetailsLayer(methods).layer(AuthzLayer(Arc::new(authorizer)).layer(limits.layer(handler))),
    );
    let request = http::Request::builder()
        .uri(path)
        .body(Body::empty())
        .unwrap();
    service.oneshot(request).await.unwrap().map(Body::new)
}

/// The status stands in the headers, and the headers end the stream.
#[track_caller]
fn is_trailers_only(response: &http::Response<Body>, code: Code, path: &str) {
    let status = Status::from_header_map(response.headers()).unwrap();
    assert_eq!(status.code(), code, "{path}");
    assert!(!status.details().is_empty(), "{path}");
    assert!(response.body().is_end_stream(), "{path}");
}

#[tokio::test]
async fn a_status_in_the_headers_still_ends_the_stream() {
    for path in ALL {
        let ours = through_all(path, AdmitAll, || error::internal("ours").into_http()).await;
        is_trailers_only(&ours, Code::Internal, path);
        let bare = through_all(path, AdmitAll, || Status::not_found("gone").into_http()).await;
        is_trailers_only(&bare, Code::NotFound, path);
        let refused = through_all(path, AdmitNobody, || panic!("it was not admitted")).await;
        is_trailers_only(&refused, Code::Unauthenticated, path);
    }
}

#[tokio::test]
async fn a_status_after_messages_stays_in_the_trailers() {
    for path in ALL {
        let mut response = through_all(path, AdmitAll, || {
            let mut trailers = http::HeaderMap::new();
            Status::not_found("gone").add_header(&mut trailers).unwrap();
            let message = Frame::data(Bytes::from_static(b"message"));
            let frames = [message, Frame::trailers(trailers)].map(Ok::<_, Status>);
            let body = StreamBody::new(futures::stream::iter(frames));
            http::Response::new(Body::new(body))
        })
        .await;
        assert!(!response.body().is_end_stream(), "{path}");
        assert!(!response.headers().contains_key("grpc-status"), "{path}");
        let message = response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(message.into_data().unwrap(), "message", "{path}");
        let trailers = response.body_mut().frame().await.unwrap().unwrap();
        let status = Status::from_header_map(trailers.trailers_ref().unwrap()).unwrap();
        assert_eq!(status.code(), Code::NotFound, "{path}");
        assert!(!status.details().is_empty(), "{path}");
    }
}
