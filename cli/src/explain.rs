//! Explanations of why a replica or workload is not as it should be. They are shared by `describe`,
//! `dev` and the commands that wait.

use std::time::SystemTime;

use warren_model::{condition, reason};
use warren_proto::v1::{self, condition::Status, replica::Phase};

use crate::output;

/// Returns how many replicas should run.
pub fn wanted(workload: &v1::Workload) -> u32 {
    let spec = workload.spec.as_ref();
    spec.and_then(|spec| spec.replicas).unwrap_or(1)
}

/// Returns what keeps the current revision of a workload from being ready, or nothing if that is
/// unknown. Of many replicas only the worst are listed.
pub fn unready(workload: &v1::Workload, replicas: &[v1::Replica]) -> Vec<String> {
    let ill = replicas
        .iter()
        .filter(|replica| replica.revision == workload.revision && !counts(replica));
    let (worst, rest) = worst(ill, MOST_LISTED);
    let mut lines: Vec<String> = worst.into_iter().flat_map(trouble).collect();
    lines.extend(more(workload, rest));
    if lines.is_empty() {
        let conditions = workload.status.iter().flat_map(|status| &status.conditions);
        lines.extend(conditions.filter_map(unmet));
    }
    lines
}

/// Returns whether it has been ready for as long as its workload asks for.
fn counts(replica: &v1::Replica) -> bool {
    replica.available.unwrap_or(replica.ready)
}

/// The number of replicas that are listed below each other.
pub const MOST_LISTED: usize = 5;

/// Returns at most `most` replicas, those that most need attention first, and how many are left.
pub fn worst<'a>(
    replicas: impl Iterator<Item = &'a v1::Replica>,
    most: usize,
) -> (Vec<&'a v1::Replica>, usize) {
    let mut worst: Vec<_> = replicas.collect();
    worst.sort_by_key(|replica| match replica.phase() {
        Phase::Failed => 0,
        Phase::Backoff => 1,
        Phase::Lost => 2,
        _ if !replica.ready => 3,
        _ => 4,
    });
    let rest = worst.len().saturating_sub(most);
    worst.truncate(most);
    (worst, rest)
}

/// Formats `and 995 more: ...`, or returns `None` if none are left.
pub fn more(workload: &v1::Workload, rest: usize) -> Option<String> {
    let name = &workload.name;
    (rest > 0).then(|| format!("and {rest} more: `warren get replicas {name}` lists them"))
}

/// Describes a replica that has a problem: its worker, what it lacks, and its last exit.
pub fn trouble(replica: &v1::Replica) -> Vec<String> {
    let mut lines = vec![headline(replica)];
    let mut causes = Vec::new();
    for condition in &replica.conditions {
        let Some(line) = unmet(condition) else {
            continue;
        };
        // A cause that prevents the start also prevents readiness: it is shown once.
        if condition.message.is_empty() || !causes.contains(&&condition.message) {
            causes.push(&condition.message);
            lines.push(format!("  {line}"));
        }
        // Without a worker, no other condition can hold.
        if condition.r#type == condition::SCHEDULED && replica.worker.is_empty() {
            break;
        }
    }
    lines.extend(
        last_exit(replica)
            .into_iter()
            .map(|line| format!("  {line}")),
    );
    lines
}

/// Formats the phase: `RUNNING`, or with what the worker is preparing: `PENDING,compiling`.
pub fn phase(replica: &v1::Replica) -> String {
    let phase = replica.phase().as_str_name();
    if replica.phase() != Phase::Pending {
        return phase.to_owned();
    }
    let mut conditions = replica.conditions.iter();
    let artifacts = conditions.find(|one| one.r#type == condition::ARTIFACTS_READY);
    let unready = artifacts.filter(|one| one.status() == Status::False);
    match unready.map(|one| one.reason.as_str()) {
        Some("Pulling") => format!("{phase},pulling"),
        Some(reason::COMPILING) => format!("{phase},compiling"),
        _ => phase.to_owned(),
    }
}

/// `counter-abc on worker w1: RUNNING, ready, restarted 3 times`.
pub fn headline(replica: &v1::Replica) -> String {
    let mut line = match replica.worker.as_str() {
        "" => format!("{}, on no worker yet: ", replica.id),
        worker => format!("{} on worker {worker}: ", replica.id),
    };
    line.push_str(replica.phase().as_str_name());
    if replica.ready && !counts(replica) {
        line.push_str(", ready, but not yet for as long as `update.minReady`");
    } else if replica.ready {
        line.push_str(", ready");
    } else if replica.phase() == Phase::Running {
        line.push_str(", not ready");
    }
    line + &restarted(replica)
}

fn restarted(replica: &v1::Replica) -> String {
    match replica.restarts {
        0 => String::new(),
        restarts => format!(", restarted {}", output::times(restarts)),
    }
}

/// Formats the share of one core: `25%`, `0.3%`, `180%`. `None` if it has not been measured for
/// some time.
pub fn cpu_share(usage: &v1::ReplicaUsage) -> Option<String> {
    let share = usage.cpu_millicores?;
    Some(match (share / 10, share % 10) {
        (percent, tenth) if percent < 10 && tenth > 0 => format!("{percent}.{tenth}%"),
        (percent, _) => format!("{percent}%"),
    })
}

/// Formats `uses 3.4MiB of memory and 25% of a core, 2.2s of CPU time so far`, or returns `None` if
/// nothing was reported.
pub fn usage(replica: &v1::Replica) -> Option<String> {
    let usage = replica.usage.as_ref()?;
    let memory = output::bytes(usage.memory_bytes);
    let share =
        cpu_share(usage).map_or_else(String::new, |share| format!(" and {share} of a core"));
    let spent = usage.cpu_time.and_then(|spent| spent.try_into().ok());
    let spent = spent.map_or_else(String::new, |spent| {
        format!(", {} of CPU time so far", output::span(spent))
    });
    Some(format!("uses {memory} of memory{share}{spent}"))
}

/// `TRAPPED`, `EXITED with code 3`.
pub fn exit_reason(exit: &v1::Exit) -> String {
    match exit.reason() {
        v1::exit::Reason::Exited => format!("EXITED with code {}", exit.code),
        reason => reason.as_str_name().to_owned(),
    }
}

/// Describes how the service last ended, with its backtrace and last output; empty if it never has.
fn last_exit(replica: &v1::Replica) -> Vec<String> {
    last_exit_at(SystemTime::now(), replica)
}

/// Describes the last exit relative to `now`: `last ended 4s ago, after 1.2s: TRAPPED`, then its
/// message and its last lines on stderr, then one line for each earlier exit.
pub fn last_exit_at(now: SystemTime, replica: &v1::Replica) -> Vec<String> {
    let Some(exit) = &replica.last_exit else {
        return Vec::new();
    };
    let mut lines = vec![format!("last ended{}", when(now, exit))];
    lines.extend(exit.message.lines().map(|line| format!("  {line}")));
    if !exit.stderr.is_empty() {
        lines.push("its last lines on stderr:".to_owned());
        lines.extend(exit.stderr.iter().map(|line| format!("  | {line}")));
    }
    let before = replica.last_exits.get(1..).unwrap_or_default();
    if !before.is_empty() {
        lines.push("earlier exits:".to_owned());
        lines.extend(
            before
                .iter()
                .map(|exit| format!("  {}", in_one_line(now, exit))),
        );
    }
    lines
}

/// ` 4s ago, after 1.2s: TRAPPED`.
fn when(now: SystemTime, exit: &v1::Exit) -> String {
    let ago = exit
        .time
        .as_ref()
        .map(|time| output::ago_at(now, Some(time)));
    let ran_for = exit
        .run_duration
        .and_then(|ran_for| ran_for.try_into().ok());
    let after = ran_for.map(|ran_for| format!("after {}", output::span(ran_for)));
    let parts: Vec<_> = ago.into_iter().chain(after).collect();
    match parts.join(", ").as_str() {
        "" => format!(": {}", exit_reason(exit)),
        when => format!(" {when}: {}", exit_reason(exit)),
    }
}

/// `9s ago, after 1.2s: TRAPPED: wasm trap: unreachable`.
fn in_one_line(now: SystemTime, exit: &v1::Exit) -> String {
    let head = when(now, exit);
    let head = head.trim_start_matches([' ', ':']);
    let message = exit.message.lines().next().unwrap_or_default();
    match (exit.reason(), message) {
        (v1::exit::Reason::Exited, _) | (_, "") => head.to_owned(),
        (_, message) => format!("{head}: {message}"),
    }
}

/// Formats a condition in one line: `Started is FALSE (PortUnavailable): 127.0.0.1:6379 is in use`.
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
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

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
                run_duration: Some(Duration::from_millis(1250).try_into().unwrap()),
                ..Default::default()
            }),
            last_exits: vec![
                v1::Exit::default(),
                v1::Exit {
                    reason: v1::exit::Reason::Exited.into(),
                    code: 3,
                    message: "exit code 3".into(),
                    run_duration: Some(Duration::from_millis(20).try_into().unwrap()),
                    ..Default::default()
                },
                v1::Exit {
                    reason: v1::exit::Reason::Unhealthy.into(),
                    message: "its liveness probe failed 3 times in a row: no answer".into(),
                    ..Default::default()
                },
            ],
            ..Default::default()
        };
        assert_eq!(
            trouble(&replica).join("\n"),
            "cache-abc on worker w1: BACKOFF, restarted 3 times\n  \
               Ready is FALSE (NotListening): nothing listens on port 6379\n  \
               last ended after 1.2s: TRAPPED\n    \
                 wasm trap: unreachable\n      \
                   0: cache!main\n  \
               its last lines on stderr:\n    \
                 | panicked at src/main.rs:3\n  \
               earlier exits:\n    \
                 after 20ms: EXITED with code 3\n    \
                 UNHEALTHY: its liveness probe failed 3 times in a row: no answer"
        );
    }

    #[test]
    fn usage_is_described_as_far_as_it_is_known() {
        let described = |cpu_millicores| {
            usage(&v1::Replica {
                usage: Some(v1::ReplicaUsage {
                    memory_bytes: 3 << 20,
                    cpu_time: Some(Duration::from_millis(2250).try_into().unwrap()),
                    cpu_millicores,
                    time: None,
                }),
                ..Default::default()
            })
        };
        for (millicores, share) in [
            (None, ""),
            (Some(0), " and 0% of a core"),
            (Some(3), " and 0.3% of a core"),
            (Some(255), " and 25% of a core"),
            (Some(1800), " and 180% of a core"),
        ] {
            let expected = format!("uses 3MiB of memory{share}, 2.2s of CPU time so far");
            assert_eq!(described(millicores), Some(expected));
        }
        assert_eq!(usage(&v1::Replica::default()), None);
    }

    #[test]
    fn of_many_replicas_the_worst_are_listed() {
        let workload = v1::Workload {
            name: "huge".into(),
            ..Default::default()
        };
        let mut replicas: Vec<v1::Replica> = (0..1000)
            .map(|n| v1::Replica {
                id: format!("huge-{n}"),
                phase: Phase::Pending.into(),
                ..Default::default()
            })
            .collect();
        replicas[700].set_phase(Phase::Failed);
        replicas[10].set_phase(Phase::Backoff);
        let lines = unready(&workload, &replicas);
        assert_eq!(lines.len(), MOST_LISTED + 1, "{lines:#?}");
        assert!(lines[0].starts_with("huge-700,") && lines[1].starts_with("huge-10,"));
        assert_eq!(
            lines[5],
            "and 995 more: `warren get replicas huge` lists them"
        );
    }

    #[test]
    fn without_replicas_the_conditions_of_the_workload_are_listed() {
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
