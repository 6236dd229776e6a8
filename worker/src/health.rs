//! `grpc.health.v1`, `/healthz` and `/readyz` at the worker's `--listen` address.

use std::sync::Arc;

use parking_lot::Mutex;
use tonic::service::Routes;
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// Tells whether the worker serves: not before its first session, not from its first signal to stop
/// on. A worker that serves, and that a control plane does not take in, serves as a process, but
/// not as a worker of its cluster.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    serving: bool,
    /// It stops.
    stops: bool,
    refused: Option<String>,
}

/// The whole process.
const PROCESS: &str = "";
/// The worker in it.
const WORKER: &str = "warren.v1.Worker";
/// The names that are answered for.
const SERVICES: [&str; 2] = [PROCESS, WORKER];

impl Health {
    /// Not serving yet.
    pub async fn new() -> Self {
        let health = Self {
            reporter: HealthReporter::new(),
            state: Arc::default(),
        };
        health.tell().await;
        health
    }

    /// It serves from now on.
    pub async fn serves(&self) {
        self.state.lock().serving = true;
        self.tell().await;
    }

    /// It stops, and does not serve any more.
    pub async fn stops(&self) {
        self.state.lock().stops = true;
        self.tell().await;
    }

    /// Why a control plane does not take it in, if so.
    pub async fn refused(&self, why: Option<String>) {
        self.state.lock().refused = why;
        self.tell().await;
    }

    /// Whether it takes part in its cluster, as far as it knows, or in a sentence why not.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.state.lock();
        match &*state {
            State { stops: true, .. } => Err("the worker stops".to_owned()),
            State {
                refused: Some(why), ..
            } => Err(why.clone()),
            State { serving: true, .. } => Ok(()),
            State { .. } => Err("no control plane has taken the worker in yet".to_owned()),
        }
    }

    /// Everyone who asks, and everyone who watches.
    async fn tell(&self) {
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

    /// The service, for a listener.
    pub fn routes(&self) -> Routes {
        let service = HealthService::from_health_reporter(self.reporter.clone());
        Routes::new(HealthServer::new(service))
    }

    /// Ends the streams of those who watch; else they would hold their listener open.
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
    use crate::ingress::{ClusterFront, Router, server::serve};

    /// Status and body of what is answered to a GET.
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
    async fn tells_everyone_who_asks_or_watches() {
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
        // What happens, what is told of the process and of the worker, and the words in which it is
        // not ready.
        for (step, process, worker, why) in [
            ("starts", no, no, Some("no control plane has taken")),
            ("serves", yes, yes, None),
            ("refused", yes, no, Some("another cluster")),
            ("admitted", yes, yes, None),
            ("stops", no, no, Some("the worker stops")),
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

        // One who watches does not hold the server open.
        close.cancel();
        health.close().await;
        serving.await.unwrap();
    }
}
