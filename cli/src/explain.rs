//! Why something is as it is, in words: shared by `describe`, by whoever waits, and by `dev`.

use warren_proto::v1::{self, condition::Status, replica::Phase};

use crate::output;

/// What keeps the present revision of a workload from being ready; empty when nothing is known.
pub fn unready(workload: &v1::Workload, replicas: &[v1::Replica]) -> Vec<String> {
    let mut lines = Vec::new();
    for replica in replicas {
        if replica.revision == workload.revision && !replica.ready {
            lines.extend(trouble(replica));
        }
    }
    if lines.is_empty() {
        let conditions = workload.status.iter().flat_map(|status| &status.conditions);
        lines.extend(conditions.filter_map(unmet));
    }
    lines
}

/// A replica that is not well: where it is, what it lacks, how it last ended.
pub fn trouble(replica: &v1::Replica) -> Vec<String> {
    let mut lines = vec![headline(replica)];
    let unmet = replica.conditions.iter().filter_map(unmet);
    lines.extend(unmet.map(|line| format!("  {line}")));
    lines.extend(
        last_exit(replica)
            .into_iter()
            .map(|line| format!("  {line}")),
    );
    lines
}

/// `counter-abc on worker w1: RUNNING, ready, restarted 3 times`.
pub fn headline(replica: &v1::Replica) -> String {
    let mut line = match replica.worker.as_str() {
        "" => format!("{}, on no worker yet: ", replica.id),
        worker => format!("{} on worker {worker}: ", replica.id),
    };
    line.push_str(replica.phase().as_str_name());
    if replica.ready {
        line.push_str(", ready");
    } else if replica.phase() == Phase::Running {
        line.push_str(", not ready");
    }
    match replica.restarts {
        0 => {}
        1 => line.push_str(", restarted once"),
        times => line.push_str(&format!(", restarted {times} times")),
    }
    line
}

/// How the service last ended, with its backtrace and what it last said; empty when it never has.
pub fn last_exit(replica: &v1::Replica) -> Vec<String> {
    let Some(exit) = &replica.last_exit else {
        return Vec::new();
    };
    let reason = match exit.reason() {
        v1::exit::Reason::Exited => format!("EXITED with code {}", exit.code),
        reason => reason.as_str_name().to_owned(),
    };
    let mut lines = vec![match &exit.time {
        Some(time) => format!("last ended {}: {reason}", output::ago(Some(time))),
        None => format!("last ended: {reason}"),
    }];
    lines.extend(exit.message.lines().map(|line| format!("  {line}")));
    if !exit.stderr.is_empty() {
        lines.push("its last lines on stderr:".to_owned());
        lines.extend(exit.stderr.iter().map(|line| format!("  | {line}")));
    }
    lines
}

/// A condition in one line: `Started is FALSE (PortUnavailable): 127.0.0.1:6379 is in use`.
pub fn condition(condition: &v1::Condition) -> String {
    let mut line = format!(
        "{} is {}",
        condition.r#type,
        condition.status().as_str_name()
    );
    if !condition.reason.is_empty() {
        line.push_str(&format!(" ({})", condition.reason));
    }
    if !condition.message.is_empty() {
        line.push_str(&format!(": {}", condition.message));
    }
    line
}

fn unmet(met: &v1::Condition) -> Option<String> {
    let explains = !met.reason.is_empty() || !met.message.is_empty();
    (met.status() != Status::True && explains).then(|| condition(met))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crashed_replica_says_why() {
        let replica = v1::Replica {
            id: "cache-abc".into(),
            worker: "w1".into(),
            phase: Phase::Backoff.into(),
            restarts: 3,
            conditions: vec![
                v1::Condition {
                    r#type: "Scheduled".into(),
                    status: Status::True.into(),
                    reason: "Placed".into(),
                    ..Default::default()
                },
                v1::Condition {
                    r#type: "Ready".into(),
                    status: Status::False.into(),
                    reason: "NotListening".into(),
                    message: "nothing listens on port 6379".into(),
                    ..Default::default()
                },
            ],
            last_exit: Some(v1::Exit {
                reason: v1::exit::Reason::Trapped.into(),
                message: "wasm trap: unreachable\n  0: cache!main".into(),
                stderr: vec!["panicked at src/main.rs:3".into()],
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(
            trouble(&replica).join("\n"),
            "cache-abc on worker w1: BACKOFF, restarted 3 times\n  \
               Ready is FALSE (NotListening): nothing listens on port 6379\n  \
               last ended: TRAPPED\n    \
                 wasm trap: unreachable\n      \
                   0: cache!main\n  \
               its last lines on stderr:\n    \
                 | panicked at src/main.rs:3"
        );
    }

    #[test]
    fn without_replicas_the_workload_speaks() {
        let workload = v1::Workload {
            status: Some(v1::WorkloadStatus {
                conditions: vec![v1::Condition {
                    r#type: "Ready".into(),
                    status: Status::False.into(),
                    message: "no workers".into(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(unready(&workload, &[]), ["Ready is FALSE: no workers"]);
    }
}
