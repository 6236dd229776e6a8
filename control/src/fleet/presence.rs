//! Updates a worker's record as the worker connects and disconnects. Pure.

use std::time::Duration;

use prost_types::Timestamp;
use warren_model::{
    condition::{ASSIGNMENTS, READY},
    reason,
};
use warren_proto::v1::{self, condition::Status};

use super::hello::Greeting;
use crate::{
    clock,
    state::records::{condition, set_condition},
};

/// The worker has opened a session; what people decided about it is kept.
pub(super) fn joined(
    greeting: &Greeting,
    before: Option<v1::Worker>,
    now: Timestamp,
) -> v1::Worker {
    let mut worker = greeted(greeting, before, now);
    worker.ready = true;
    worker.last_heartbeat = Some(now);
    worker.departure = greeting
        .leave
        .as_ref()
        .map(|leave| departure(None, leave, now));
    worker.conditions.retain(|held| held.r#type != ASSIGNMENTS);
    set_present(&mut worker, now);
    worker
}

/// The worker asked for a session and was not admitted. Returns `None` if that is already recorded.
pub(super) fn turned_away(
    greeting: &Greeting,
    before: Option<v1::Worker>,
    (reason, message): (&str, &str),
    now: Timestamp,
) -> Option<v1::Worker> {
    let mut worker = greeted(greeting, before.clone(), now);
    worker.ready = false;
    set_ready(&mut worker, Status::False, reason, message, now);
    let last_heartbeat = before.as_ref().and_then(|before| before.last_heartbeat);
    worker.last_heartbeat = last_heartbeat;
    (before.as_ref() != Some(&worker)).then_some(worker)
}

/// The worker has said that it is stopping, or that it has stopped.
pub fn departs(mut worker: v1::Worker, leave: &v1::Leave, now: Timestamp) -> v1::Worker {
    worker.departure = Some(departure(worker.departure.as_ref(), leave, now));
    if worker.ready {
        set_present(&mut worker, now);
    }
    worker
}

/// The worker is about to receive an assignment. Returns `None` if it had one before, or is not
/// known.
pub(super) fn runs(mut worker: v1::Worker) -> Option<v1::Worker> {
    let has_not = worker.has_run == Some(false);
    worker.has_run = worker.has_run.map(|_| true);
    has_not.then_some(worker)
}

/// The worker's session has ended.
pub fn disconnected(
    mut worker: v1::Worker,
    cause: &str,
    heard: Option<Timestamp>,
    now: Timestamp,
) -> v1::Worker {
    worker.ready = false;
    worker.last_heartbeat = heard.or(worker.last_heartbeat);
    let (reason, message) = match &worker.departure {
        Some(departure) if departure.stopped => (reason::STOPPED, "it stopped in order".to_owned()),
        Some(_) => (
            "Disconnected",
            format!("it was disconnected while it was stopping: {cause}"),
        ),
        None => ("Disconnected", cause.to_owned()),
    };
    set_ready(&mut worker, Status::False, reason, &message, now);
    worker
}

/// A control plane has started, so no worker is connected. Returns `None` if that is already
/// recorded.
pub fn not_yet_back(mut worker: v1::Worker, now: Timestamp) -> Option<v1::Worker> {
    let told = condition(&worker.conditions, READY);
    if !worker.ready && told.is_some_and(|held| held.status() == Status::False) {
        return None;
    }
    worker.ready = false;
    let message = "it has not connected since the control plane started";
    set_ready(&mut worker, Status::False, "Disconnected", message, now);
    Some(worker)
}

/// The worker does not follow its assignment. Returns `None` if that is already recorded.
pub fn drops(mut worker: v1::Worker, message: &str, now: Timestamp) -> Option<v1::Worker> {
    let conditions = &mut worker.conditions;
    set_condition(
        conditions,
        ASSIGNMENTS,
        Status::False,
        "Dropped",
        message,
        now,
    )
    .then_some(worker)
}

/// Returns whether the worker follows its assignment, as far as is known.
pub fn follows(worker: &v1::Worker) -> bool {
    condition(&worker.conditions, ASSIGNMENTS).is_none_or(|held| held.status() != Status::False)
}

/// Returns for how much longer the replicas of a stopping worker are kept for it.
pub fn keeps_for(departure: &v1::Departure, now: &Timestamp) -> Duration {
    let until = departure.keep_until.as_ref().map_or(0, clock::millis);
    Duration::from_millis(until.saturating_sub(clock::millis(now)))
}

/// Returns since when the worker is not ready, or `None` while it is.
pub fn not_ready_since(worker: &v1::Worker) -> Option<Timestamp> {
    let ready = condition(&worker.conditions, READY)?;
    let since = ready.last_transition_time;
    since.filter(|_| !worker.ready && ready.status() == Status::False)
}

/// Combines what Hello says about the worker with what is already known.
fn greeted(greeting: &Greeting, before: Option<v1::Worker>, now: Timestamp) -> v1::Worker {
    let before = before.filter(|before| before.id == greeting.id);
    // Anyone who opens a session may claim to have replicas; only those that were placed on the
    // worker count.
    let has_run = before.as_ref().map_or(Some(false), |it| it.has_run);
    let before = before.unwrap_or_default();
    v1::Worker {
        has_run,
        id: greeting.id.clone(),
        name: greeting.name.to_string(),
        address: greeting.address.clone(),
        http_address: greeting.http_address.clone(),
        cordoned: before.cordoned,
        drain: before.drain,
        labels: greeting.labels.clone(),
        capacity: Some(greeting.capacity),
        last_heartbeat: Some(now),
        version: greeting.version.clone(),
        volumes: greeting.volumes.clone(),
        network: greeting.network.clone(),
        publish_allow: greeting.publish_allow.clone(),
        compile_limits: greeting.compile_limits,
        interfaces: greeting.interfaces.clone(),
        features: greeting.features.clone(),
        instance: greeting.instance.clone(),
        conditions: before.conditions,
        departure: before.departure,
        ..v1::Worker::default()
    }
}

/// The time for which replicas are kept starts when the worker has stopped, and until then when it
/// announced it.
fn departure(before: Option<&v1::Departure>, leave: &v1::Leave, now: Timestamp) -> v1::Departure {
    let keep = leave.keep.and_then(|keep| Duration::try_from(keep).ok());
    let keep = keep.filter(|keep| !keep.is_zero());
    v1::Departure {
        start_time: before.and_then(|it| it.start_time).or(Some(now)),
        keep_until: keep.and_then(|keep| clock::after(&now, keep)),
        stopped: leave.stopped,
    }
}

fn set_present(worker: &mut v1::Worker, now: Timestamp) {
    let (reason, message) = match worker.departure {
        Some(_) => (reason::STOPPING, "it is stopping and takes no new replicas"),
        None => ("Connected", "its session is open"),
    };
    set_ready(worker, Status::True, reason, message, now);
}

fn set_ready(worker: &mut v1::Worker, status: Status, reason: &str, message: &str, now: Timestamp) {
    set_condition(&mut worker.conditions, READY, status, reason, message, now);
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use warren_model::name::Name;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    fn greeting(id: &str) -> Greeting {
        Greeting::parse(v1::SessionRequest {
            message: Some(v1::session_request::Message::Hello(v1::Hello {
                protocol_version: warren_proto::SESSION_PROTOCOL_VERSION,
                worker_id: id.to_owned(),
                name: Name::parse("w1").unwrap().to_string(),
                address: "http://127.0.0.1:7701".to_owned(),
                ..v1::Hello::default()
            })),
        })
        .unwrap()
    }

    fn ready(worker: &v1::Worker) -> (bool, &str, i64) {
        let held = condition(&worker.conditions, READY).unwrap();
        let is = held.status() == Status::True;
        assert_eq!(is, worker.ready);
        (
            is,
            held.reason.as_str(),
            held.last_transition_time.unwrap().seconds,
        )
    }

    fn leave(keep: i64, stopped: bool) -> v1::Leave {
        let keep = Some(keep).filter(|keep| *keep != 0);
        v1::Leave {
            keep: keep.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            stopped,
        }
    }

    #[test]
    fn a_worker_comes_stops_and_is_back() {
        let mut worker = joined(&greeting("id"), None, at(1));
        assert_eq!(ready(&worker), (true, "Connected", 1));
        worker.cordoned = true;
        let stopping = departs(worker, &leave(30, false), at(5));
        assert_eq!(ready(&stopping), (true, "Stopping", 1));
        let stopped = departs(stopping, &leave(30, true), at(9));
        let departure = stopped.departure.unwrap();
        assert_eq!(
            (
                departure.start_time,
                departure.keep_until,
                departure.stopped
            ),
            (Some(at(5)), Some(at(39)), true)
        );
        assert_eq!(keeps_for(&departure, &at(29)), Duration::from_secs(10));
        assert_eq!(keeps_for(&departure, &at(40)), Duration::ZERO);
        let gone = disconnected(stopped, "it ended the session", Some(at(9)), at(10));
        assert_eq!(ready(&gone), (false, "Stopped", 10));
        assert_eq!(not_ready_since(&gone), Some(at(10)));
        assert_eq!(not_yet_back(gone.clone(), at(20)), None);
        let back = joined(&greeting("id"), Some(gone), at(30));
        assert_eq!(ready(&back), (true, "Connected", 30));
        assert_eq!((back.departure, back.cordoned), (None, true));
        assert_eq!(not_ready_since(&back), None);
        // Another machine under its name is another worker.
        let other = joined(&greeting("other"), Some(back), at(40));
        assert!(!other.cordoned);
    }

    #[test]
    fn what_a_worker_has_run_is_remembered() {
        let fresh = joined(&greeting("id"), None, at(1));
        assert_eq!(fresh.has_run, Some(false));
        assert_eq!(
            joined(&greeting("id"), Some(fresh.clone()), at(2)).has_run,
            Some(false)
        );
        let used = runs(fresh).unwrap();
        assert_eq!(used.has_run, Some(true));
        assert_eq!(runs(used.clone()), None);
        let gone = disconnected(used, "it ended the session", None, at(3));
        assert_eq!(
            joined(&greeting("id"), Some(gone.clone()), at(4)).has_run,
            Some(true)
        );
        // Another machine under its name has not.
        assert_eq!(
            joined(&greeting("other"), Some(gone.clone()), at(4)).has_run,
            Some(false)
        );
        // It is unknown for a worker that was there before this was recorded.
        let earlier = v1::Worker {
            has_run: None,
            ..gone
        };
        assert_eq!(
            joined(&greeting("id"), Some(earlier.clone()), at(5)).has_run,
            None
        );
        assert_eq!(runs(earlier), None);
        // Replicas that an unknown worker claims to have do not count.
        let mut holds = greeting("id");
        holds.replicas.push(v1::ReplicaReport::default());
        assert_eq!(joined(&holds, None, at(6)).has_run, Some(false));
    }

    #[test]
    fn a_worker_that_ends_without_a_word_is_disconnected() {
        let worker = joined(&greeting("id"), None, at(1));
        let gone = disconnected(worker.clone(), "no heartbeat for 10s", None, at(8));
        assert_eq!(ready(&gone), (false, "Disconnected", 8));
        let killed = departs(worker.clone(), &leave(0, false), at(2));
        assert_eq!(killed.departure.unwrap().keep_until, None);
        let killed = disconnected(killed, "the connection broke", None, at(3));
        let held = condition(&killed.conditions, READY).unwrap();
        assert!(held.message.contains("while it was stopping"), "{held:?}");
        // A control plane that was killed has not recorded it.
        let found = not_yet_back(worker, at(20)).unwrap();
        assert_eq!(ready(&found), (false, "Disconnected", 20));
    }

    #[test]
    fn a_worker_that_is_not_admitted_is_shown_with_the_reason_once() {
        let why = ("OtherCluster", "it follows another cluster");
        let away = turned_away(&greeting("id"), None, why, at(1)).unwrap();
        assert_eq!(ready(&away), (false, "OtherCluster", 1));
        assert_eq!(away.last_heartbeat, None);
        let again = turned_away(&greeting("id"), Some(away.clone()), why, at(6));
        assert_eq!(again, None);
        let admitted = joined(&greeting("id"), Some(away), at(9));
        assert_eq!(ready(&admitted), (true, "Connected", 9));
    }

    #[test]
    fn what_is_dropped_is_shown_until_the_next_session() {
        let worker = joined(&greeting("id"), None, at(1));
        assert!(follows(&worker));
        let drops_some = drops(worker, "older", at(2)).unwrap();
        assert!(!follows(&drops_some));
        assert_eq!(drops(drops_some.clone(), "older", at(3)), None);
        assert!(follows(&joined(&greeting("id"), Some(drops_some), at(4))));
    }
}
