//! Describes a workload: what should run, what runs, why the rest does not, how to reach it, recent
//! events, and what to do.

use tonic::Status;
use warren_model::link::HostInterfaces;
use warren_proto::v1::{self, revision::Cause};

use super::{
    hints, recent,
    replica::{sentence, way_in},
    spec,
    text::Text,
    workers,
};
use crate::{
    client::{Server, requests::Scope},
    commands::get::route,
    explain, output,
};

/// A workload and the objects related to it.
pub struct View {
    pub workload: v1::Workload,
    pub replicas: Vec<v1::Replica>,
    pub workers: Vec<v1::Worker>,
    /// The events of the workload and its replicas, oldest first.
    pub events: Vec<v1::Event>,
}

/// The number of replicas that are shown. For more, `warren get replicas` is the better view.
const MOST_REPLICAS: usize = 20;

pub async fn look(server: &Server, namespace: &str, name: &str) -> Result<View, Status> {
    Ok(View {
        workload: server.get_workload(namespace, name).await?,
        replicas: server
            .select_replicas(&Scope::workload(namespace, name))
            .await?,
        workers: workers(server).await?,
        events: recent(server, namespace, name, "").await?,
    })
}

pub fn describe(text: &mut Text, view: &View) {
    let View {
        workload,
        replicas,
        workers,
        events,
    } = view;
    summary(text, workload, replicas);
    ways_in(text, workload, replicas, workers);
    if !replicas.is_empty() {
        text.heading("Replicas");
    }
    let (shown, rest) = explain::worst(replicas.iter(), MOST_REPLICAS);
    for replica in shown {
        describe_replica(text, workload, replica);
    }
    if let Some(line) = explain::more(workload, rest) {
        text.line(1, line);
    }
    let conditions = workload.status.iter().flat_map(|status| &status.conditions);
    let conditions: Vec<v1::Condition> = conditions.cloned().collect();
    if !conditions.is_empty() {
        text.heading("Conditions");
        text.conditions(&conditions);
    }
    spec::describe(text, workload);
    if let Some(plan) = &workload.link_plan {
        links(text, plan);
    }
    text.events(events);
    hints::write(text, hints::of_workload(workload, replicas));
}

fn summary(text: &mut Text, workload: &v1::Workload, replicas: &[v1::Replica]) {
    let status = workload.status.clone().unwrap_or_default();
    let (name, namespace) = (&workload.name, &workload.namespace);
    text.heading(&format!("Workload {name} in namespace {namespace}"));
    if workload.delete_time.is_some() {
        let since = text.age(workload.delete_time.as_ref());
        let left = output::count(replicas.len() as u64, "replica");
        text.line(
            1,
            format!("being deleted since {since}: {left} still to stop"),
        );
    } else {
        let revision = workload.revision;
        let ready = how_many(status.ready_replicas, explain::wanted(workload));
        text.line(1, format!("{ready} at revision {revision}"));
    }
    if status.observed_generation < workload.generation {
        text.line(1, "its last change has not been processed yet");
    }
    let ill = replicas
        .iter()
        .filter(|replica| !is_well(workload, replica));
    let (shown, rest) = explain::worst(ill, explain::MOST_LISTED);
    for replica in shown {
        let sentence = sentence(text, replica);
        text.line(1, sentence);
    }
    if let Some(line) = explain::more(workload, rest) {
        text.line(1, line);
    }
    let revision = revision(text, workload);
    text.line(1, revision);
    let created = text.ago(workload.create_time.as_ref());
    text.line(1, format!("created {created}"));
    text.labels(&workload.labels);
}

/// Formats `1 of 2 replicas are ready`. Replicas beyond the wanted number are counted separately.
fn how_many(ready: u32, wanted: u32) -> String {
    let (more, ready) = (ready.saturating_sub(wanted), ready.min(wanted));
    let of_wanted = match wanted {
        0 => "no replicas are wanted".to_owned(),
        1 => format!("{ready} of 1 replica is ready"),
        wanted => format!("{ready} of {wanted} replicas are ready"),
    };
    match (more, wanted) {
        (0, _) => of_wanted,
        (more, 0) => format!("{of_wanted}, and {more} still to stop"),
        (more, _) => format!("{of_wanted}, and {more} more still to stop"),
    }
}

/// Returns whether the replica is as it should be, so that nothing has to be said about it.
fn is_well(workload: &v1::Workload, replica: &v1::Replica) -> bool {
    replica.ready && replica.revision == workload.revision
}

/// `revision 5 was made 5m ago by admin: a rollback to revision 3`.
fn revision(text: &Text, workload: &v1::Workload) -> String {
    let mut words = format!("revision {} was created", workload.revision);
    if workload.revision_time.is_some() {
        words.push_str(&format!(" {}", text.ago(workload.revision_time.as_ref())));
    }
    if !workload.caller.is_empty() {
        words.push_str(&format!(" by {}", workload.caller));
    }
    match workload.revision_cause() {
        Cause::Unspecified => {}
        Cause::Applied => words.push_str(": it was applied"),
        Cause::Restarted => words.push_str(": a restart"),
        Cause::RolledBack => {
            let source = workload.source_revision;
            words.push_str(&format!(": a rollback to revision {source}"));
        }
        Cause::RolledBackOnFailure => {
            let (source, failed) = (
                workload.source_revision,
                workload.revision.saturating_sub(1),
            );
            words.push_str(&format!(
                ": a rollback to revision {source}, because revision {failed} stalled"
            ));
        }
    }
    words
}

fn ways_in(
    text: &mut Text,
    workload: &v1::Workload,
    replicas: &[v1::Replica],
    workers: &[v1::Worker],
) {
    let Some(spec) = &workload.spec else { return };
    let mut urls = Vec::new();
    for component in &spec.components {
        let to = format!("component {}", component.name);
        let its = component.routes.iter().map(|one| url(&one.host, &one.path));
        urls.extend(its.map(|url| [url, to.clone()]));
    }
    let mut published = Vec::new();
    if let Some(service) = &spec.service {
        for one in &service.routes {
            let h2c = one.protocol() == v1::service_route::Protocol::H2c;
            let how = if h2c { " (HTTP/2)" } else { "" };
            let to = format!("port {} of the service{how}", one.port);
            urls.push([url(&one.host, &one.path), to]);
        }
        published = ports(service, replicas, workers);
    }
    if urls.is_empty() && published.is_empty() {
        return;
    }
    text.heading("How to reach it");
    if !urls.is_empty() {
        let closed = match replicas.iter().any(|replica| replica.ready) {
            true => "",
            false => "; closed now: no replica is ready",
        };
        text.rows(urls);
        let where_ = "at the --http port of any worker, by default 8000";
        text.line(1, format!("({where_}{closed})"));
    }
    let rest = published.len().saturating_sub(MOST_REPLICAS);
    for line in published.into_iter().take(MOST_REPLICAS) {
        text.line(1, line);
    }
    if rest > 0 {
        let name = &workload.name;
        text.line(
            1,
            format!("and {rest} more: `warren get replicas {name} -o wide`"),
        );
    }
}

/// Returns the published ports of every replica, and those that no replica offers yet.
fn ports(service: &v1::Service, replicas: &[v1::Replica], workers: &[v1::Worker]) -> Vec<String> {
    let mut lines = Vec::new();
    for publish in &service.publish {
        let offered = replicas.iter().flat_map(|replica| {
            let its = replica.endpoints.iter();
            let its = its.filter(|endpoint| {
                endpoint.guest_port == publish.port && endpoint.protocol() == publish.protocol()
            });
            its.map(|endpoint| way_in(endpoint, &replica.worker, workers))
        });
        let before = lines.len();
        lines.extend(offered);
        if lines.len() == before {
            let (port, listen) = (publish.port, &publish.listen);
            let protocol = publish.protocol().as_str_name().to_lowercase();
            lines.push(format!(
                "{protocol} {listen} of a worker will lead to port {port}"
            ));
        }
    }
    lines.sort();
    lines.dedup();
    lines
}

/// Lists the component that answers each import, and what the worker must provide.
fn links(text: &mut Text, plan: &v1::LinkPlan) {
    if plan.links.is_empty() && plan.interfaces.is_empty() {
        return;
    }
    text.heading("Links");
    text.rows(plan.links.iter().map(|link| {
        let (import, export) = (&link.import, &link.export);
        let from = match import == export {
            true => format!("from {}", link.exporter),
            false => format!("from {}, as {export}", link.exporter),
        };
        [link.importer.clone(), import.clone(), from]
    }));
    if !plan.interfaces.is_empty() {
        let needed = HostInterfaces::named(&plan.interfaces);
        text.line(1, format!("a worker must provide {needed}"));
    }
}

/// Formats `http://counter.localhost/`. A route for any host has no URL of its own.
fn url(host: &str, path: &str) -> String {
    match host {
        "" => format!("http://{}", route("<any host>", path)),
        host => format!("http://{}", route(host, path)),
    }
}

fn describe_replica(text: &mut Text, workload: &v1::Workload, replica: &v1::Replica) {
    let made = match text.age(replica.create_time.as_ref()) {
        age if age.is_empty() => String::new(),
        age => format!(", created {age} ago"),
    };
    let old = match replica.revision == workload.revision {
        true => String::new(),
        false => format!(", of revision {}", replica.revision),
    };
    text.line(1, format!("{}{old}{made}", explain::headline(replica)));
    if let Some(usage) = explain::usage(replica) {
        text.line(2, usage);
    }
    for line in explain::last_exit_at(text.now, replica) {
        text.line(2, line);
    }
}

#[cfg(test)]
mod tests;
