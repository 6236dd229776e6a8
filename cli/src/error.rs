//! What is printed on stderr when a command fails, and the exit code.

use std::{env, error::Error as StdError, fmt, io, process::ExitCode};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::output::{self, Colour, Shown, Style, harmless};

/// A command that worked but has a negative result, which has been printed.
#[derive(Debug)]
pub struct Silent;

/// A command that was interrupted by a signal, and what had been done until then.
#[derive(Debug)]
pub struct Interrupted(pub String);

/// The exit code that shells use for a program ended by SIGINT.
const INTERRUPTED: u8 = 130;

/// The number of problems that are shown: enough to notice that the wrong file was given.
const SHOWN: usize = 50;

/// An input that is refused by this program or by the server. Each problem has its place if that is
/// known.
#[derive(Debug)]
pub struct Refused {
    headline: String,
    /// One entry per problem, which begins with its place.
    problems: Vec<String>,
}

/// Prints a result of clap: help and version to stdout with exit code 0, usage errors to stderr
/// with exit code 2.
pub fn explain(refused: &clap::Error) -> ExitCode {
    if quotes_only_harmless() {
        // If the stream is closed, there is no way to report that.
        let _ = refused.print();
    } else {
        // Without colour, clap removes escape sequences, and the rest is escaped here.
        output::note(refused.to_string().trim_end());
    }
    ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(2))
}

/// Returns whether what a message may quote, which is arguments and Warren's variables, is safe for
/// a terminal.
fn quotes_only_harmless() -> bool {
    let variables = env::vars_os().filter_map(|(name, value)| {
        let is_warrens = name.as_encoded_bytes().starts_with(b"WARREN_");
        is_warrens.then_some(value)
    });
    env::args_os().chain(variables).all(|quoted| {
        let quoted = quoted.to_string_lossy();
        harmless::text(&quoted) == quoted
    })
}

/// Prints the error and chooses the exit code.
pub fn report(error: &anyhow::Error) -> ExitCode {
    // `warren get workloads | head -1`: the reader has all it wanted.
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

/// Combines the failures of a command that did several things: a single failure becomes the
/// command's own, several are printed here, one per line.
pub fn all(mut failures: Vec<anyhow::Error>) -> anyhow::Result<()> {
    if failures.len() < 2 {
        return failures.pop().map_or(Ok(()), Err);
    }
    for failure in failures {
        output::note(marked(output::stderr_style(), &render(&failure)));
    }
    Err(Silent.into())
}

/// Formats `error: ...` for people.
pub fn marked(style: Style, why: &str) -> Shown {
    let mark = style.paint(Colour::Red, "error:");
    mark.and(" ").and(why)
}

/// Formats the error and its causes in one sentence, with details on the lines below it.
pub fn render(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain() {
        let part = match cause.downcast_ref::<Status>() {
            Some(status) => render_status(status),
            None => cause.to_string(),
        };
        // Wrappers often repeat the error that they wrap.
        if !text.ends_with(&part) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&part);
        }
        // The cause of a status only describes how it was transported.
        if cause.is::<Status>() {
            break;
        }
    }
    text
}

/// Returns the innermost cause: the errors of transports wrap it several times.
pub fn root_cause(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    loop {
        if let Some(io) = last.downcast_ref::<io::Error>()
            && let Some(words) = in_words(io)
        {
            return words.to_owned();
        }
        match last.source() {
            Some(source) => last = source,
            None => return last.to_string(),
        }
    }
}

/// Returns a description without the system's error number, for well-known errors.
fn in_words(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::ConnectionReset => "the other side reset the connection",
        io::ErrorKind::BrokenPipe => "the other side closed the connection",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "there is no route to the machine"
        }
        _ => return None,
    })
}

/// Formats a gRPC status with its `google.rpc` details.
pub fn render_status(status: &Status) -> String {
    let mut text = match (status.message(), status.source()) {
        ("", Some(source)) => root_cause(source),
        ("", None) => status.code().description().to_owned(),
        (message, _) => further_in(message),
    };
    for (field, message) in field_violations(status) {
        // Some servers repeat the details in the message.
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

/// Indents further lines, so that text from others cannot be mistaken for lines of this program.
fn further_in(text: &str) -> String {
    text.replace('\n', "\n  ")
}

/// Returns the fields that the server found invalid, as (path, message).
pub fn field_violations(status: &Status) -> Vec<(String, String)> {
    status
        .get_details_bad_request()
        .map(|details| details.field_violations)
        .unwrap_or_default()
        .into_iter()
        .map(|violation| (violation.field, violation.description))
        .collect()
}

/// Returns what to do about a status, if its code and details tell.
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
            // A message with a colon already says what to do.
            let list = match kind.as_str() {
                _ if status.message().contains(": ") => return None,
                "workload" | "replica" => format!("warren get {kind}s -A"),
                "worker" | "artifact" => format!("warren get {kind}s"),
                _ => return None,
            };
            Some(format!("`{list}` lists those that exist"))
        }
        (Code::Aborted, _) => {
            Some("it was changed at the same time: check the change and try again".to_owned())
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
    /// Manifests that are invalid, or whose files are.
    pub fn manifest<P: fmt::Display>(problems: impl IntoIterator<Item = P>) -> Self {
        let problems = lines(problems);
        let headline = match problems.len() {
            1 => "the manifest is not valid".to_owned(),
            count => format!("the manifest has {count} problems"),
        };
        Self { headline, problems }
    }

    /// A workload that the server, or a check of its files, found invalid.
    pub fn workload<P: fmt::Display>(title: &str, problems: impl IntoIterator<Item = P>) -> Self {
        Self {
            headline: format!("{title} is refused"),
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
    // The further lines of a message are indented below its place.
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
    fn a_status_is_printed_with_its_details() {
        let details = ErrorDetails::with_bad_request(vec![
            FieldViolation::new("spec.replicas", "1001 is more than 1000"),
            FieldViolation::new("name", "`A` is not a valid name"),
        ]);
        let status = Status::with_error_details(Code::InvalidArgument, "2 problems", details);
        let error = Err::<(), _>(status)
            .context("cannot apply workload/counter")
            .expect_err("it is an error");
        assert_eq!(
            render(&error),
            "cannot apply workload/counter: 2 problems\n  spec.replicas: 1001 is more than 1000\n  \
             name: `A` is not a valid name"
        );
    }

    #[test]
    fn a_status_has_a_hint_about_what_to_do() {
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
            "there is no workload `a`\n`warren get workloads -A` lists those that exist"
        );
        for message in [
            missing("workload", "there is no workload `a`: did you mean `b`?"),
            missing("shelf", "there is no shelf `a`"),
        ] {
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }

    #[test]
    fn only_the_first_problems_are_printed() {
        let problems = |count: usize| (1..=count).map(|one| format!("a:{one}:1: no"));
        let few = Refused::manifest(problems(SHOWN)).to_string();
        assert!(few.ends_with("a:50:1: no"), "{few}");
        let many = Refused::manifest(problems(SHOWN + 7)).to_string();
        let end = "a:50:1: no\n  and 7 more";
        assert!(many.ends_with(end), "{many}");
    }

    #[test]
    fn a_cause_that_its_wrapper_repeats_is_printed_once() {
        let error = anyhow::anyhow!("no such file").context("cannot read x: no such file");
        assert_eq!(render(&error), "cannot read x: no such file");
    }
}
