//! What is said on stderr when a command fails, and the exit code that goes with it.

use std::{fmt, process::ExitCode};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    args, client,
    output::{self, Colour, Shown, Style},
    source::Document,
};

/// A command that did its work and found that the answer is no; what there is to say was printed.
#[derive(Debug)]
pub struct Silent;

/// A command that was ended by a signal, and what had been done by then.
#[derive(Debug)]
pub struct Interrupted(pub String);

/// A shell's code for a program that SIGINT ended.
const INTERRUPTED: u8 = 130;

/// Whoever gave the wrong file learns that from the first of its problems.
const SHOWN: usize = 50;

/// What was written is refused, by this program or by the server, each problem with its place where it is known.
#[derive(Debug)]
pub struct Refused {
    headline: String,
    /// One problem each, beginning with its place.
    problems: Vec<String>,
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
        output::note(marked(output::stderr_style(), &render(error)));
    }
    if error.is::<Interrupted>() {
        return ExitCode::from(INTERRUPTED);
    }
    ExitCode::FAILURE
}

/// The result of a command that did several things: a single failure becomes the command's own,
/// several are printed here, one per line.
pub fn all(mut failures: Vec<anyhow::Error>) -> anyhow::Result<()> {
    if failures.len() < 2 {
        return failures.pop().map_or(Ok(()), Err);
    }
    for failure in failures {
        output::note(marked(output::stderr_style(), &render(&failure)));
    }
    Err(Silent.into())
}

/// `error: ...`, as people see it.
pub fn marked(style: Style, why: &str) -> Shown {
    let mark = style.paint(Colour::Red, "error:");
    mark.and(" ").and(why)
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
    let mut text = match (status.message(), std::error::Error::source(status)) {
        ("", Some(source)) => client::root_cause(source),
        ("", None) => status.code().description().to_owned(),
        (message, _) => further_in(message),
    };
    for (field, message) in field_violations(status) {
        // Some servers say the details in the message too.
        if !status.message().contains(&message) {
            text.push_str(&further_in(&format!("\n{field}: {message}")));
        }
    }
    if let Some(details) = status.get_details_precondition_failure() {
        for violation in details.violations {
            if !status.message().contains(&violation.description) {
                let (subject, description) = (violation.subject, violation.description);
                text.push_str(&further_in(&format!("\n{subject}: {description}")));
            }
        }
    }
    if let Some(hint) = hint(status) {
        text.push_str(&format!("\n{hint}"));
    }
    text
}

/// Indents further lines, so that text from others cannot pass for lines of this program.
fn further_in(text: &str) -> String {
    text.replace('\n', "\n  ")
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
        (
            Code::Unavailable
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::DeadlineExceeded,
            Some(delay),
        ) => Some(format!(
            "try again in {}",
            warren_model::quantity::format_duration(delay)
        )),
        (Code::NotFound, _) => {
            let kind = status.get_details_resource_info()?.resource_type;
            // A message that goes on after a colon says itself what to do.
            let list = match kind.as_str() {
                _ if status.message().contains(": ") => return None,
                "workload" | "replica" => format!("warren get {kind}s -A"),
                "worker" | "artifact" => format!("warren get {kind}s"),
                _ => return None,
            };
            Some(format!("`{list}` lists what there is"))
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

// === impl Interrupted ===

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted: {}", self.0)
    }
}

impl std::error::Error for Interrupted {}

// === impl Refused ===

impl Refused {
    /// Manifests that are not valid, or whose files are not.
    pub fn manifest<P: fmt::Display>(problems: impl IntoIterator<Item = P>) -> Self {
        let problems = lines(problems);
        let headline = match problems.len() {
            1 => "the manifest is not valid".to_owned(),
            count => format!("the manifest has {count} problems"),
        };
        Self { headline, problems }
    }

    /// A workload that the server, or a look at its files, found wrong.
    pub fn workload<P: fmt::Display>(
        document: &Document,
        problems: impl IntoIterator<Item = P>,
    ) -> Self {
        Self {
            headline: format!("{} is refused", document.title()),
            problems: lines(problems),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.headline)?;
        for problem in self.problems.iter().take(SHOWN) {
            write!(f, "\n  {problem}")?;
        }
        if let Some(more @ 1..) = self.problems.len().checked_sub(SHOWN) {
            write!(f, "\n  and {more} more")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}

fn lines<P: fmt::Display>(problems: impl IntoIterator<Item = P>) -> Vec<String> {
    // A message of several lines stands below its place.
    let indented = |problem: P| problem.to_string().replace('\n', "\n    ");
    problems.into_iter().map(indented).collect()
}

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
        assert!(!render_status(&Status::not_found("")).is_empty());
        let missing = |kind: &str, message: &str| {
            let details = ErrorDetails::with_resource_info(kind, "a", "", "");
            render_status(&Status::with_error_details(
                Code::NotFound,
                message,
                details,
            ))
        };
        assert_eq!(
            missing("workload", "there is no workload `a`"),
            "there is no workload `a`\n`warren get workloads -A` lists what there is"
        );
        for told in [
            missing("workload", "there is no workload `a`: did you mean `b`?"),
            missing("shelf", "there is no shelf `a`"),
        ] {
            assert_eq!(told.lines().count(), 1, "{told}");
        }
    }

    #[test]
    fn the_wrong_file_is_not_printed_whole() {
        let problems = |count: usize| (1..=count).map(|one| format!("a:{one}:1: no"));
        let few = Refused::manifest(problems(SHOWN)).to_string();
        assert!(few.ends_with("a:50:1: no"), "{few}");
        let many = Refused::manifest(problems(SHOWN + 7)).to_string();
        let end = "a:50:1: no\n  and 7 more";
        assert!(many.ends_with(end), "{many}");
    }

    #[test]
    fn what_a_wrapper_repeats_is_said_once() {
        let error = anyhow::anyhow!("no such file").context("cannot read x: no such file");
        assert_eq!(render(&error), "cannot read x: no such file");
    }
}
