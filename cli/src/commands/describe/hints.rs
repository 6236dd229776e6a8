//! Hints on what to do about a workload or replica that is not as it should be.

use warren_model::{condition, quantity::rounded_bytes};
use warren_proto::v1::{self, condition::Status, exit::Reason, replica::Phase};

use super::text::Text;
use crate::explain;

/// A command or a change, and its purpose.
type Hint = (String, &'static str);

/// Writes hints below a heading of their own, or nothing if there are none.
pub fn write(text: &mut Text, hints: Vec<Hint>) {
    if hints.is_empty() {
        return;
    }
    text.heading("What to do next");
    text.rows(hints.into_iter().map(|(what, why)| [what, why.to_owned()]));
}

pub fn of_workload(workload: &v1::Workload, replicas: &[v1::Replica]) -> Vec<Hint> {
    let name = &workload.name;
    let n = namespace_flag(&workload.namespace);
    let mut hints = Vec::new();
    if workload.delete_time.is_some() {
        let watch = format!("warren get replicas {name} -w{n}");
        return vec![(watch, "watch the remaining replicas stop")];
    }
    if explain::wanted(workload) == 0 {
        hints.push((format!("warren scale {name} 1{n}"), "it is scaled to 0"));
    }
    let current = |replica: &&v1::Replica| replica.revision == workload.revision;
    let mut lines: Vec<Hint> = replicas
        .iter()
        .filter(|one| ended_badly(one))
        .map(|one| last_lines(one, name))
        .collect();
    lines.sort();
    lines.dedup();
    hints.extend(lines);
    if replicas
        .iter()
        .any(|one| ended_with(one, Reason::OutOfMemory))
    {
        let service = workload
            .spec
            .as_ref()
            .and_then(|spec| spec.service.as_ref());
        let limit = service.and_then(|service| service.limits?.memory_bytes);
        let limit = limit.map_or_else(|| "64MiB".to_owned(), rounded_bytes);
        hints.push((
            format!("set service.limits.memory above {limit} and apply again"),
            "if it needs more memory than its limit",
        ));
        hints.push((
            "set service.reserve.memory to the amount that it needs and apply again".to_owned(),
            "if its worker had too little memory left",
        ));
    }
    if replicas.iter().any(is_unscheduled) {
        let workers = "warren get workers -o wide".to_owned();
        hints.push((workers, "the workers, their labels and their capacity"));
    }
    let broken = |one: &v1::Replica| matches!(one.phase(), Phase::Failed | Phase::Backoff);
    if workload.revision > 1 && replicas.iter().filter(current).any(broken) {
        let history = format!("warren history {name}{n}");
        hints.push((history, "the changes of this revision"));
        let rollback = format!("warren rollback {name}{n}");
        hints.push((rollback, "go back to the previous revision"));
    }
    hints
}

pub fn of_replica(replica: &v1::Replica) -> Vec<Hint> {
    let n = namespace_flag(&replica.namespace);
    let (id, name) = (&replica.id, &replica.workload);
    let mut hints = Vec::new();
    if ended_badly(replica) {
        hints.push(last_lines(replica, &format!("{name} --replica {id}")));
    }
    if is_unscheduled(replica) {
        let workers = "warren get workers -o wide".to_owned();
        hints.push((workers, "the workers, their labels and their capacity"));
    }
    hints.push((
        format!("warren describe workload {name}{n}"),
        "the workload and its other replicas",
    ));
    hints
}

/// Returns the command that prints what a service wrote before it ended. Until the service is
/// restarted, these lines belong to its current run.
fn last_lines(replica: &v1::Replica, of: &str) -> Hint {
    let n = namespace_flag(&replica.namespace);
    match replica.phase() {
        Phase::Starting | Phase::Running => (
            format!("warren logs {of} --previous{n}"),
            "what the service wrote before it last ended",
        ),
        _ => (
            format!("warren logs {of} --tail 20{n}"),
            "what the service wrote before it ended",
        ),
    }
}

/// Returns ` -n shop` for a suggested command, or nothing for the default namespace.
fn namespace_flag(namespace: &str) -> String {
    match namespace {
        "" | "default" => String::new(),
        namespace => format!(" -n {namespace}"),
    }
}

/// Returns whether the service ended by itself and not successfully.
fn ended_badly(replica: &v1::Replica) -> bool {
    replica.last_exit.as_ref().is_some_and(|exit| {
        let bad = [Reason::Trapped, Reason::OutOfMemory, Reason::Unhealthy];
        bad.contains(&exit.reason()) || exit.reason() == Reason::Exited && exit.code != 0
    })
}

fn ended_with(replica: &v1::Replica, reason: Reason) -> bool {
    let exit = replica.last_exit.as_ref();
    exit.is_some_and(|exit| exit.reason() == reason)
}

fn is_unscheduled(replica: &v1::Replica) -> bool {
    let mut conditions = replica.conditions.iter();
    replica.phase() == Phase::Pending
        && conditions.any(|one| one.r#type == condition::SCHEDULED && one.status() == Status::False)
}
