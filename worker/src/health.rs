//! `grpc.health.v1` at the worker's `--listen` address.

use tonic::service::Routes;
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

    #[tokio::test]
    async fn tells_everyone_who_asks_or_watches() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (mut health, close) = (Health::new().await, CancellationToken::new());
        let front = ClusterFront::new(Router::new(), health.routes());
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
        health.close().await;
        serving.await.unwrap();
    }
}
