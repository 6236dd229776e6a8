//! What is said on stderr when a command fails, and the exit code that goes with it.

use std::{fmt, io::Write as _, process::ExitCode};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{args, client, output, source::Document};

/// A command that did its work and found that the answer is no; what there is to say was printed.
#[derive(Debug)]
pub struct Silent;

/// What was written is refused, by this program or by the server, each problem with its place where it is known.
#[derive(Debug)]
pub struct Refused {
    headline: String,
    /// One problem each, beginning with its place.
    pub problems: Vec<String>,
}

/// Prints the error and chooses the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        return args::explain(usage);
    }
    // `warren get workloads | head -1`: the reader has what it wanted.
    if error.chain().any(|cause| cause.is::<output::Closed>()) {
        return ExitCode::SUCCESS;
    }
    if !error.is::<Silent>() {
        let mark = output::stderr_style().paint(output::Colour::Red, "error:");
        // When stderr is gone there is nobody left to tell.
        let _ = writeln!(std::io::stderr(), "{mark} {}", render(error));
    }
    ExitCode::FAILURE
}

/// The error and its causes in one sentence, with lines of details below it.
pub fn render(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let part = match cause.downcast_ref::<Status>() {
            Some(status) => render_status(status),
            None => cause.to_string(),
        };
        // Wrappers often repeat what they wrap.
        if !text.ends_with(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        // What a status wraps is only how it travelled.
        if cause.is::<Status>() {
            break;
        }
    }
    text
}

/// A gRPC status in words, with its `google.rpc` details.
pub fn render_status(status: &Status) -> String {
    let mut text = match std::error::Error::source(status) {
        Some(source) => format!(
            "the connection to the server broke: {}",
            client::root_cause(source)
        ),
        None if status.message().is_empty() => status.code().description().to_owned(),
        None => status.message().to_owned(),
    };
    for (field, message) in field_violations(status) {
        // Some servers say the details in the message too.
        if !text.contains(&message) {
            text.push_str(&format!("\n  {field}: {message}"));
        }
    }
    if let Some(details) = status.get_details_precondition_failure() {
        for violation in details.violations {
            text.push_str(&format!(
                "\n  {}: {}",
                violation.subject, violation.description
            ));
        }
    }
    if let Some(hint) = hint(status) {
        text.push_str(&format!("\n{hint}"));
    }
    text
}

/// The fields that the server found wrong, as (path, message).
pub fn field_violations(status: &Status) -> Vec<(String, String)> {
    status
        .get_details_bad_request()
        .map(|details| details.field_violations)
        .unwrap_or_default()
        .into_iter()
        .map(|violation| (violation.field, violation.description))
        .collect()
}

/// What to do about it, where the code alone tells.
fn hint(status: &Status) -> Option<String> {
    let retry = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    match (status.code(), retry) {
        (Code::Unimplemented, _) => Some(
            "the server is older than this program: `warren version` shows both versions"
                .to_owned(),
        ),
        (Code::Unavailable | Code::ResourceExhausted, Some(delay)) => Some(format!(
            "try again in {}",
            warren_model::quantity::format_duration(delay)
        )),
        (Code::NotFound, _) => {
            Some("`warren get` lists what there is, with -A in every namespace".to_owned())
        }
        (Code::Aborted, _) => {
            Some("somebody else changed it at the same time: look at it and try again".to_owned())
        }
        _ => None,
    }
}

// === impl Silent ===

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Silent {}

// === impl Refused ===

impl Refused {
    /// Manifests that do not parse.
    pub fn manifest(problems: Vec<String>) -> Self {
        let headline = match problems.len() {
            1 => "the manifest is not valid".to_owned(),
            count => format!("the manifest has {count} problems"),
        };
        Self { headline, problems }
    }

    /// A workload that the server, or a look at its files, found wrong.
    pub fn workload(document: &Document, problems: Vec<String>) -> Self {
        Self {
            headline: format!("{} is refused", document.title()),
            problems,
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline)?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::Context as _;
    use tonic_types::{ErrorDetails, FieldViolation};

    use super::*;

    #[test]
    fn a_status_is_told_with_its_details() {
        let details = ErrorDetails::with_bad_request(vec![
            FieldViolation::new("spec.replicas", "1001 is more than 1000"),
            FieldViolation::new("name", "`A` is not a valid name"),
        ]);
        let status = Status::with_error_details(Code::InvalidArgument, "2 problems", details);
        let error = Err::<(), _>(status)
            .context("cannot apply workload/counter")
            .expect_err("it is one");
        assert_eq!(
            render(&error),
            "cannot apply workload/counter: 2 problems\n  spec.replicas: 1001 is more than 1000\n  \
             name: `A` is not a valid name"
        );
    }

    #[test]
    fn retries_and_old_servers_are_hinted_at() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(2)));
        let busy = Status::with_error_details(Code::Unavailable, "the disk is full", details);
        assert_eq!(render_status(&busy), "the disk is full\ntry again in 2s");
        assert!(render_status(&Status::unimplemented("no")).contains("`warren version`"));
        assert!(!render_status(&Status::not_found("")).is_empty());
    }

    #[test]
    fn what_a_wrapper_repeats_is_said_once() {
        let error = anyhow::anyhow!("no such file").context("cannot read x: no such file");
        assert_eq!(render(&error), "cannot read x: no such file");
    }
}
