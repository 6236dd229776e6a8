//! The fields of a workload that a server supports, so that none is ignored silently.
//!
//! A feature is a field's path from `spec`, with names as in JSON and without indices:
//! `spec.service.routes.port`. The list of all comes from the contract's descriptors; `NOT_YET`
//! says which of them this version does not honour. `GetInfo` gives the list to clients
//! ([`honoured`]), Apply refuses the rest ([`admit`]), a client asks an older server before it
//! sends ([`check`] with [`Offer::of_server`]).

use std::fmt;

use warren_proto::{fields, v1};

use crate::{
    error::{Violation, Violations},
    spec::{self, ValidWorkload},
};

/// The fields of the contract that this version does not support yet, including all fields below
/// them.
pub(crate) const NOT_YET: [&str; 2] = ["spec.service.env.secret", "spec.components.env.secret"];

/// What the first servers, which named no fields in `GetInfo`, did not honour. What leaves
/// [`NOT_YET`] stays here, and what the contract gains joins it.
const NOT_BY_THE_FIRST: [&str; 20] = [
    "spec.service.readiness",
    "spec.service.liveness",
    "spec.service.volumes",
    "spec.service.routes",
    "spec.volumes",
    "spec.service.exclusive",
    "spec.placement",
    "spec.update",
    "spec.components.reuse",
    "spec.service.limits.cpuWeight",
    "spec.service.env.secret",
    "spec.components.env.secret",
    "spec.service.limits.requestBodyBytes",
    "spec.service.limits.responseBodyBytes",
    "spec.components.limits.requestBodyBytes",
    "spec.components.limits.responseBodyBytes",
    "spec.service.reserve",
    "spec.components.reserve",
    "spec.service.restart.onFailed",
    "spec.service.restart.onLost",
];

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
    features().filter(|feature| is_honoured(feature)).collect()
}

/// Returns whether this version honours the feature.
pub fn is_honoured(feature: &str) -> bool {
    !is_within_any(feature, &NOT_YET)
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

fn features() -> impl Iterator<Item = String> {
    let kinds = fields::kinds::<v1::WorkloadSpec>().into_iter();
    kinds.map(|kind| format!("spec.{kind}"))
}

/// Whether a path is this one or one below it.
fn is_within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn is_within_any(path: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| is_within(path, prefix))
}

// === impl Offer ===

impl Offer {
    /// Reads `GetInfoResponse.features`. A server that names no field of a spec is one of the
    /// first, and honours what those did.
    pub fn of_server(features: &[String]) -> Self {
        let mut features = features.to_vec();
        if !features.iter().any(|feature| is_within(feature, "spec")) {
            let first =
                self::features().filter(|feature| !is_within_any(feature, &NOT_BY_THE_FIRST));
            features.extend(first);
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
