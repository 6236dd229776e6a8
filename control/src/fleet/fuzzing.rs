//! Processes a session message without a fleet, as far as it can be checked and decided alone.

use prost::Message as _;
use warren_proto::v1::{SessionRequest, replica::Phase, session_request::Message};

use super::{hello::Greeting, report};
use crate::{clock, state::records::ReplicaRecord};

const PHASES: [Phase; 5] = [
    Phase::Pending,
    Phase::Running,
    Phase::Stopping,
    Phase::Lost,
    Phase::Stopped,
];

pub fn session(request: SessionRequest) {
    let reports = match request.message.clone() {
        Some(Message::Hello(hello)) => hello.replicas,
        Some(Message::Report(report)) => vec![report],
        _ => Vec::new(),
    };
    if let Ok(greeting) = Greeting::parse(request) {
        // Either is an answer.
        let _ = greeting.check("cluster", 1);
        greeting.generation("cluster", 1);
    }
    for report in reports {
        for phase in PHASES {
            let mut record = ReplicaRecord::default();
            record.enter(phase, clock::now());
            let Some(after) = report::apply(&record, &report, clock::now()) else {
                continue;
            };
            assert_ne!(
                phase,
                Phase::Stopped,
                "a stopped replica is stopped for good"
            );
            let stored = after.encode_to_vec();
            assert_eq!(ReplicaRecord::decode(&*stored), Ok(after));
        }
    }
}
