//! Finding a control plane that answers, and asking it page by page.

use std::{fmt, future::Future, io, str::FromStr, time::Duration};

use tonic::{
    Status,
    codegen::http::Uri,
    transport::{Channel, Endpoint},
};
use tonic_health::pb::health_client::HealthClient;
use warren_proto::v1::{
    self, artifact_service_client::ArtifactServiceClient,
    system_service_client::SystemServiceClient, worker_service_client::WorkerServiceClient,
    workload_service_client::WorkloadServiceClient,
};

/// The base URL of a control plane, or of a worker's `--listen`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerUrl(String);

/// A connection to one control plane.
#[derive(Clone, Debug)]
pub struct Server {
    pub url: ServerUrl,
    channel: Channel,
}

/// No server of those named took a connection.
#[derive(Debug)]
pub struct Unreachable(Vec<(ServerUrl, String)>);

/// Long enough for another continent, short enough to try the next server.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A server that vanished without a word is noticed while a watch or `logs -f` waits for it.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A page of 500 workloads, each with a large environment, is far beyond tonic's 4 MiB.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

// === impl ServerUrl ===

impl Default for ServerUrl {
    fn default() -> Self {
        Self("http://127.0.0.1:7700".to_owned())
    }
}

impl FromStr for ServerUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim().trim_end_matches('/');
        if text.starts_with("https://") {
            return Err(format!(
                "`{text}`: TLS is not supported by this version of Warren yet, use http://"
            ));
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Err(format!("`{text}` is not a URL: write `http://{text}`"));
        };
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("`{text}` is not a URL: {error}"))?;
        if uri.authority().is_none_or(|a| a.host().is_empty()) || rest.contains(['/', '?']) {
            return Err(format!("`{text}` is not `http://HOST:PORT`"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Server ===

impl Server {
    /// Connects to the first of these that takes a connection.
    pub async fn connect(urls: &[ServerUrl]) -> Result<Self, Unreachable> {
        let mut tried = Vec::new();
        for url in urls {
            match Self::connect_one(url).await {
                Ok(server) => return Ok(server),
                Err(why) => tried.push((url.clone(), why)),
            }
        }
        Err(Unreachable(tried))
    }

    async fn connect_one(url: &ServerUrl) -> Result<Self, String> {
        let channel = Endpoint::from_shared(url.0.clone())
            .and_then(|endpoint| endpoint.user_agent(concat!("warren/", env!("CARGO_PKG_VERSION"))))
            .map_err(|error| error.to_string())?
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .connect()
            .await
            .map_err(|error| root_cause(&error))?;
        Ok(Self {
            url: url.clone(),
            channel,
        })
    }

    pub fn workloads(&self) -> WorkloadServiceClient<Channel> {
        WorkloadServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn workers(&self) -> WorkerServiceClient<Channel> {
        WorkerServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn artifacts(&self) -> ArtifactServiceClient<Channel> {
        ArtifactServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    pub fn system(&self) -> SystemServiceClient<Channel> {
        SystemServiceClient::new(self.channel.clone())
    }

    pub fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel.clone())
    }

    /// Every workload of a namespace, or of all with `*`.
    pub async fn list_workloads(&self, namespace: &str) -> Result<Vec<v1::Workload>, Status> {
        pages(|page_token| async {
            let request = v1::ListRequest {
                namespace: namespace.to_owned(),
                page_token,
                ..Default::default()
            };
            let page = self.workloads().list(request).await?.into_inner();
            Ok((page.workloads, page.next_page_token))
        })
        .await
    }

    pub async fn get_workload(&self, namespace: &str, name: &str) -> Result<v1::Workload, Status> {
        let request = v1::GetRequest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
        };
        let response = self.workloads().get(request).await?.into_inner();
        response.workload.ok_or_else(|| incomplete("workload"))
    }

    /// Replicas of one workload, or of all with an empty name.
    pub async fn list_replicas(
        &self,
        namespace: &str,
        workload: &str,
    ) -> Result<Vec<v1::Replica>, Status> {
        pages(|page_token| async {
            let request = v1::ListReplicasRequest {
                namespace: namespace.to_owned(),
                workload: workload.to_owned(),
                page_token,
                ..Default::default()
            };
            let page = self.workloads().list_replicas(request).await?.into_inner();
            Ok((page.replicas, page.next_page_token))
        })
        .await
    }

    pub async fn list_workers(&self) -> Result<Vec<v1::Worker>, Status> {
        pages(|page_token| async {
            let request = v1::WorkerServiceListRequest {
                page_token,
                ..Default::default()
            };
            let page = self.workers().list(request).await?.into_inner();
            Ok((page.workers, page.next_page_token))
        })
        .await
    }

    pub async fn get_worker(&self, name: &str) -> Result<v1::Worker, Status> {
        let request = v1::WorkerServiceGetRequest {
            name: name.to_owned(),
        };
        let response = self.workers().get(request).await?.into_inner();
        response.worker.ok_or_else(|| incomplete("worker"))
    }

    pub async fn list_artifacts(&self) -> Result<Vec<v1::Artifact>, Status> {
        pages(|page_token| async {
            let request = v1::ArtifactServiceListRequest {
                page_token,
                ..Default::default()
            };
            let page = self.artifacts().list(request).await?.into_inner();
            Ok((page.artifacts, page.next_page_token))
        })
        .await
    }

    pub async fn stat_artifact(&self, digest: &str) -> Result<v1::Artifact, Status> {
        let request = v1::StatRequest {
            digest: digest.to_owned(),
        };
        let response = self.artifacts().stat(request).await?.into_inner();
        response.artifact.ok_or_else(|| incomplete("artifact"))
    }
}

/// Asks for page after page until the token is empty.
async fn pages<T, F>(mut page: impl FnMut(String) -> F) -> Result<Vec<T>, Status>
where
    F: Future<Output = Result<(Vec<T>, String), Status>>,
{
    let mut all = Vec::new();
    let mut token = String::new();
    loop {
        let (items, next) = page(token).await?;
        all.extend(items);
        if next.is_empty() {
            return Ok(all);
        }
        token = next;
    }
}

/// The server left out what its contract promises.
pub fn incomplete(what: &str) -> Status {
    Status::internal(format!("the server answered without the {what}"))
}

/// What went wrong at the bottom, in words: errors of transports wrap it several times.
pub fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut last = error;
    loop {
        if let Some(io) = last.downcast_ref::<io::Error>()
            && io.kind() == io::ErrorKind::ConnectionRefused
        {
            return "connection refused".to_owned();
        }
        match last.source() {
            Some(source) => last = source,
            None => return last.to_string(),
        }
    }
}

// === impl Unreachable ===

impl fmt::Display for Unreachable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot reach a control plane")?;
        for (i, (url, why)) in self.0.iter().enumerate() {
            write!(f, "{} at {url}: {why}", if i == 0 { "" } else { ", nor" })?;
        }
        f.write_str(
            "; start one with `warren control` or `warren dev`, or name another with --server",
        )
    }
}

impl std::error::Error for Unreachable {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_urls() {
        for text in [
            "http://127.0.0.1:7700",
            "http://control",
            "http://[::1]:7700/",
        ] {
            assert!(text.parse::<ServerUrl>().is_ok(), "{text}");
        }
        for (text, part) in [
            ("https://control:7700", "TLS is not supported"),
            ("localhost:7700", "write `http://localhost:7700`"),
            ("http://", "not"),
            ("http://control/api", "not `http://HOST:PORT`"),
            ("", "not a URL"),
        ] {
            let error = text.parse::<ServerUrl>().err().unwrap_or_default();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn names_every_server_that_was_tried() {
        // A port that was just free: nobody listens there.
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let url = ServerUrl(format!("http://{}", free.expect("loopback has ports")));
        let error = Server::connect(&[url.clone(), url.clone()])
            .await
            .expect_err("nobody listens");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot reach a control plane at {url}: connection refused, nor at {url}: connection refused; \
                 start one with `warren control` or `warren dev`, or name another with --server"
            )
        );
    }
}
