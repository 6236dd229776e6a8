//! gRPC statuses with `google.rpc` details: what was wrong, where, and what to do.

use std::{collections::HashMap, time::Duration};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};
use warren_model::error::Violations;

use crate::store::StoreError;

/// When a client should try again what failed for a moment's reason.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The domain of `ErrorInfo`.
const DOMAIN: &str = "warren.dev";

/// INVALID_ARGUMENT with one violation a field.
pub fn invalid(violations: &Violations) -> Status {
    let fields: Vec<_> = violations
        .0
        .iter()
        .map(|held| FieldViolation::new(&held.field, &held.message))
        .collect();
    Status::with_error_details(
        Code::InvalidArgument,
        violations.to_string(),
        ErrorDetails::with_bad_request(fields),
    )
}

/// INVALID_ARGUMENT because of one field.
pub fn invalid_field(field: &str, message: impl Into<String>) -> Status {
    let mut violations = Violations::default();
    violations.push(field, message.into());
    invalid(&violations)
}

/// NOT_FOUND with the resource.
pub fn not_found(kind: &str, name: &str) -> Status {
    let message = format!("there is no {kind} `{name}`");
    let details = ErrorDetails::with_resource_info(kind, name, "", &message);
    Status::with_error_details(Code::NotFound, message, details)
}

/// ALREADY_EXISTS with the resource.
pub fn already_exists(kind: &str, name: &str, message: String) -> Status {
    let details = ErrorDetails::with_resource_info(kind, name, "", &message);
    Status::with_error_details(Code::AlreadyExists, message, details)
}

/// FAILED_PRECONDITION with one violation: its kind, what it is about, and what to do.
pub fn precondition(kind: &str, subject: &str, message: String) -> Status {
    let details = ErrorDetails::with_precondition_failure_violation(kind, subject, &message);
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// FAILED_PRECONDITION that time heals.
pub fn precondition_for_now(kind: &str, subject: &str, message: String) -> Status {
    let mut details = ErrorDetails::with_precondition_failure_violation(kind, subject, &message);
    details.set_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::FailedPrecondition, message, details)
}

/// FAILED_PRECONDITION because of several fields at once, each named as in a `BadRequest` too,
/// so that a client can show the place.
pub fn preconditions(kind: &str, violations: &Violations) -> Status {
    let mut details = ErrorDetails::new();
    for held in &violations.0 {
        details.add_precondition_failure_violation(kind, &held.field, &held.message);
        details.add_bad_request_violation(&held.field, &held.message);
    }
    Status::with_error_details(Code::FailedPrecondition, violations.to_string(), details)
}

/// ABORTED: somebody else's write came between.
pub fn aborted(reason: &str, message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, HashMap::new());
    Status::with_error_details(Code::Aborted, message, details)
}

/// OUT_OF_RANGE: the position of a watch is not kept.
pub fn out_of_range(message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_error_info("POSITION_NOT_KEPT", DOMAIN, HashMap::new());
    Status::with_error_details(Code::OutOfRange, message, details)
}

/// UNAVAILABLE with the time after which to try again.
pub fn unavailable(message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::Unavailable, message, details)
}

/// UNAVAILABLE because the control plane is being stopped.
pub fn ending() -> Status {
    unavailable("the control plane is shutting down")
}

/// RESOURCE_EXHAUSTED with the time after which to try again.
pub fn exhausted(message: impl Into<String>) -> Status {
    let details = ErrorDetails::with_retry_info(Some(RETRY_AFTER));
    Status::with_error_details(Code::ResourceExhausted, message, details)
}

/// What a failure of the store is to a client.
pub fn store(error: StoreError) -> Status {
    match error {
        StoreError::Conflict { .. } => {
            aborted("LOST_UPDATE", format!("{error}; read it again and retry"))
        }
        StoreError::Compacted { .. } => out_of_range(error.to_string()),
        StoreError::Unavailable(_) => unavailable(error.to_string()),
        StoreError::Corrupt(_) => Status::data_loss(error.to_string()),
        StoreError::InUse(_) | StoreError::SchemaTooNew { .. } | StoreError::Invalid(_) => {
            Status::internal(error.to_string())
        }
    }
}

/// RESOURCE_EXHAUSTED that trying again does not help.
pub fn exhausted_for_good(message: impl Into<String>) -> Status {
    let message = message.into();
    let details = ErrorDetails::with_quota_failure_violation("artifact", &message);
    Status::with_error_details(Code::ResourceExhausted, message, details)
}
