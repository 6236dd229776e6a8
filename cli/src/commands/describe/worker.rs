//! Describes a worker.

use warren_model::{condition, link::HostInterfaces};
use warren_proto::v1::{self, condition::Status};

use super::text::Text;
use crate::{
    explain,
    output::{bytes, count},
};

pub fn describe(
    text: &mut Text,
    worker: &v1::Worker,
    replicas: &[v1::Replica],
    events: &[v1::Event],
) {
    let capacity = worker.capacity.unwrap_or_default();
    let allocated = worker.allocated.unwrap_or_default();
    let heartbeat = text.ago(worker.last_heartbeat.as_ref());
    text.heading(&format!("Worker {}", worker.name));
    presence(text, worker, &heartbeat);
    if worker.cordoned {
        text.line(1, "cordoned: it takes no new replicas");
    }
    if let Some(drain) = &worker.drain {
        let since = text.age(drain.start_time.as_ref());
        let left = match drain.replicas {
            0 => "no replicas left".to_owned(),
            left => format!("{} left", count(left, "replica")),
        };
        text.line(1, format!("being drained since {since}: {left}"));
        for held_up in &drain.obstacles {
            let place = format!("{}/{}: ", held_up.namespace, held_up.workload);
            text.line(2, place + &held_up.message);
        }
    }
    text.line(
        1,
        format!(
            "at {}, version {}, id {}",
            worker.address, worker.version, worker.id
        ),
    );
    if !worker.http_address.is_empty() {
        text.line(1, format!("serves HTTP at {}", worker.http_address));
    }
    text.line(
        1,
        format!(
            "{} of {} of memory reserved by {}",
            bytes(allocated.memory_bytes),
            bytes(capacity.memory_bytes),
            count(allocated.replicas, "replica"),
        ),
    );
    text.labels(&worker.labels);
    for volume in &worker.volumes {
        let access = if volume.read_only { ", read-only" } else { "" };
        text.line(1, format!("offers volume {}{access}", volume.name));
    }
    let provided = HostInterfaces::stated(&worker.interfaces);
    text.line(1, format!("provides {provided} to guests"));
    let bound = worker.interfaces.iter().filter(|one| one.needs_binding);
    for interface in bound {
        let name = &interface.name;
        text.line(2, format!("{name} where the workload binds it"));
    }
    if !worker.publish_allow.is_empty() {
        let rules = worker.publish_allow.join(", ");
        text.line(1, format!("lets workloads publish only on {rules}"));
    }
    if !replicas.is_empty() {
        text.heading("Replicas");
    }
    for replica in replicas {
        let place = format!("{}/{}: ", replica.namespace, replica.workload);
        text.line(1, place + &explain::headline(replica));
    }
    text.events(events);
}

/// Describes whether it is available, and what happens to its replicas.
fn presence(text: &mut Text, worker: &v1::Worker, heartbeat: &str) {
    let find = |kind: &str| worker.conditions.iter().find(|one| one.r#type == kind);
    let kept = worker
        .departure
        .as_ref()
        .and_then(|it| it.keep_until.as_ref());
    let replicas = match kept {
        Some(until) => format!("its replicas are kept for it until {until}"),
        None => "its replicas are replaced on other workers if possible".to_owned(),
    };
    match (worker.ready, &worker.departure) {
        (true, None) => text.line(1, format!("ready, last heartbeat {heartbeat}")),
        (true, Some(_)) => text.line(1, format!("stopping: it takes no new replicas; {replicas}")),
        (false, _) => {
            let why = find(condition::READY).filter(|ready| ready.status() == Status::False);
            let why = why.map_or(String::new(), |ready| format!(" {};", ready.message));
            let heard = match &worker.last_heartbeat {
                Some(_) => format!(" last heartbeat {heartbeat};"),
                None => String::new(),
            };
            text.line(1, format!("not ready:{why}{heard} {replicas}"));
        }
    }
    let drops = find(condition::ASSIGNMENTS).filter(|held| held.status() == Status::False);
    if let Some(drops) = drops {
        let message = &drops.message;
        text.line(1, format!("it does not follow its assignments: {message}"));
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::output::Style;

    fn interface(name: &str, needs_binding: bool) -> v1::HostInterface {
        v1::HostInterface {
            name: name.into(),
            needs_binding,
        }
    }

    #[test]
    fn reads_as_sentences() {
        let worker = v1::Worker {
            id: "0199".into(),
            name: "w1".into(),
            address: "http://127.0.0.1:7701".into(),
            http_address: "http://127.0.0.1:8000".into(),
            ready: true,
            cordoned: true,
            drain: Some(v1::Drain {
                start_time: Some(prost_types::Timestamp::default()),
                replicas: 1,
                obstacles: vec![v1::drain::Obstacle {
                    namespace: "default".into(),
                    workload: "counter".into(),
                    replicas: 1,
                    message: "1 replica has no other worker: no workers".into(),
                    reason: String::new(),
                }],
                ..Default::default()
            }),
            version: "0.1.0".into(),
            labels: [("zone".to_owned(), "a".to_owned())].into(),
            publish_allow: vec!["127.0.0.1".into(), "0.0.0.0:30000-30999".into()],
            interfaces: vec![
                interface("wasi:cli/exit@0.2.12", false),
                interface("wasi:io/poll@0.2.12", false),
                interface("wasi:keyvalue/store@0.2.0-draft2", true),
            ],
            last_heartbeat: Some(prost_types::Timestamp::default()),
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
        let mut text = Text::new(SystemTime::UNIX_EPOCH, Style::plain());
        describe(&mut text, &worker, &[replica], &[]);
        assert_eq!(
            text.into_shown().as_str().to_owned(),
            "\
Worker w1
  ready, last heartbeat 0s ago
  cordoned: it takes no new replicas
  being drained since 0s: 1 replica left
    default/counter: 1 replica has no other worker: no workers
  at http://127.0.0.1:7701, version 0.1.0, id 0199
  serves HTTP at http://127.0.0.1:8000
  0B of 0B of memory reserved by 0 replicas
  labels zone=a
  provides wasi:keyvalue@0.2.0-draft2 and wasi:{cli, io}@0.2.12 to guests
    wasi:keyvalue/store@0.2.0-draft2 where the workload binds it
  lets workloads publish only on 127.0.0.1, 0.0.0.0:30000-30999

Replicas
  default/counter: counter-abc on worker w1: RUNNING, ready

No events are kept
"
        );
    }

    #[test]
    fn says_why_a_worker_is_not_there() {
        let condition = |kind: &str, reason: &str, message: &str| v1::Condition {
            r#type: kind.into(),
            status: Status::False.into(),
            reason: reason.into(),
            message: message.into(),
            ..Default::default()
        };
        let said = |worker: &v1::Worker| {
            let mut text = Text::new(SystemTime::UNIX_EPOCH, Style::plain());
            describe(&mut text, worker, &[], &[]);
            text.into_shown()
                .as_str()
                .lines()
                .nth(1)
                .unwrap_or_default()
                .to_owned()
        };
        let stopped = v1::Worker {
            conditions: vec![condition("Ready", "Stopped", "it stopped in order")],
            departure: Some(v1::Departure {
                stopped: true,
                keep_until: Some(prost_types::Timestamp::default()),
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(
            said(&stopped),
            "  not ready: it stopped in order; its replicas are kept for it until 1970-01-01T00:00:00Z"
        );
        let stopping = v1::Worker {
            ready: true,
            departure: Some(v1::Departure::default()),
            ..Default::default()
        };
        assert_eq!(
            said(&stopping),
            "  stopping: it takes no new replicas; its replicas are replaced on other workers if possible"
        );
        let silent = v1::Worker {
            last_heartbeat: Some(prost_types::Timestamp::default()),
            ..Default::default()
        };
        assert_eq!(
            said(&silent),
            "  not ready: last heartbeat 0s ago; its replicas are replaced on other workers if possible"
        );
    }
}
