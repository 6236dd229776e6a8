//! What the tables of `warren get` show.

use warren_proto::v1;

use crate::{
    commands::push,
    output::{Table, age, bytes},
};

pub fn workloads(workloads: &[v1::Workload], everywhere: bool, wide: bool) -> Table {
    let mut header = vec!["NAME", "READY", "REVISION", "AGE"];
    if everywhere {
        header.insert(0, "NAMESPACE");
    }
    if wide {
        header.extend(["STATUS", "ROUTES", "PUBLISH"]);
    }
    let mut table = Table::new(header);
    for workload in workloads {
        let spec = workload.spec.clone().unwrap_or_default();
        let status = workload.status.clone().unwrap_or_default();
        let mut row = vec![
            workload.name.clone(),
            format!("{}/{}", status.ready_replicas, spec.replicas.unwrap_or(1)),
            workload.revision.to_string(),
            age(workload.create_time.as_ref()),
        ];
        if everywhere {
            row.insert(0, workload.namespace.clone());
        }
        if wide {
            let routes = spec.components.iter().flat_map(|c| &c.routes).map(route);
            let published = spec.service.iter().flat_map(|s| &s.publish);
            row.extend([
                state(workload),
                joined(routes),
                joined(published.map(|p| format!("{}->{}", p.listen, p.port))),
            ]);
        }
        table.row(row);
    }
    table
}

pub fn replicas(replicas: &[v1::Replica], everywhere: bool, wide: bool) -> Table {
    let mut header = vec![
        "NAME", "WORKLOAD", "PHASE", "READY", "RESTARTS", "WORKER", "AGE",
    ];
    if everywhere {
        header.insert(0, "NAMESPACE");
    }
    if wide {
        header.extend(["REVISION", "ENDPOINTS"]);
    }
    let mut table = Table::new(header);
    for replica in replicas {
        let mut row = vec![
            replica.id.clone(),
            replica.workload.clone(),
            replica.phase().as_str_name().to_owned(),
            yes(replica.ready),
            replica.restarts.to_string(),
            replica.worker.clone(),
            age(replica.create_time.as_ref()),
        ];
        if everywhere {
            row.insert(0, replica.namespace.clone());
        }
        if wide {
            let endpoints = replica.endpoints.iter();
            row.extend([
                replica.revision.to_string(),
                joined(endpoints.map(|e| format!("{}->{}", e.address, e.guest_port))),
            ]);
        }
        table.row(row);
    }
    table
}

pub fn workers(workers: &[v1::Worker], wide: bool) -> Table {
    let mut header = vec![
        "NAME",
        "READY",
        "REPLICAS",
        "MEMORY",
        "VERSION",
        "HEARTBEAT",
    ];
    if wide {
        header.extend(["ADDRESS", "LABELS", "ID"]);
    }
    let mut table = Table::new(header);
    for worker in workers {
        let capacity = worker.capacity.unwrap_or_default();
        let allocated = worker.allocated.unwrap_or_default();
        let mut row = vec![
            worker.name.clone(),
            match (worker.ready, worker.cordoned) {
                (ready, false) => yes(ready),
                (true, true) => "cordoned".to_owned(),
                (false, true) => "no,cordoned".to_owned(),
            },
            allocated.replicas.to_string(),
            format!(
                "{}/{}",
                bytes(allocated.memory_bytes),
                bytes(capacity.memory_bytes)
            ),
            worker.version.clone(),
            age(worker.last_heartbeat.as_ref()),
        ];
        if wide {
            let labels = worker.labels.iter();
            row.extend([
                worker.address.clone(),
                joined(labels.map(|(name, value)| format!("{name}={value}"))),
                worker.id.clone(),
            ]);
        }
        table.row(row);
    }
    table
}

pub fn artifacts(artifacts: &[v1::Artifact], wide: bool) -> Table {
    let mut header = vec!["DIGEST", "SIZE", "USES", "AGE"];
    if wide {
        header.push("EXPORTS");
    }
    let mut table = Table::new(header);
    for artifact in artifacts {
        let mut row = vec![
            artifact.digest.clone(),
            bytes(artifact.size_bytes),
            push::uses(artifact),
            age(artifact.create_time.as_ref()),
        ];
        if wide {
            row.push(joined(
                artifact.exports.iter().map(|item| item.name.clone()),
            ));
        }
        table.row(row);
    }
    table
}

/// A route as it is read: any host is `*`.
pub fn route(route: &v1::Route) -> String {
    let host = if route.host.is_empty() {
        "*"
    } else {
        &route.host
    };
    let path = if route.path.is_empty() {
        "/"
    } else {
        &route.path
    };
    format!("{host}{path}")
}

/// One word for how a workload is.
fn state(workload: &v1::Workload) -> String {
    if workload.delete_time.is_some() {
        return "Deleting".to_owned();
    }
    let conditions = workload.status.iter().flat_map(|status| &status.conditions);
    let holds = |wanted: &str| {
        conditions.clone().any(|condition| {
            condition.r#type == wanted && condition.status() == v1::condition::Status::True
        })
    };
    ["Ready", "Progressing"]
        .into_iter()
        .find(|state| holds(state))
        .unwrap_or("NotReady")
        .to_owned()
}

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use v1::replica::Phase;

    use super::*;

    #[test]
    fn workloads_with_and_without_more() {
        let counter = v1::Workload {
            namespace: "shop".into(),
            name: "counter".into(),
            revision: 3,
            spec: Some(v1::WorkloadSpec {
                replicas: Some(2),
                service: Some(v1::Service {
                    publish: vec![v1::Publish {
                        port: 6379,
                        listen: "127.0.0.1:6379".into(),
                        ..Default::default()
                    }],
                    ..Default::default()
                }),
                components: vec![v1::Component {
                    routes: vec![v1::Route {
                        host: "counter.localhost".into(),
                        path: "/".into(),
                    }],
                    ..Default::default()
                }],
            }),
            status: Some(v1::WorkloadStatus {
                ready_replicas: 1,
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(
            workloads(std::slice::from_ref(&counter), false, false).to_string(),
            "NAME      READY   REVISION   AGE\n\
             counter   1/2     3          -\n"
        );
        assert_eq!(
            workloads(&[counter], true, true).to_string(),
            "NAMESPACE   NAME      READY   REVISION   AGE   STATUS     ROUTES               PUBLISH\n\
             shop        counter   1/2     3          -     NotReady   counter.localhost/   127.0.0.1:6379->6379\n"
        );
    }

    #[test]
    fn replicas_without_a_worker() {
        let pending = v1::Replica {
            id: "counter-abc".into(),
            workload: "counter".into(),
            phase: Phase::Pending.into(),
            ..Default::default()
        };
        assert_eq!(
            replicas(&[pending], false, false).to_string(),
            "NAME          WORKLOAD   PHASE     READY   RESTARTS   WORKER   AGE\n\
             counter-abc   counter    PENDING   no      0          -        -\n"
        );
    }

    #[test]
    fn workers_and_artifacts() {
        let worker = v1::Worker {
            name: "w1".into(),
            ready: true,
            cordoned: true,
            version: "0.1.0".into(),
            capacity: Some(v1::Resources {
                memory_bytes: 8 << 30,
                replicas: 0,
            }),
            allocated: Some(v1::Resources {
                memory_bytes: 96 << 20,
                replicas: 1,
            }),
            ..Default::default()
        };
        assert_eq!(
            workers(&[worker], false).to_string(),
            "NAME   READY      REPLICAS   MEMORY       VERSION   HEARTBEAT\n\
             w1     cordoned   1          96MiB/8GiB   0.1.0     -\n"
        );
        let artifact = v1::Artifact {
            digest: "sha256:ab".into(),
            size_bytes: 68_000,
            uses: vec![
                v1::artifact::Use::Service.into(),
                v1::artifact::Use::Http.into(),
            ],
            ..Default::default()
        };
        assert_eq!(
            artifacts(&[artifact], false).to_string(),
            "DIGEST      SIZE    USES           AGE\n\
             sha256:ab   66KiB   SERVICE,HTTP   -\n"
        );
    }
}
