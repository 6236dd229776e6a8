//! The tables of `warren get`.

use std::{collections::BTreeMap, time::SystemTime};

use prost::{Message, Name};
use warren_model::{condition, reason};
use warren_proto::v1::{self, condition::Status};

use crate::{
    commands::push,
    explain,
    output::{Table, age_at, bytes},
};

/// How a table is formatted.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Whether it lists several namespaces, so that each row names its own.
    pub everywhere: bool,
    /// Whether it has additional columns.
    pub wide: bool,
    /// Whether digests are shortened, to leave room for other columns on a terminal.
    pub short: bool,
    /// The time that ages refer to.
    pub now: SystemTime,
}

/// A kind of object that `get` lists.
pub trait Listed: Message + Name + Clone + PartialEq {
    /// The name of the kind: `workload`, as in `workload/counter`.
    const KIND: &'static str;

    /// Columns that are left out on a narrow terminal, in this order. Names, phases and reasons
    /// always stay.
    const GIVES_WAY: &'static [&'static str];

    /// Returns its name within its namespace.
    fn name(&self) -> &str;

    /// Returns its namespace; empty for kinds without one.
    fn namespace(&self) -> &str;

    fn header(look: &Look) -> Vec<&'static str>;

    /// Returns one cell for each column. `gone` means that the object has been deleted and this is
    /// its last state.
    fn row(&self, look: &Look, gone: bool) -> Vec<String>;
}

/// Returns a table of the items with their header.
pub fn table<T: Listed>(items: &[T], look: &Look) -> Table {
    let mut table = empty::<T>(look);
    for item in items {
        table.row(item.row(look, false));
    }
    table
}

/// Returns a table with only the header. `-o wide` prints every column.
pub fn empty<T: Listed>(look: &Look) -> Table {
    let table = Table::new(T::header(look));
    if look.wide {
        table
    } else {
        table.giving_way(T::GIVES_WAY)
    }
}

/// The state of a deleted object in the table of a watch.
const GONE: &str = "Deleted";

// === impl Listed for Workload ===

impl Listed for v1::Workload {
    const KIND: &'static str = "workload";
    const GIVES_WAY: &'static [&'static str] = &["AGE", "REVISION"];

    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn header(look: &Look) -> Vec<&'static str> {
        let mut header = vec!["NAME", "READY", "STATUS", "REVISION", "AGE"];
        if look.everywhere {
            header.insert(0, "NAMESPACE");
        }
        if look.wide {
            header.extend(["ROUTES", "PUBLISH", "LABELS"]);
        }
        header
    }

    fn row(&self, look: &Look, gone: bool) -> Vec<String> {
        let ready = self.status.as_ref().map_or(0, |s| s.ready_replicas);
        let mut row = vec![
            self.name.clone(),
            format!("{ready}/{}", explain::wanted(self)),
            if gone { GONE } else { state(self) }.to_owned(),
            self.revision.to_string(),
            age_at(look.now, self.create_time.as_ref()),
        ];
        if look.everywhere {
            row.insert(0, self.namespace.clone());
        }
        if look.wide {
            let published = self.spec.iter().flat_map(|spec| &spec.service);
            let published = published.flat_map(|service| &service.publish);
            row.extend([
                joined(routes(self)),
                joined(published.map(|p| way(&p.listen, p.port, p.protocol()))),
                labels(&self.labels),
            ]);
        }
        row
    }
}

// === impl Listed for Replica ===

impl Listed for v1::Replica {
    const KIND: &'static str = "replica";
    // The id already begins with the name of the workload.
    const GIVES_WAY: &'static [&'static str] = &["WORKLOAD", "AGE", "RESTARTS"];

    fn name(&self) -> &str {
        &self.id
    }

    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn header(look: &Look) -> Vec<&'static str> {
        let mut header = vec![
            "NAME", "WORKLOAD", "PHASE", "READY", "RESTARTS", "WORKER", "AGE",
        ];
        if look.everywhere {
            header.insert(0, "NAMESPACE");
        }
        if look.wide {
            header.extend(["REVISION", "MEMORY", "CPU", "ENDPOINTS", "LASTEXIT"]);
        }
        header
    }

    fn row(&self, look: &Look, gone: bool) -> Vec<String> {
        let mut row = vec![
            self.id.clone(),
            self.workload.clone(),
            if gone {
                GONE.to_owned()
            } else {
                explain::phase(self)
            },
            yes(self.ready && !gone),
            self.restarts.to_string(),
            self.worker.clone(),
            age_at(look.now, self.create_time.as_ref()),
        ];
        if look.everywhere {
            row.insert(0, self.namespace.clone());
        }
        if look.wide {
            let endpoints = self.endpoints.iter();
            let usage = self.usage.as_ref();
            row.extend([
                self.revision.to_string(),
                usage
                    .map(|usage| bytes(usage.memory_bytes))
                    .unwrap_or_default(),
                usage.and_then(explain::cpu_share).unwrap_or_default(),
                joined(endpoints.map(|e| way(&e.address, e.guest_port, e.protocol()))),
                self.last_exit
                    .as_ref()
                    .map(explain::exit_reason)
                    .unwrap_or_default(),
            ]);
        }
        row
    }
}

// === impl Listed for Worker ===

impl Listed for v1::Worker {
    const KIND: &'static str = "worker";
    const GIVES_WAY: &'static [&'static str] = &["VERSION", "HEARTBEAT", "MEMORY"];

    fn name(&self) -> &str {
        &self.name
    }

    fn namespace(&self) -> &str {
        ""
    }

    fn header(look: &Look) -> Vec<&'static str> {
        let mut header = vec![
            "NAME",
            "READY",
            "REPLICAS",
            "MEMORY",
            "VERSION",
            "HEARTBEAT",
        ];
        if look.wide {
            header.extend(["ADDRESS", "HTTP", "LABELS", "ID"]);
        }
        header
    }

    fn row(&self, look: &Look, gone: bool) -> Vec<String> {
        let capacity = self.capacity.unwrap_or_default();
        let allocated = self.allocated.unwrap_or_default();
        let mut row = vec![
            self.name.clone(),
            if gone {
                GONE.to_owned()
            } else {
                readiness(self)
            },
            allocated.replicas.to_string(),
            format!(
                "{}/{}",
                bytes(allocated.memory_bytes),
                bytes(capacity.memory_bytes)
            ),
            self.version.clone(),
            age_at(look.now, self.last_heartbeat.as_ref()),
        ];
        if look.wide {
            row.extend([
                self.address.clone(),
                self.http_address.clone(),
                labels(&self.labels),
                self.id.clone(),
            ]);
        }
        row
    }
}

// === impl Listed for Artifact ===

impl Listed for v1::Artifact {
    const KIND: &'static str = "artifact";
    const GIVES_WAY: &'static [&'static str] = &["AGE"];

    fn name(&self) -> &str {
        &self.digest
    }

    fn namespace(&self) -> &str {
        ""
    }

    fn header(look: &Look) -> Vec<&'static str> {
        let mut header = vec!["DIGEST", "SIZE", "USES", "AGE"];
        if look.wide {
            header.extend(["UNUSED", "EXPORTS"]);
        }
        header
    }

    fn row(&self, look: &Look, gone: bool) -> Vec<String> {
        let mut row = vec![
            if look.short && !look.wide {
                short_digest(&self.digest).to_owned()
            } else {
                self.digest.clone()
            },
            bytes(self.size_bytes),
            if gone {
                GONE.to_owned()
            } else {
                push::uses(self)
            },
            age_at(look.now, self.create_time.as_ref()),
        ];
        if look.wide {
            let unused = self.unused_since.as_ref();
            row.push(unused.map_or_else(String::new, |since| age_at(look.now, Some(since))));
            row.push(joined(self.exports.iter().map(|item| item.name.clone())));
        }
        row
    }
}

/// Formats whether a worker is ready, and why not, such as `no,OtherCluster,drained`.
fn readiness(worker: &v1::Worker) -> String {
    let find = |kind: &str| worker.conditions.iter().find(|one| one.r#type == kind);
    let mut words = Vec::new();
    if !worker.ready {
        words.push("no");
        words.extend(find(condition::READY).map(|ready| ready.reason.as_str()));
    } else if worker.departure.is_some() {
        words.push("stopping");
    }
    if find(condition::ASSIGNMENTS).is_some_and(|one| one.status() == Status::False) {
        words.push(reason::ASSIGNMENTS_DROPPED);
    }
    match &worker.drain {
        _ if !worker.cordoned => {}
        None => words.push("cordoned"),
        Some(drain) if drain.replicas == 0 => words.push("drained"),
        Some(_) => words.push("draining"),
    }
    if words.is_empty() {
        words.push("yes");
    }
    words.join(",")
}

/// Returns enough of a digest to identify an artifact, also on the command line.
pub fn short_digest(digest: &str) -> &str {
    digest.get(.."sha256:".len() + 12).unwrap_or(digest)
}

/// Formats a route. Any host is `*`.
pub fn route(host: &str, path: &str) -> String {
    let host = if host.is_empty() { "*" } else { host };
    let path = if path.is_empty() { "/" } else { path };
    format!("{host}{path}")
}

/// Returns the routes of the components, then those of the service.
fn routes(workload: &v1::Workload) -> impl Iterator<Item = String> {
    let spec = workload.spec.iter();
    let of_components = spec.clone().flat_map(|spec| &spec.components);
    let of_components = of_components
        .flat_map(|component| &component.routes)
        .map(|one| route(&one.host, &one.path));
    let of_service = spec.flat_map(|spec| &spec.service);
    let of_service = of_service
        .flat_map(|service| &service.routes)
        .map(|one| route(&one.host, &one.path));
    of_components.chain(of_service)
}

/// Returns one word for the state of a workload: if it is not as it should be, the reason of its
/// condition.
fn state(workload: &v1::Workload) -> &str {
    if workload.delete_time.is_some() {
        return "Deleting";
    }
    let conditions = workload.status.iter().flat_map(|status| &status.conditions);
    let find = |kind: &str| conditions.clone().find(|one| one.r#type == kind);
    match (find(condition::READY), find(condition::PROGRESSING)) {
        (Some(ready), Some(moving))
            if ready.status() == Status::True && moving.status() == Status::True =>
        {
            named(moving, "Progressing")
        }
        (Some(ready), _) if ready.status() == Status::True => "Ready",
        (Some(ready), _) => named(ready, "NotReady"),
        (None, _) => "NotReady",
    }
}

fn named<'a>(condition: &'a v1::Condition, fallback: &'static str) -> &'a str {
    match condition.reason.as_str() {
        "" => fallback,
        reason => reason,
    }
}

fn labels(labels: &BTreeMap<String, String>) -> String {
    joined(labels.iter().map(|(key, value)| format!("{key}={value}")))
}

fn yes(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

/// Formats a published port as `127.0.0.1:53->53/udp`. TCP is not mentioned.
fn way(address: &str, port: u32, protocol: v1::publish::Protocol) -> String {
    match protocol {
        v1::publish::Protocol::Udp => format!("{address}->{port}/udp"),
        _ => format!("{address}->{port}"),
    }
}

fn joined(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
