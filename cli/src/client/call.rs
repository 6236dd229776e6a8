//! One call to a server, with a time limit. Its errors name the server.

use std::{
    error::Error as StdError,
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::{Arc, LazyLock, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use http_body_util::BodyExt as _;
use tokio::time;
use tonic::{
    Code, Status,
    body::Body,
    codegen::{
        Service,
        http::{Request, Response, StatusCode},
    },
    transport::Channel,
};
use warren_proto::v1;

use super::ServerUrl;
use crate::error;

/// A connection to one server, as the generated clients use it. A broken connection is reopened by
/// the next call.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: Channel,
    peer: Arc<Peer>,
}

/// The server at the other end.
#[derive(Debug)]
struct Peer {
    url: ServerUrl,
    /// The server's description of itself; unset if the server is not a control plane.
    info: OnceLock<v1::GetInfoResponse>,
    answer_within: Duration,
}

/// The description of a server that has not given one.
static NO_INFO: LazyLock<v1::GetInfoResponse> = LazyLock::new(v1::GetInfoResponse::default);

/// The response is HTTP but not gRPC. This is the source of the status that reports it.
#[derive(Debug)]
pub(super) struct NotGrpc(StatusCode);

/// A control plane ends a call after 30 s; its own error should arrive first.
const ANSWER_WITHIN: Duration = Duration::from_secs(35);

/// Calls that stream in either direction. They end when either side ends them, or when the
/// keep-alive of the connection finds that the other side is gone.
const STREAMS: [&str; 11] = [
    "/grpc.health.v1.Health/Watch",
    "/warren.v1.ArtifactService/Pull",
    "/warren.v1.ArtifactService/Push",
    "/warren.v1.FleetService/PushLogs",
    "/warren.v1.FleetService/Session",
    "/warren.v1.SystemService/Backup",
    "/warren.v1.WorkerService/Watch",
    "/warren.v1.WorkloadService/Events",
    "/warren.v1.WorkloadService/Logs",
    "/warren.v1.WorkloadService/Watch",
    "/warren.v1.WorkloadService/WatchReplicas",
];

// === impl Connection ===

impl Connection {
    pub(super) fn new(channel: Channel, url: ServerUrl) -> Self {
        let peer = Arc::new(Peer::new(url, ANSWER_WITHIN));
        Self { channel, peer }
    }

    /// Returns the server's description of itself; empty if the server is not a control plane.
    pub(super) fn info(&self) -> &v1::GetInfoResponse {
        self.peer.info.get().unwrap_or(&NO_INFO)
    }

    pub(super) fn introduced(&self, info: v1::GetInfoResponse) {
        // The server is queried only once.
        let _ = self.peer.info.set(info);
    }
}

impl Service<Request<Body>> for Connection {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    /// Always ready: an error of the channel is reported as the failure of the call.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut channel = self.channel.clone();
        let peer = self.peer.clone();
        let path = request.uri().path().to_owned();
        Box::pin(async move {
            let exchange = async {
                poll_fn(|cx| channel.poll_ready(cx)).await?;
                channel.call(request).await
            };
            let answer = if STREAMS.contains(&path.as_str()) {
                exchange.await
            } else {
                time::timeout(peer.answer_within, exchange)
                    .await
                    .map_err(|_| peer.silent())?
            };
            let answer = answer.map_err(|error| peer.broke(&error))?;
            peer.judge(&path, answer)
        })
    }
}

// === impl Peer ===

impl Peer {
    fn new(url: ServerUrl, answer_within: Duration) -> Self {
        Self {
            url,
            info: OnceLock::new(),
            answer_within,
        }
    }

    /// Checks that a response is gRPC. A connection that breaks later is reported by the body in
    /// the same words.
    fn judge(
        self: Arc<Self>,
        path: &str,
        response: Response<Body>,
    ) -> Result<Response<Body>, Status> {
        let headers = response.headers();
        match headers.get("grpc-status") {
            None if response.status() != StatusCode::OK => {
                return Err(self.not_grpc(response.status()));
            }
            // With a message, the status is the server's own decision.
            Some(code)
                if Code::from_bytes(code.as_bytes()) == Code::Unimplemented
                    && headers
                        .get("grpc-message")
                        .is_none_or(|text| text.is_empty()) =>
            {
                return Err(self.without(path));
            }
            _ => {}
        }
        Ok(response.map(|body| Body::new(body.map_err(move |status| self.broke(&status)))))
    }

    fn without(&self, path: &str) -> Status {
        let url = &self.url;
        let method = path.rsplit(['/', '.']).take(2).collect::<Vec<_>>();
        let method = match method.as_slice() {
            [method, service] => format!("{service}.{method}"),
            _ => path.to_owned(),
        };
        let ours = env!("CARGO_PKG_VERSION");
        Status::unimplemented(match self.info.get() {
            Some(info) => format!(
                "the server at {url} has version {} and does not know {method}; this is warren {ours}: \
                 update the server, or use a `warren` of its version",
                info.version
            ),
            None => format!("the server at {url} does not know {method}; this is warren {ours}"),
        })
    }

    fn not_grpc(&self, code: StatusCode) -> Status {
        let answer = NotGrpc(code);
        let message = format!("{}: {answer}", self.url);
        let mut status = match code {
            // A proxy that cannot reach its server.
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Status::unavailable(message),
            _ => Status::unknown(message),
        };
        status.set_source(Arc::new(answer));
        status
    }

    fn silent(&self) -> Status {
        Status::deadline_exceeded(format!(
            "{} did not answer within {}: it may be overloaded, try again",
            self.url,
            warren_model::quantity::format_duration(self.answer_within)
        ))
    }

    fn broke(&self, error: &(dyn StdError + 'static)) -> Status {
        let cause = error::root_cause(error);
        let url = &self.url;
        Status::unavailable(if is_connecting(error) {
            format!("cannot reconnect to {url}: {cause}")
        } else {
            format!("the connection to {url} broke: {cause}")
        })
    }
}

// === impl NotGrpc ===

impl fmt::Display for NotGrpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "it is a web server, not a control plane (it answered {})",
            self.0
        )
    }
}

impl StdError for NotGrpc {}

fn is_connecting(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;
    use tonic::transport::Endpoint;
    use warren_proto::v1::system_service_client::SystemServiceClient;

    use super::*;

    #[test]
    fn exactly_the_streams_of_the_contract_are_listed() {
        let mut streams = vec!["/grpc.health.v1.Health/Watch".to_owned()];
        let set = FileDescriptorSet::decode(warren_proto::FILE_DESCRIPTOR_SET);
        for file in set.expect("the build wrote it").file {
            for service in &file.service {
                let methods = service.method.iter();
                let streaming =
                    methods.filter(|one| one.client_streaming() || one.server_streaming());
                streams.extend(streaming.map(|method| {
                    format!("/{}.{}/{}", file.package(), service.name(), method.name())
                }));
            }
        }
        streams.retain(|path| path.starts_with("/warren.v1.") || path.starts_with("/grpc.health."));
        streams.sort();
        assert_eq!(streams, STREAMS);
    }

    #[tokio::test]
    async fn the_wait_for_an_answer_is_bounded() -> anyhow::Result<()> {
        // The kernel accepts connections, but no program answers.
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let text = format!("http://{}", silent.local_addr()?);
        let channel = Endpoint::from_shared(text.clone())?.connect().await?;
        let url = text.parse().map_err(anyhow::Error::msg)?;
        let peer = Arc::new(Peer::new(url, Duration::from_millis(20)));
        let mut client = SystemServiceClient::new(Connection { channel, peer });
        let late = client.get_info(v1::GetInfoRequest {}).await;
        let late = late.expect_err("the server never answers");
        assert_eq!(late.code(), Code::DeadlineExceeded);
        let words = format!("{text} did not answer within 20ms");
        assert!(late.message().contains(&words), "{late}");
        Ok(())
    }

    #[test]
    fn a_missing_method_is_reported_with_both_versions() {
        let peer = Peer::new(ServerUrl::default(), ANSWER_WITHIN);
        let unknown = peer.without("/warren.v1.WorkloadService/Scale");
        assert!(
            unknown
                .message()
                .contains("does not know WorkloadService.Scale; this is warren ")
        );
        let old = v1::GetInfoResponse {
            version: "0.0.9".to_owned(),
            ..Default::default()
        };
        assert_eq!(peer.info.set(old), Ok(()));
        let known = peer.without("/warren.v1.WorkloadService/Scale");
        let words = "has version 0.0.9 and does not know WorkloadService.Scale; this is warren ";
        assert!(known.message().contains(words), "{known}");
    }
}
