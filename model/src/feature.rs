//! The fields of a workload that a server supports, so that none is ignored silently.
//!
//! A feature is a field's path from `spec`, with names as in JSON and without indices:
//! `spec.service.routes.port`. The list of all comes from the contract's descriptors, whose options
//! say which of them this version does not honour. `GetInfo` gives the list to clients
//! ([`honoured`]), Apply refuses the rest ([`admit`]), a client asks an older server before it
//! sends ([`check`] with [`Offer::of_server`]).

use std::{collections::BTreeSet, fmt, sync::LazyLock};

use warren_proto::{fields, v1};

use crate::{
    error::{Violation, Violations},
    spec::{self, ValidWorkload},
};

/// What the contract has and this version does not do yet: these fields and all below them.
static NOT_YET: LazyLock<Vec<String>> = LazyLock::new(|| features_with(|field| field.unsupported));

/// What the first servers, which named no fields in `GetInfo`, did not honour.
static NOT_BY_THE_FIRST: LazyLock<Vec<String>> =
    LazyLock::new(|| features_with(|field| field.added));

/// The fields that the first workers did not honour: a replica that uses one is only placed on a
/// worker that lists it.
static NEEDS_WORKER: LazyLock<Vec<String>> =
    LazyLock::new(|| features_with(|field| field.needs_worker));

/// A field that a workload uses: one that says something else than its absence would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsedField {
    /// As violations name it: `spec.service.routes[0].port`.
    pub field: String,
    /// What a server has to honour: `spec.service.routes.port`.
    pub feature: String,
}

/// The party that does not honour a field, for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By<'a> {
    /// This program.
    ThisVersion,
    /// A server, and the version that it names.
    Server { version: &'a str },
}

/// The features of a server, as its `GetInfo` names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    features: Vec<String>,
}

/// Every feature of this version, in the order of the contract: what `GetInfo` lists beside the
/// names of abilities.
pub fn honoured() -> Vec<String> {
    let features = features().into_iter();
    features.filter(|feature| is_honoured(feature)).collect()
}

/// Returns whether this version honours the feature.
pub fn is_honoured(feature: &str) -> bool {
    !is_within_any(feature, &NOT_YET)
}

/// Returns what a worker of this version lists in `Hello.features`.
pub fn of_worker() -> &'static [String] {
    &NEEDS_WORKER
}

/// Returns what a worker must list to run a replica of this spec.
pub fn required_of_worker(spec: &v1::WorkloadSpec) -> BTreeSet<String> {
    let used = fields::set(spec).into_iter();
    let used = used.map(|field| format!("spec.{}", field.kind));
    used.filter(|feature| NEEDS_WORKER.contains(feature))
        .collect()
}

/// Every field of `spec` that the workload uses, a message before what it holds. What is set to its
/// default is not used: leaving it out means the same, so any server does what it asks for.
pub fn used(workload: &v1::Workload) -> Vec<UsedField> {
    let Some(spec) = &workload.spec else {
        return Vec::new();
    };
    let set = fields::set(&spec::without_defaults(spec));
    let used = set.into_iter().map(|field| UsedField {
        field: format!("spec.{}", field.path),
        feature: format!("spec.{}", field.kind),
    });
    used.collect()
}

/// What the workload uses and is not offered, each at its field; of a message that is not offered,
/// only the message. Empty when all is well.
pub fn check(workload: &v1::Workload, offered: impl Fn(&str) -> bool, by: By<'_>) -> Violations {
    let mut violations = Violations::default();
    for UsedField { field, feature } in used(workload) {
        let told = violations
            .0
            .last()
            .is_some_and(|Violation { field: last, .. }| is_within(&field, last));
        if !told && !offered(&feature) {
            violations.push(field, by.refusal(&feature));
        }
    }
    violations
}

/// Checks a workload as Apply does: every rule of [`spec::validate_workload`], and that this
/// version honours every field which it uses. What is wrong inside a field that is not honoured is
/// not reported on top.
pub fn admit(workload: &v1::Workload) -> Result<ValidWorkload, Violations> {
    let mut refused = check(workload, is_honoured, By::ThisVersion);
    match spec::validate_workload(workload) {
        Ok(valid) if refused.0.is_empty() => Ok(valid),
        Ok(_) => Err(refused),
        Err(Violations(found)) => {
            let told = refused.0.len();
            for violation in found {
                let within = |at: &Violation| is_within(&violation.field, &at.field);
                if !refused.0[..told].iter().any(within) {
                    refused.0.push(violation);
                }
            }
            Err(refused)
        }
    }
}

fn features() -> Vec<String> {
    features_with(|_| true)
}

fn features_with(is_wanted: impl Fn(&v1::Field) -> bool) -> Vec<String> {
    let kinds = fields::kinds_with::<v1::WorkloadSpec>(is_wanted).into_iter();
    kinds.map(|kind| format!("spec.{kind}")).collect()
}

/// Whether a path is this one or one below it.
fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn is_within_any(path: &str, prefixes: &[String]) -> bool {
    prefixes.iter().any(|prefix| is_within(path, prefix))
}

// === impl Offer ===

impl Offer {
    /// Reads `GetInfoResponse.features`. A server that names no field of a spec is one of the
    /// first, and honours what those did.
    pub fn of_server(features: &[String]) -> Self {
        let mut features = features.to_vec();
        if !features.iter().any(|feature| is_within(feature, "spec")) {
            let first = self::features().into_iter();
            features.extend(first.filter(|feature| !is_within_any(feature, &NOT_BY_THE_FIRST)));
        }
        Self { features }
    }

    /// Whether the server honours the feature.
    pub fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|offered| offered == feature)
    }
}

// === impl By ===

impl By<'_> {
    fn refusal(self, feature: &str) -> impl fmt::Display {
        match self {
            Self::ThisVersion => {
                format!("`{feature}` is not supported by this version of Warren yet: leave it out")
            }
            Self::Server { version } => format!(
                "the server (version {version}) does not know `{feature}`: upgrade the server, or leave the field out"
            ),
        }
    }
}

#[cfg(test)]
mod tests;
