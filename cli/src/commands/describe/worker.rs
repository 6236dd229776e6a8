//! A worker in words.

use warren_proto::v1;

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
    text.line(1, match worker.ready {
        true => format!("ready, its last heartbeat came {heartbeat}"),
        false => format!("not ready: its last heartbeat came {heartbeat}; its replicas are replaced where there is room"),
    });
    if worker.cordoned {
        text.line(1, "cordoned: it takes no new replicas");
    }
    if let Some(drain) = &worker.drain {
        let since = text.age(drain.start_time.as_ref());
        let left = match drain.replicas {
            0 => "nothing runs there any more".to_owned(),
            left => format!("{} left", count(left, "replica")),
        };
        text.line(1, format!("drained since {since}: {left}"));
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
    text.line(
        1,
        format!(
            "{} of {} of memory promised to {}",
            bytes(allocated.memory_bytes),
            bytes(capacity.memory_bytes),
            count(allocated.replicas, "replica"),
        ),
    );
    text.labels(&worker.labels);
    for volume in &worker.volumes {
        let access = if volume.read_only {
            ", for reading only"
        } else {
            ""
        };
        text.line(1, format!("offers volume {}{access}", volume.name));
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::output::Style;

    #[test]
    fn reads_as_sentences() {
        let worker = v1::Worker {
            id: "0199".into(),
            name: "w1".into(),
            address: "http://127.0.0.1:7701".into(),
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
                }],
                ..Default::default()
            }),
            version: "0.1.0".into(),
            labels: [("zone".to_owned(), "a".to_owned())].into(),
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
  ready, its last heartbeat came 0s ago
  cordoned: it takes no new replicas
  drained since 0s: 1 replica left
    default/counter: 1 replica has no other worker: no workers
  at http://127.0.0.1:7701, version 0.1.0, id 0199
  0B of 0B of memory promised to 0 replicas
  labels zone=a

Replicas
  default/counter: counter-abc on worker w1: RUNNING, ready

No events are kept
"
        );
    }
}
