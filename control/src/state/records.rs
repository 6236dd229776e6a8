//! Records that are stored besides the contract's own messages.

use prost_types::Timestamp;
use warren_model::{condition, name::Name, spec};
use warren_proto::v1::{self, replica::Phase};

use crate::scheduler::{Hold, Memory};

/// A replica as it is stored: what users see, and what only the control plane needs to know.
///
/// Phase STOPPING is the control plane's order to stop. All other phases except LOST come from the
/// worker's reports.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ReplicaRecord {
    /// The replica without `resource_version`.
    #[prost(message, required, tag = "1")]
    pub replica: v1::Replica,
    /// The time when its phase last changed, by the control plane's clock.
    #[prost(message, optional, tag = "2")]
    pub since: Option<Timestamp>,
    /// The number of replicas before it that failed in a row.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The bytes of memory that it may use at most on its worker.
    #[prost(uint64, tag = "4")]
    pub memory_bytes: u64,
    /// The ports "IP:PORT" and "IP:PORT/udp" that it holds on its worker, without those with port
    /// 0.
    #[prost(string, repeated, tag = "5")]
    pub ports: Vec<String>,
    /// The phase that its worker last reported while it was LOST.
    #[prost(enumeration = "v1::replica::Phase", tag = "6")]
    pub reported: i32,
    /// Whether its worker then reported it ready.
    #[prost(bool, tag = "7")]
    pub reported_ready: bool,
    /// The bytes of memory that its guests are always granted on its worker. Absent in what an
    /// earlier version stored.
    #[prost(uint64, optional, tag = "20")]
    pub reserve_bytes: Option<u64>,
    /// The time since which it has been ready without a break, by the control plane's clock. Absent
    /// while it is not ready, and in what a version without `update.min_ready` stored.
    #[prost(message, optional, tag = "30")]
    pub ready_since: Option<Timestamp>,
    /// The workers that could not listen on its ports before it was made.
    #[prost(string, repeated, tag = "31")]
    pub refused: Vec<String>,
    /// Whether a run of its service that ended with its worker is never followed by another.
    #[prost(bool, tag = "32")]
    pub runs_once: bool,
    /// Whether it was asked to stop for good: then it does not matter if its service completes in
    /// the meantime.
    #[prost(bool, tag = "33")]
    pub discarded: bool,
    /// The time when its worker came back as another process, after one that had ended without a
    /// word while this replica was starting on it or had just begun.
    #[prost(message, optional, tag = "34")]
    pub cut_short: Option<Timestamp>,
}

/// An event as it is stored.
#[derive(Clone, PartialEq, prost::Message)]
pub struct EventRecord {
    /// Absent in what an earlier version stored, whose events are not kept.
    #[prost(message, optional, tag = "16")]
    pub event: Option<v1::Event>,
    /// The worker's account of the event, if a worker reported it.
    #[prost(message, optional, tag = "17")]
    pub account: Option<Account>,
}

/// A worker's count of an event: the same account again, or a later one, is counted once.
#[derive(Clone, Copy, PartialEq, prost::Message)]
pub struct Account {
    /// The time when the worker began to count: another time is another account.
    #[prost(message, optional, tag = "1")]
    pub since: Option<Timestamp>,
    #[prost(uint32, tag = "2")]
    pub total: u32,
}

// === impl ReplicaRecord ===

impl ReplicaRecord {
    pub fn phase(&self) -> Phase {
        self.replica.phase()
    }

    /// Whether it may hold memory and ports of its worker.
    pub fn occupies(&self) -> bool {
        !matches!(self.phase(), Phase::Failed | Phase::Stopped)
    }

    /// Returns for how long it has its ports; `None` once it has released them.
    pub fn hold(&self) -> Option<Hold> {
        match self.phase() {
            Phase::Completed | Phase::Failed | Phase::Stopped => None,
            Phase::Stopping => Some(Hold::Ends),
            Phase::Lost => Some(Hold::Lost),
            Phase::Unspecified
            | Phase::Pending
            | Phase::Starting
            | Phase::Running
            | Phase::Backoff => Some(Hold::Stays),
        }
    }

    /// Returns what it takes of its worker's memory. One that an earlier version stored has the
    /// default reserve, as its worker assumes.
    pub fn memory(&self) -> Memory {
        let default = || spec::default_reserve(self.memory_bytes);
        Memory {
            reserve: self.reserve_bytes.unwrap_or_else(default),
            limit: self.memory_bytes,
        }
    }

    /// Returns the worker that it was placed on.
    pub fn worker(&self) -> Option<Name> {
        Name::parse(&self.replica.worker).ok()
    }

    /// Marks it as ready since `now`.
    pub fn set_ready(&mut self, now: Timestamp) {
        self.replica.ready = true;
        self.replica.available = Some(false);
        self.ready_since = Some(now);
    }

    /// Marks it as not ready.
    pub fn set_unready(&mut self) {
        if self.replica.ready {
            self.replica.ready = false;
            self.replica.available = Some(false);
        }
        self.ready_since = None;
    }

    /// Sets the phase, and the time of the change if it is one.
    pub fn enter(&mut self, phase: Phase, now: Timestamp) {
        if self.phase() != phase || self.since.is_none() {
            self.since = Some(now);
        }
        self.replica.set_phase(phase);
    }
}

/// Sets the conditions that the worker of a replica would know, had it reported them.
pub fn set_worker_conditions(
    conditions: &mut Vec<v1::Condition>,
    status: v1::condition::Status,
    reason: &str,
    message: &str,
    now: Timestamp,
) {
    for kind in condition::OF_WORKER {
        set_condition(conditions, kind, status, reason, message, now);
    }
}

/// Sets one condition of an object; its time moves only when its status changes. Returns whether
/// anything changed.
pub fn set_condition(
    conditions: &mut Vec<v1::Condition>,
    kind: &str,
    status: v1::condition::Status,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let time = conditions
        .iter()
        .find(|held| held.r#type == kind && held.status == status as i32)
        .and_then(|held| held.last_transition_time)
        .unwrap_or(now);
    let condition = v1::Condition {
        r#type: kind.to_owned(),
        status: status.into(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Some(time),
    };
    match conditions.iter_mut().find(|held| held.r#type == kind) {
        Some(held) if *held == condition => false,
        Some(held) => {
            *held = condition;
            true
        }
        None => {
            conditions.push(condition);
            true
        }
    }
}

/// Returns one condition by its type.
pub fn condition<'a>(conditions: &'a [v1::Condition], kind: &str) -> Option<&'a v1::Condition> {
    conditions.iter().find(|held| held.r#type == kind)
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::reconcile::observe;

    #[test]
    fn what_a_version_without_minimum_times_stored_counts_as_it_did() {
        // Field 1: a replica with field 8, `ready`, as that version wrote it.
        for (stored, counts) in [(&b"\x0a\x02\x40\x01"[..], true), (&b"\x0a\x00"[..], false)] {
            let record = ReplicaRecord::decode(stored).expect("it is one");
            assert_eq!(record.replica.available, None);
            let seen = observe::replica(&record, &Timestamp::default());
            assert_eq!((seen.ready, seen.available), (counts, counts));
            assert!(!record.runs_once && !record.discarded && seen.refused.is_empty());
        }
    }
}
