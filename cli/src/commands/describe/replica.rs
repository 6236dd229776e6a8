//! Describes one replica.

use std::time::SystemTime;

use tonic::Status;
use warren_model::condition;
use warren_proto::v1::{self, condition::Status as Holds, replica::Phase};

use super::{hints, recent, text::Text, workers};
use crate::{client::Server, commands::get::find, explain, output};

/// A replica and the objects related to it.
pub struct View {
    pub replica: v1::Replica,
    pub workers: Vec<v1::Worker>,
    /// The events of the replica, oldest first.
    pub events: Vec<v1::Event>,
}

pub async fn look(server: &Server, namespace: &str, id: &str) -> Result<View, Status> {
    let replica = find::replica(server, namespace, id).await?;
    let object = format!("replica/{}", replica.id);
    Ok(View {
        workers: workers(server).await?,
        events: recent(server, namespace, &replica.workload, &object).await?,
        replica,
    })
}

pub fn describe(text: &mut Text, view: &View) {
    let replica = &view.replica;
    text.heading(&format!(
        "Replica {} of workload {} in namespace {}",
        replica.id, replica.workload, replica.namespace
    ));
    let sentence = sentence(text, replica);
    text.line(1, sentence);
    let made = text.ago(replica.create_time.as_ref());
    text.line(1, format!("revision {}, created {made}", replica.revision));
    let restarts = match replica.restarts {
        0 => "its service was never restarted".to_owned(),
        restarts => format!("its service was restarted {}", output::times(restarts)),
    };
    text.line(1, restarts);
    if let Some(usage) = explain::usage(replica) {
        text.line(1, format!("it {usage}"));
    }
    for endpoint in &replica.endpoints {
        text.line(1, way_in(endpoint, &replica.worker, &view.workers));
    }
    if !replica.conditions.is_empty() {
        text.heading("Conditions");
        text.conditions(&replica.conditions);
    }
    let exit = explain::last_exit_at(text.now, replica);
    if !exit.is_empty() {
        text.heading("Last exit");
        for line in exit {
            text.line(1, line);
        }
    }
    text.events(&view.events);
    hints::write(text, hints::of_replica(replica));
}

/// Describes the state of a replica and its reason: `counter-x7k waits on worker w1 to be
/// restarted: ...`.
pub fn sentence(text: &Text, replica: &v1::Replica) -> String {
    let id = &replica.id;
    let on = match replica.worker.as_str() {
        "" => String::new(),
        worker => format!(" on worker {worker}"),
    };
    let said = match replica.phase() {
        Phase::Pending if replica.worker.is_empty() => {
            let why = unmet(replica, &[condition::SCHEDULED]);
            format!(
                "waits for a worker{}",
                because(why, "none has been chosen yet")
            )
        }
        Phase::Pending => {
            let why = unmet(replica, &[condition::ARTIFACTS_READY, condition::STARTED]);
            format!(
                "is being prepared{on}{}",
                because(why, "its components are being fetched or compiled")
            )
        }
        Phase::Starting => format!(
            "is starting{on}{}",
            because(unmet(replica, &[condition::READY]), "")
        ),
        Phase::Running if replica.ready => {
            let since = met_since(replica, condition::READY).map(|time| text.age(Some(&time)));
            let since = since.map_or_else(String::new, |age| format!(" since {age}"));
            format!("is ready{on}{since}")
        }
        Phase::Running => {
            let why = because(
                unmet(replica, &[condition::READY]),
                "the reason is not known yet",
            );
            format!("is running{on} but not ready{why}{}", gets_work(replica))
        }
        Phase::Backoff => {
            let why = unmet(replica, &[condition::READY]);
            let ended = replica.last_exit.as_ref().and_then(|exit| exit.time);
            let when = ended.map_or_else(String::new, |time| format!(" {}", text.ago(Some(&time))));
            let why = because(why, "its service ended");
            let next = starts_again(text, replica);
            let ended = parenthesised(&when);
            format!("waits{on} to be restarted{next}{why}{ended}")
        }
        Phase::Completed => {
            format!("has completed{on}: its service ended, and its policy wants no restart")
        }
        Phase::Failed => {
            let why = unmet(replica, &condition::OF_WORKER);
            let why = because(why, "it cannot run");
            format!("has failed{on}{why}; another replica will replace it")
        }
        Phase::Stopping => {
            format!("is stopping{on}: work in flight may finish within its stopGrace")
        }
        Phase::Stopped => format!("has stopped{on}"),
        Phase::Lost => match replica.worker.as_str() {
            "" => "is lost".to_owned(),
            worker => format!(
                "is lost: worker {worker} stopped sending heartbeats; another replica replaces it"
            ),
        },
        Phase::Unspecified => "is in a phase that this program does not know".to_owned(),
    };
    let restarted = match replica.restarts {
        0 => String::new(),
        restarts => format!("; restarted {}", output::times(restarts)),
    };
    format!("{id} {said}{restarted}")
}

/// Formats ` in 3s`: the time until the service is restarted, by the clock of its worker.
fn starts_again(text: &Text, replica: &v1::Replica) -> String {
    let next = replica.next_start_time;
    let next = next.and_then(|next| SystemTime::try_from(next).ok());
    match next.map(|next| next.duration_since(text.now)) {
        Some(Ok(wait)) => format!(" in {}", output::span(wait)),
        Some(Err(_)) => " at any moment".to_owned(),
        None => String::new(),
    }
}

/// Returns what has to happen before a running replica gets work.
fn gets_work(replica: &v1::Replica) -> &'static str {
    let mut conditions = replica.conditions.iter();
    let ready = conditions.find(|one| one.r#type == condition::READY);
    match ready.map_or("", |ready| ready.reason.as_str()) {
        "NotProbed" | "NotReady" => "; it gets work once its readiness probe succeeds",
        "NotListening" => {
            "; it gets work once it listens on every port that it publishes or routes"
        }
        "Unhealthy" => "; it is being ended and will be restarted",
        _ => "",
    }
}

/// Formats `tcp 10.0.0.5:6379 leads to port 6379`. An address that stands for all addresses of a
/// machine is replaced by the worker's own.
pub fn way_in(endpoint: &v1::Endpoint, worker: &str, workers: &[v1::Worker]) -> String {
    let protocol = endpoint.protocol().as_str_name().to_lowercase();
    let port = endpoint.guest_port;
    let bound: Result<std::net::SocketAddr, _> = endpoint.address.parse();
    let host = workers
        .iter()
        .find(|known| known.name == worker)
        .and_then(|known| host(&known.address));
    let address = match (bound, host) {
        (Ok(bound), Some(host)) if bound.ip().is_unspecified() => {
            format!("{host}:{} (bound to {bound})", bound.port())
        }
        _ => endpoint.address.clone(),
    };
    let on = match worker {
        "" => String::new(),
        worker => format!(" on worker {worker}"),
    };
    format!("{protocol} {address}{on} leads to port {port}")
}

/// Returns the host of a URL such as `http://10.0.0.5:7701`, or `http://[::1]:7701`.
fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    let (host, _) = authority.rsplit_once(':')?;
    (!host.is_empty()).then_some(host)
}

/// Returns the message of the first of these conditions that does not hold.
fn unmet<'a>(replica: &'a v1::Replica, kinds: &[&str]) -> &'a str {
    let find = |kind: &&str| {
        let found = replica.conditions.iter().find(|one| one.r#type == **kind)?;
        let says = found.status() != Holds::True && !found.message.is_empty();
        says.then(|| found.message.lines().next().unwrap_or_default())
    };
    kinds.iter().find_map(find).unwrap_or_default()
}

fn met_since(replica: &v1::Replica, kind: &str) -> Option<prost_types::Timestamp> {
    let mut conditions = replica.conditions.iter();
    let found = conditions.find(|one| one.r#type == kind && one.status() == Holds::True)?;
    found.last_transition_time
}

fn because(why: &str, unknown: &str) -> String {
    match (why, unknown) {
        ("", "") => String::new(),
        ("", unknown) => format!(": {unknown}"),
        (why, _) => format!(": {why}"),
    }
}

fn parenthesised(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text => format!(" ({text})"),
    }
}

#[cfg(test)]
mod tests;
