//! A server of another version: it only implements the call that reports its version.

use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use futures::future::{BoxFuture, FutureExt as _};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    sync::watch,
};
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{Service, http},
    transport::{Server, server::TcpIncoming},
};
use warren_proto::v1::{
    BackupRequest, BackupResponse, GetInfoRequest, GetInfoResponse,
    system_service_server::{SystemService, SystemServiceServer},
};

/// Gone when it is dropped, with every connection.
pub struct StandIn {
    pub url: String,
    calls: watch::Receiver<Vec<String>>,
    /// Its own, so that its connections end with it.
    runtime: Option<Runtime>,
}

struct Introduction(GetInfoResponse);

/// Notes what is called; a call of `hangs` is never answered.
#[derive(Clone)]
struct Noted<S> {
    inner: S,
    calls: Arc<Mutex<watch::Sender<Vec<String>>>>,
    hangs: &'static str,
}

impl StandIn {
    /// Of this version and these features; `hangs` is the path of a method that it never answers,
    /// if any.
    pub fn start(version: &str, features: &[&str], hangs: &'static str) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let info = GetInfoResponse {
            version: version.to_owned(),
            features: features.iter().map(|&feature| feature.to_owned()).collect(),
            store_schema: 1,
            max_artifact_bytes: 1 << 20,
            cluster_id: String::new(),
        };
        let (sender, calls) = watch::channel(Vec::new());
        let sender = Arc::new(Mutex::new(sender));
        let noted = tower::layer::layer_fn(move |inner| Noted {
            inner,
            calls: sender.clone(),
            hangs,
        });
        let mut runtime = Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
        runtime.spawn(async move {
            let service = SystemServiceServer::new(Introduction(info));
            let server = Server::builder().layer(noted).add_service(service);
            let incoming = TcpIncoming::from(TcpListener::from_std(listener).unwrap());
            server.serve_with_incoming(incoming).await.unwrap();
        });
        Self {
            url,
            calls,
            runtime: Some(runtime),
        }
    }

    /// The methods that were called, in their order: `WorkloadService/Apply`.
    pub fn calls(&self) -> Vec<String> {
        self.calls.borrow().clone()
    }

    /// Waits for a call.
    pub async fn called(&self, method: &str) {
        let mut calls = self.calls.clone();
        let called = calls.wait_for(|calls| calls.iter().any(|call| call == method));
        warren_tests::within(method, called).await.unwrap();
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[tonic::async_trait]
impl SystemService for Introduction {
    type BackupStream = futures::stream::Empty<Result<BackupResponse, Status>>;

    async fn get_info(
        &self,
        _: Request<GetInfoRequest>,
    ) -> Result<Response<GetInfoResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }

    async fn backup(
        &self,
        _: Request<BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        // Without a message, as where there is no such method.
        Err(Status::unimplemented(""))
    }
}

impl<S> Service<http::Request<Body>> for Noted<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = request
            .uri()
            .path()
            .trim_start_matches("/warren.v1.")
            .to_owned();
        let hangs = method == self.hangs;
        let sender = self.calls.lock().unwrap();
        sender.send_modify(|calls| calls.push(method));
        drop(sender);
        if hangs {
            return std::future::pending().boxed();
        }
        self.inner.call(request).boxed()
    }
}
