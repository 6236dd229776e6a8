//! `grpc.health.v1`, `/healthz` and `/readyz` at the worker's `--listen` address.

use std::sync::Arc;

use parking_lot::Mutex;
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// Reports whether the worker serves: from its first session until its first signal to stop. A
/// worker that a control plane refuses is serving as a process, but not as a worker of its cluster.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    serving: bool,
    /// Whether it is stopping.
    stops: bool,
    /// Why a control plane refuses the worker, if it does.
    refused: Option<String>,
}

/// The service name of the whole process.
const PROCESS: &str = "";
/// The service name of the worker within its cluster.
const WORKER: &str = "warren.v1.Worker";
/// All service names that have a status.
const SERVICES: [&str; 2] = [PROCESS, WORKER];

impl Health {
    /// Creates the health of a worker that is not serving yet.
    pub async fn new() -> Self {
        let health = Self {
            reporter: HealthReporter::new(),
            state: Arc::default(),
        };
        health.publish().await;
        health
    }

    /// Reports that the worker serves from now on.
    pub async fn serves(&self) {
        self.state.lock().serving = true;
        self.publish().await;
    }

    /// Reports that the worker is stopping and no longer serves.
    pub async fn stops(&self) {
        self.state.lock().stops = true;
        self.publish().await;
    }

    /// Reports why a control plane refuses the worker, or with `None` that it has accepted it.
    pub async fn refused(&self, why: Option<String>) {
        self.state.lock().refused = why;
        self.publish().await;
    }

    /// Returns whether the worker takes part in its cluster, as far as it knows. The error is a
    /// sentence that says why it does not.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.state.lock();
        match &*state {
            State { stops: true, .. } => Err("the worker is stopping".to_owned()),
            State {
                refused: Some(why), ..
            } => Err(why.clone()),
            State { serving: true, .. } => Ok(()),
            State { .. } => Err("no control plane has accepted the worker yet".to_owned()),
        }
    }

    /// Updates the status of every service name, which notifies the clients that watch it.
    async fn publish(&self) {
        let process = {
            let state = self.state.lock();
            state.serving && !state.stops
        };
        let worker = self.ready().is_ok();
        for (service, serving) in [(PROCESS, process), (WORKER, worker)] {
            let status = if serving {
                ServingStatus::Serving
            } else {
                ServingStatus::NotServing
            };
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Returns the gRPC service, for a listener.
    pub fn routes(&self) -> Routes {
        let service = HealthService::from_health_reporter(self.reporter.clone());
        Routes::new(HealthServer::new(service))
    }

    /// Ends the streams of clients that watch, which would otherwise keep the listener open.
    pub async fn close(&mut self) {
        for service in SERVICES {
            self.reporter.clear_service_status(service).await;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use tonic::transport::Endpoint;
    use tonic_health::pb::{
        HealthCheckRequest, health_check_response::ServingStatus as Told,
        health_client::HealthClient,
    };

    use std::time::Duration;

    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        http::listener::serve,
        ingress::{ClusterFront, Router},
    };

    /// Sends a GET request and returns the status and the body of the response.
    async fn http(address: &str, path: &str) -> (u16, String) {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let (mut client, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(path)
            .header("host", address)
            .body(http_body_util::Empty::<bytes::Bytes>::new());
        let response = client.send_request(request.unwrap()).await.unwrap();
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body());
        let body = body.await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn every_client_that_asks_or_watches_sees_the_status() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let url = format!("http://{address}");
        let (mut health, close) = (Health::new().await, CancellationToken::new());
        let front = ClusterFront::new(Router::new(), health.clone());
        let long = Duration::from_secs(60);
        let serving = tokio::spawn(serve(listener, front, close.clone(), long));
        let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
        let mut client = HealthClient::new(channel);
        let asked = |service: &str| HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut watch = client
            .watch(asked("warren.v1.Worker"))
            .await
            .unwrap()
            .into_inner();
        let (yes, no) = (Told::Serving, Told::NotServing);
        let refused = Some("it follows another cluster".to_owned());
        // (event, status of the process, status of the worker, part of why it is not ready)
        for (step, process, worker, why) in [
            ("starts", no, no, Some("no control plane has accepted")),
            ("serves", yes, yes, None),
            ("refused", yes, no, Some("another cluster")),
            ("admitted", yes, yes, None),
            ("stops", no, no, Some("the worker is stopping")),
        ] {
            match step {
                "serves" => health.serves().await,
                "refused" => health.refused(refused.clone()).await,
                "admitted" => health.refused(None).await,
                "stops" => health.stops().await,
                _ => {}
            }
            assert_eq!(watch.message().await.unwrap().unwrap().status(), worker);
            for (service, told) in [(PROCESS, process), (WORKER, worker)] {
                let answer = client.check(asked(service)).await.unwrap().into_inner();
                assert_eq!(answer.status(), told, "{step} {service}");
            }
            assert_eq!(http(&address, "/healthz").await, (200, "ok\n".to_owned()));
            let (status, text) = http(&address, "/readyz").await;
            match why {
                None => assert_eq!((status, text.as_str()), (200, "ok\n"), "{step}"),
                Some(why) => assert!(status == 503 && text.contains(why), "{step}: {text}"),
            }
        }
        assert_eq!(
            client.check(asked("other")).await.unwrap_err().code(),
            tonic::Code::NotFound
        );

        // A client that watches does not keep the server open.
        close.cancel();
        health.close().await;
        serving.await.unwrap();
    }
}
