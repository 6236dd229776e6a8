//! Usage errors, and how they are printed.

use std::{env, fmt, process::ExitCode};

use clap::{CommandFactory as _, error::ErrorKind};

use super::Cli;
use crate::output::{self, harmless};

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

/// Returns a usage error like clap's own, with exit code 2.
pub fn usage(kind: ErrorKind, message: impl fmt::Display) -> clap::Error {
    Cli::command().error(kind, message)
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
