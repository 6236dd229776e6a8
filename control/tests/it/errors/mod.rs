//! Every failure says its code, a reason for programs, what it is about, and what to do.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

mod artifacts;
mod logs;
mod wire;
mod workloads;

/// What the details of a failure hold beside the reason.
#[derive(Debug)]
enum About {
    /// `BadRequest`, with a violation of this field.
    Field(&'static str),
    /// `ResourceInfo`: its type and name.
    Resource(&'static str, &'static str),
    /// `PreconditionFailure` of this type; whether time heals it.
    Precondition(&'static str, bool),
    /// `QuotaFailure` of this subject.
    Quota(&'static str),
    /// `RetryInfo`.
    Retry,
    /// The reason says it all.
    Reason,
}

struct Failure {
    what: &'static str,
    status: Status,
    code: Code,
    reason: &'static str,
    about: About,
    /// What its message says among other things.
    says: &'static [&'static str],
}

fn failure<T>(
    what: &'static str,
    answer: Result<T, Status>,
    (code, reason): (Code, &'static str),
    about: About,
    says: &'static [&'static str],
) -> Failure {
    let Err(status) = answer else {
        panic!("{what}: it was not refused");
    };
    Failure {
        what,
        status,
        code,
        reason,
        about,
        says,
    }
}

fn check(failures: Vec<Failure>) {
    for failure in failures {
        let Failure { what, status, .. } = &failure;
        assert_eq!(status.code(), failure.code, "{what}: {status}");
        assert!(!status.message().is_empty(), "{what}");
        for part in failure.says {
            assert!(status.message().contains(part), "{what}: {status}");
        }
        let details = status.get_error_details();
        let info = details.error_info();
        let info = info.unwrap_or_else(|| panic!("{what}: no ErrorInfo"));
        assert_eq!(
            (&*info.reason, &*info.domain),
            (failure.reason, "warren.dev"),
            "{what}"
        );
        let retries = details.retry_info().is_some();
        let holds = match failure.about {
            About::Field(field) => details.bad_request().is_some_and(|held| {
                let mut violations = held.field_violations.iter();
                violations.any(|violation| violation.field == field)
            }),
            About::Resource(kind, name) => details
                .resource_info()
                .is_some_and(|held| held.resource_type == kind && held.resource_name == name),
            About::Precondition(kind, heals) => details
                .precondition_failure()
                .is_some_and(|held| held.violations[0].r#type == kind && heals == retries),
            About::Quota(subject) => details
                .quota_failure()
                .is_some_and(|held| held.violations[0].subject == subject),
            About::Retry => retries,
            About::Reason => true,
        };
        assert!(holds, "{what}: {:?} is not in {details:?}", failure.about);
    }
}
