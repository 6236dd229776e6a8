//! Prints the output and the problems of guests as they happen.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::StreamExt as _;
use tokio::time;
use tonic::Code;
use warren_proto::v1;

use crate::{
    client::Server,
    commands::{
        events,
        logs::{Printer, Read, read},
    },
    output::{self, Shown},
};

/// Prints the lines of each workload that it follows, until the process ends.
#[derive(Clone)]
pub struct Followers(Arc<Inner>);

struct Inner {
    server: Server,
    /// The namespaces and names of the followed workloads.
    known: Mutex<BTreeSet<(String, String)>>,
}

/// The delay after an error: a control plane that has just started has neither lines nor events.
const RETRY: Duration = Duration::from_millis(300);

// === impl Followers ===

impl Followers {
    pub fn new(server: Server) -> Self {
        Self(Arc::new(Inner {
            server,
            known: Mutex::default(),
        }))
    }

    /// Follows this workload from now on, unless it is already followed.
    pub fn follow(&self, namespace: &str, name: &str) {
        let id = (namespace.to_owned(), name.to_owned());
        if self.known().insert(id.clone()) {
            let this = self.clone();
            // Not awaited: it prints until the workload or the process ends.
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
    /// Prints the lines of a workload, including those of new replicas, until it is deleted or
    /// stdout is closed.
    async fn print(&self, namespace: &str, name: &str) {
        let printer = Printer {
            style: output::stdout_style(),
            timestamps: false,
            prefix: true,
            raw: false,
        };
        let request = v1::LogsRequest {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            follow: true,
            ..Default::default()
        };
        loop {
            let mut reading = read(self.server.clone(), request.clone());
            while let Some(read) = reading.next().await {
                match read {
                    Ok(Read::Lines(lines)) => {
                        let text: Shown = lines.iter().map(|line| printer.text(line)).collect();
                        if output::write(text).is_err() {
                            return;
                        }
                    }
                    Ok(Read::Broken(_)) => {}
                    Err(status) if status.code() == Code::NotFound => return,
                    Err(_) => break,
                }
            }
            time::sleep(RETRY).await;
        }
    }
}

/// Prints the warnings of every workload from now on.
pub async fn warnings(server: Server) -> anyhow::Result<()> {
    let request = v1::EventsRequest {
        namespace: "*".to_owned(),
        since: Some(prost_types::Duration::default()),
        ..Default::default()
    };
    loop {
        let mut events = events::follow(server.clone(), request.clone());
        while let Some(Ok(event)) = events.next().await {
            if is_news(&event) {
                output::line(events::sentence(&event, output::stdout_style()))?;
            }
        }
        time::sleep(RETRY).await;
    }
}

/// Returns whether to print the event: a service that keeps crashing is reported once and then at
/// 2, 4, 8, ... times.
fn is_news(event: &v1::Event) -> bool {
    event.r#type() == v1::event::Type::Warning && event.count.max(1).is_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_crashes_are_reported_less_and_less_often() {
        let event = |count| v1::Event {
            r#type: v1::event::Type::Warning.into(),
            count,
            ..Default::default()
        };
        let printed: Vec<u32> = (1..20).filter(|count| is_news(&event(*count))).collect();
        assert_eq!(printed, [1, 2, 4, 8, 16]);
        assert!(!is_news(&v1::Event::default()));
    }
}
