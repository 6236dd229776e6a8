//! A worker in words.

use tonic::Status;
use warren_proto::v1;

use crate::{
    client::Server,
    explain,
    output::{ago, bytes},
};

pub async fn describe(server: &Server, name: &str) -> Result<String, Status> {
    let worker = server.get_worker(name).await?;
    let mut replicas = server.list_replicas("*", "").await?;
    replicas.retain(|replica| replica.worker == name);
    Ok(text(&worker, &replicas))
}

fn text(worker: &v1::Worker, replicas: &[v1::Replica]) -> String {
    let capacity = worker.capacity.unwrap_or_default();
    let allocated = worker.allocated.unwrap_or_default();
    let mut lines = vec![
        format!(
            "Worker {} is {}{}",
            worker.name,
            if worker.ready { "ready" } else { "not ready" },
            if worker.cordoned {
                ", cordoned: it takes no new replicas"
            } else {
                ""
            },
        ),
        format!(
            "  id {}, version {}, at {}, last heartbeat {}",
            worker.id,
            worker.version,
            worker.address,
            ago(worker.last_heartbeat.as_ref()),
        ),
        format!(
            "  {} of {} of memory promised to {} replicas",
            bytes(allocated.memory_bytes),
            bytes(capacity.memory_bytes),
            allocated.replicas,
        ),
    ];
    for (name, value) in &worker.labels {
        lines.push(format!("  label {name}={value}"));
    }
    if !replicas.is_empty() {
        lines.push("Replicas".to_owned());
    }
    for replica in replicas {
        let place = format!("  {}/{}: ", replica.namespace, replica.workload);
        lines.push(place + &explain::headline(replica));
    }
    lines.push(String::new());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_as_sentences() {
        let worker = v1::Worker {
            id: "0199".into(),
            name: "w1".into(),
            address: "http://127.0.0.1:7701".into(),
            ready: true,
            version: "0.1.0".into(),
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            ..Default::default()
        };
        let replica = v1::Replica {
            id: "counter-abc".into(),
            namespace: "default".into(),
            workload: "counter".into(),
            worker: "w1".into(),
            phase: v1::replica::Phase::Running.into(),
            ready: true,
            ..Default::default()
        };
        assert_eq!(
            text(&worker, &[replica]),
            "Worker w1 is ready\n  \
               id 0199, version 0.1.0, at http://127.0.0.1:7701, last heartbeat never\n  \
               0B of 0B of memory promised to 0 replicas\n  \
               label zone=a\n\
             Replicas\n  \
               default/counter: counter-abc on worker w1: RUNNING, ready\n"
        );
    }
}
