//! A workload in words: what it should be, what it is, what happened.

use tonic::Status;
use warren_model::quantity::{format_bytes, format_duration};
use warren_proto::v1;

use crate::{
    client::Server,
    commands::{events, get::route},
    explain,
    output::{age, ago},
};

/// Older ones are for `warren events`.
const RECENT_EVENTS: usize = 15;

pub async fn describe(server: &Server, namespace: &str, name: &str) -> Result<String, Status> {
    let workload = server.get_workload(namespace, name).await?;
    let replicas = server.list_replicas(namespace, name).await?;
    let request = v1::EventsRequest {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        ..Default::default()
    };
    let events = events::list(server, request).await?;
    Ok(text(&workload, &replicas, &events))
}

fn text(workload: &v1::Workload, replicas: &[v1::Replica], events: &[v1::Event]) -> String {
    let mut text = Text::default();
    summary(&mut text, workload);
    if let Some(spec) = &workload.spec {
        if let Some(service) = &spec.service {
            describe_service(&mut text, service);
        }
        for component in &spec.components {
            describe_component(&mut text, component);
        }
    }
    text.line(
        0,
        if replicas.is_empty() {
            "No replicas"
        } else {
            "Replicas"
        },
    );
    for replica in replicas {
        describe_replica(&mut text, replica);
    }
    let recent = events.len().saturating_sub(RECENT_EVENTS);
    text.line(
        0,
        if events.is_empty() {
            "No events"
        } else {
            "Events"
        },
    );
    for event in &events[recent..] {
        describe_event(&mut text, event);
    }
    text.0
}

fn summary(text: &mut Text, workload: &v1::Workload) {
    let status = workload.status.clone().unwrap_or_default();
    let wanted = workload
        .spec
        .as_ref()
        .and_then(|spec| spec.replicas)
        .unwrap_or(1);
    text.line(
        0,
        format!(
            "Workload {} in namespace {}",
            workload.name, workload.namespace
        ),
    );
    text.line(
        1,
        format!(
            "{} of {wanted} replicas ready at revision {}",
            status.ready_replicas, workload.revision
        ),
    );
    let by = match workload.caller.as_str() {
        "" => String::new(),
        caller => format!(", last written by {caller}"),
    };
    text.line(
        1,
        format!("created {}{by}", ago(workload.create_time.as_ref())),
    );
    if workload.delete_time.is_some() {
        text.line(
            1,
            format!("being deleted since {}", ago(workload.delete_time.as_ref())),
        );
    }
    if status.observed_generation < workload.generation {
        text.line(1, "its last change has not been acted on yet");
    }
    for (name, value) in &workload.labels {
        text.line(1, format!("label {name}={value}"));
    }
    for condition in &status.conditions {
        text.line(1, explain::condition(condition));
    }
}

fn describe_service(text: &mut Text, service: &v1::Service) {
    text.line(0, "Service");
    text.line(1, format!("component {}", service.component));
    if !service.args.is_empty() {
        text.line(1, format!("arguments {:?}", service.args));
    }
    describe_env(text, &service.env);
    for publish in &service.publish {
        text.line(
            1,
            format!("publishes its port {} at {}", publish.port, publish.listen),
        );
    }
    describe_egress(text, &service.egress);
    if let Some(restart) = &service.restart {
        text.line(1, restart_sentence(restart));
    }
    let limits = service.limits.unwrap_or_default();
    if let Some(memory) = limits.memory_bytes {
        text.line(1, format!("memory at most {}", format_bytes(memory)));
    }
    if let Some(grace) = duration(service.stop_grace) {
        text.line(1, format!("has {grace} to stop"));
    }
}

fn describe_component(text: &mut Text, component: &v1::Component) {
    text.line(0, format!("Component {}", component.name));
    text.line(1, format!("component {}", component.component));
    for one in &component.routes {
        text.line(1, format!("answers HTTP at {}", route(one)));
    }
    describe_env(text, &component.env);
    describe_egress(text, &component.egress);
    let limits = component.limits.unwrap_or_default();
    if let Some(memory) = limits.memory_bytes {
        text.line(
            1,
            format!("memory at most {} an instance", format_bytes(memory)),
        );
    }
    if let Some(timeout) = duration(limits.timeout) {
        text.line(1, format!("each invocation within {timeout}"));
    }
    if let Some(concurrency) = limits.concurrency {
        text.line(
            1,
            format!("at most {concurrency} invocations at once in a replica"),
        );
    }
}

fn describe_env(text: &mut Text, env: &[v1::EnvVar]) {
    for variable in env {
        let value = match &variable.source {
            Some(v1::env_var::Source::Value(value)) => format!("{value:?}"),
            Some(v1::env_var::Source::Secret(secret)) => format!("from secret {secret}"),
            None => "nothing".to_owned(),
        };
        text.line(1, format!("environment {}={value}", variable.name));
    }
}

fn describe_egress(text: &mut Text, egress: &[String]) {
    match egress {
        [] => text.line(1, "may connect to nothing outside the workload"),
        rules => text.line(1, format!("may connect to {}", rules.join(", "))),
    }
}

fn describe_replica(text: &mut Text, replica: &v1::Replica) {
    let made = match age(replica.create_time.as_ref()) {
        age if age.is_empty() => String::new(),
        age => format!(" (revision {}, made {age} ago)", replica.revision),
    };
    text.line(1, format!("{}{made}", explain::headline(replica)));
    for endpoint in &replica.endpoints {
        text.line(
            2,
            format!("port {} is at {}", endpoint.guest_port, endpoint.address),
        );
    }
    for condition in &replica.conditions {
        text.line(2, explain::condition(condition));
    }
    for line in explain::last_exit(replica) {
        text.line(2, line);
    }
}

fn describe_event(text: &mut Text, event: &v1::Event) {
    let times = match event.count {
        0 | 1 => String::new(),
        count => format!(", {count} times"),
    };
    let when = ago(event.time.as_ref());
    let message = event.message.lines().next().unwrap_or_default();
    let (reason, object) = (&event.reason, &event.object);
    text.line(1, format!("{reason} {object} {when}{times}: {message}"));
}

/// `restarts always, after 100ms doubling to 30s, at most 10 times in 5m`.
fn restart_sentence(policy: &v1::RestartPolicy) -> String {
    use v1::restart_policy::Policy;
    let when = match policy.policy() {
        Policy::Never => return "never restarts".to_owned(),
        Policy::OnFailure => "restarts on failure",
        Policy::Always | Policy::Unspecified => "restarts always",
    };
    let mut sentence = when.to_owned();
    if let (Some(first), Some(last)) = (
        duration(policy.initial_backoff),
        duration(policy.max_backoff),
    ) {
        sentence.push_str(&format!(", after {first} doubling to {last}"));
    }
    if let (Some(times), Some(window)) = (policy.max_restarts, duration(policy.window)) {
        sentence.push_str(&format!(", at most {times} times in {window}"));
    }
    sentence
}

fn duration(duration: Option<prost_types::Duration>) -> Option<String> {
    let duration = std::time::Duration::try_from(duration?).ok()?;
    Some(format_duration(duration))
}

/// Lines, each indented by its depth.
#[derive(Default)]
struct Text(String);

impl Text {
    fn line(&mut self, depth: usize, line: impl AsRef<str>) {
        self.0.push_str(&"  ".repeat(depth));
        self.0.push_str(line.as_ref());
        self.0.push('\n');
    }
}

#[cfg(test)]
mod tests;
