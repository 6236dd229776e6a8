//! Reads and checks the first message of a session.

use std::collections::BTreeMap;

use warren_model::{
    error::Violations,
    name::{Name, NameError},
};
use warren_proto::{SESSION_PROTOCOL_VERSION, v1};

use super::{bounds, error::SessionError};

/// The worker that opened the session, and what it runs.
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
    pub http_address: String,
    /// The newest assignments that it has seen; `None` where it has seen none, or does not say.
    pub seen: Option<v1::Seen>,
    /// Whether it follows this control plane whatever it has seen.
    pub may_switch: bool,
    /// Distinguishes its process from others with its id. Empty where it does not say.
    pub instance: String,
    /// Present where it is about to stop.
    pub leave: Option<v1::Leave>,
    /// Identifies the machine whose ports it shares. Empty: the worker does not say.
    pub network: String,
    /// The addresses where it is reached, each "IP:PORT". Empty where it does not say.
    pub listeners: Vec<String>,
    /// The addresses that its operator lets workloads publish on. Empty: all.
    pub publish_allow: Vec<String>,
    /// The limits of compiling one component there, if it says.
    pub compile_limits: Option<v1::CompileLimits>,
    /// The interfaces that it provides to guests. Empty where it does not state them.
    pub interfaces: Vec<v1::HostInterface>,
    /// The fields of a spec that it honours, of those that the first workers did not know.
    pub features: Vec<String>,
}

/// Why a worker is not admitted: a reason in CamelCase, and a sentence with what to do.
#[derive(Debug)]
pub(super) struct TurnedAway {
    pub reason: &'static str,
    pub message: String,
}

// === impl Greeting ===

impl Greeting {
    pub fn parse(request: v1::SessionRequest) -> Result<Self, SessionError> {
        let Some(v1::session_request::Message::Hello(mut hello)) = request.message else {
            return Err(SessionError::field(
                "hello",
                "the first message of a session is Hello",
            ));
        };
        if hello.protocol_version != SESSION_PROTOCOL_VERSION {
            return Err(SessionError::Protocol(hello.protocol_version));
        }
        let mut violations = Violations::default();
        bounds::check_hello(&hello, &mut violations);
        let name: Result<Name, NameError> = Name::parse(&hello.name);
        let name = violations.ok("hello.name", name);
        hello.replicas.iter_mut().for_each(bounds::cut_report);
        hello.leave.iter_mut().for_each(bounds::check_leave);
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
                http_address: hello.http_address,
                seen: hello.seen,
                may_switch: hello.may_switch,
                instance: hello.instance,
                leave: hello.leave,
                network: hello.network,
                listeners: hello.listeners,
                publish_allow: hello.publish_allow,
                compile_limits: hello.compile_limits,
                interfaces: hello.interfaces,
                features: hello.features,
            }),
            _ => Err(SessionError::Invalid(violations)),
        }
    }

    /// Checks that the worker follows a control plane of this cluster and term. It says so before
    /// it is assigned anything.
    pub fn check(&self, cluster: &str, term: u64) -> Result<(), TurnedAway> {
        let Some(seen) = self.seen.as_ref().filter(|_| !self.may_switch) else {
            return Ok(());
        };
        let theirs = seen.cluster_id.as_str();
        if !theirs.is_empty() && theirs != cluster {
            return Err(TurnedAway {
                reason: "OtherCluster",
                message: format!(
                    "worker {} follows cluster {theirs}, and this control plane serves cluster {cluster}: what the worker \
                     runs goes on; start it again and it follows this control plane",
                    self.name
                ),
            });
        }
        if seen.term > term {
            return Err(TurnedAway {
                reason: "LaterTerm",
                message: format!(
                    "worker {} has seen term {} of this cluster, and this control plane is at term {term}: either it \
                     was replaced and should be stopped, or its data was set back; in that case start the worker again \
                     and it follows this control plane",
                    self.name, seen.term
                ),
            });
        }
        Ok(())
    }

    /// Returns the generation that the next Assignments must exceed.
    pub fn generation(&self, cluster: &str, term: u64) -> u64 {
        let seen = self.seen.as_ref();
        let seen = seen.filter(|seen| seen.cluster_id == cluster && seen.term == term);
        seen.map_or(0, |seen| seen.generation)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_is_bound_elsewhere_is_turned_away() {
        let seen = |cluster: &str, term| {
            Some(v1::Seen {
                cluster_id: cluster.to_owned(),
                term,
                generation: 7,
            })
        };
        // What the worker has seen, why it is turned away, and the generation to exceed.
        let table = [
            (None, None, 0),
            (seen("a", 3), None, 7),
            (seen("a", 2), None, 0),
            (seen("", 3), None, 0),
            (seen("a", 4), Some("LaterTerm"), 0),
            (seen("", 4), Some("LaterTerm"), 0),
            (seen("b", 1), Some("OtherCluster"), 0),
            (seen("b", 3), Some("OtherCluster"), 0),
        ];
        for (seen, expected, generation) in table {
            let hello = v1::Hello {
                protocol_version: SESSION_PROTOCOL_VERSION,
                worker_id: "id".to_owned(),
                name: "w1".to_owned(),
                address: "http://127.0.0.1:7701".to_owned(),
                seen,
                ..v1::Hello::default()
            };
            let request = |hello| v1::SessionRequest {
                message: Some(v1::session_request::Message::Hello(hello)),
            };
            let greeting = Greeting::parse(request(hello.clone())).unwrap();
            let reason = greeting.check("a", 3).map_err(|away| away.reason).err();
            assert_eq!(reason, expected, "{hello:?}");
            assert_eq!(greeting.generation("a", 3), generation, "{hello:?}");
            let free = v1::Hello {
                may_switch: true,
                ..hello
            };
            let greeting = Greeting::parse(request(free)).unwrap();
            assert!(greeting.check("a", 3).is_ok());
        }
    }
}
