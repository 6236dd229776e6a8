//! Usage errors, and how they are printed.

use std::{fmt, process::ExitCode};

use clap::{CommandFactory as _, error::ErrorKind};

use super::Cli;
use crate::output::{self, harmless};

/// Prints a result of clap: help and version to stdout with exit code 0, usage errors to stderr
/// with exit code 2.
pub fn explain(refused: &clap::Error) -> ExitCode {
    // The message quotes the arguments, which may contain escape sequences. A message without
    // colour can be escaped as a whole.
    let plain = refused.to_string();
    if harmless::text(&plain) != plain {
        output::note(plain.trim_end());
    } else {
        // If the stream is closed, there is no way to report that.
        let _ = refused.print();
    }
    ExitCode::from(u8::try_from(refused.exit_code()).unwrap_or(2))
}

/// Returns a usage error like clap's own, with exit code 2.
pub fn usage(kind: ErrorKind, message: impl fmt::Display) -> clap::Error {
    Cli::command().error(kind, message)
}
