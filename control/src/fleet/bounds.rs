//! Bounds on what a worker may send, because it is stored and shown to others.
//!
//! Names and addresses that exceed their bound are refused with an error that names the field.
//! Texts for people are truncated, because the output of a guest must not end the session of its
//! worker.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use warren_model::{
    component::InterfaceName, error::Violations, label, listen::MAX_ADDRESSES, name::Name,
    publish_rule::PublishRule,
};
use warren_proto::v1;

use super::error::SessionError;

/// The maximum number of characters of an id.
const MAX_ID: usize = 128;
/// The maximum number of characters of a version.
const MAX_VERSION: usize = 64;
/// The maximum number of characters of an address.
const MAX_ADDRESS: usize = 512;
const MAX_LABELS: usize = 128;
/// The maximum number of characters of a label's key, including the DNS name before it.
const MAX_LABEL_KEY: usize = 253 + 1 + 63;
const MAX_VOLUMES: usize = 1024;
/// The maximum number of publish rules: more than anyone writes on a command line.
const MAX_PUBLISH_RULES: usize = 256;
/// The maximum number of interfaces that a worker provides.
const MAX_INTERFACES: usize = 1024;
/// The maximum number of characters of an interface's name.
const MAX_INTERFACE_NAME: usize = 256;
const MAX_FEATURES: usize = 256;
/// The maximum number of replicas in one Hello.
const MAX_REPLICAS: usize = 16 << 10;
/// The maximum number of bytes of a text for people.
const MAX_TEXT: usize = 16 << 10;
/// The maximum number of bytes of the texts of all exits but the last.
const MAX_OLD_TEXT: usize = 4 << 10;
const MAX_LINES: usize = 20;
const MAX_LINE: usize = 2 << 10;
const MAX_EXITS: usize = 5;
const MAX_TRANSITIONS: usize = 32;
/// The maximum number of bytes of a machine-readable reason or type.
const MAX_WORD: usize = 128;
const MAX_CONDITIONS: usize = 16;
const MAX_ENDPOINTS: usize = 1024;
/// The longest time for which replicas are kept for a worker that is stopping.
const MAX_KEEP: Duration = Duration::from_secs(7 * 24 * 3600);

/// Adds a violation for each invalid field of a Hello.
pub(super) fn check_hello(hello: &v1::Hello, violations: &mut Violations) {
    let id = &hello.worker_id;
    if id.is_empty() || id.len() > MAX_ID {
        let should = format!("should be 1 to {MAX_ID} characters");
        violations.push("hello.worker_id", should);
    }
    at_most(violations, "hello.network", &hello.network, MAX_ID);
    at_most(violations, "hello.instance", &hello.instance, MAX_ID);
    at_most(violations, "hello.version", &hello.version, MAX_VERSION);
    if let Some(seen) = &hello.seen {
        at_most(
            violations,
            "hello.seen.cluster_id",
            &seen.cluster_id,
            MAX_ID,
        );
    }
    url(violations, "hello.address", &hello.address);
    if !hello.http_address.is_empty() {
        url(violations, "hello.http_address", &hello.http_address);
    }
    let is_address = |address: &String| address.parse::<SocketAddr>().is_ok();
    if hello.listeners.len() > MAX_ADDRESSES || !hello.listeners.iter().all(is_address) {
        let should = format!("should be at most {MAX_ADDRESSES} \"IP:PORT\"");
        violations.push("hello.listeners", should);
    }
    if few(
        violations,
        "hello.publish_allow",
        hello.publish_allow.len(),
        MAX_PUBLISH_RULES,
    ) {
        for (i, rule) in hello.publish_allow.iter().enumerate() {
            let parsed = rule.parse::<PublishRule>();
            violations.ok(format!("hello.publish_allow[{i}]"), parsed);
        }
    }
    check_interfaces(&hello.interfaces, violations);
    few(
        violations,
        "hello.features",
        hello.features.len(),
        MAX_FEATURES,
    );
    check_labels(&hello.labels, violations);
    if few(
        violations,
        "hello.volumes",
        hello.volumes.len(),
        MAX_VOLUMES,
    ) {
        for (i, volume) in hello.volumes.iter().enumerate() {
            let at = format!("hello.volumes[{i}].name");
            violations.ok(at, Name::parse(&volume.name));
        }
    }
    if few(
        violations,
        "hello.replicas",
        hello.replicas.len(),
        MAX_REPLICAS,
    ) {
        for (i, report) in hello.replicas.iter().enumerate() {
            words(report, &format!("hello.replicas[{i}]"), violations);
        }
    }
}

/// Refuses a report that no correct worker sends, and truncates texts that are too long.
pub(super) fn check_report(report: &mut v1::ReplicaReport) -> Result<(), SessionError> {
    let mut violations = Violations::default();
    words(report, "report", &mut violations);
    if !violations.0.is_empty() {
        return Err(SessionError::Invalid(violations));
    }
    cut_report(report);
    Ok(())
}

/// Truncates the texts of a report that are too long.
pub(super) fn cut_report(report: &mut v1::ReplicaReport) {
    if let Some(exit) = &mut report.last_exit {
        clip(&mut exit.message);
        let surplus = exit.stderr.len().saturating_sub(MAX_LINES);
        exit.stderr.drain(..surplus);
        let lines = exit.stderr.iter_mut();
        lines.for_each(|line| clip_to(line, MAX_LINE));
    }
    report.last_exits.truncate(MAX_EXITS);
    for exit in &mut report.last_exits {
        clip_to(&mut exit.message, MAX_OLD_TEXT);
        exit.stderr.clear();
    }
    for condition in &mut report.conditions {
        clip(&mut condition.message);
    }
    let surplus = report.transitions.len().saturating_sub(MAX_TRANSITIONS);
    report.transitions.drain(..surplus);
    for step in report.earlier.iter_mut().chain(&mut report.transitions) {
        clip(&mut step.message);
    }
}

/// Limits the time for which replicas are kept to [`MAX_KEEP`].
pub(super) fn check_leave(leave: &mut v1::Leave) {
    let keep = leave.keep.and_then(|keep| Duration::try_from(keep).ok());
    let keep = keep.map(|keep| keep.min(MAX_KEEP));
    leave.keep = keep.and_then(|keep| keep.try_into().ok());
}

/// Truncates a text for people.
pub(super) fn clip(text: &mut String) {
    clip_to(text, MAX_TEXT);
}

fn clip_to(text: &mut String, bytes: usize) {
    const CUT: char = '…';
    if text.len() > bytes {
        let room = bytes.saturating_sub(CUT.len_utf8());
        text.truncate(text.floor_char_boundary(room));
        text.push(CUT);
    }
}

/// Checks the machine-readable words of a report.
fn words(report: &v1::ReplicaReport, at: &str, violations: &mut Violations) {
    let id = &report.replica;
    if id.is_empty() || id.len() > MAX_ID {
        let should = format!("should be 1 to {MAX_ID} characters");
        violations.push(format!("{at}.replica"), should);
    }
    let counts = [
        ("conditions", report.conditions.len(), MAX_CONDITIONS),
        ("endpoints", report.endpoints.len(), MAX_ENDPOINTS),
    ];
    for (field, count, most) in counts {
        if !few(violations, &format!("{at}.{field}"), count, most) {
            return;
        }
    }
    for (i, condition) in report.conditions.iter().enumerate() {
        let at = format!("{at}.conditions[{i}]");
        at_most(
            violations,
            &format!("{at}.type"),
            &condition.r#type,
            MAX_WORD,
        );
        at_most(
            violations,
            &format!("{at}.reason"),
            &condition.reason,
            MAX_WORD,
        );
    }
    for (i, endpoint) in report.endpoints.iter().enumerate() {
        let field = format!("{at}.endpoints[{i}].address");
        at_most(violations, &field, &endpoint.address, MAX_ADDRESS);
    }
    let steps = [
        ("earlier", &report.earlier),
        ("transitions", &report.transitions),
    ];
    for (field, steps) in steps {
        for (i, step) in steps.iter().enumerate() {
            let field = format!("{at}.{field}[{i}].reason");
            at_most(violations, &field, &step.reason, MAX_WORD);
        }
    }
}

fn check_interfaces(interfaces: &[v1::HostInterface], violations: &mut Violations) {
    const FIELD: &str = "hello.interfaces";
    if !few(violations, FIELD, interfaces.len(), MAX_INTERFACES) {
        return;
    }
    for (i, interface) in interfaces.iter().enumerate() {
        let name = &interface.name;
        let at = format!("{FIELD}[{i}].name");
        at_most(violations, &at, name, MAX_INTERFACE_NAME);
        let parsed = name.parse::<InterfaceName>();
        if violations
            .ok(&at, parsed)
            .is_some_and(|it| it.version.is_none())
        {
            violations.push(&at, format_args!("`{name}` should have a version"));
        }
    }
}

fn check_labels(labels: &BTreeMap<String, String>, violations: &mut Violations) {
    const FIELD: &str = "hello.labels";
    if !few(violations, FIELD, labels.len(), MAX_LABELS) {
        return;
    }
    // Names of fields travel in headers.
    match labels.keys().find(|key| key.len() > MAX_LABEL_KEY) {
        Some(key) => at_most(violations, FIELD, key, MAX_LABEL_KEY),
        None => label::check(FIELD, labels, violations),
    }
}

fn url(violations: &mut Violations, field: &str, url: &str) {
    if !url.starts_with("http://") && !url.starts_with("https://") {
        violations.push(field, "should be an \"http://HOST:PORT\" URL");
    }
    at_most(violations, field, url, MAX_ADDRESS);
}

fn at_most(violations: &mut Violations, field: &str, text: &str, bytes: usize) {
    if text.len() > bytes {
        let message = format!(
            "should be at most {bytes} characters, and has {}",
            text.len()
        );
        violations.push(field, message);
    }
}

/// Returns whether `count` is at most `most`, and adds a violation if not.
fn few(violations: &mut Violations, field: &str, count: usize, most: usize) -> bool {
    if count > most {
        violations.push(
            field,
            format!("should be at most {most}, and there are {count}"),
        );
    }
    count <= most
}
