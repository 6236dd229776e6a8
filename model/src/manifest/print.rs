//! From the message back to a manifest.

use std::{fmt::Write, time::Duration};

use warren_proto::v1;

use crate::{
    digest::Digest,
    quantity::{format_bytes, format_duration},
};

/// The workload as a manifest that `apply` accepts: what was asked for, without what the server added.
pub fn to_yaml(workload: &v1::Workload) -> String {
    let spec = workload.spec.clone().unwrap_or_default();
    let labels = workload
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), text(value)));
    let components = spec.components.iter().map(component).collect();
    let document = fields([
        ("apiVersion", Yaml::Plain("warren/v1".to_owned())),
        ("kind", Yaml::Plain("Workload".to_owned())),
        ("name", text(&workload.name)),
        ("namespace", text(&workload.namespace)),
        ("labels", Yaml::Map(labels.collect())),
        ("replicas", optional(spec.replicas)),
        (
            "service",
            spec.service.as_ref().map_or(Yaml::Absent, service),
        ),
        ("components", Yaml::List(components)),
    ]);
    let mut out = String::new();
    document.write(0, &mut out);
    out
}

fn service(service: &v1::Service) -> Yaml {
    fields([
        ("component", text(&service.component)),
        ("args", texts(&service.args)),
        ("env", env(&service.env)),
        (
            "restart",
            service.restart.as_ref().map_or(Yaml::Absent, restart),
        ),
        (
            "publish",
            Yaml::List(service.publish.iter().map(publish).collect()),
        ),
        ("egress", texts(&service.egress)),
        (
            "limits",
            fields([("memory", bytes(service.limits.and_then(|l| l.memory_bytes)))]),
        ),
        ("stopGrace", duration(service.stop_grace)),
    ])
}

fn component(component: &v1::Component) -> Yaml {
    let limits = component.limits.unwrap_or_default();
    fields([
        ("name", text(&component.name)),
        ("component", text(&component.component)),
        (
            "routes",
            Yaml::List(component.routes.iter().map(route).collect()),
        ),
        ("env", env(&component.env)),
        ("egress", texts(&component.egress)),
        (
            "limits",
            fields([
                ("memory", bytes(limits.memory_bytes)),
                ("timeout", duration(limits.timeout)),
                ("concurrency", optional(limits.concurrency)),
            ]),
        ),
    ])
}

fn restart(policy: &v1::RestartPolicy) -> Yaml {
    use v1::restart_policy::Policy;

    let word = match policy.policy() {
        Policy::Unspecified | Policy::Always => "always",
        Policy::OnFailure => "on-failure",
        Policy::Never => "never",
    };
    fields([
        ("policy", Yaml::Plain(word.to_owned())),
        ("initialBackoff", duration(policy.initial_backoff)),
        ("maxBackoff", duration(policy.max_backoff)),
        ("resetAfter", duration(policy.reset_after)),
        ("maxRestarts", optional(policy.max_restarts)),
        ("window", duration(policy.window)),
    ])
}

fn publish(publish: &v1::Publish) -> Yaml {
    let protocol = match publish.protocol() {
        v1::publish::Protocol::Unspecified | v1::publish::Protocol::Tcp => "tcp",
        v1::publish::Protocol::Udp => "udp",
    };
    fields([
        ("port", optional(Some(publish.port))),
        ("listen", text(&publish.listen)),
        ("protocol", Yaml::Plain(protocol.to_owned())),
    ])
}

fn route(route: &v1::Route) -> Yaml {
    let host = if route.host.is_empty() {
        Yaml::Absent
    } else {
        text(&route.host)
    };
    fields([("host", host), ("path", text(&route.path))])
}

fn env(vars: &[v1::EnvVar]) -> Yaml {
    let pairs = vars.iter().filter_map(|var| match &var.source {
        Some(v1::env_var::Source::Value(value)) => Some((var.name.clone(), text(value))),
        // A manifest cannot say it, and no server accepted it.
        Some(v1::env_var::Source::Secret(_)) | None => None,
    });
    Yaml::Map(pairs.collect())
}

/// Just what a manifest needs of YAML.
enum Yaml {
    /// Left out.
    Absent,
    /// Written as it is.
    Plain(String),
    /// Left out when empty.
    Map(Vec<(String, Yaml)>),
    /// Left out when empty.
    List(Vec<Yaml>),
}

fn fields<const N: usize>(fields: [(&str, Yaml); N]) -> Yaml {
    let present = fields.into_iter().filter(|(_, value)| !value.is_absent());
    Yaml::Map(
        present
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    )
}

fn text(text: &str) -> Yaml {
    Yaml::Plain(scalar(text))
}

fn texts(texts: &[String]) -> Yaml {
    Yaml::List(texts.iter().map(|one| text(one)).collect())
}

fn optional(number: Option<u32>) -> Yaml {
    number.map_or(Yaml::Absent, |number| Yaml::Plain(number.to_string()))
}

fn bytes(bytes: Option<u64>) -> Yaml {
    bytes.map_or(Yaml::Absent, |bytes| Yaml::Plain(format_bytes(bytes)))
}

fn duration(duration: Option<prost_types::Duration>) -> Yaml {
    duration
        .and_then(|duration| Duration::try_from(duration).ok())
        .map_or(Yaml::Absent, |duration| {
            Yaml::Plain(format_duration(duration))
        })
}

// === impl Yaml ===

impl Yaml {
    fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Plain(_) => false,
            Self::Map(pairs) => pairs.is_empty(),
            Self::List(items) => items.is_empty(),
        }
    }

    /// Writes lines at this depth; the first one's indent is there already when `out` does not end a line.
    fn write(&self, depth: usize, out: &mut String) {
        match self {
            Self::Absent => {}
            Self::Plain(text) => line(depth, text, out),
            Self::Map(pairs) => {
                for (name, value) in pairs {
                    let name = scalar(name);
                    match value {
                        Self::Plain(text) => line(depth, &format!("{name}: {text}"), out),
                        value => {
                            line(depth, &format!("{name}:"), out);
                            value.write(depth + 1, out);
                        }
                    }
                }
            }
            Self::List(items) => {
                for item in items {
                    out.push_str(&"  ".repeat(depth));
                    out.push_str("- ");
                    item.write(depth + 1, out);
                }
            }
        }
    }
}

fn line(depth: usize, text: &str, out: &mut String) {
    if out.is_empty() || out.ends_with('\n') {
        out.push_str(&"  ".repeat(depth));
    }
    out.push_str(text);
    out.push('\n');
}

/// Plain where no reader of YAML could take it for anything but this text, else in double quotes.
fn scalar(text: &str) -> String {
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/' || c == '.')
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-./@".contains(c));
    let digest = Digest::parse(text).is_ok();
    let lower = text.to_ascii_lowercase();
    // Words of YAML 1.1 as well, and the numbers that begin with a letter or a dot.
    let reserved = [
        "null", "true", "false", "yes", "no", "on", "off", "y", "n", ".inf", ".nan",
    ];
    let number = text
        .strip_prefix('.')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    if (word && !reserved.contains(&lower.as_str()) && !number) || digest {
        return text.to_owned();
    }
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(c),
            c if c.is_alphanumeric() => quoted.push(c),
            c => {
                if write!(quoted, "\\U{:08X}", u32::from(c)).is_err() {
                    unreachable!("a String takes all that is written to it");
                }
            }
        }
    }
    quoted.push('"');
    quoted
}
