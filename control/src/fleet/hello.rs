//! The first message of a session, checked.

use std::collections::BTreeMap;

use tonic::Status;
use warren_model::{
    error::Violations,
    name::{Name, NameError},
};
use warren_proto::{SESSION_PROTOCOL_VERSION, v1};

use crate::api::error;

/// Who opened the session and what it runs.
#[derive(Debug)]
pub(super) struct Greeting {
    pub id: String,
    pub name: Name,
    pub address: String,
    pub labels: BTreeMap<String, String>,
    pub capacity: v1::Resources,
    pub version: String,
    pub replicas: Vec<v1::ReplicaReport>,
    pub volumes: Vec<v1::HostVolume>,
}

/// Longer than any id that a worker makes.
const MAX_ID: usize = 128;

// === impl Greeting ===

impl Greeting {
    pub fn parse(request: v1::SessionRequest) -> Result<Self, Status> {
        let Some(v1::session_request::Message::Hello(hello)) = request.message else {
            return Err(error::invalid_field(
                "hello",
                "the first message of a session is Hello",
            ));
        };
        if hello.protocol_version != SESSION_PROTOCOL_VERSION {
            return Err(error::precondition(
                "PROTOCOL_VERSION",
                "session",
                format!(
                    "the worker speaks session protocol {}, this control plane {SESSION_PROTOCOL_VERSION}: \
                     run the same version of Warren on both",
                    hello.protocol_version
                ),
            ));
        }
        let mut violations = Violations::default();
        if hello.worker_id.is_empty() || hello.worker_id.len() > MAX_ID {
            violations.push(
                "hello.worker_id",
                format!("should be 1 to {MAX_ID} characters"),
            );
        }
        if !hello.address.starts_with("http://") && !hello.address.starts_with("https://") {
            violations.push("hello.address", "should be an \"http://HOST:PORT\" URL");
        }
        for (i, volume) in hello.volumes.iter().enumerate() {
            violations.ok(
                format!("hello.volumes[{i}].name"),
                Name::parse(&volume.name),
            );
        }
        let name: Result<Name, NameError> = Name::parse(&hello.name);
        let name = violations.ok("hello.name", name);
        match name {
            Some(name) if violations.0.is_empty() => Ok(Self {
                id: hello.worker_id,
                name,
                address: hello.address,
                labels: hello.labels,
                capacity: hello.capacity.unwrap_or_default(),
                version: hello.version,
                replicas: hello.replicas,
                volumes: hello.volumes,
            }),
            _ => Err(error::invalid(&violations)),
        }
    }

    /// The worker as it is stored from now on; what people decided about it stays.
    pub fn worker(&self, before: Option<v1::Worker>) -> v1::Worker {
        let before = before.filter(|before| before.id == self.id);
        v1::Worker {
            id: self.id.clone(),
            name: self.name.to_string(),
            address: self.address.clone(),
            ready: true,
            cordoned: before.as_ref().is_some_and(|before| before.cordoned),
            drain: before.and_then(|before| before.drain),
            labels: self.labels.clone(),
            capacity: Some(self.capacity),
            last_heartbeat: Some(crate::clock::now()),
            version: self.version.clone(),
            volumes: self.volumes.clone(),
            ..v1::Worker::default()
        }
    }
}
