//! Clients of a control plane that apply very many workloads and watch them.

use std::{collections::BTreeSet, ops::Range, sync::Arc};

use anyhow::Context as _;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tonic::transport::{Channel, Endpoint};
use warren_proto::v1::{self, workload_service_client::WorkloadServiceClient};
use warren_tests::{Cluster, guest};

/// The number of concurrent applies, each on its own connection.
pub const AT_ONCE: usize = 128;
const CONNECTIONS: usize = 8;

pub struct Clients {
    channels: Vec<Channel>,
    /// The workload that is applied under other names.
    template: v1::Workload,
    replicas: u32,
}

/// Watches in progress.
pub struct Watchers {
    watchers: u32,
    changes: mpsc::UnboundedReceiver<(u32, Option<u32>)>,
    _watching: JoinSet<()>,
}

pub fn name(number: u32) -> String {
    format!("w{number}")
}

// === impl Clients ===

impl Clients {
    /// Connects. The workloads to apply have this many replicas.
    pub async fn connect(cluster: &Cluster, replicas: u32) -> anyhow::Result<Self> {
        let component = guest("http-echo");
        let manifest = format!(
            "name: template\nreplicas: 0\ncomponents:\n- name: web\n  component: {component}\n  \
             env: {{ VERSION: \"1\" }}\n  routes: [ {{ host: template.localhost, path: / }} ]\n"
        );
        cluster.apply(&manifest).await;
        let mut channels = Vec::new();
        for _ in 0..CONNECTIONS {
            let endpoint = Endpoint::from_shared(cluster.control.url.clone())?;
            channels.push(endpoint.connect().await?);
        }
        let request = v1::GetRequest {
            name: "template".to_owned(),
            ..v1::GetRequest::default()
        };
        let held = WorkloadServiceClient::new(channels[0].clone())
            .get(request)
            .await?;
        let template = held
            .into_inner()
            .workload
            .context("the answer has no workload")?;
        Ok(Self {
            channels,
            template,
            replicas,
        })
    }

    /// Applies one workload; `client` selects the connection.
    pub async fn apply(
        &self,
        client: usize,
        name: &str,
        version: u32,
    ) -> anyhow::Result<v1::Workload> {
        let mut spec = self
            .template
            .spec
            .clone()
            .context("the workload has no spec")?;
        spec.replicas = Some(self.replicas);
        let component = spec
            .components
            .first_mut()
            .context("the workload has no component")?;
        component.routes[0].host = format!("{name}.localhost");
        component.env = vec![v1::EnvVar {
            name: "VERSION".to_owned(),
            source: Some(v1::env_var::Source::Value(version.to_string())),
        }];
        let request = v1::ApplyRequest {
            workload: Some(v1::Workload {
                namespace: self.template.namespace.clone(),
                name: name.to_owned(),
                spec: Some(spec),
                ..v1::Workload::default()
            }),
            expected_revision: None,
        };
        let answer = WorkloadServiceClient::new(self.channel(client))
            .apply(request)
            .await?;
        answer
            .into_inner()
            .workload
            .context("the answer has no workload")
    }

    /// Applies these workloads, [`AT_ONCE`] at a time.
    pub async fn apply_all(
        self: &Arc<Self>,
        numbers: Range<u32>,
        version: u32,
    ) -> anyhow::Result<()> {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let mut applies = JoinSet::new();
        for number in numbers {
            let slot = Arc::clone(&slots).acquire_owned().await?;
            let clients = Arc::clone(self);
            applies.spawn(async move {
                let applied = clients.apply(number as usize, &name(number), version).await;
                drop(slot);
                applied
            });
        }
        for applied in applies.join_all().await {
            applied?;
        }
        Ok(())
    }

    /// Starts this many watches, each of one of the first `among` workloads.
    pub async fn watch(&self, watchers: u32, among: u32) -> anyhow::Result<Watchers> {
        // Bounded by the number of watches times the versions that are applied between two reads.
        let (seen, changes) = mpsc::unbounded_channel();
        let mut watching = JoinSet::new();
        for number in 0..watchers {
            let request = v1::WatchRequest {
                name: name(number % among),
                ..v1::WatchRequest::default()
            };
            let watch = WorkloadServiceClient::new(self.channel(number as usize))
                .watch(request)
                .await?;
            let (mut watch, seen) = (watch.into_inner(), seen.clone());
            watching.spawn(async move {
                while let Ok(Some(change)) = watch.message().await {
                    let version = change.workload.as_ref().and_then(version);
                    // Sending fails only when the benchmark is over.
                    let _ = seen.send((number, version));
                }
            });
        }
        Ok(Watchers {
            watchers,
            changes,
            _watching: watching,
        })
    }

    fn channel(&self, client: usize) -> Channel {
        self.channels[client % self.channels.len()].clone()
    }
}

// === impl Watchers ===

impl Watchers {
    /// Waits until every watch has reported this version.
    pub async fn see(mut self, version: u32) -> anyhow::Result<()> {
        let mut waiting: BTreeSet<u32> = (0..self.watchers).collect();
        while !waiting.is_empty() {
            let (number, seen) = self
                .changes
                .recv()
                .await
                .context("the watches have ended")?;
            if seen == Some(version) {
                waiting.remove(&number);
            }
        }
        Ok(())
    }
}

fn version(workload: &v1::Workload) -> Option<u32> {
    let component = workload.spec.as_ref()?.components.first()?;
    match component.env.first()?.source.as_ref()? {
        v1::env_var::Source::Value(value) => value.parse().ok(),
        v1::env_var::Source::Secret(_) => None,
    }
}
