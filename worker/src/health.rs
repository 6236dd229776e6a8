//! `grpc.health.v1` at the worker's `--listen` address.

use std::time::Duration;

use tokio::{net::TcpListener, time};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::{
    ServingStatus,
    pb::health_server::HealthServer,
    server::{HealthReporter, HealthService},
};

/// Tells whether the worker serves: not before its first session, not from its first signal to stop on.
#[derive(Clone, Debug)]
pub struct Health {
    reporter: HealthReporter,
}

/// The names that are answered for: the whole process, and the worker in it.
const SERVICES: [&str; 2] = ["", "warren.v1.Worker"];
/// For calls in flight when the listener closes.
const DRAIN: Duration = Duration::from_secs(1);
const MAX_STREAMS: u32 = 128;

impl Health {
    /// Not serving yet.
    pub async fn new() -> Self {
        let health = Self {
            reporter: HealthReporter::new(),
        };
        health.set(false).await;
        health
    }

    /// Tells everyone who watches, too.
    pub async fn set(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in SERVICES {
            self.reporter.set_service_status(service, status).await;
        }
    }

    /// Answers until told to close; then within a second.
    pub async fn serve(
        mut self,
        listener: TcpListener,
        close: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let service = HealthServer::new(HealthService::from_health_reporter(self.reporter.clone()));
        let mut server = Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)));
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let serving = server
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, close.clone().cancelled_owned());
        let closing = async {
            close.cancelled().await;
            // Ends the streams of those who watch; else they would hold the server open.
            for service in SERVICES {
                self.reporter.clear_service_status(service).await;
            }
            time::sleep(DRAIN).await;
        };
        tokio::select! {
            result = serving => result,
            () = closing => Ok(()),
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

    use super::*;

    #[tokio::test]
    async fn tells_everyone_who_asks_or_watches() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (health, close) = (Health::new().await, CancellationToken::new());
        let serving = tokio::spawn(health.clone().serve(listener, close.clone()));
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
        for (serving, told) in [
            (None, Told::NotServing),
            (Some(true), Told::Serving),
            (Some(false), Told::NotServing),
        ] {
            if let Some(serving) = serving {
                health.set(serving).await;
            }
            assert_eq!(watch.message().await.unwrap().unwrap().status(), told);
            for service in SERVICES {
                let answer = client.check(asked(service)).await.unwrap().into_inner();
                assert_eq!(answer.status(), told);
            }
        }
        assert_eq!(
            client.check(asked("other")).await.unwrap_err().code(),
            tonic::Code::NotFound
        );

        // One who watches does not hold the server open.
        close.cancel();
        serving.await.unwrap().unwrap();
    }
}
