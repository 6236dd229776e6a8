//! gRPC statuses with `google.rpc` details: what was wrong, where, and what to do.
//!
//! Every failure carries an `ErrorInfo` with a reason that programs can rely on, and the details
//! that its code calls for.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};
use warren_model::error::{Violation, Violations};

use crate::{
    suggest::Absent,
    text::{MAX_MESSAGE, cut},
};

/// The time after which a client should try again what failed for a passing reason.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The domain of `ErrorInfo`.
const DOMAIN: &str = "warren.dev";

/// The bytes of all violations together; see [`MAX_MESSAGE`].
const MAX_VIOLATIONS: usize = 2560;

/// INVALID_ARGUMENT with one violation per field.
pub fn invalid(violations: &Violations) -> Status {
    let (shown, message) = bounded(violations);
    let fields: Vec<_> = shown
        .iter()
        .map(|held| FieldViolation::new(&held.field, &held.message))
        .collect();
    let details = ErrorDetails::with_bad_request(fields);
    status(Code::InvalidArgument, "INVALID_FIELDS", message, details)
}

/// INVALID_ARGUMENT because of one field.
pub fn invalid_field(field: &str, message: impl Into<String>) -> Status {
    let mut violations = Violations::default();
    violations.push(field, message.into());
    invalid(&violations)
}

/// INVALID_ARGUMENT because the request as a whole is not a message of its RPC.
pub fn malformed(message: impl Into<String>) -> Status {
    let message = message.into();
    let details = ErrorDetails::with_bad_request_violation("request", &message);
    status(Code::InvalidArgument, "MALFORMED_REQUEST", message, details)
}

/// NOT_FOUND with the resource.
pub fn not_found(absent: &Absent) -> Status {
    let message = absent.to_string();
    let details = ErrorDetails::with_resource_info(absent.kind, &absent.name, "", &message);
    status(Code::NotFound, "NOT_FOUND", message, details)
}

/// ALREADY_EXISTS with the resource.
pub fn already_exists(kind: &str, name: &str, message: String) -> Status {
    let details = ErrorDetails::with_resource_info(kind, name, "", &message);
    status(Code::AlreadyExists, "ALREADY_EXISTS", message, details)
}

/// FAILED_PRECONDITION with one violation: its kind, its subject, and what to do.
pub fn precondition(kind: &str, subject: &str, message: String) -> Status {
    let details = ErrorDetails::with_precondition_failure_violation(kind, subject, &message);
    status(Code::FailedPrecondition, kind, message, details)
}

/// FAILED_PRECONDITION that passes with time.
pub fn precondition_for_now(kind: &str, subject: &str, message: String) -> Status {
    let mut details = ErrorDetails::with_precondition_failure_violation(kind, subject, &message);
    details.set_retry_info(Some(RETRY_AFTER));
    status(Code::FailedPrecondition, kind, message, details)
}

/// FAILED_PRECONDITION because of several fields at once, each named as in a `BadRequest` too,
/// so that a client can show the place.
pub fn preconditions(kind: &str, violations: &Violations) -> Status {
    let (shown, message) = bounded(violations);
    let mut details = ErrorDetails::new();
    for held in shown {
        details.add_precondition_failure_violation(kind, &held.field, &held.message);
        details.add_bad_request_violation(&held.field, &held.message);
    }
    status(Code::FailedPrecondition, kind, message, details)
}

/// ABORTED because the write of another came between.
pub fn aborted(message: impl Into<String>) -> Status {
    status(Code::Aborted, "LOST_UPDATE", message, ErrorDetails::new())
}

/// ABORTED because another session of the same worker replaced this one.
pub fn replaced(message: impl Into<String>) -> Status {
    status(
        Code::Aborted,
        "SESSION_REPLACED",
        message,
        ErrorDetails::new(),
    )
}

/// OUT_OF_RANGE because the position of a watch is not kept.
pub fn out_of_range(message: impl Into<String>) -> Status {
    status(
        Code::OutOfRange,
        "POSITION_NOT_KEPT",
        message,
        ErrorDetails::new(),
    )
}

/// UNAVAILABLE with the time after which to try again.
pub fn unavailable(reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    status(Code::Unavailable, reason, message, details)
}

/// UNAVAILABLE because the control plane is being stopped.
pub fn ending() -> Status {
    unavailable("SHUTTING_DOWN", "the control plane is shutting down")
}

/// RESOURCE_EXHAUSTED with what has run out, and the time after which to try again.
pub fn exhausted(subject: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let mut details = ErrorDetails::with_quota_failure_violation(subject, &message);
    details.set_retry_info(Some(RETRY_AFTER));
    status(
        Code::ResourceExhausted,
        "TOO_MANY_AT_ONCE",
        message,
        details,
    )
}

/// RESOURCE_EXHAUSTED that trying again does not help.
pub fn too_large(subject: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let details = ErrorDetails::with_quota_failure_violation(subject, &message);
    status(Code::ResourceExhausted, "TOO_LARGE", message, details)
}

/// DEADLINE_EXCEEDED because the server, or the client, did not do something in time.
pub fn late(message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    status(Code::DeadlineExceeded, "NOT_IN_TIME", message, details)
}

/// CANCELLED because the other end went away.
pub fn gone(message: impl Into<String>) -> Status {
    status(Code::Cancelled, "GONE", message, ErrorDetails::new())
}

/// DATA_LOSS because what is stored cannot be used.
pub fn data_loss(message: impl Into<String>) -> Status {
    status(
        Code::DataLoss,
        "STORED_DATA_DAMAGED",
        message,
        ErrorDetails::new(),
    )
}

/// INTERNAL because of a bug of this server.
pub fn internal(message: impl Into<String>) -> Status {
    status(Code::Internal, "INTERNAL", message, ErrorDetails::new())
}

/// UNIMPLEMENTED because the path is not an RPC of this server.
pub fn no_such_method(path: &str, hint: &str) -> Status {
    let separator = if hint.is_empty() { "" } else { ": " };
    let message = format!("this server has no RPC `{path}`{separator}{hint}");
    let details = ErrorDetails::with_resource_info("RPC", path, "", &message);
    status(Code::Unimplemented, "NO_SUCH_RPC", message, details)
}

/// Completes a status that other code made with the least that every failure carries.
pub fn completed(bare: &Status) -> Status {
    let mut details = ErrorDetails::new();
    if matches!(bare.code(), Code::Unavailable | Code::ResourceExhausted) {
        details.set_retry_info(Some(RETRY_AFTER));
    }
    if bare.code() == Code::ResourceExhausted {
        details.add_quota_failure_violation("request", bare.message());
    }
    let reason = format!("{:?}", bare.code());
    status(bare.code(), &screaming(&reason), bare.message(), details)
}

fn status(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    mut details: ErrorDetails,
) -> Status {
    details.set_error_info(reason, DOMAIN, HashMap::new());
    let mut message = message.into();
    cut(&mut message, MAX_MESSAGE);
    Status::with_error_details(code, message, details)
}

/// Returns as many violations as headers have room for, and the message of all.
fn bounded(violations: &Violations) -> (Vec<Violation>, String) {
    let mut shown: Vec<Violation> = Vec::new();
    let mut bytes = 0;
    for held in &violations.0 {
        let mut held = held.clone();
        cut(&mut held.message, MAX_MESSAGE / 2);
        bytes += held.field.len() + held.message.len();
        if bytes > MAX_VIOLATIONS && !shown.is_empty() {
            break;
        }
        shown.push(held);
    }
    let mut message = Violations(shown.clone()).to_string();
    let left_out = violations.0.len() - shown.len();
    if left_out > 0 {
        cut(&mut message, MAX_MESSAGE - 64);
        message.push_str(&format!("\nand {left_out} more problems"));
    }
    (shown, message)
}

/// Turns `OutOfRange` into `OUT_OF_RANGE`.
fn screaming(camel: &str) -> String {
    let mut text = String::new();
    for (i, letter) in camel.char_indices() {
        if i > 0 && letter.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_of_problems_still_fits_into_headers() {
        let mut violations = Violations::default();
        for i in 0..500 {
            violations.push(format!("spec.components[{i}].name"), "ä".repeat(i * 10));
        }
        for status in [invalid(&violations), preconditions("KIND", &violations)] {
            let mut headers = http::HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            let bytes: usize = headers
                .iter()
                .map(|(name, value)| name.as_str().len() + value.len() + 32)
                .sum();
            assert!(bytes < 16 * 1024, "{bytes}");
            assert!(status.message().contains("more problems"), "{status}");
        }
    }

    #[test]
    fn somebody_elses_status_gets_what_its_code_calls_for() {
        let completed = completed(&Status::new(Code::ResourceExhausted, "m"));
        let details = completed.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "RESOURCE_EXHAUSTED");
        assert!(details.retry_info().is_some() && details.quota_failure().is_some());
        assert_eq!(completed.message(), "m");
    }
}
