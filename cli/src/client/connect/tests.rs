use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_util::task::AbortOnDropHandle;

use super::*;

/// Starts a server that reads a little, answers with these bytes, and closes.
async fn says(words: &'static [u8]) -> (ServerUrl, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = url(listener.local_addr().expect("it listens"));
    let task = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 16]).await;
            let _ = stream.write_all(words).await;
        }
    });
    (url, AbortOnDropHandle::new(task))
}

/// Starts a gRPC server with a health service that knows this name.
async fn healthy(name: &'static str) -> (ServerUrl, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = url(listener.local_addr().expect("it listens"));
    let (reporter, service) = tonic_health::server::health_reporter();
    let serving = tonic_health::ServingStatus::Serving;
    reporter.set_service_status(name, serving).await;
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let task = tokio::spawn(async move {
        let server = tonic::transport::Server::builder().add_service(service);
        let _ = server.serve_with_incoming(incoming).await;
    });
    (url, AbortOnDropHandle::new(task))
}

fn url(address: SocketAddr) -> ServerUrl {
    format!("http://{address}").parse().expect("a URL")
}

/// Returns a URL at which nothing listens: the port was just free.
fn unused_url() -> ServerUrl {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
    url(free.expect("loopback has ports"))
}

async fn refused(urls: &[ServerUrl]) -> String {
    let refused = Server::connect(urls).await.expect_err("no control plane");
    refused.to_string()
}

#[tokio::test]
async fn every_server_that_was_tried_is_named_with_its_reason() {
    let unused_url = unused_url();
    let (web, _web) = says(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    assert_eq!(
        refused(&[unused_url.clone(), web.clone()]).await,
        format!(
            "cannot reach a control plane at {unused_url}: connection refused, nor at {web}: it answered with HTTP/1, so it \
             is not a control plane; start one with `warren control` or `warren dev`, or name another one with \
             --server"
        )
    );
}

#[tokio::test]
async fn a_server_of_another_protocol_is_identified() {
    for (words, part) in [
        (&b"\x15\x03\x03\0\x02\x02\x28"[..], "TLS"),
        (b"-ERR unknown command\r\n", "-ERR unknown command"),
        (b"", "does not answer"),
    ] {
        let (url, _server) = says(words).await;
        let message = refused(&[url]).await;
        assert!(message.contains(part), "{message}");
    }
}

#[tokio::test]
async fn a_worker_is_not_a_control_plane_but_can_be_dialled() {
    let (worker, _worker) = healthy(WORKER).await;
    let message = refused(std::slice::from_ref(&worker)).await;
    assert!(
        message.contains("it is a worker, not a control plane"),
        "{message}"
    );
    let (other, _other) = healthy("another").await;
    let message = refused(&[other]).await;
    assert!(
        message.contains("it is a gRPC server, but not a control plane"),
        "{message}"
    );
    let server = Server::dial(&[unused_url(), worker.clone()]).await;
    assert_eq!(server.expect("it speaks gRPC").url, worker);
}

/// A control plane that refuses every call with this status.
struct Refusing(Status);

#[tonic::async_trait]
impl v1::system_service_server::SystemService for Refusing {
    type BackupStream = futures::stream::Empty<Result<v1::BackupResponse, Status>>;

    async fn get_info(
        &self,
        _: tonic::Request<v1::GetInfoRequest>,
    ) -> Result<tonic::Response<v1::GetInfoResponse>, Status> {
        Err(self.0.clone())
    }

    async fn backup(
        &self,
        _: tonic::Request<v1::BackupRequest>,
    ) -> Result<tonic::Response<Self::BackupStream>, Status> {
        Err(self.0.clone())
    }
}

async fn refusing(status: Status) -> (ServerUrl, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let url = url(listener.local_addr().expect("it listens"));
    let service = v1::system_service_server::SystemServiceServer::new(Refusing(status));
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let task = tokio::spawn(async move {
        let server = tonic::transport::Server::builder().add_service(service);
        let _ = server.serve_with_incoming(incoming).await;
    });
    (url, AbortOnDropHandle::new(task))
}

#[tokio::test]
async fn an_overloaded_server_is_not_reported_as_absent() {
    let later = tonic_types::ErrorDetails::with_retry_info(Some(Duration::from_secs(1)));
    let words = "the control plane has too many requests at once";
    for code in [Code::ResourceExhausted, Code::Unavailable] {
        let status = Status::with_error_details(code, words, later.clone());
        let (url, _server) = refusing(status).await;
        assert_eq!(
            refused(&[unused_url(), url.clone()]).await,
            format!("the server at {url} cannot answer at present: {words}\ntry again in 1s")
        );
    }
    // Without a retry delay, the answer may come from an intermediary.
    let (url, _server) = refusing(Status::unavailable("no upstream")).await;
    let message = refused(std::slice::from_ref(&url)).await;
    assert!(
        message.starts_with("cannot reach a control plane at"),
        "{message}"
    );
    assert!(message.contains("no upstream"), "{message}");
}
