//! The command line of Warren, as a library: the binary calls [`main`], and so can another binary of the same code.
//!
//! One module per command under `commands`, each with `Args` and `run`. What several commands need stands beside them.

mod args;
mod client;
mod commands;
mod deploy;
mod error;
mod explain;
mod logging;
mod output;
mod process;
mod progress;
mod push;
mod resume;
mod source;
mod wait;

use std::process::ExitCode;

use args::Cli;
/// The reference of the command line as Markdown, which the documentation holds a copy of.
pub use args::reference;

/// Runs the command line of this process. 0: it did what was asked. 1: it did not. 2: it was asked wrongly.
pub fn main() -> ExitCode {
    // A worker's compiler: it is this program, and no command of anyone else's.
    if let Some(code) = warren_worker::compile_if_asked(std::env::args_os()) {
        return code;
    }
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(refused) => return args::explain(&refused),
    };
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error::report(&error),
    }
}
