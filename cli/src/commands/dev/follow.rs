//! What guests write and what goes wrong with them, as it happens.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time;
use tonic::{Code, Status};
use warren_proto::v1;

use crate::{
    client::Server,
    commands::{events, logs::Printer},
    output,
};

/// Prints the lines of each workload it was told of, until the process ends.
#[derive(Clone)]
pub struct Followers(Arc<Inner>);

struct Inner {
    server: Server,
    /// Namespace and name of those that are followed.
    known: Mutex<BTreeSet<(String, String)>>,
}

/// Between tries: a workload that was just applied is on no worker yet.
const RETRY: Duration = Duration::from_millis(300);

// === impl Followers ===

impl Followers {
    pub fn new(server: Server) -> Self {
        Self(Arc::new(Inner {
            server,
            known: Mutex::default(),
        }))
    }

    /// Follows this workload from now on, if it is not followed already.
    pub fn follow(&self, namespace: &str, name: &str) {
        let id = (namespace.to_owned(), name.to_owned());
        if self.known().insert(id.clone()) {
            let this = self.clone();
            // Not awaited: it says what there is to say until the workload or the process ends.
            tokio::spawn(async move {
                this.0.print(&id.0, &id.1).await;
                this.known().remove(&id);
            });
        }
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<(String, String)>> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Prints a workload's lines, those of replicas to come included, until it is deleted or nobody reads.
    async fn print(&self, namespace: &str, name: &str) {
        let printer = Printer {
            style: output::stdout_style(),
            timestamps: false,
            prefix: true,
        };
        let mut printed = false;
        loop {
            let request = v1::LogsRequest {
                namespace: namespace.to_owned(),
                name: name.to_owned(),
                follow: true,
                // What was printed once is not printed again.
                tail: printed.then_some(0),
                ..Default::default()
            };
            match self.server.workloads().logs(request).await {
                Ok(response) => {
                    let mut stream = response.into_inner();
                    while let Ok(Some(response)) = stream.message().await {
                        for line in &response.lines {
                            if output::write(&printer.text(line)).is_err() {
                                return;
                            }
                            printed = true;
                        }
                    }
                }
                Err(status) if status.code() == Code::NotFound => return,
                Err(_) => {}
            }
            time::sleep(RETRY).await;
        }
    }
}

/// Prints warnings of every workload from now on.
pub async fn warnings(server: Server) -> anyhow::Result<()> {
    loop {
        if let Ok(mut stream) = open(&server).await {
            while let Ok(Some(response)) = stream.message().await {
                if let Some(event) = response.event.filter(is_news) {
                    output::line(events::sentence(&event, output::stdout_style()))?;
                }
            }
        }
        time::sleep(RETRY).await;
    }
}

async fn open(server: &Server) -> Result<tonic::Streaming<v1::EventsResponse>, Status> {
    let request = v1::EventsRequest {
        namespace: "*".to_owned(),
        follow: true,
        since: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    Ok(server.workloads().events(request).await?.into_inner())
}

/// A service that keeps crashing is told of once and then at 2, 4, 8, ... times.
fn is_news(event: &v1::Event) -> bool {
    event.r#type() == v1::event::Type::Warning && event.count.max(1).is_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_are_told_of_less_and_less() {
        let event = |count| v1::Event {
            r#type: v1::event::Type::Warning.into(),
            count,
            ..Default::default()
        };
        let told: Vec<u32> = (1..20).filter(|count| is_news(&event(*count))).collect();
        assert_eq!(told, [1, 2, 4, 8, 16]);
        assert!(!is_news(&v1::Event::default()));
    }
}
